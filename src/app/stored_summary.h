#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/json.h"
#include "experiments/array_spec.h"

namespace mechsweep {

class ResultsReader;

/// One metric of a summary file.
struct StoredMetric {
  std::string name;
  std::string units;
  std::vector<Axis> axes;
  /// By dataset name: mean, standard_error, ..., non_finite, rank and p-values where there are any;
  /// one value per cell.
  std::map<std::string, std::vector<double>> values;
  std::vector<std::string> order;  ///< dataset names in the file's order
};

struct StoredSummary {
  std::string run_id;
  Json attributes;
  std::vector<StoredMetric> metrics;
};

/// All runs of a summary file, in order.
std::vector<StoredSummary> read_summaries(const ResultsReader& reader);

}  // namespace mechsweep
