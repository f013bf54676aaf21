#pragma once

#include <fstream>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "core/group.h"
#include "engine/model_session.h"
#include "experiments/array_spec.h"
#include "prompts/prompt_line.h"
#include "unit/experiments/experiment_support.h"

// The random checkpoints, with their prompts and what another program says about them.

namespace mechsweep::test_experiments {

inline std::string golden_path(const std::string& name) {
  return std::string(MECHSWEEP_SOURCE_DIR) + "/tests/golden/" + name;
}

struct GoldenCase {
  std::string golden;
  std::string checkpoint;
  std::string prompts;
};

inline const std::vector<GoldenCase> kGoldenCases = {
    {"random_llama", "llama-random", "random_llama"},
    {"random_gpt2", "gpt2-random", "random_gpt2"},
};

inline std::string case_name(const testing::TestParamInfo<GoldenCase>& info) {
  return info.param.golden;
}

/// A random checkpoint, loaded, with its prompts and goldens.
class GoldenModel {
 public:
  explicit GoldenModel(const GoldenCase& which)
      : checkpoint(open_checkpoint(golden_path("checkpoints/" + which.checkpoint))) {
    std::ifstream file(golden_path(which.golden + ".json"));
    golden = Json::parse(file);
    session_ = open_model(checkpoint, group_, {});
    set.id = "p";
    std::ifstream lines(golden_path("prompts/" + which.prompts + ".jsonl"));
    for (std::string line; std::getline(lines, line);)
      set.prompts.push_back(prompt_from_json(parse_prompt_json(line), {}));
    const Json& targets = golden.at("targets");
    for (size_t i = 0; i < targets.at("prompt").size(); ++i)
      targets_.push_back({targets.at("prompt")[i], targets.at("at")[i], targets.at("tracked")[i][0],
                          static_cast<int64_t>(targets.at("tracked")[i].size())});
  }

  RunPointer bind_run(const std::string& kind, const Json& json) const {
    return ParsedExperiment(kind, json).bind(checkpoint.config, set);
  }

  /// Everything that a run stores, computed in one piece per stage.
  std::vector<StoredArray> compute(const Run& run) {
    const auto specs = run.arrays();
    const auto stages = run.stages();
    std::vector<StoredArray> stored(specs.size());
    for (size_t stage = 0; stage < stages.size(); ++stage) {
      const UnitResult result = run.execute(static_cast<int>(stage), {0, std::ssize(set.prompts)},
                                            {0, stages[stage].first_size}, session_->executor());
      for (const ArrayBlock& block : result.blocks)
        stored.at(block.array) = {specs[block.array].name, specs[block.array].axes,
                                  doubles(specs[block.array].type, block)};
    }
    return stored;
  }

  /// One target as the goldens number them: through all prompts in file order.
  struct Target {
    int64_t prompt = 0;
    int32_t at = 0;
    int32_t answer = 0;
    int64_t tracked = 0;
  };
  [[nodiscard]] const std::vector<Target>& targets() const { return targets_; }
  /// The number of a golden target among its prompt's targets, which ascend by position.
  [[nodiscard]] int64_t place_of(const Target& target) const {
    const auto& own = set.prompts[target.prompt].targets;
    for (size_t t = 0; t < own.size(); ++t)
      if (own[t].at == target.at && own[t].answer == target.answer) return static_cast<int64_t>(t);
    fail(ErrorKind::internal, "the golden's target is not a prompt's");
  }

  Checkpoint checkpoint;
  Json golden;
  PromptSet set;

 private:
  static std::vector<double> doubles(ElementType type, const ArrayBlock& block) {
    if (type == ElementType::f64) return values_of<double>(block);
    if (type == ElementType::f32) {
      const auto values = values_of<float>(block);
      return {values.begin(), values.end()};
    }
    const auto values = values_of<int32_t>(block);
    return {values.begin(), values.end()};
  }

  SoloGroup group_;
  std::unique_ptr<ModelSession> session_;
  std::vector<Target> targets_;
};

inline const StoredArray& array_of(const std::vector<StoredArray>& arrays,
                                   const std::string& name) {
  for (const StoredArray& array : arrays)
    if (array.name == name) return array;
  fail(ErrorKind::internal, "there is no array {}", name);
}

/// The value at these indices, one for every axis.
inline double value_at(const StoredArray& array, const std::vector<int64_t>& indices) {
  EXPECT_EQ(indices.size(), array.axes.size()) << array.name;
  int64_t flat = 0;
  for (size_t i = 0; i < indices.size(); ++i) flat = flat * array.axes[i].size + indices[i];
  return array.values.at(flat);
}

}  // namespace mechsweep::test_experiments
