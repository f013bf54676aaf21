#include "model/added_tokens.h"

#include <unordered_set>
#include <utility>

#include "core/error.h"
#include "model/unicode_text.h"

namespace mechsweep {

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::unordered_set<std::string_view> seen;
  std::vector<std::pair<std::string, int32_t>> entries;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    ensure(!tokens_[i].content.empty(), "an added token is not empty");
    if (!seen.insert(tokens_[i].content).second) continue;
    entries.emplace_back(tokens_[i].content, static_cast<int32_t>(i));
  }
  trie_ = ByteTrie(std::move(entries));
}

AddedTokenFinder::Match AddedTokenFinder::longest_at(std::string_view text, size_t offset) const {
  Match longest;
  trie_.visit_prefixes(text.substr(offset), [&](size_t length, int32_t index) {
    longest = {&tokens_[static_cast<size_t>(index)], length};
  });
  return longest;
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
    const auto [token, length] = longest_at(text, offset);
    if (token == nullptr) {
      ++offset;
      continue;
    }
    size_t begin = offset;
    size_t end = offset + length;
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
