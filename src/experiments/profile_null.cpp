#include "experiments/profile_null.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "experiments/prompt_half.h"
#include "stats/profile.h"

namespace mechsweep {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Rows of the counted prompts out of [P, row].
std::vector<double> rows_of(const std::vector<double>& values, int64_t row,
                            const std::vector<int64_t>& counted) {
  std::vector<double> rows;
  rows.reserve(counted.size() * row);
  for (const int64_t p : counted)
    rows.insert(rows.end(), values.begin() + p * row, values.begin() + (p + 1) * row);
  return rows;
}

/// Means over the rows of [P, row] where `counts` is not 0; NaN left out, NaN where nothing is.
std::vector<double> means_over(const std::vector<double>& values, int64_t row,
                               const std::vector<uint8_t>& counts) {
  std::vector<double> sums(row, 0.0);
  std::vector<int64_t> numbers(row, 0);
  for (size_t p = 0; p < counts.size(); ++p)
    for (int64_t i = 0; i < row && counts[p] != 0; ++i) {
      const double value = values[p * row + i];
      if (std::isnan(value)) continue;
      sums[i] += value;
      ++numbers[i];
    }
  for (int64_t i = 0; i < row; ++i)
    sums[i] = numbers[i] > 0 ? sums[i] / static_cast<double>(numbers[i]) : kNaN;
  return sums;
}

/// Makes the rows that do not count NaN.
void keep_rows(std::vector<double>& values, int64_t row, const std::vector<uint8_t>& counts) {
  for (size_t p = 0; p < counts.size(); ++p)
    if (counts[p] == 0) std::fill_n(values.begin() + static_cast<int64_t>(p) * row, row, kNaN);
}

/// By counted prompt, whether it is in the half; the halves are those of the whole set.
std::vector<uint8_t> half_of(PromptHalf half, const StoredRun& run,
                             const std::vector<int64_t>& counted) {
  const std::string set = run.id.substr(run.id.rfind('/') + 1);
  const auto in_half =
      templates_of_half(half, run.templates, set, run.attributes.at("seed").get<uint64_t>());
  std::vector<uint8_t> of_counted;
  of_counted.reserve(counted.size());
  for (const int64_t p : counted) of_counted.push_back(in_half[p]);
  return of_counted;
}

/// Top heads that are the same for all prompts and draws.
NullProfile fixed_top(const std::vector<double>& scores, const std::vector<double>& null_heads,
                      const ProfileNull& null, int64_t layers, int64_t heads,
                      const std::vector<uint8_t>& chosen, const std::vector<uint8_t>& measured) {
  const auto prompts = std::ssize(measured);
  NullProfile profile{.layers = layers, .heads = 1, .draws = null.draws};
  profile.values = layer_profiles(scores, prompts, layers, heads, chosen);
  profile.nulls = layer_profiles(null_heads, prompts * null.draws, layers, heads, chosen);
  keep_rows(profile.values, layers, measured);
  keep_rows(profile.nulls, null.draws * layers, measured);
  profile.null_profiles = means_over(profile.nulls, null.draws * layers, measured);
  return profile;
}

/// Top heads that every row and every draw chooses by its own means.
NullProfile own_top(const std::vector<double>& scores, const std::vector<double>& null_heads,
                    const ProfileNull& null, int64_t layers, int64_t heads) {
  NullProfile profile{.layers = layers,
                      .heads = heads,
                      .draws = null.draws,
                      .fraction = null.top_fraction,
                      .values = scores};
  const auto prompts = std::ssize(scores) / (layers * heads);
  const auto means =
      means_over(null_heads, null.draws * layers * heads, std::vector<uint8_t>(prompts, 1));
  profile.null_profiles = top_profile(means, null.draws * layers, heads, null.top_fraction);
  return profile;
}

/// The profile and its shape as metrics.
void add_metrics(const SummaryMetric& score, const std::string& name, const std::string& of,
                 NullProfile&& profile, RunSummary& summary) {
  const auto shared = std::make_shared<const NullProfile>(std::move(profile));
  SummaryMetric layers{.name = name,
                       .long_name = score.long_name + of,
                       .units = score.units,
                       .axes = {score.axes[0]},
                       .cells = shared->layers,
                       .null_profile = shared};
  layers.non_finite.assign(layers.cells, 0);
  layers.further.assign(std::begin(kNullColumns), std::end(kNullColumns));
  if (!shared->scores.empty())
    layers.further.insert(layers.further.end(), std::begin(kPermutationColumns),
                          std::end(kPermutationColumns));
  const auto& quantities = shape_quantities();
  SummaryMetric shape{
      .name = name + kShapeSuffix,
      .long_name = score.long_name + of + ": where it lies and how wide it is",
      .units = "1",
      .axes = {{.name = kQuantityAxis, .size = std::ssize(quantities), .labels = quantities}},
      .cells = std::ssize(quantities),
      .null_profile = shared,
      .is_shape = true};
  shape.non_finite.assign(shape.cells, 0);
  summary.metrics.push_back(std::move(layers));
  summary.metrics.push_back(std::move(shape));
}

/// The top heads of a score as numbers by head.
std::vector<double> as_numbers(const std::vector<uint8_t>& chosen) {
  return {chosen.begin(), chosen.end()};
}

}  // namespace

