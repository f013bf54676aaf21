#include "app/stored_summary.h"

#include <algorithm>

#include "core/error.h"
#include "store/results_file.h"
#include "store/results_layout.h"

namespace mechsweep {

std::vector<StoredSummary> read_summaries(const ResultsReader& reader) {
  const FileLayout& layout = reader.layout();
  std::vector<StoredSummary> summaries;
  for (const std::string& id : reader.run_ids()) {
    StoredSummary summary{.run_id = id};
    for (const GroupSpec& group : layout.groups)
      if (group.path == run_group(id)) summary.attributes = group.attributes;
    summaries.push_back(std::move(summary));
  }
  for (const TargetDataset& target : layout.targets) {
    StoredSummary& summary = summaries[target.run];
    const std::string& path = layout.datasets[target.dataset].path;
    const std::string below = path.substr(run_group(summary.run_id).size() + 1);
    const size_t slash = below.rfind('/');
    const std::string metric_name = below.substr(0, slash);
    const std::string dataset = below.substr(slash + 1);
    auto metric = std::find_if(summary.metrics.begin(), summary.metrics.end(),
                               [&](const StoredMetric& m) { return m.name == metric_name; });
    if (metric == summary.metrics.end()) {
      summary.metrics.push_back({.name = metric_name});
      metric = summary.metrics.end() - 1;
    }
    StoredArray array = reader.read_array(path);
    if (!metric->order.empty() && array.axes != metric->axes)
      fail(ErrorKind::input, "run '{}': the datasets of '{}' differ in shape: the file is damaged",
           summary.run_id, metric_name);
    metric->axes = array.axes;
    metric->units = layout.datasets[target.dataset].attributes.value("units", "");
    metric->values[dataset] = std::move(array.values);
    metric->order.push_back(dataset);
  }
  return summaries;
}

}  // namespace mechsweep
