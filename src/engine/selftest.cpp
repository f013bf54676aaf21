#include "engine/selftest.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <numeric>

#include "core/error.h"
#include "core/random.h"
#include "engine/executor.h"
#include "engine/random_tasks.h"
#include "engine/synthetic_model.h"
#include "model/attention.h"
#include "model/model.h"

namespace mechsweep {

namespace {

using Results = std::vector<TaskResult>;
using Clock = std::chrono::steady_clock;

constexpr int64_t kAmpleBytes = int64_t{1} << 28;
constexpr uint64_t kSeed = 2;

SelftestCheck verdict(std::string name, const std::string& what, int64_t tried, int64_t differing) {
  if (differing == 0)
    return {std::move(name), true, fmt::format("{}: {} results equal bit for bit", what, tried)};
  return {std::move(name), false,
          fmt::format("{}: {} of {} results differ, so results on this machine are not bit-exact",
                      what, differing, tried)};
}

int64_t count_differing(const Results& found, const Results& expected,
                        const std::vector<size_t>& order) {
  int64_t differing = 0;
  for (size_t i = 0; i < order.size(); ++i)
    if (!same_bits(found[i], expected[order[i]])) ++differing;
  return differing;
}

/// Runs tasks in an order and counts those that differ from `expected`.
int64_t run_and_compare(const RandomTasks& work, Executor& executor,
                        const std::vector<size_t>& order, const Results& expected) {
  std::vector<Task> tasks;
  for (const size_t i : order) tasks.push_back(work.tasks()[i]);
  return count_differing(executor.run(work.prompts(), tasks), expected, order);
}

void check_executors(const Model& model, int threads, std::vector<SelftestCheck>& checks) {
  ThreadPool one(1);
  const RandomTasks work(model.config(), kSeed, {.prompts = 8, .longest = 48, .tasks = 48});
  const auto oracle = make_naive_executor(model, one, kAmpleBytes);
  const Results expected = oracle->run(work.prompts(), work.tasks());
  const auto count = static_cast<int64_t>(work.tasks().size());
  std::vector<size_t> order(work.tasks().size());
  std::iota(order.begin(), order.end(), size_t{0});
  const std::vector<size_t> reversed(order.rbegin(), order.rend());

  const auto wavefront = make_wavefront_executor(model, one, kAmpleBytes);
  checks.push_back(verdict("executors", "wavefront against whole forward passes", count,
                           run_and_compare(work, *wavefront, order, expected)));
  int64_t alone = 0;
  for (const size_t i : {0U, 3U, 5U, 13U})
    alone += run_and_compare(work, *wavefront, {i}, expected);
  checks.push_back(verdict("batch", "alone against together", 4, alone));
  checks.push_back(verdict("order", "first to last against last to first", count,
                           run_and_compare(work, *wavefront, reversed, expected)));
  const auto frugal = make_naive_executor(model, one, 1);
  checks.push_back(verdict("memory budget", "one panel at a time against all at once", count,
                           run_and_compare(work, *frugal, order, expected)));
  ThreadPool several(std::max(2, threads));
  const auto parallel = make_wavefront_executor(model, several, kAmpleBytes);
  checks.push_back(verdict("threads", fmt::format("{} threads against one", several.size()), count,
                           run_and_compare(work, *parallel, reversed, expected)));
  // One task again and again: its rows visit many places of a panel.
  checks.push_back(verdict("place in the panel", "copies of one task", 40,
                           run_and_compare(work, *oracle, std::vector<size_t>(40, 4), expected)));
}

/// A query's result must not depend on keys after it, nor on how keys are cut into pieces.
SelftestCheck check_attention() {
  constexpr int64_t kTokens = 97;
  constexpr int64_t kSize = 64;
  RandomStream random(3, "selftest/attention");
  std::vector<float> values(kTokens * kSize * 2);
  for (float& value : values) value = static_cast<float>(random.uniform() * 2.0 - 1.0);
  std::vector<const float*> rows;
  for (int64_t t = 0; t < kTokens; ++t) rows.push_back(values.data() + t * 2 * kSize);
  HeadCache whole;
  whole.fill(rows, 0, kSize, kSize);
  const KeySegment all = {.cache = &whole, .from = 0, .begin = 0, .end = kTokens};
  AttentionScratch scratch;
  int64_t differing = 0;
  for (int64_t position = 0; position < kTokens; ++position) {
    const int64_t cut = position / 2;
    HeadCache first;
    HeadCache second;
    first.fill(std::span(rows).first(cut), 0, kSize, kSize);
    second.fill(std::span(rows).subspan(cut, position + 1 - cut), 0, kSize, kSize);
    const KeySegment pieces[] = {{.cache = &first, .from = 0, .begin = 0, .end = cut},
                                 {.cache = &second, .from = 0, .begin = cut, .end = position + 1}};
    float a[kSize];
    float b[kSize];
    const AttentionQuery to_a = {.query = rows[position], .change = nullptr, .out = a};
    const AttentionQuery to_b = {.query = rows[position], .change = nullptr, .out = b};
    attend({.keys = {&all, 1}, .position = position, .scale = 0.125F}, {&to_a, 1}, scratch);
    attend({.keys = pieces, .position = position, .scale = 0.125F}, {&to_b, 1}, scratch);
    if (std::memcmp(a, b, sizeof a) != 0) ++differing;
  }
  return verdict("attention", "a sequence against its beginnings in two pieces", kTokens,
                 differing);
}

SelftestCheck measure_product(KernelSet kernels, ComputeType type) {
  constexpr int64_t kOut = 1536;
  constexpr int64_t kIn = 576;
  constexpr int kRepeats = 40;
  const std::vector<float> weight(kOut * kIn, 0.5F);
  const auto linear =
      make_linear({.values = weight.data(), .out_features = kOut, .in_features = kIn, .parts = {}},
                  kernels, type);
  const std::vector<float> panel(kPanelRows * kIn, 0.25F);
  std::vector<const float*> rows;
  for (int64_t i = 0; i < kPanelRows; ++i) rows.push_back(panel.data() + i * kIn);
  std::vector<float> out(kPanelRows * kOut);
  bool right = true;
  const auto begin = Clock::now();
  for (int i = 0; i < kRepeats; ++i) {
    linear->forward(rows, out.data());
    right = right && out.back() == 0.125F * kIn;
  }
  const std::chrono::duration<double> elapsed_s = Clock::now() - begin;
  const double flops = 2.0 * kRepeats * static_cast<double>(kPanelRows * kOut * kIn);
  return {"matrix product", right,
          fmt::format("{:.0f} GFLOP/s on one thread with {} in {} [{} x {} x {}]{}",
                      flops / elapsed_s.count() / 1e9, kernel_set_name(kernels),
                      compute_type_name(type), kPanelRows, kOut, kIn,
                      right ? "" : "; its result is wrong")};
}

}  // namespace

std::vector<SelftestCheck> run_selftest(KernelSet kernels, const std::string& dtype, int threads) {
  const ComputeType type = parse_compute_type(dtype);
  ensure(threads >= 1, "a self-test needs at least one thread");
  std::vector<SelftestCheck> checks;
  try {
    const ThreadPool limit(1);  // the tensor library keeps to one thread
    SoloGroup solo;
    checks.push_back(measure_product(kernels, type));
    checks.push_back(check_attention());
    const Model model(synthetic_checkpoint(2), solo, {.kernels = kernels, .type = type});
    check_executors(model, threads, checks);
  } catch (const Error& error) {
    checks.push_back({"kernels", false, error.what()});
  } catch (const std::exception& error) {
    checks.push_back(
        {"kernels", false, fmt::format("the tensor library failed: {}", error.what())});
  }
  return checks;
}

StartupVerdict startup_selftest(KernelSet kernels, const std::string& dtype, int threads) {
  const ComputeType type = parse_compute_type(dtype);
  const auto begin = Clock::now();
  StartupVerdict verdict;
  try {
    ThreadPool one(1);
    ThreadPool several(threads);
    SoloGroup solo;
    const Model model(synthetic_checkpoint(1), solo, {.kernels = kernels, .type = type});
    const RandomTasks work(model.config(), kSeed, {.prompts = 4, .longest = 12, .tasks = 24});
    const Results expected =
        make_naive_executor(model, one, kAmpleBytes)->run(work.prompts(), work.tasks());
    const Results found =
        make_wavefront_executor(model, several, kAmpleBytes)->run(work.prompts(), work.tasks());
    verdict.compared = static_cast<int64_t>(expected.size());
    verdict.bit_exact =
        std::equal(found.begin(), found.end(), expected.begin(), expected.end(),
                   [](const TaskResult& a, const TaskResult& b) { return same_bits(a, b); });
    if (!verdict.bit_exact) verdict.tolerance = largest_difference(found, expected);
  } catch (const std::exception& error) {
    verdict.failure = error.what();
  }
  verdict.elapsed_s = std::chrono::duration<double>(Clock::now() - begin).count();
  return verdict;
}

Json StartupVerdict::to_json() const {
  Json json = {
      {"bit_exact", bit_exact}, {"interventions_compared", compared}, {"seconds", elapsed_s}};
  if (!bit_exact) json["tolerance_nats"] = tolerance;
  if (!failure.empty()) json["failure"] = failure;
  return json;
}

}  // namespace mechsweep
