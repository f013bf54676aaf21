#include "model/tokenizer_fields.h"

#include <limits>

#include "core/error.h"
#include "core/json_text.h"
#include "core/text_file.h"
#include "model/unicode_text.h"

namespace mechsweep {
namespace {

[[noreturn]] void refuse(const Json& value, const std::string& path, std::string_view expected) {
  fail(ErrorKind::input, "{} is {} {}, but must be {}", path.empty() ? "the tokenizer" : path,
       value.is_array() || value.is_object() ? "an" : "a", value.type_name(), expected);
}

}  // namespace

std::string field_path(const std::string& path, std::string_view key) {
  constexpr size_t kLongest = 100;
  const std::string shown = fit_for_message(key, kLongest);
  return path.empty() ? shown : fmt::format("{}.{}", path, shown);
}

std::string item_path(const std::string& path, size_t index) {
  return fmt::format("{}[{}]", path, index);
}

const Json& field_or_null(const Json& object, const std::string& key, const std::string& path) {
  static const Json nothing = nullptr;
  auto found = as_object(object, path).find(key);
  return found == object.end() ? nothing : *found;
}

const Json& require_field(const Json& object, const std::string& key, const std::string& path) {
  if (!as_object(object, path).contains(key)) {
    fail(ErrorKind::input, "the tokenizer has no key {}; get it again", field_path(path, key));
  }
  return object.at(key);
}

const std::string& as_text(const Json& value, const std::string& path) {
  if (!value.is_string()) refuse(value, path, "a string");
  return value.get_ref<const std::string&>();
}

const Json& as_list(const Json& value, const std::string& path) {
  if (!value.is_array()) refuse(value, path, "an array");
  return value;
}

const Json& as_object(const Json& value, const std::string& path) {
  if (!value.is_object()) refuse(value, path, "an object");
  return value;
}

int32_t as_token_id(const Json& value, const std::string& path) {
  if (!value.is_number_integer()) refuse(value, path, "a token id");
  constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<int32_t>::max());
  const bool negative = !value.is_number_unsigned() && value.get<int64_t>() < 0;
  if (negative || value.get<uint64_t>() > kLargest) {
    fail(ErrorKind::input, "{} is {}, which is out of range for a token id", path,
         show_json(value));
  }
  return value.get<int32_t>();
}

bool flag_or(const Json& object, const std::string& key, bool fallback, const std::string& path) {
  const Json& value = field_or_null(object, key, path);
  if (value.is_null()) return fallback;
  if (!value.is_boolean()) refuse(value, field_path(path, key), "true or false");
  return value.get<bool>();
}

}  // namespace mechsweep
