#include "engine/certificate_reference.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "core/error.h"
#include "core/json_text.h"
#include "core/text_file.h"

namespace mechsweep {

namespace {

constexpr const char* kFormat = "mechsweep-reference";
constexpr int kVersion = 1;
constexpr uint64_t kMostBytes = uint64_t{16} << 20;
constexpr size_t kMostTokens = 100'000;  // of all prompts together, heads counted with theirs
constexpr size_t kMostText = 200;
constexpr size_t kDeepest = 8;

/// One object of the file; fields are refused by their full name.
class Fields {
 public:
  Fields(const Json& object, std::string place) : object_(object), place_(std::move(place)) {
    if (!object.is_object()) refuse("is not an object");
  }

  [[nodiscard]] bool has(const char* name) const { return object_.contains(name); }
  [[nodiscard]] const Json& list(const char* name) const {
    const Json& value = get(name);
    if (!value.is_array()) refuse_field(name, "is not a list");
    return value;
  }
  [[nodiscard]] Fields map(const char* name) const { return {get(name), field(name)}; }
  [[nodiscard]] std::string text(const char* name) const {
    const Json& value = get(name);
    if (!value.is_string() || value.get_ref<const std::string&>().size() > kMostText)
      refuse_field(name, fmt::format("is not a text of at most {} bytes", kMostText));
    return value.get<std::string>();
  }
  [[nodiscard]] int integer(const char* name, int64_t bound) const {
    return static_cast<int>(integer_of(get(name), field(name), bound));
  }
  [[nodiscard]] double number(const char* name) const { return number_of(get(name), field(name)); }
  /// `count` finite numbers.
  [[nodiscard]] std::vector<double> numbers(const char* name, size_t count) const {
    return numbers_of(list(name), field(name), count);
  }
  [[nodiscard]] std::vector<int32_t> tokens(const char* name, int vocab) const {
    return tokens_of(list(name), field(name), vocab);
  }
  [[nodiscard]] std::string field(const char* name) const { return place_ + "." + name; }
  [[nodiscard]] const Json& object() const { return object_; }

  static std::vector<double> numbers_of(const Json& values, const std::string& name, size_t count) {
    if (!values.is_array() || values.size() != count)
      fail(ErrorKind::input, "{} is not a list of {} numbers", name, count);
    std::vector<double> numbers;
    for (const Json& value : values) numbers.push_back(number_of(value, name));
    return numbers;
  }
  static std::vector<int32_t> tokens_of(const Json& values, const std::string& name, int vocab) {
    if (!values.is_array()) fail(ErrorKind::input, "{} is not a list of tokens", name);
    std::vector<int32_t> tokens;
    for (const Json& value : values)
      tokens.push_back(static_cast<int32_t>(integer_of(value, name, vocab)));
    return tokens;
  }

 private:
  static int64_t integer_of(const Json& value, const std::string& name, int64_t bound) {
    const bool fits =
        value.is_number_unsigned() && value.get<uint64_t>() < static_cast<uint64_t>(bound);
    if (!fits)
      fail(ErrorKind::input, "{} has {}, not a whole number from 0 to {}", name, show_json(value),
           bound - 1);
    return value.get<int64_t>();
  }
  static double number_of(const Json& value, const std::string& name) {
    const double number = value.is_number() ? value.get<double>() : NAN;
    if (!std::isfinite(number))
      fail(ErrorKind::input, "{} has {}, not a finite number", name, show_json(value));
    return number;
  }
  [[nodiscard]] const Json& get(const char* name) const {
    if (!object_.contains(name)) refuse_field(name, "is missing");
    return object_.at(name);
  }
  [[noreturn]] void refuse(const std::string& what) const {
    fail(ErrorKind::input, "{} {}", place_, what);
  }
  [[noreturn]] void refuse_field(const char* name, const std::string& what) const {
    fail(ErrorKind::input, "{} {}", field(name), what);
  }

  const Json& object_;
  std::string place_;
};

class ReferenceReader {
 public:
  ReferenceReader(const Json& json, const ModelConfig& config)
      : top_(json, "the reference"), config_(config) {}

  Reference read() {
    if (!top_.has("format") || top_.text("format") != kFormat)
      fail(ErrorKind::input, "is no reference; scripts/make_reference.py makes one");
    if (top_.integer("format_version", INT32_MAX) != kVersion)
      fail(ErrorKind::input, "has a format_version that this program does not read (it reads {})",
           kVersion);
    Reference reference;
    reference.made_by = read_makers();
    reference.dtype = top_.text("dtype");
    check_shape();
    for (size_t i = 0; i < top_.list("files").size(); ++i) {
      const Fields file(top_.list("files")[i], fmt::format("files[{}]", i));
      reference.files.push_back({file.text("name"), file.text("sha256")});
    }
    reference.sample = top_.tokens("sample", config_.vocab_size);
    read_prompts(reference);
    read_heads(reference);
    read_spread(reference);
    return reference;
  }

 private:
  [[nodiscard]] std::string read_makers() const {
    const Fields makers = top_.map("made_by");
    std::string text;
    for (const char* name : {"transformers", "torch"})
      if (makers.has(name))
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, makers.text(name));
    if (text.empty()) text = makers.text("program");
    return text;
  }

  void check_shape() const {
    const Fields shape = top_.map("shape");
    const auto check = [&](const char* name, int ours) {
      const int theirs = shape.integer(name, INT32_MAX);
      if (theirs != ours)
        fail(ErrorKind::input, "{} is {}, but the model's is {}", shape.field(name), theirs, ours);
    };
    check("layers", config_.n_layers);
    check("heads", config_.n_heads);
    check("vocab", config_.vocab_size);
  }

