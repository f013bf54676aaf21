#include "engine/forecast.h"

#include <gtest/gtest.h>

#include "engine/wavefront_memory.h"
#include "engine_support.h"
#include "forest_support.h"

namespace mechsweep {
namespace {

using namespace test_engine;

class Forecast : public ::testing::Test {
 protected:
  Forecast() : config_(open_checkpoint(golden_path("checkpoints/llama-random")).config) {
    const int32_t long_prompt = work_.prompt(up_to(200));
    const int32_t short_prompt = work_.prompt(up_to(10));
    for (int32_t head = 0; head < 4; ++head)
      work_.task(long_prompt, {zero_head(0, head, up_to(200))});
    work_.task(short_prompt, {zero_head(0, 0, up_to(10))});
  }
  ForecastExecutor forecast(int64_t budget) {
    ForecastExecutor executor(config_, 1, budget);
    (void)executor.run(work_.prompts(), work_.tasks(), nullptr);
    return executor;
  }

  ModelConfig config_;
  Work work_;
};

TEST_F(Forecast, AnAmpleBudgetRepeatsNothing) {
  const ForecastExecutor executor = forecast(kAmpleMemory);
  EXPECT_TRUE(executor.repeated_runs().empty());
  EXPECT_EQ(executor.peak_bytes(),
            memory_of(work_.forest(config_), work_.tasks()).bytes(config_, 1));
}

TEST_F(Forecast, ABudgetForOneTaskRepeatsTheUneditedRunForEveryOther) {
  Work alone;
  alone.task(alone.prompt(up_to(200)), {zero_head(0, 0, up_to(200))});
  const int64_t one = memory_of(alone.forest(config_), alone.tasks()).bytes(config_, 1);
  // The short prompt's run is computed once.
  const ForecastExecutor executor = forecast(one);
  EXPECT_EQ(executor.repeated_runs(), (std::vector<int64_t>{200, 200, 200}));
  EXPECT_LE(executor.peak_bytes(), one);
}

}  // namespace
}  // namespace mechsweep
