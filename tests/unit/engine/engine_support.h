#pragma once

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/group.h"
#include "core/json.h"
#include "core/thread_pool.h"
#include "engine/executor.h"
#include "model/checkpoint.h"
#include "model/model.h"

// Models, prompts and tasks for the tests of the engine. Prompt files are read here by hand: their
// reader lives in a layer above.

namespace mechsweep::test_engine {

inline constexpr int64_t kAmpleMemory = int64_t{1} << 30;

inline std::string golden_path(const std::string& name) {
  return std::string(MECHSWEEP_SOURCE_DIR) + "/tests/golden/" + name;
}

inline Json read_golden(const std::string& name) {
  std::ifstream file(golden_path(name));
  if (!file) fail(ErrorKind::input, "{} cannot be opened", golden_path(name));
  return Json::parse(file);
}

/// A prompt with what is read of it.
struct TestPrompt {
  std::vector<int32_t> tokens;
  std::vector<int32_t> corrupt;
  std::vector<ReadPoint> reads;        ///< one for each target, in file order
  std::vector<int32_t> swapped;        ///< positions of the span of that name
  std::vector<int32_t> target_places;  ///< positions of the targets, ascending, each once

  [[nodiscard]] int32_t length() const { return static_cast<int32_t>(tokens.size()); }
  [[nodiscard]] PromptTokens view() const { return {tokens, corrupt}; }
};

inline std::vector<int32_t> ascending(std::vector<int32_t> positions) {
  std::sort(positions.begin(), positions.end());
  positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
  return positions;
}

inline TestPrompt parse_prompt(const Json& line) {
  TestPrompt prompt;
  prompt.tokens = line.at("tokens").get<std::vector<int32_t>>();
  if (line.contains("corrupt_tokens"))
    prompt.corrupt = line.at("corrupt_tokens").get<std::vector<int32_t>>();
  const auto add_target = [&](const Json& target, int32_t at) {
    ReadPoint point{.position = at < 0 ? prompt.length() + at : at,
                    .tracked = {target.at("answer").get<int32_t>()}};
    if (target.contains("wrong"))
      for (const Json& token : target.at("wrong")) point.tracked.push_back(token.get<int32_t>());
    prompt.target_places.push_back(point.position);
    prompt.reads.push_back(std::move(point));
  };
  if (line.contains("answer")) add_target(line, -1);
  if (line.contains("targets"))
    for (const Json& target : line.at("targets")) add_target(target, target.at("at"));
  prompt.target_places = ascending(std::move(prompt.target_places));
  if (line.contains("spans") && line.at("spans").contains("swapped")) {
    const Json& span = line.at("spans").at("swapped");
    for (int32_t at = span.at(0); at < span.at(1); ++at) prompt.swapped.push_back(at);
  }
  return prompt;
}

inline std::vector<TestPrompt> read_prompts(const std::string& golden_name) {
  std::ifstream file(golden_path(golden_name));
  if (!file) fail(ErrorKind::input, "{} cannot be opened", golden_path(golden_name));
  std::vector<TestPrompt> prompts;
  for (std::string line; std::getline(file, line);)
    if (!line.empty()) prompts.push_back(parse_prompt(Json::parse(line)));
  return prompts;
}

inline std::vector<PromptTokens> views(const std::vector<TestPrompt>& prompts) {
  std::vector<PromptTokens> all;
  for (const TestPrompt& prompt : prompts) all.push_back(prompt.view());
  return all;
}

/// Positions by the names that configs use: "all", "targets", "swapped", or a list of indices,
/// where negative ones count from the end.
inline std::vector<int32_t> positions_of(const TestPrompt& prompt, const Json& selection) {
  std::vector<int32_t> positions;
  if (selection == "all") {
    for (int32_t t = 0; t < prompt.length(); ++t) positions.push_back(t);
  } else if (selection == "targets") {
    positions = prompt.target_places;
  } else if (selection == "swapped") {
    positions = prompt.swapped;
  } else {
    for (const Json& at : selection)
      positions.push_back(at < 0 ? prompt.length() + at.get<int32_t>() : at.get<int32_t>());
  }
  return ascending(std::move(positions));
}

inline std::vector<int32_t> all_positions(const TestPrompt& prompt) {
  return positions_of(prompt, "all");
}

/// A loaded model with threads to run it.
class LoadedModel {
 public:
  explicit LoadedModel(const Checkpoint& checkpoint, int threads = 1,
                       KernelSet kernels = KernelSet::native,
                       ComputeType type = ComputeType::float32)
      : pool_(threads), model_(checkpoint, group_, {.kernels = kernels, .type = type}) {}

  [[nodiscard]] const Model& model() const { return model_; }
  [[nodiscard]] const ModelConfig& config() const { return model_.config(); }

  std::vector<std::vector<Reading>> run(std::span<const PromptTokens> prompts,
                                        std::span<const Task> tasks,
                                        int64_t memory_bytes = kAmpleMemory,
                                        AttentionObserver* observer = nullptr) {
    std::vector<std::vector<Reading>> readings;
    for (TaskResult& result : naive(memory_bytes)->run(prompts, tasks, observer))
      readings.push_back(std::move(result.readings));
    return readings;
  }
  [[nodiscard]] std::unique_ptr<Executor> naive(int64_t memory_bytes = kAmpleMemory) {
    return make_naive_executor(model_, pool_, memory_bytes);
  }
  [[nodiscard]] std::unique_ptr<Executor> wavefront(int64_t memory_bytes = kAmpleMemory) {
    return make_wavefront_executor(model_, pool_, memory_bytes);
  }

 private:
  SoloGroup group_;
  ThreadPool pool_;  // before the model: it also limits the tensor library to one thread
  Model model_;
};

}  // namespace mechsweep::test_engine
