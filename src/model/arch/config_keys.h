#pragma once

#include <cstdint>
#include <string>

#include "core/json.h"

namespace mechsweep {

/// Typed access to the keys of config.json or of GGUF metadata: a missing key or one of the wrong
/// type throws Error{input} that names it. Null counts as missing.
class ConfigKeys {
 public:
  explicit ConfigKeys(const Json& object) : object_(&object) {}

  [[nodiscard]] bool has(const std::string& key) const;
  [[nodiscard]] int integer(const std::string& key) const;
  [[nodiscard]] int integer_or(const std::string& key, int fallback) const;
  [[nodiscard]] double number(const std::string& key) const;
  [[nodiscard]] double number_or(const std::string& key, double fallback) const;
  [[nodiscard]] bool flag_or(const std::string& key, bool fallback) const;
  [[nodiscard]] std::string text(const std::string& key) const;
  [[nodiscard]] std::string text_or(const std::string& key, const std::string& fallback) const;
  /// A token id, the first one where the key holds a list; -1 where it is absent.
  [[nodiscard]] int token_or_none(const std::string& key) const;
  /// Of GGUF metadata: `key`, or else the length of its list of tokens.
  [[nodiscard]] int gguf_vocab_size(const std::string& key) const;
  /// Throws unless the key is absent or equals `value`: the feature behind it is not implemented.
  void require_unset_or(const std::string& key, const Json& value) const;

 private:
  [[nodiscard]] const Json& at(const std::string& key) const;
  const Json* object_;
};

}  // namespace mechsweep
