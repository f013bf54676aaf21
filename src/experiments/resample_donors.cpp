#include "experiments/resample_donors.h"

#include <map>

#include "core/error.h"
#include "core/random.h"

namespace mechsweep {

ResampleDonors::ResampleDonors(const RunContext& context)
    : prompts_(context.prompts), seed_(context.seed), run_id_(context.run_id) {
  std::map<size_t, int32_t> group_of_length;
  for (const Prompt& prompt : prompts_->prompts) {
    const auto [found, is_new] =
        group_of_length.emplace(prompt.tokens.size(), static_cast<int32_t>(groups_.size()));
    if (is_new) groups_.emplace_back();
    auto& group = groups_[found->second];
    place_.push_back(static_cast<uint32_t>(group.size()));
    group.push_back(static_cast<int32_t>(group_.size()));
    group_.push_back(found->second);
  }
}

int32_t ResampleDonors::donor(int64_t prompt, int64_t draw) const {
  const auto& group = groups_[group_[prompt]];
  if (group.size() < 2)
    fail(ErrorKind::input,
         "prompt '{}' of set '{}' is the only one of {} tokens, so `resample` has no donor for it; "
         "add prompts of that length, or use another operation",
         prompts_->prompts[prompt].id, prompts_->id, prompts_->prompts[prompt].tokens.size());
  RandomStream random(seed_, fmt::format("resample/{}/{}", run_id_, prompt),
                      static_cast<uint64_t>(draw));
  const uint32_t drawn = random.below(static_cast<uint32_t>(group.size() - 1));
  return group[drawn < place_[prompt] ? drawn : drawn + 1];
}

void ResampleDonors::check() const {
  for (size_t prompt = 0; prompt < group_.size(); ++prompt)
    (void)donor(static_cast<int64_t>(prompt), 0);
}

}  // namespace mechsweep
