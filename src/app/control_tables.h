#pragma once

#include <string>

#include "core/json.h"

namespace mechsweep {

class ResultsReader;

/// One row per run, metric and cell of chosen sets beside random ones (compare_controls()). Without
/// any such run there is no file: an older one is removed. Throws Error{resource} when it cannot be
/// written.
void write_control_csv(const std::string& summary_path, const std::string& csv_path);

/// The same of one run: {"delta_loss": [{"k": 1, "match": "layer", "observed": ...}, ...], ...};
/// null without any.
Json control_json(const ResultsReader& reader, const std::string& run_id);

}  // namespace mechsweep
