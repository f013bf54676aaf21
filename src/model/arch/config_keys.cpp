#include "model/arch/config_keys.h"

#include <limits>

#include "core/error.h"
#include "core/json_text.h"
#include "core/text_file.h"

namespace mechsweep {

namespace {

int whole_number(const std::string& key, const Json& value) {
  if (!value.is_number_integer())
    fail(ErrorKind::input, "'{}' is {}, not a whole number", key, show_json(value));
  const auto wide = value.is_number_unsigned() && value.get<uint64_t>() > INT32_MAX
                        ? int64_t{std::numeric_limits<int64_t>::max()}
                        : value.get<int64_t>();
  if (wide < std::numeric_limits<int>::min() || wide > std::numeric_limits<int>::max())
    fail(ErrorKind::input, "'{}' is {}, too large", key, show_json(value));
  return static_cast<int>(wide);
}

}  // namespace

bool ConfigKeys::has(const std::string& key) const {
  return object_->is_object() && object_->contains(key) && !object_->at(key).is_null();
}

const Json& ConfigKeys::at(const std::string& key) const {
  if (!has(key)) fail(ErrorKind::input, "the key '{}' is missing from the model's config", key);
  return object_->at(key);
}

int ConfigKeys::integer(const std::string& key) const {
  return whole_number(key, at(key));
}

int ConfigKeys::integer_or(const std::string& key, int fallback) const {
  return has(key) ? integer(key) : fallback;
}

double ConfigKeys::number(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_number()) fail(ErrorKind::input, "'{}' is {}, not a number", key, show_json(value));
  return value.get<double>();
}

double ConfigKeys::number_or(const std::string& key, double fallback) const {
  return has(key) ? number(key) : fallback;
}

bool ConfigKeys::flag_or(const std::string& key, bool fallback) const {
  if (!has(key)) return fallback;
  const Json& value = at(key);
  if (!value.is_boolean())
    fail(ErrorKind::input, "'{}' is {}, neither true nor false", key, show_json(value));
  return value.get<bool>();
}

std::string ConfigKeys::text(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_string()) fail(ErrorKind::input, "'{}' is {}, not a text", key, show_json(value));
  // What a model's config names is short and plain; anything else does not belong into messages.
  const std::string& text = value.get_ref<const std::string&>();
  constexpr size_t kLongest = 200;
  if (fit_for_message(text, kLongest) != text)
    fail(ErrorKind::input, "'{}' is {}, not a plain text", key, show_json(value));
  return text;
}

std::string ConfigKeys::text_or(const std::string& key, const std::string& fallback) const {
  return has(key) ? text(key) : fallback;
}

int ConfigKeys::token_or_none(const std::string& key) const {
  if (!has(key)) return -1;
  const Json& value = at(key);
  return value.is_array() && !value.empty() ? whole_number(key, value.front()) : integer(key);
}

int ConfigKeys::gguf_vocab_size(const std::string& key) const {
  constexpr const char* kTokens = "tokenizer.ggml.tokens";
  if (has(key)) return integer(key);
  if (!has(kTokens)) fail(ErrorKind::input, "neither '{}' nor '{}' is there", key, kTokens);
  return static_cast<int>(at(kTokens).size());
}

void ConfigKeys::require_unset_or(const std::string& key, const Json& value) const {
  if (has(key) && at(key) != value)
    fail(ErrorKind::input, "'{}' is {}, which this version cannot compute (it can: {})", key,
         show_json(at(key)), show_json(value));
}

}  // namespace mechsweep
