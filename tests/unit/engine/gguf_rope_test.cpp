// A Llama with scaling of type llama3 in GGUF, where a tensor has the factors of the frequencies:
// the numbers of the folder that it was made from (tests/golden/golden_rope_freqs.py), which
// transformers computed in double precision.

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "engine_support.h"
#include "model/rotary.h"
#include "unit/model/checkpoint_files.h"

namespace mechsweep {
namespace {

using namespace test_engine;

constexpr double kLossPromise = 1e-4;   // nats
constexpr double kLogitPromise = 5e-5;  // of the largest logit

TEST(GgufRope, FactorsScaleAsTheKeysOfTheFolderDo) {
  const RopeConfig folder =
      open_checkpoint(golden_path("checkpoints/llama-rope-llama3")).config.rope;
  const RopeConfig file = open_checkpoint(golden_path("rope_freqs.gguf")).config.rope;
  ASSERT_EQ(folder.scaling, RopeScaling::llama3);
  ASSERT_EQ(file.scaling, RopeScaling::factors);
  EXPECT_EQ(file.theta, folder.theta);
  const std::vector<float> by_keys = rotary_frequencies(folder, rotary_powers(folder, 1), 1);
  const std::vector<float> by_factors = rotary_frequencies(file, rotary_powers(file, 1), 1);
  ASSERT_EQ(by_factors.size(), by_keys.size());
  for (size_t i = 0; i < by_keys.size(); ++i)
    EXPECT_NEAR(by_factors[i], by_keys[i], 3e-7 * by_keys[i]) << i;
  // Short waves stay, long ones are stretched by the whole factor, and something lies between.
  const std::vector<double>& factors = file.frequency_factors;
  EXPECT_EQ(factors.front(), 1.0);
  EXPECT_EQ(factors.back(), 8.0);
  EXPECT_TRUE(std::any_of(factors.begin(), factors.end(),
                          [](double factor) { return factor > 1.1 && factor < 7.9; }));
}

TEST(GgufRope, FactorsThatDivideByNothingAreRefused) {
  std::ifstream file(golden_path("rope_freqs.gguf"), std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(file)), {});
  std::string stored;
  for (const double factor :
       open_checkpoint(golden_path("rope_freqs.gguf")).config.rope.frequency_factors) {
    const auto value = static_cast<float>(factor);
    stored.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  const size_t place = bytes.find(stored);
  ASSERT_NE(place, std::string::npos);
  bytes.replace(place + 4, 4, 4, '\0');
  const test_files::TempFolder folder;
  const std::string path = folder.write("zero.gguf", bytes);
  test_files::expect_input_error([&] { open_checkpoint(path); },
                                 "tensor 'rope_freqs.weight' has 0 as a factor");
}

TEST(GgufRope, LogitsAndLossesAreThoseOfTheFolder) {
  const Json golden = read_golden("architectures/llama-rope-llama3.json");
  LoadedModel model(open_checkpoint(golden_path("rope_freqs.gguf")));
  std::vector<TestPrompt> prompts = read_prompts(golden.at("prompts"));
  std::vector<Task> tasks;
  for (size_t p = 0; p < prompts.size(); ++p)
    tasks.push_back({.prompt = static_cast<int32_t>(p), .reads = prompts[p].reads});
  std::vector<ReadPoint> whole;
  for (const Json& one : golden.at("full_logits"))
    whole.push_back({.position = one.at("at").get<int32_t>(), .tracked = {0}, .full_logits = true});
  for (size_t i = 0; i < whole.size(); ++i)
    tasks.push_back({.prompt = golden.at("full_logits").at(i).at("prompt").get<int32_t>(),
                     .reads = {&whole[i], 1}});
  const auto readings = model.run(views(prompts), tasks);
  const Json& losses = golden.at("base").at("fp64").at("loss");
  size_t target = 0;
  for (size_t p = 0; p < prompts.size(); ++p)
    for (const Reading& reading : readings[p])
      EXPECT_NEAR(reading.loss(), losses.at(target++).get<double>(), kLossPromise);
  EXPECT_EQ(target, losses.size());
  for (size_t i = 0; i < golden.at("full_logits").size(); ++i) {
    const auto exact = golden.at("full_logits").at(i).at("fp64").get<std::vector<double>>();
    const std::vector<float>& found = readings[prompts.size() + i].at(0).logits;
    ASSERT_EQ(found.size(), exact.size());
    double largest = 0.0;
    for (const double logit : exact) largest = std::max(largest, std::abs(logit));
    for (size_t token = 0; token < exact.size(); ++token)
      EXPECT_NEAR(found[token], exact[token], kLogitPromise * largest) << token;
  }
}

}  // namespace
}  // namespace mechsweep
