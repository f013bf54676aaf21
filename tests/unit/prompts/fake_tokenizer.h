#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "model/tokenizer.h"

namespace mechsweep {

/// A test double with a vocabulary that a reader can follow: id 0 is BOS and special, "<s>" in a
/// text; ids 1..26 are " A".." Z", 27..52 are "A".."Z", every other ASCII character c is 100 + c,
/// and "capital" is one token, 300. Bytes above 127 are one token each, 100 + byte.
class FakeTokenizer : public Tokenizer {
 public:
  [[nodiscard]] std::string kind() const override { return "one that tests can follow"; }
  [[nodiscard]] Encoding encode(std::string_view text) const override {
    Encoding encoding;
    const auto add = [&](int32_t id, size_t begin, size_t length) {
      encoding.ids.push_back(id);
      encoding.bytes.push_back({static_cast<int32_t>(begin), static_cast<int32_t>(begin + length)});
    };
    for (size_t at = 0; at < text.size();) {
      const std::string_view rest = text.substr(at);
      if (rest.starts_with("<bad>")) throw Error(ErrorKind::input, "cannot be tokenised");
      if (rest.starts_with("<s>")) {
        add(0, at, 3);
        at += 3;
      } else if (rest.starts_with("capital")) {
        add(300, at, 7);
        at += 7;
      } else if (rest.size() > 1 && rest[0] == ' ' && is_letter(rest[1])) {
        add(1 + rest[1] - 'A', at, 2);
        at += 2;
      } else {
        add(is_letter(rest[0]) ? 27 + rest[0] - 'A' : 100 + static_cast<uint8_t>(rest[0]), at, 1);
        ++at;
      }
    }
    return encoding;
  }
  [[nodiscard]] std::vector<int32_t> prefix() const override { return {0}; }
  [[nodiscard]] std::string decode(const std::vector<int32_t>& /*ids*/) const override {
    return "";
  }
  [[nodiscard]] int32_t vocab_size() const override { return 400; }
  [[nodiscard]] int32_t bos_token() const override { return 0; }
  [[nodiscard]] const std::vector<int32_t>& special_tokens() const override { return special_; }

 private:
  static bool is_letter(char c) { return c >= 'A' && c <= 'Z'; }
  std::vector<int32_t> special_{0, 399};
};

}  // namespace mechsweep