void add_null_profiles(const Metric& metric, const StoredRun& run,
                       const std::vector<int64_t>& counted, RunSummary& summary) {
  const ProfileNull& null = *metric.profile_null;
  const int64_t layers = metric.axes.at(0).size, heads = metric.axes.at(1).size;
  const auto stored = std::ssize(run.templates);
  if (std::ssize(null.profiles) != stored * null.draws * layers ||
      (!null.heads.empty() && std::ssize(null.heads) != stored * null.draws * layers * heads))
    fail(ErrorKind::input,
         "run '{}': the null of '{}' has not the score's sizes: the file is damaged", run.id,
         metric.name);
  const auto prompts = std::ssize(counted);
  const std::vector<uint8_t> all(prompts, 1);
  const SummaryMetric score = summary.metrics.back();
  NullProfile means{.layers = layers, .heads = 1, .draws = null.draws};
  means.values = layer_profiles(score.values, prompts, layers, heads);
  means.nulls = rows_of(null.profiles, null.draws * layers, counted);
  means.null_profiles = means_over(means.nulls, null.draws * layers, all);
  means.scores = means_over(score.values, layers * heads, all);
  means.score_heads = heads;
  const std::vector<double> head_means = means.scores;
  add_metrics(score, score.name + kProfileSuffix, ", mean over heads", std::move(means), summary);
  if (std::all_of(head_means.begin(), head_means.end(), [](double v) { return std::isnan(v); }))
    summary.warnings.push_back(
        fmt::format("{}: no copy has a null source, so that nothing is compared; raise `max_shift`",
                    score.name));
  if (null.heads.empty()) return;

  const size_t of_score = summary.metrics.size() - 3;
  const auto null_heads = rows_of(null.heads, null.draws * layers * heads, counted);
  const auto half_a = null.chosen_anew ? all : half_of(PromptHalf::half_a, run, counted);
  const auto chosen =
      top_heads(null.chosen_anew ? head_means : means_over(score.values, layers * heads, half_a),
                layers, heads, null.top_fraction);
  summary.metrics[of_score].further.emplace_back(kTopColumn);
  summary.metrics[of_score].top_heads = as_numbers(chosen);
  NullProfile top = null.chosen_anew ? own_top(score.values, null_heads, null, layers, heads)
                                     : fixed_top(score.values, null_heads, null, layers, heads,
                                                 chosen, half_of(PromptHalf::half_b, run, counted));
  add_metrics(score, score.name + kTopProfileSuffix, ", mean over the top heads", std::move(top),
              summary);
}

}  // namespace mechsweep
