#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "engine_support.h"
#include "head_scores.h"

// What the tests of real models have in common: loading, the bounds that are promised, and the
// comparison of base runs and scores with the numbers of transformers.

namespace mechsweep::test_engine {

constexpr double kLossPromise = 1e-4;   // nats
constexpr double kLogitPromise = 5e-5;  // of the largest logit
constexpr double kScorePromise = 1e-5;

/// The model of a file below models/, on all cores; a null pointer where it is not there.
inline std::unique_ptr<LoadedModel> load_real_model(const std::string& file) {
  const std::string path = std::string(MECHSWEEP_SOURCE_DIR) + "/models/" + file;
  if (!std::filesystem::exists(path)) return nullptr;
  const int threads = std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 16);
  return std::make_unique<LoadedModel>(open_checkpoint(path), threads);
}

/// Readings [prompt][read point] against a golden's `fp64` and `top1`, targets in order.
inline void expect_base(const std::vector<std::vector<Reading>>& readings, const Json& golden,
                        double largest_logit) {
  const Json& exact = golden.at("fp64");
  const double room = kLogitPromise * largest_logit;
  size_t target = 0;
  for (const auto& prompt_readings : readings)
    for (const Reading& reading : prompt_readings) {
      SCOPED_TRACE(fmt::format("target {}", target));
      EXPECT_NEAR(reading.loss(), exact.at("loss").at(target).get<double>(), kLossPromise);
      EXPECT_NEAR(reading.logsumexp, exact.at("logsumexp").at(target).get<double>(), kLossPromise);
      EXPECT_NEAR(reading.logit_mean, exact.at("vocab_mean").at(target).get<double>(), room);
      EXPECT_EQ(reading.top1, golden.at("top1").at(target).get<int32_t>());
      const Json& logits = exact.at("logits").at(target);
      ASSERT_EQ(reading.tracked_logits.size(), logits.size());
      for (size_t i = 0; i < logits.size(); ++i)
        EXPECT_NEAR(reading.tracked_logits[i], logits[i].get<double>(), room);
      ++target;
    }
  EXPECT_EQ(target, exact.at("loss").size());
}

/// The scores of one prompt, [layer][head].
inline void expect_scores(const HeadScores& observer, int64_t prompt, const Json& scores,
                          const ModelConfig& config) {
  for (int layer = 0; layer < config.n_layers; ++layer)
    for (int head = 0; head < config.n_heads; ++head)
      EXPECT_NEAR(observer.score(prompt, layer, head), scores.at(layer).at(head).get<double>(),
                  kScorePromise)
          << "prompt " << prompt << " L" << layer << "H" << head;
}

}  // namespace mechsweep::test_engine
