#pragma once

#include <string>

namespace mechsweep {

/// One row per run, metric and cell: mean, standard error, both intervals, counts, rank, p- and
/// q-values. Written
/// aside and renamed. Throws Error{resource} when it cannot be written.
void write_summary_csv(const std::string& summary_path, const std::string& csv_path);

/// Headline numbers of every run: estimand, base performance and chance, warnings, the ten
/// strongest heads of every ranked metric, layer profiles.
void write_summary_json(const std::string& summary_path, const std::string& json_path);

}  // namespace mechsweep
