#pragma once

#include <cstdint>
#include <vector>

#include "core/config_node.h"
#include "prompts/prompt_table.h"

namespace mechsweep {

/// What `prefix:` of a prompt set says comes before every prompt: nothing, the model's
/// beginning-of-sequence token, or the token of an id.
struct Prefix {
  enum class Kind { none, bos, token };
  Kind kind = Kind::none;
  int32_t token = 0;  ///< of Kind::token

  /// "none", "bos" or the id.
  [[nodiscard]] Json to_json() const;
};

/// Reads `none | bos | ID`; anything else is recorded as a problem (and gives none).
Prefix parse_prefix(const ConfigNode& node, Problems& problems);

/// The key `prefix` of a generated prompt set, which has no default since results depend on it.
Prefix require_prefix(MapReader& reader);

/// The tokens of a prefix for one model: none or one. Throws Error{usage} when the model names no
/// BOS token or has no token of that id.
std::vector<int32_t> prefix_tokens(const Prefix& prefix, const PromptContext& context);

}  // namespace mechsweep
