#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config_node.h"
#include "prompts/prompt_table.h"

namespace mechsweep {

/// The token of each letter A to Z, written in `form` ("A" or " A"), in this order. Throws
/// Error{usage} when the model has no tokenizer, or a letter is not one token of its own.
std::vector<int32_t> letter_tokens(const std::string& set_id, const std::string& form,
                                   const PromptContext& context);

/// What random content is drawn from: the keys `pool` (vocabulary, the default, or letters) and,
/// with letters, `letter_form` ("A", or " A", the default).
struct TokenPool {
  std::string name = "vocabulary";
  std::string letter_form;  ///< empty unless the pool is letters

  /// Adds the keys to a prompt set's parameters.
  void add_to(Json& parameters) const;
  /// The tokens for one model, without the prefix and without those of `left_out`. Throws
  /// Error{usage} like letter_tokens.
  [[nodiscard]] std::vector<int32_t> tokens(const std::string& set_id, const PromptContext& context,
                                            const std::vector<int32_t>& prefix,
                                            const std::vector<int32_t>& left_out) const;
};
TokenPool read_token_pool(MapReader& reader);

/// A token that the config names: by its id, or by its text, which has to be one token.
struct NamedToken {
  std::string text;  ///< empty: the id counts
  int32_t id = 0;

  /// The text or the id.
  [[nodiscard]] Json to_json() const;
  /// The token for one model. Throws Error{usage} naming set and key when it has no such token.
  [[nodiscard]] int32_t token(const std::string& set_id, const std::string& key,
                              const PromptContext& context) const;
};
/// Reads a whole number as an id and everything else, a quoted number as well, as text; anything
/// but a filled scalar is recorded as a problem.
NamedToken parse_named_token(const ConfigNode& node, Problems& problems);

}  // namespace mechsweep
