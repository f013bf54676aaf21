#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/traced_text.h"

namespace mechsweep {

/// SentencePiece's compiled table of character replacements (`precompiled_charsmap`): a
/// double-array trie of the replaced texts, after its size in bytes (32 bits, little endian), then
/// the replacements, each ended by a zero byte.
class Charsmap {
 public:
  /// Throws Error{input} naming `path` when the bytes are not such a table.
  Charsmap(std::string_view bytes, const std::string& path);
  /// The same from base64, as tokenizer.json holds it.
  static Charsmap from_base64(std::string_view text, const std::string& path);

  /// Replaces what the table knows, going over `text` by grapheme cluster: a cluster below six
  /// bytes is looked up as a whole, then every other one character by character. As the reference
  /// does, the shortest entry that a cluster starts with replaces all of it.
  [[nodiscard]] TracedText apply(std::string_view text) const;

 private:
  [[nodiscard]] std::optional<std::string_view> find(std::string_view chunk) const;
  [[nodiscard]] std::optional<std::string_view> replacement(uint32_t start) const;
  void apply_to_cluster(std::string_view cluster, TraceBuilder& out) const;

  std::vector<uint32_t> units_;
  std::string replacements_;  ///< one after the other, each ended by a zero byte
};

}  // namespace mechsweep
