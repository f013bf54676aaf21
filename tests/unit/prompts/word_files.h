#pragma once

#include <string>

#include "tests/unit/plan/sweep_files.h"
#include "tests/unit/prompts/fake_tokenizer.h"

namespace mechsweep::test_prompts {

/// The words A to Z, each a line.
inline std::string letters_list() {
  std::string text = "# the alphabet\n";
  for (char letter = 'A'; letter <= 'Z'; ++letter) text += std::string(1, letter) + "\n";
  return text;
}

/// Cuts Q into two tokens, as another model may.
class NoQTokenizer final : public FakeTokenizer {
 public:
  [[nodiscard]] Encoding encode(std::string_view text) const override {
    if (text.ends_with(" Q"))
      return FakeTokenizer::encode(std::string(text.substr(0, text.size() - 1)) + "qq");
    return FakeTokenizer::encode(text);
  }
};

}  // namespace mechsweep::test_prompts
