#include "engine/selftest.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>

#include <ATen/core/grad_mode.h>

#include "core/error.h"
#include "core/random.h"
#include "engine/executor.h"
#include "engine/synthetic_model.h"
#include "model/attention.h"
#include "model/model.h"

namespace mechsweep {

namespace {

using Results = std::vector<std::vector<Reading>>;

bool same_bits(const Reading& a, const Reading& b) {
  return a.tracked_logits.size() == b.tracked_logits.size() &&
         std::memcmp(a.tracked_logits.data(), b.tracked_logits.data(),
                     a.tracked_logits.size() * sizeof(float)) == 0 &&
         std::memcmp(&a.logsumexp, &b.logsumexp, sizeof a.logsumexp) == 0 &&
         std::memcmp(&a.logit_mean, &b.logit_mean, sizeof a.logit_mean) == 0 && a.top1 == b.top1;
}

bool same_bits(const std::vector<Reading>& a, const std::vector<Reading>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Reading& x, const Reading& y) { return same_bits(x, y); });
}

SelftestCheck verdict(std::string name, const char* what, int64_t tried, int64_t differing) {
  if (differing == 0)
    return {std::move(name), true, fmt::format("{}: {} results equal bit for bit", what, tried)};
  return {std::move(name), false,
          fmt::format("{}: {} of {} results differ, so results on this machine are not bit-exact",
                      what, differing, tried)};
}

/// Prompts of many lengths, each once as it is and once with an edit.
class Workload {
 public:
  explicit Workload(const ModelConfig& config) {
    RandomStream random(2, "selftest/prompts");
    for (const int32_t length : {36, 1, 7, 64, 17, 36, 129, 2}) {
      std::vector<int32_t> tokens(length);
      for (int32_t& token : tokens)
        token = static_cast<int32_t>(random.below(static_cast<uint32_t>(config.vocab_size)));
      tokens_.push_back(std::move(tokens));
      reads_.push_back({{.position = length - 1, .tracked = {1, 4200}},
                        {.position = length / 2, .tracked = {2}}});
    }
    for (size_t p = 0; p < tokens_.size(); ++p) {
      prompts_.push_back({tokens_[p], {}});
      const auto prompt = static_cast<int32_t>(p);
      const auto head = static_cast<int32_t>(p % config.n_heads);
      tasks_.push_back({prompt, {}, reads_[p]});
      tasks_.push_back(
          {prompt,
           {Side::clean, {{.site = Site::z, .layer = 0, .heads = {head}, .positions = {0}}}},
           reads_[p]});
    }
  }
  Workload(const Workload&) = delete;
  Workload& operator=(const Workload&) = delete;

  [[nodiscard]] const std::vector<Task>& tasks() const { return tasks_; }
  [[nodiscard]] Results run(Executor& executor, std::span<const Task> tasks) const {
    return executor.run(prompts_, tasks);
  }

 private:
  std::vector<std::vector<int32_t>> tokens_;
  std::vector<PromptTokens> prompts_;
  std::vector<std::vector<ReadPoint>> reads_;
  std::vector<Task> tasks_;
};

constexpr int64_t kAmpleBytes = int64_t{1} << 28;

/// Runs the tasks in an order and counts those that differ from `expected`.
int64_t count_differing(const Workload& work, Executor& executor, const std::vector<size_t>& order,
                        const Results& expected) {
  std::vector<Task> tasks;
  for (const size_t i : order) tasks.push_back(work.tasks()[i]);
  const Results found = work.run(executor, tasks);
  int64_t differing = 0;
  for (size_t i = 0; i < order.size(); ++i)
    if (!same_bits(found[i], expected[order[i]])) ++differing;
  return differing;
}

