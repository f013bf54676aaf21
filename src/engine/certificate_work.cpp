#include "engine/certificate_work.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/random.h"

namespace mechsweep {

namespace {

constexpr uint64_t kSeed = 5;

bool all_finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(),
                     [](float value) { return std::isfinite(value); });
}

}  // namespace

void CertificateTasks::add_prompt(std::vector<int32_t> tokens) {
  tokens_.push_back(std::move(tokens));
  prompts_.push_back({tokens_.back(), {}});
}

size_t CertificateTasks::add(int32_t prompt, std::vector<Edit> edits, std::vector<ReadPoint> reads,
                             std::vector<ActivationPoint> activations) {
  reads_.push_back(std::move(reads));
  activations_.push_back(std::move(activations));
  Task task{.prompt = prompt};
  task.intervention.edits = std::move(edits);
  task.reads = reads_.back();
  task.activations = activations_.back();
  tasks_.push_back(std::move(task));
  return tasks_.size() - 1;
}

std::vector<std::vector<int32_t>> certificate_prompts(const Checkpoint& checkpoint,
                                                      std::span<const int> lengths) {
  std::vector<int32_t> special;
  if (checkpoint.tokenizer) special = checkpoint.tokenizer->special_tokens();
  const int32_t vocab = checkpoint.config.vocab_size;
  // A vocabulary of nothing but special tokens is still one that a model can be run on.
  if (std::ssize(special) >= vocab) special.clear();
  std::vector<std::vector<int32_t>> prompts;
  for (const int length : lengths) {
    RandomStream random(kSeed, "certificate/prompts", prompts.size());
    auto& tokens = prompts.emplace_back(std::min(length, checkpoint.config.max_positions));
    for (int32_t& token : tokens) do {
        token = static_cast<int32_t>(random.below(static_cast<uint32_t>(vocab)));
      } while (std::binary_search(special.begin(), special.end(), token));
  }
  return prompts;
}

std::vector<int32_t> certificate_sample(const ModelConfig& config, int count) {
  if (config.vocab_size <= count) return first_numbers(config.vocab_size);
  RandomStream random(kSeed, "certificate/sample");
  const auto drawn = random.sample_without_replacement(static_cast<uint32_t>(config.vocab_size),
                                                       static_cast<uint32_t>(count));
  return {drawn.begin(), drawn.end()};
}

std::vector<int32_t> first_numbers(int32_t count) {
  std::vector<int32_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

bool is_finite(const TaskResult& result) {
  return std::all_of(result.readings.begin(), result.readings.end(),
                     [](const Reading& reading) {
                       return std::isfinite(reading.logsumexp) &&
                              all_finite(reading.tracked_logits);
                     }) &&
         std::all_of(result.activations.begin(), result.activations.end(), all_finite);
}

void WorstDifference::add(double found, double expected) {
  const double difference = std::abs(found - expected);
  if (std::isfinite(difference)) {
    largest_ = std::max(largest_, difference);
  } else {
    non_finite_ = true;
  }
}

}  // namespace mechsweep
