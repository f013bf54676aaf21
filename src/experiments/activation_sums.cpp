#include "experiments/activation_sums.h"

#include <algorithm>

#include "core/error.h"

namespace mechsweep {

std::string_view mean_over_name(MeanOver over) {
  return over == MeanOver::own_template ? "template" : "all";
}

MeanOver mean_over_of(const std::string& name) {
  return name == "all" ? MeanOver::all : MeanOver::own_template;
}

MeanSources::MeanSources(const RunContext& context, Side side)
    : model_(context.model), prompts_(context.prompts), side_(side) {
  std::map<std::string, int32_t> known;
  for (const Prompt& prompt : prompts_->prompts) {
    const auto next = static_cast<int32_t>(templates_.size());
    int32_t group = next;
    if (!prompt.template_label.empty())
      group = known.emplace(prompt.template_label, next).first->second;
    if (group == next) templates_.emplace_back();
    const auto index = static_cast<int32_t>(everyone_.size());
    templates_[group].push_back(index);
    template_of_.push_back(group);
    everyone_.push_back(index);
  }
}

void MeanSources::need(MeanOver over, Site site, int layer) {
  needed_[over][site].insert(layer);
}

const std::vector<int32_t>& MeanSources::members(MeanOver over, int64_t prompt) const {
  return over == MeanOver::all ? everyone_ : templates_[template_of_[prompt]];
}

void MeanSources::check(MeanOver over, int64_t prompt, std::span<const int32_t> positions,
                        std::string_view key) const {
  const Prompt& own = prompts_->prompts[prompt];
  if (over == MeanOver::own_template && own.template_label.empty())
    fail(ErrorKind::input,
         "prompt '{}' of set '{}' has no template, so there are no others of its template to take "
         "the mean over; use `{}: all`, or give the prompts a `template`",
         own.id, prompts_->id, key);
  if (positions.empty()) return;
  size_t longest = 0;  // of the others
  for (const int32_t member : members(over, prompt))
    if (member != prompt) longest = std::max(longest, prompts_->prompts[member].tokens.size());
  // Positions are aligned from the end, so the first is the one that the fewest others have.
  const int32_t first = *std::min_element(positions.begin(), positions.end());
  const size_t needed = own.tokens.size() - static_cast<size_t>(first);
  if (longest >= needed) return;
  const std::string remedy =
      over == MeanOver::own_template ? fmt::format("use `{}: all`, ", key) : "";
  fail(ErrorKind::input,
       "prompt '{}' of set '{}' has no other prompt{} with {} tokens or more, so there is no mean "
       "for its position {}; {}add such prompts, or edit later positions only",
       own.id, prompts_->id, over == MeanOver::own_template ? " of its template" : " in its set",
       needed, first, remedy);
}

std::shared_ptr<const ActivationSums> MeanSources::sums(MeanOver over, Site site, int64_t prompt,
                                                        Executor& executor) const {
  const int32_t group = over == MeanOver::all ? 0 : template_of_[prompt];
  const std::lock_guard lock(mutex_);
  auto found = cache_.find({over, group});
  if (found == cache_.end())
    found = cache_.emplace(std::pair{over, group}, compute(over, members(over, prompt), executor))
                .first;
  ensure(found->second.contains(site), "the sums of a site were not announced");
  return found->second.at(site);
}

std::vector<ActivationPoint> MeanSources::points(MeanOver over, int64_t tokens) const {
  std::vector<ActivationPoint> all;
  for (const auto& [site, layers] : needed_.at(over))
    for (const int layer : layers)
      for (int32_t position = 0; position < tokens; ++position)
        all.push_back({site, layer, position});
  return all;
}

MeanSources::Sums MeanSources::compute(MeanOver over, const std::vector<int32_t>& members,
                                       Executor& executor) const {
  size_t longest = 0;
  for (const int32_t member : members)
    longest = std::max(longest, prompts_->prompts[member].tokens.size());
  Sums sums;
  int64_t floats_per_token = 0;
  for (const auto& [site, layers] : needed_.at(over)) {
    auto own = std::make_shared<ActivationSums>();
    own->site = site;
    own->layers = model_->n_layers;
    own->width = site_width(site, *model_);
    own->counts.assign(longest, 0);
    own->sums.assign(static_cast<size_t>(own->layers) * longest * own->width, 0.0);
    floats_per_token += own->width * std::ssize(layers);
    sums[site] = std::move(own);
  }
  const int64_t prompt_bytes = floats_per_token * static_cast<int64_t>(longest * sizeof(float));
  const auto block = static_cast<size_t>(std::max<int64_t>(1, kBlockBytes / prompt_bytes));
  for (size_t begin = 0; begin < members.size(); begin += block)
    add_block(std::span(members).subspan(begin, std::min(block, members.size() - begin)), over,
              executor, sums);
  return sums;
}

void MeanSources::add_block(std::span<const int32_t> members, MeanOver over, Executor& executor,
                            Sums& sums) const {
  std::map<int64_t, std::vector<ActivationPoint>> points_of;  // by length
  std::vector<PromptTokens> tokens;
  std::vector<Task> tasks;
  for (const int32_t member : members) {
    const Prompt& prompt = prompts_->prompts[member];
    const int64_t length = std::ssize(prompt.tokens);
    if (!points_of.contains(length)) points_of[length] = points(over, length);
    tasks.push_back({.prompt = static_cast<int32_t>(tokens.size()),
                     .intervention = {.base = side_},
                     .activations = points_of.at(length)});
    tokens.push_back({prompt.tokens, prompt.corrupt_tokens});
  }
  const auto results = executor.run(tokens, tasks);
  for (size_t i = 0; i < tasks.size(); ++i) {
    const int64_t length = std::ssize(prompts_->prompts[members[i]].tokens);
    for (auto& [site, own] : sums)
      for (int64_t from_end = 0; from_end < length; ++from_end) ++own->counts[from_end];
    for (size_t a = 0; a < tasks[i].activations.size(); ++a) {
      const ActivationPoint& point = tasks[i].activations[a];
      ActivationSums& own = *sums.at(point.site);
      const int64_t from_end = length - 1 - point.position;
      const auto longest = std::ssize(own.counts);
      double* sum = own.sums.data() + (point.layer * longest + from_end) * own.width;
      const std::vector<float>& values = results[i].activations[a];
      for (int64_t w = 0; w < own.width; ++w) sum[w] += static_cast<double>(values[w]);
    }
  }
}

}  // namespace mechsweep
