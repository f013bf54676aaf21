#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/hash.h"
#include "core/text_file.h"
#include "prompts/prefix.h"
#include "prompts/prompt_kinds.h"
#include "prompts/prompt_line.h"

namespace mechsweep {

namespace {

/// Prompts from a JSON Lines file (docs/prompt-files.md). A byte order mark, Windows line ends and
/// blank lines are tolerated. A prompt without `id` is called p0, p1, ... after its line.
class PromptFile final : public PromptSource {
 public:
  explicit PromptFile(MapReader& reader)
      : path_(reader.text("path")),
        align_(reader.choice_or("align", "none", {"first", "last", "none"})) {
    if (const ConfigNode* prefix = reader.get("prefix"))
      prefix_ = parse_prefix(*prefix, reader.problems());
  }

  [[nodiscard]] Json parameters(const PromptContext& context) const override {
    const std::string content = read_text_file(full_path(context), ErrorKind::input);
    return {{"sha256", sha256_hex(content)},
            {"align", align_},
            {"prefix", prefix_ ? prefix_->to_json() : Json("tokenizer")}};
  }

  [[nodiscard]] std::vector<Prompt> make(const PromptContext& context) const override {
    const std::string path = full_path(context);
    const std::string content = read_text_file(path, ErrorKind::input);
    PromptLineOptions options{context.tokenizer, std::nullopt, align_, ""};
    if (prefix_) options.prefix = prefix_tokens(*prefix_, context);
    std::vector<Prompt> prompts;
    std::unordered_map<std::string, int> line_of_id;
    for (const auto& [number, line] : filled_lines(content)) {
      try {
        options.default_id = fmt::format("p{}", number - 1);
        Prompt prompt = prompt_from_json(parse_prompt_json(line), options);
        check_prompt(prompt, context.vocab_size, context.max_positions);
        const auto [earlier, is_new] = line_of_id.emplace(prompt.id, number);
        if (!is_new)
          fail(ErrorKind::input, "id: the prompt '{}' is in line {} already", prompt.id,
               earlier->second);
        prompts.push_back(std::move(prompt));
      } catch (const Error& error) {
        throw error.within(fmt::format("{}:{}", path, number));
      }
    }
    if (prompts.empty()) fail(ErrorKind::input, "{}: has no prompts", path);
    return prompts;
  }

 private:
  [[nodiscard]] std::string full_path(const PromptContext& context) const {
    return resolve_path(context.config_folder, path_);
  }

  std::string path_;
  std::string align_;
  std::optional<Prefix> prefix_;
};

}  // namespace

std::unique_ptr<PromptSource> parse_prompt_file(const std::string& /*id*/, MapReader& reader) {
  return std::make_unique<PromptFile>(reader);
}

}  // namespace mechsweep
