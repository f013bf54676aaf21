#include "model/added_tokens.h"

#include <algorithm>

#include "core/error.h"
#include "model/unicode_text.h"

namespace mechsweep {

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::stable_sort(tokens_.begin(), tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
    return a.content.size() > b.content.size();
  });
  for (size_t i = 0; i < tokens_.size(); ++i) {
    ensure(!tokens_[i].content.empty(), "an added token is not empty");
    by_first_[static_cast<uint8_t>(tokens_[i].content[0])].push_back(i);
  }
}

const AddedToken* AddedTokenFinder::longest_at(std::string_view text, size_t offset) const {
  for (size_t i : by_first_[static_cast<uint8_t>(text[offset])]) {
    if (text.substr(offset).starts_with(tokens_[i].content)) return &tokens_[i];
  }
  return nullptr;
}

std::vector<Section> AddedTokenFinder::split(std::string_view text) const {
  std::vector<Section> sections;
  auto add = [&](size_t begin, size_t end, int32_t id) {
    if (begin < end) {
      sections.push_back({{static_cast<int32_t>(begin), static_cast<int32_t>(end)}, id});
    }
  };
  size_t done = 0;
  size_t offset = 0;
  while (offset < text.size()) {
    const AddedToken* token = longest_at(text, offset);
    if (token == nullptr) {
      ++offset;
      continue;
    }
    size_t begin = offset;
    size_t end = offset + token->content.size();
    offset = end;
    if (token->single_word &&
        (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) {
      continue;
    }
    // White space that an earlier token took along stays with that one.
    if (token->lstrip) begin -= trailing_space(text.substr(done, begin - done));
    if (token->rstrip) end += leading_space(text.substr(end));
    add(done, begin, -1);
    add(begin, end, token->id);
    done = end;
    offset = end;
  }
  add(done, text.size(), -1);
  return sections;
}

}  // namespace mechsweep
