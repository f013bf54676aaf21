#include <algorithm>
#include <cstdio>

#include "app/commands.h"
#include "app/guarded_reading.h"
#include "app/stored_summary.h"
#include "app/tidy_rows.h"
#include "core/error.h"
#include "experiments/experiment.h"
#include "store/results_file.h"
#include "store/summary_layout.h"

namespace mechsweep {

namespace {

/// Writes to stdout; a reader that has gone (export | head) ends the program quietly by SIGPIPE.
void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size())
    fail(ErrorKind::resource, "standard output cannot be written; is the disk full?");
}

void print_header(const AxisColumns& columns) {
  std::string header = "run,model,prompts";
  for (const std::string& name : columns.names()) header += "," + name;
  print(header + ",prompt,metric,value\n");
}

void check_run(const std::vector<std::string>& ids, const ExportOptions& options) {
  if (options.run.empty() || std::find(ids.begin(), ids.end(), options.run) != ids.end()) return;
  std::string known;
  for (const std::string& id : ids) known += (known.empty() ? "" : ", ") + id;
  fail(ErrorKind::usage, "{}: has no run '{}'; it has: {}", options.file, options.run, known);
}

void export_results(const ResultsReader& reader, const ExportOptions& options) {
  const auto ids = reader.run_ids();
  const auto wanted = [&](const std::string& id) {
    return options.run.empty() || id == options.run;
  };
  // The header needs every run's axes, and rows of large runs should not all be held at once: the
  // metrics are derived twice.
  AxisColumns columns;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!wanted(ids[i])) continue;
    const StoredRun run = reader.read_run(static_cast<int>(i));
    for (const Metric& metric : experiment_kind(run.kind).derive(run)) columns.include(metric.axes);
  }
  print_header(columns);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!wanted(ids[i])) continue;
    const StoredRun run = reader.read_run(static_cast<int>(i));
    const std::string run_cells = run_fields(run.id);
    for (const Metric& metric : experiment_kind(run.kind).derive(run)) {
      const int64_t cells = metric.cells();
      for (size_t v = 0; v < metric.values.size(); ++v) {
        const std::string value = number_text(metric.values[v]);
        if (value.empty()) continue;  // does not apply, or not computed
        const std::string prompt =
            metric.per_prompt ? std::to_string(static_cast<int64_t>(v) / cells) : "";
        print(fmt::format("{},{},{},{},{}\n", run_cells,
                          columns.cells(metric.axes, static_cast<int64_t>(v) % cells), prompt,
                          csv_field(metric.name), value));
      }
    }
  }
}

void export_summary(const ResultsReader& reader, const ExportOptions& options) {
  const auto summaries = read_summaries(reader);
  AxisColumns columns;
  for (const auto& summary : summaries)
    for (const auto& metric : summary.metrics) columns.include(metric.axes);
  print_header(columns);
  for (const auto& summary : summaries) {
    if (!options.run.empty() && summary.run_id != options.run) continue;
    for (const auto& metric : summary.metrics)
      for (const std::string& dataset : metric.order) {
        const auto& values = metric.values.at(dataset);
        for (size_t cell = 0; cell < values.size(); ++cell) {
          const std::string value = number_text(values[cell]);
          if (value.empty()) continue;
          if (dataset == kSummaryNonFinite && values[cell] == 0.0) continue;  // as it should be
          print(fmt::format("{},{},,{},{}\n", run_fields(summary.run_id),
                            columns.cells(metric.axes, static_cast<int64_t>(cell)),
                            csv_field(metric.name + "." + dataset), value));
        }
      }
  }
}

/// Damaged numbers are not printed; those of runs that nobody asked for do not matter.
void require_whole(const ResultsReader& reader, const ExportOptions& options) {
  const auto ids = reader.run_ids();
  check_run(ids, options);
  const auto found = std::find(ids.begin(), ids.end(), options.run);
  const int run = options.run.empty() ? -1 : static_cast<int>(found - ids.begin());
  require_whole_units(reader, options.file, run);
}

int export_all(const ExportOptions& options) {
  const ResultsReader reader(options.file);
  require_whole(reader, options);
  if (reader.layout().attributes.at("format") == kSummaryFormat) {
    export_summary(reader, options);
  } else {
    export_results(reader, options);
  }
  return std::fflush(stdout) == 0 ? kExitDone : exit_status(ErrorKind::resource);
}

}  // namespace

int export_command(const ExportOptions& options) {
  return reading_results(options.file, [&] { return export_all(options); });
}

}  // namespace mechsweep
