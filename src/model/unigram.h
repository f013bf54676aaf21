#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/byte_trie.h"
#include "model/token_model.h"

namespace mechsweep {

/// What a Unigram model is made of.
struct UnigramData {
  std::vector<std::pair<std::string, double>> pieces;  ///< token and log probability, by id
  std::optional<int32_t> unknown_token;
  bool byte_fallback = false;  ///< characters without a token become byte tokens (byte_token)
};

/// The most probable way to cut a piece into tokens (Kudo 2018), by dynamic programming. A
/// character that no token starts and ends with costs 10 more than the least probable token;
/// neighbouring ones become one unknown token.
class UnigramEncoder final : public TokenModel {
 public:
  /// Throws Error{input} when the unknown token is out of range or a token is no text.
  explicit UnigramEncoder(UnigramData data);

  void encode(std::string_view piece, Encoding& out) const override;

 private:
  struct Node;

  [[nodiscard]] std::vector<Node> best_paths(std::string_view piece) const;
  void add_unknown(std::string_view piece, Span bytes, Encoding& out) const;

  TokenIds ids_;
  std::vector<double> scores_;
  std::optional<int32_t> unknown_token_;
  double unknown_score_ = 0;
  bool byte_fallback_ = false;
  std::array<int32_t, 256> byte_ids_{};
  ByteTrie tokens_;
};

}  // namespace mechsweep
