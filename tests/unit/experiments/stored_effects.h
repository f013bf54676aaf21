#pragma once

#include <limits>
#include <vector>

#include "experiments/array_spec.h"
#include "experiments/statistics_config.h"

namespace mechsweep::test_experiments {

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// A patching run as it is stored: 2 prompts, the first with one target and the second with two of
/// which only the first has a wrong answer; 2 layers; 3 tracked tokens; a vocabulary of 50.
inline StoredRun stored_effects() {
  const Axis prompt{.name = "prompt", .size = 2};
  const Axis layer{.name = "layer", .size = 2, .coordinates = {0, 1}};
  const Axis target{.name = "target", .size = 2};
  const Axis tracked{.name = "tracked", .size = 3};
  const std::vector<Axis> at{prompt, target};
  const std::vector<Axis> at_token{prompt, target, tracked};
  const std::vector<Axis> edited{prompt, layer, target};
  const std::vector<Axis> edited_token{prompt, layer, target, tracked};
  const double n = kNaN;
  StoredRun run{.id = "e/m/p", .kind = "activation_patching"};
  run.arrays = {
      {"base/loss", at, {1, n, 2, 3}},
      {"base/logit", at_token, {3, 0, 1, n, n, n, 1, 4, n, 2, n, n}},
      {"base/top1", at, {7, -1, 8, 9}},
      {"base/tracked_token", at_token, {7, 1, 2, -1, -1, -1, 5, 6, -1, 9, -1, -1}},
      {"donor/loss", at, {3, n, 2.05, 1}},
      {"donor/logit", at_token, {2, 1, 0, n, n, n, 1, 5, n, 2, n, n}},
      {"donor/top1", at, {7, -1, 8, 9}},
      {"loss", edited, {1.5, n, 1, n, 1, 4, 4, 7}},
      {"logit", edited_token, {2, 0, 1, n, n, n, 2, -1, 0, n, n, n,
                               1, 3, n, 2, n, n, 4, 4,  n, 0, n, n}},
      {"top1", edited, {7, -1, 7, -1, 8, 9, 8, 9}},
  };
  run.attributes = {{"base", "clean"}, {"statistics", StatisticsConfig{}.to_json().dump()}};
  run.templates = {"", ""};
  run.prompt_lengths = {3, 4};
  run.prompt_ids = {"a", "b"};
  run.complete = {1, 1};
  run.vocab_size = 50;
  return run;
}

}  // namespace mechsweep::test_experiments
