#include <algorithm>

#include "core/error.h"
#include "experiments/attention_scores.h"
#include "experiments/profile_null.h"
#include "experiments/score_options.h"

namespace mechsweep {

namespace {

void check_axes(const StoredRun& run, const StoredArray& array, size_t least) {
  if (array.axes.size() < least)
    fail(ErrorKind::input, "run '{}': dataset '{}' has too few axes: the file is damaged", run.id,
         array.name);
}

const StoredArray& find_array(const StoredRun& run, const std::string& name) {
  const StoredArray* array = run.find(name);
  if (array == nullptr)
    fail(ErrorKind::input, "run '{}': dataset '{}' is missing: the file is damaged", run.id, name);
  return *array;
}

Metric metric_of(const StoredArray& array, const std::string& name, const std::string& long_name) {
  Metric metric{.name = name, .long_name = long_name, .units = "1"};
  metric.axes.assign(array.axes.begin() + 1, array.axes.end());
  metric.values = array.values;
  return metric;
}

/// The mean over all axes of a row but the last: [P, ..., position] as [P, position].
Metric over_all_heads(const StoredArray& array, const std::string& name,
                      const std::string& long_name) {
  const int64_t places = array.axes.back().size;
  Metric metric{.name = name, .long_name = long_name, .units = "1", .axes = {array.axes.back()}};
  metric.headline = false;
  const int64_t prompts = array.axes[0].size;
  const int64_t rows = prompts * places == 0 ? 0 : std::ssize(array.values) / (prompts * places);
  for (int64_t p = 0; p < prompts; ++p)
    for (int64_t place = 0; place < places; ++place) {
      double sum = 0.0;
      for (int64_t row = 0; row < rows; ++row)
        sum += array.values[(p * rows + row) * places + place];
      metric.values.push_back(sum / static_cast<double>(rows));
    }
  return metric;
}

/// What the layer profile of a score is compared with.
std::shared_ptr<const ProfileNull> null_of(const StoredRun& run, const std::string& folder) {
  auto null = std::make_shared<ProfileNull>();
  const StoredArray& profile = find_array(run, folder + "profile");
  check_axes(run, profile, 3);
  null->draws = profile.axes[1].size;
  null->profiles = profile.values;
  if (const StoredArray* heads = run.find(folder + "heads")) {
    null->heads = heads->values;
    null->top_fraction = run.attributes.value("top_fraction", 1.0);
    null->chosen_anew = run.attributes.value("top_heads", "half_a") == "each_resample";
  }
  return null;
}

void add_null_metrics(const StoredRun& run, const std::string& name, std::vector<Metric>& metrics) {
  const std::string folder = std::string(kNullFolder) + "/" + name + "/";
  const StoredArray& score = find_array(run, folder + "score");
  const StoredArray& null = find_array(run, folder + "null_score");
  check_axes(run, score, 3);
  if (score.axes != null.axes)
    fail(ErrorKind::input,
         "run '{}': a score '{}' and its null differ in shape: the file is damaged", run.id, name);
  Metric matched =
      metric_of(score, name + "_matched", name + " score over copies that have null sources");
  matched.profile_null = null_of(run, folder);
  Metric at_null = metric_of(null, name + "_null", name + " score at null sources");
  at_null.headline = false;
  Metric excess = metric_of(score, name + "_excess", name + " score minus its null");
  for (size_t i = 0; i < excess.values.size(); ++i) excess.values[i] -= null.values[i];
  excess.null_is_zero = true;
  metrics.push_back(std::move(matched));
  metrics.push_back(std::move(at_null));
  metrics.push_back(std::move(excess));
}

void add_folder_metric(const StoredRun& run, const StoredArray& array, const std::string& folder,
                       const std::string& name, std::vector<Metric>& metrics) {
  check_axes(run, array, 3);
  if (folder == kByPosition) {
    Metric metric = metric_of(array, name + "_" + folder, name + " score by query position");
    metric.headline = false;
    metrics.push_back(std::move(metric));
    metrics.push_back(over_all_heads(array, name + "_by_position_all_heads",
                                     name + " score by query position, mean over all heads"));
  } else if (folder == kByLag || folder == kByLagRange) {
    Metric metric = metric_of(array, name + "_" + folder, name + " score by lag");
    metric.profiled = true;
    metrics.push_back(std::move(metric));
  }
}

}  // namespace

std::vector<Metric> derive_attention_scores(const StoredRun& run) {
  std::vector<Metric> metrics;
  const std::string null_start = std::string(kNullFolder) + "/", null_end = "/score";
  for (const StoredArray& array : run.arrays) {
    const std::string& name = array.name;
    check_axes(run, array, 1);
    const size_t slash = name.find('/');
    if (slash == std::string::npos) {
      metrics.push_back(metric_of(
          array, name,
          name == kOffsetArray ? "attention to earlier copies, shifted" : name + " score"));
    } else if (!name.starts_with(null_start)) {
      add_folder_metric(run, array, name.substr(0, slash), name.substr(slash + 1), metrics);
    } else if (name.ends_with(null_end)) {
      add_null_metrics(run, name.substr(slash + 1, name.size() - null_end.size() - slash - 1),
                       metrics);
    }
  }
  return metrics;
}

}  // namespace mechsweep
