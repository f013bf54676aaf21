#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/charsmap.h"
#include "model/split_regex.h"
#include "model/unicode_text.h"

namespace mechsweep {

/// What a tokenizer does to a text before it splits it: changes one after the other.
class Normalizer {
 public:
  /// A change made on valid UTF-8; it may throw Error{input}.
  using Step = std::function<TracedText(std::string_view)>;

  void add(Step step) { steps_.push_back(std::move(step)); }
  [[nodiscard]] bool empty() const { return steps_.empty(); }
  [[nodiscard]] TracedText apply(std::string_view text) const;

 private:
  std::vector<Step> steps_;
};

// The changes that tokenizer.json knows by these names.
Normalizer::Step normal_form_step(NormalForm form);
Normalizer::Step lowercase_step();
/// Every match becomes `content`.
Normalizer::Step replace_step(SplitRegex pattern, std::string content);
/// `content` goes before a text that is not empty.
Normalizer::Step prepend_step(std::string content);
/// White space goes from the ends.
Normalizer::Step strip_step(bool left, bool right);
/// Combining marks go (after a decomposition that is what accents are).
Normalizer::Step strip_accents_step();
/// Control characters go, and kinds of white space become a space (SentencePiece's nmt rules).
Normalizer::Step nmt_step();
Normalizer::Step charsmap_step(Charsmap charsmap);

}  // namespace mechsweep
