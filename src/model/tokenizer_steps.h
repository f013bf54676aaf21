#pragma once

#include <string>

#include "core/error.h"
#include "core/json.h"
#include "model/normalizer.h"
#include "model/pretokenizer.h"
#include "model/token_decoder.h"
#include "model/tokenizer_fields.h"

namespace mechsweep {

/// Throws Error{input} saying that the value at `path` is not supported.
[[noreturn]] void refuse_unsupported(const std::string& path, const std::string& what);

/// Sequences may hold sequences; a file that nests deeper is damaged.
inline constexpr int kDeepestNesting = 16;

/// Calls visit(step, type, path) for every step of a stage of tokenizer.json that may be null, one
/// step or a Sequence of steps, which are listed under `list_key`.
template <typename Visit>
void for_each_step(const Json& stage, const std::string& path, const std::string& list_key,
                   Visit visit, int depth = 0) {
  if (stage.is_null()) return;
  if (depth > kDeepestNesting) fail(ErrorKind::input, "{} is nested too deeply", path);
  const std::string& type = as_text(require_field(stage, "type", path), field_path(path, "type"));
  if (type != "Sequence") return visit(stage, type, path);
  const std::string list_path = field_path(path, list_key);
  const Json& list = as_list(require_field(stage, list_key, path), list_path);
  for (size_t i = 0; i < list.size(); ++i) {
    for_each_step(list[i], item_path(list_path, i), list_key, visit, depth + 1);
  }
}

// Readers of the stages of tokenizer.json. All throw Error{input} naming a step that is damaged or
// of a type that is not supported.

Normalizer read_normalizer(const Json& stage);

struct PretokenizerStage {
  Pretokenizer pretokenizer;
  bool byte_level = false;  ///< the model sees byte symbols
};
PretokenizerStage read_pretokenizer(const Json& stage);

/// `byte_level`: tokens come as bytes, which is what a ByteLevel step would make of them.
TokenDecoder read_decoder(const Json& stage, bool byte_level);

}  // namespace mechsweep
