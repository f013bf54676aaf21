#include "engine/forecast.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "core/group.h"
#include "engine/edit_values.h"
#include "engine/synthetic_model.h"
#include "engine/wavefront_memory.h"
#include "model/model.h"

namespace mechsweep {

namespace {

Reading empty_reading(const ReadPoint& point, int64_t vocab) {
  Reading reading;
  reading.tracked_logits.resize(point.tracked.size());
  reading.top.resize(point.top_k);
  reading.kl.resize(point.kl.size());
  if (point.full_logits) reading.logits.resize(vocab);
  return reading;
}

}  // namespace

std::vector<TaskResult> ForecastExecutor::run(std::span<const PromptTokens> prompts,
                                              std::span<const Task> tasks,
                                              AttentionObserver* observer) {
  for (const Task& task : tasks) check_task(prompts, task, config_);
  std::vector<TaskResult> results(tasks.size());
  for (size_t begin = 0; begin < tasks.size();) {
    const WavefrontChunk chunk =
        next_chunk(prompts, tasks.subspan(begin), config_, threads_, memory_bytes_,
                   observer != nullptr, std::span(results).subspan(begin));
    peak_bytes_ = std::max(peak_bytes_, chunk.bytes);
    const Task& first = tasks[begin];
    if (begin > 0 && tasks[begin - 1].prompt == first.prompt)
      repeated_runs_.push_back(std::ssize(prompts[first.prompt].side(first.intervention.base)));
    begin += chunk.tasks;
  }
  for (size_t i = 0; i < tasks.size(); ++i)
    for (const ReadPoint& point : tasks[i].reads)
      results[i].readings.push_back(empty_reading(point, config_.vocab_size));
  return results;
}

std::vector<DirectLogits> ForecastExecutor::direct_logits(std::span<const PromptTokens> prompts,
                                                          std::span<const Task> tasks) {
  auto results = run(prompts, tasks, nullptr);
  std::vector<DirectLogits> all;
  for (size_t i = 0; i < tasks.size(); ++i)
    for (size_t r = 0; r < tasks[i].reads.size(); ++r) {
      all.push_back(empty_direct_logits(tasks[i].reads[r], config_));
      all.back().reading = std::move(results[i].readings[r]);
    }
  return all;
}

Calibration calibrate(const ModelConfig& config, const std::string& kernels,
                      const std::string& dtype, int64_t tokens, int threads) {
  constexpr double kEnough_s = 1.5;
  constexpr int kPrompts = 4;
  SoloGroup solo;
  ThreadPool pool(threads);
  ModelConfig like = config;
  like.vocab_size = std::min(like.vocab_size, 4096);
  const Model model(
      synthetic_checkpoint(like, 1), solo,
      {.kernels = parse_kernel_set(kernels), .type = parse_compute_type(dtype), .threads = &pool});
  std::vector<std::vector<int32_t>> sequences(kPrompts, std::vector<int32_t>(tokens));
  std::vector<PromptTokens> prompts;
  for (int p = 0; p < kPrompts; ++p) {
    for (int64_t t = 0; t < tokens; ++t)
      sequences[p][t] = static_cast<int32_t>((p * 131 + t * 17 + 1) % like.vocab_size);
    prompts.push_back({sequences[p], {}});
  }
  std::vector<int32_t> all(tokens);
  std::iota(all.begin(), all.end(), 0);
  // Keeping every position's residual stream has the only layer computed in full.
  std::vector<ActivationPoint> kept;
  for (const int32_t position : all) kept.push_back({Site::resid_post, 0, position});
  const std::vector<ReadPoint> reads = {{.position = all.back(), .tracked = {0}}};
  std::vector<Task> tasks;
  for (int32_t p = 0; p < kPrompts; ++p)
    for (int32_t head = 0; head < std::min(4, config.n_heads); ++head)
      tasks.push_back(
          {.prompt = p,
           .intervention = {.base = Side::clean,
                            .edits = {{.site = Site::z, .heads = {head}, .positions = all}}},
           .reads = reads,
           .activations = kept});
  const auto executor = make_wavefront_executor(model, pool, int64_t{8} << 30);
  (void)executor->run(prompts, tasks);  // touches code and pages once
  const double flops_before = model.product_flops();
  const auto start = std::chrono::steady_clock::now();
  Calibration calibration;
  do {
    (void)executor->run(prompts, tasks);
    calibration.elapsed_s =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  } while (calibration.elapsed_s < kEnough_s);
  calibration.flops_per_second = (model.product_flops() - flops_before) / calibration.elapsed_s;
  return calibration;
}

}  // namespace mechsweep
