#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/watchdog.h"
#include "experiments/experiment.h"
#include "experiments/statistics_config.h"
#include "prompts/prompt_table.h"

namespace mechsweep {

/// An entry of `models:`.
struct ModelEntry {
  std::string id;
  std::string path;      ///< as the config gives it
  std::string resolved;  ///< relative to the config file's folder
  std::string dtype;     ///< "float32", "bfloat16" or "float16"
  int tensor_parallel = 1;
  /// A file of another program's numbers for this model, resolved; may be empty. It decides
  /// whether the model may be computed with, and no number.
  std::string reference;
};

/// An entry of `prompts:`.
struct PromptEntry {
  std::string id;
  std::string kind;
  std::unique_ptr<PromptSource> source;
};

/// An entry of `experiments:`.
struct ExperimentEntry {
  std::string id;
  std::string kind;
  std::unique_ptr<Experiment> experiment;
  std::vector<std::string> models;   ///< ids, all of them by default
  std::vector<std::string> prompts;  ///< ids, all of them by default
  StatisticsConfig statistics;
};

/// `execution:`: how to compute. Nothing here changes a number except `kernels`.
struct ExecutionConfig {
  std::string executor = "wavefront";
  std::string kernels = "native";
  double memory_gib = 2.0;   ///< for activations, per rank, beside the weights
  int threads_per_rank = 0;  ///< 0: cores of the machine divided by its ranks
  double sync_interval_s = 30.0;
  WatchdogLimits watchdog;
  /// How units reach the file: "auto", "shared", "force_shared" or "log" (store/file_system.h).
  std::string store = "auto";
};

/// A checked config file.
struct Sweep {
  std::string path;
  std::string folder;  ///< what relative paths are relative to: the file's, or `relative_to`
  std::string text;    ///< verbatim
  std::string name;
  uint64_t seed = 0;
  std::vector<ModelEntry> models;
  std::vector<PromptEntry> prompts;
  std::vector<ExperimentEntry> experiments;
  ExecutionConfig execution;
  std::string output_file;  ///< `output.file`, may be empty

  [[nodiscard]] const ModelEntry& model(const std::string& id) const;
  [[nodiscard]] const PromptEntry& prompt_set(const std::string& id) const;
};

/// Reads and checks a config without touching models or prompt files. Throws one Error{usage} with
/// every problem there is, each with file, line, column and key.
Sweep read_sweep(const std::string& path);

/// Checks a config as read_sweep does.
void check_sweep(const ConfigNode& root);

}  // namespace mechsweep