  void count_tokens(size_t tokens) {
    tokens_ += tokens;
    if (tokens_ > kMostTokens)
      fail(ErrorKind::input, "has more than {} tokens to compute; make a smaller one", kMostTokens);
  }

  void read_prompts(Reference& reference) {
    const Json& list = top_.list("prompts");
    if (list.empty()) fail(ErrorKind::input, "prompts is empty: there is nothing to compare");
    for (size_t i = 0; i < list.size(); ++i) {
      const Fields fields(list[i], fmt::format("prompts[{}]", i));
      ReferencePrompt prompt;
      prompt.tokens = fields.tokens("tokens", config_.vocab_size);
      const size_t length = prompt.tokens.size();
      if (length < 2 || length > static_cast<size_t>(config_.max_positions))
        fail(ErrorKind::input, "{} has {} tokens; it needs 2 to {}", fields.field("tokens"), length,
             config_.max_positions);
      count_tokens(length);
      prompt.loss = fields.numbers("loss", length - 1);
      prompt.logsumexp = fields.numbers("logsumexp", length);
      read_logits(fields, reference.sample.size(), prompt);
      reference.prompts.push_back(std::move(prompt));
    }
  }

  void read_logits(const Fields& fields, size_t sample, ReferencePrompt& prompt) const {
    const size_t length = prompt.tokens.size();
    const Json& logits = fields.list("logits");
    const Json& top = fields.list("top");
    if (logits.size() != length || top.size() != length)
      fail(ErrorKind::input, "{} and {} need a list for each of {} tokens", fields.field("logits"),
           fields.field("top"), length);
    for (size_t t = 0; t < length; ++t) {
      prompt.logits.push_back(
          Fields::numbers_of(logits[t], fmt::format("{}[{}]", fields.field("logits"), t), sample));
      const Fields one(top[t], fmt::format("{}[{}]", fields.field("top"), t));
      const auto tokens = one.tokens("tokens", config_.vocab_size);
      const auto values = one.numbers("logits", tokens.size());
      prompt.top.emplace_back();
      for (size_t i = 0; i < tokens.size(); ++i)
        prompt.top.back().emplace_back(tokens[i], values[i]);
    }
  }

  void read_heads(Reference& reference) {
    const Json& list = top_.list("heads");
    for (size_t i = 0; i < list.size(); ++i) {
      const Fields fields(list[i], fmt::format("heads[{}]", i));
      ReferenceHead head{.prompt = fields.integer("prompt", std::ssize(reference.prompts)),
                         .layer = fields.integer("layer", config_.n_layers),
                         .head = fields.integer("head", config_.n_heads),
                         .delta_loss = {}};
      const size_t length = reference.prompts[head.prompt].tokens.size();
      count_tokens(length);
      head.delta_loss = fields.numbers("delta_loss", length - 1);
      reference.heads.push_back(std::move(head));
    }
  }

  void read_spread(Reference& reference) const {
    if (!top_.has("spread")) return;
    const Fields spread = top_.map("spread");
    for (const char* dtype : {"float32", "bfloat16", "float16"}) {
      if (!spread.has(dtype)) continue;
      const Fields one = spread.map(dtype);
      ReferenceSpread read{one.number("logits"), one.number("loss"), one.number("delta_loss")};
      if (read.logits < 0.0 || read.loss < 0.0 || read.delta_loss < 0.0)
        fail(ErrorKind::input, "{} is below 0", spread.field(dtype));
      reference.spread.emplace(dtype, read);
    }
  }

  Fields top_;
  const ModelConfig& config_;
  size_t tokens_ = 0;
};

/// Files that decide what token ids mean, and no logit of given ids.
bool is_of_tokenizer(const std::string& name) {
  return name == "tokenizer.json" || name == "tokenizer_config.json";
}

}  // namespace

Reference parse_reference(std::string_view text, const std::string& path,
                          const ModelConfig& config) {
  try {
    const Json json = parse_json(text, kDeepest);
    Reference reference = ReferenceReader(json, config).read();
    reference.path = path;
    return reference;
  } catch (const Error& error) {
    throw error.within(path);
  }
}

Reference read_reference(const std::string& path, const ModelConfig& config) {
  std::error_code error;
  const auto size_bytes = std::filesystem::file_size(path, error);
  if (!error && size_bytes > kMostBytes)
    fail(ErrorKind::input, "{}: is {} bytes long; a reference has at most {}", path, size_bytes,
         kMostBytes);
  return parse_reference(read_text_file(path, ErrorKind::input), path, config);
}

void check_reference_files(const Reference& reference, const std::vector<ReferenceFile>& model) {
  for (const ReferenceFile& file : model) {
    if (is_of_tokenizer(file.name)) continue;
    bool same_name = false, same_content = false;
    for (const ReferenceFile& other : reference.files) {
      same_name = same_name || other.name == file.name;
      same_content = same_content || other.sha256 == file.sha256;
    }
    if (!same_content)
      fail(ErrorKind::input,
           "{}: was not made from this model: {} '{}' {}; make a new one with "
           "scripts/make_reference.py",
           reference.path, same_name ? "its" : "it knows no", file.name,
           same_name ? "had other content (SHA-256)" : "of this content (SHA-256)");
  }
}

}  // namespace mechsweep
