#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config_node.h"
#include "prompts/prompt.h"

namespace mechsweep {

/// A model and how it cuts text.
struct ModelTokenizer {
  std::string model;                     ///< id in the config
  const Tokenizer* tokenizer = nullptr;  ///< null when the model has none
};

/// What a prompt generator may know of the model its prompts are for.
struct PromptContext {
  const Tokenizer* tokenizer = nullptr;  ///< null when the model has none: ids only
  int vocab_size = 0;
  int max_positions = 0;
  int bos_token = -1;
  uint64_t seed = 0;
  std::string config_folder;  ///< relative paths are relative to this
  /// Every model that this prompt set is made for, this one among them: prompts that are to be the
  /// same text for all of them use only what all of them can express. Empty: this model alone.
  std::vector<ModelTokenizer> compared = {};
};

/// The checked parameters of one entry of `prompts:`; makes its prompts for any model.
class PromptSource {
 public:
  virtual ~PromptSource() = default;
  /// Every parameter, defaults filled in, in canonical form; a file stands by the SHA-256 of its
  /// content, not by its path. Of the context only `config_folder` counts. Throws Error{input}
  /// when a prompt file cannot be read.
  [[nodiscard]] virtual Json parameters(const PromptContext& context) const = 0;
  /// The prompts for one model: the same on every rank and every call. Throws Error{usage} when the
  /// parameters do not fit the model, Error{input} when a prompt file is wrong.
  [[nodiscard]] virtual std::vector<Prompt> make(const PromptContext& context) const = 0;
};

/// A kind of prompt set. `id` is the entry's id, which keys its random numbers. The caller reads
/// the keys `id` and `kind`, calls parse and then reader.finish(); parse records problems in the
/// reader and always returns a source, to be used only when there were none.
struct PromptKind {
  std::string_view name;
  std::string_view summary;
  std::unique_ptr<PromptSource> (*parse)(const std::string& id, MapReader& reader);
};

/// Every kind there is; the only list.
std::span<const PromptKind> prompt_table();

}  // namespace mechsweep