void check_executor(const Model& model, int threads, std::vector<SelftestCheck>& checks) {
  ThreadPool one(1);
  const auto executor = make_naive_executor(model, one, kAmpleBytes);
  const Workload work(model.config());
  const Results expected = work.run(*executor, work.tasks());
  const auto count = static_cast<int64_t>(work.tasks().size());
  std::vector<size_t> order(work.tasks().size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;

  int64_t alone = 0;
  for (const size_t i : {0U, 3U, 5U, 13U}) alone += count_differing(work, *executor, {i}, expected);
  checks.push_back(verdict("batch", "alone against together", 4, alone));

  std::vector<size_t> reversed(order.rbegin(), order.rend());
  checks.push_back(verdict("order", "first to last against last to first", count,
                           count_differing(work, *executor, reversed, expected)));

  const auto frugal = make_naive_executor(model, one, 1);
  checks.push_back(verdict("memory budget", "one panel at a time against all at once", count,
                           count_differing(work, *frugal, order, expected)));

  ThreadPool several(std::max(2, threads));
  const auto parallel = make_naive_executor(model, several, kAmpleBytes);
  const std::string what = fmt::format("{} threads against one", several.size());
  checks.push_back(verdict("threads", what.c_str(), count,
                           count_differing(work, *parallel, reversed, expected)));

  // One prompt of seven tokens again and again: its rows visit many places of a panel.
  checks.push_back(verdict("place in the panel", "copies of one prompt", 40,
                           count_differing(work, *executor, std::vector<size_t>(40, 4), expected)));
}

/// A query's result must not depend on keys after it, nor on the room that they take.
SelftestCheck check_attention() {
  constexpr int64_t kTokens = 97;
  constexpr int64_t kSize = 64;
  RandomStream random(3, "selftest/attention");
  std::vector<float> rows(kTokens * kSize * 2);
  for (float& value : rows) value = static_cast<float>(random.uniform() * 2.0 - 1.0);
  HeadCache whole;
  whole.fill(rows.data(), rows.data() + kSize, kTokens, kSize, 2 * kSize);
  std::vector<float> pattern(whole.key_stride);
  int64_t differing = 0;
  for (int64_t position = 0; position < kTokens; ++position) {
    HeadCache prefix;
    prefix.fill(rows.data(), rows.data() + kSize, position + 1, kSize, 2 * kSize);
    float a[kSize];
    float b[kSize];
    const float* query = rows.data() + position * 2 * kSize;
    attend_row(whole, query, position, 0.125F, pattern.data(), a);
    attend_row(prefix, query, position, 0.125F, pattern.data(), b);
    if (std::memcmp(a, b, sizeof a) != 0) ++differing;
  }
  return verdict("attention", "a sequence against its beginnings", kTokens, differing);
}

SelftestCheck measure_product(KernelSet kernels) {
  constexpr int64_t kOut = 1536;
  constexpr int64_t kIn = 576;
  constexpr int kRepeats = 40;
  const Linear linear(at::full({kOut, kIn}, 0.5F), kernels);
  const at::Tensor panel = at::full({kPanelRows, kIn}, 0.25F);
  bool right = true;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kRepeats; ++i)
    right = right && *linear.forward(panel).const_data_ptr<float>() == 0.125F * kIn;
  const std::chrono::duration<double> elapsed_s = std::chrono::steady_clock::now() - begin;
  const double flops = 2.0 * kRepeats * static_cast<double>(kPanelRows * kOut * kIn);
  return {"matrix product", right,
          fmt::format("{:.0f} GFLOP/s on one thread with {} [{} x {} x {}]{}",
                      flops / elapsed_s.count() / 1e9, kernel_set_name(kernels), kPanelRows, kOut,
                      kIn, right ? "" : "; its result is wrong")};
}

}  // namespace

std::vector<SelftestCheck> run_selftest(KernelSet kernels, int threads) {
  ensure(threads >= 1, "a self-test needs at least one thread");
  const at::NoGradGuard no_grad;
  std::vector<SelftestCheck> checks;
  try {
    const ThreadPool limit(1);  // the tensor library keeps to one thread
    SoloGroup solo;
    checks.push_back(measure_product(kernels));
    checks.push_back(check_attention());
    const Model model(synthetic_checkpoint(2), solo, {.kernels = kernels});
    check_executor(model, threads, checks);
  } catch (const std::exception& error) {
    checks.push_back(
        {"kernels", false, fmt::format("the tensor library failed: {}", error.what())});
  }
  return checks;
}

}  // namespace mechsweep
