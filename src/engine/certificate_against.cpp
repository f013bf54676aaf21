// A model against the numbers of another program.

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "engine/certificate_checks.h"

namespace mechsweep {

namespace {

/// What is promised against the reference in fp32 (docs/models.md).
constexpr ReferenceSpread kPromise = {.logits = 5e-5, .loss = 1e-4, .delta_loss = 1e-4};
/// The reference's spread between two types is the largest of some numbers by one way of rounding.
/// Ours rounds elsewhere: another draw of the same size, whose largest may well be twice that.
constexpr double kSpreadRoom = 2.0;
/// The same of fp32: on real models sums in our order end two to three times as far from fp64 as
/// transformers' own fp32 does (benchmarks/results/parity.md, and random prompts of SmolLM2).
constexpr double kRoundingRoom = 4.0;
/// Bounds beyond these would let through what is plainly wrong: in fp32 ten times the promise, in
/// narrow types a quarter of the largest logit.
constexpr double kMostRounding = 10.0;
constexpr double kMostLogits = 0.25;

/// What is compared in one dtype, and with which bounds.
struct Bounds {
  bool known = false;
  ReferenceSpread most = kPromise;
};

/// How far the reference moves in a dtype; null pointer where it does not say.
const ReferenceSpread* spread_in(const std::string& dtype, const Reference& reference) {
  const auto found = reference.spread.find(dtype);
  return found == reference.spread.end() ? nullptr : &found->second;
}

/// The promise, or more where the reference's own fp32 is further than that from its fp64: on such
/// prompts rounding is amplified, and nobody keeps the promise.
ReferenceSpread promise_with(const ReferenceSpread* rounding) {
  if (rounding == nullptr) return kPromise;
  return {.logits = std::max(kPromise.logits, kRoundingRoom * rounding->logits),
          .loss = std::max(kPromise.loss, kRoundingRoom * rounding->loss),
          .delta_loss = std::max(kPromise.delta_loss, kRoundingRoom * rounding->delta_loss)};
}

Bounds bounds_in(const std::string& dtype, const Reference& reference) {
  const ReferenceSpread promise = promise_with(spread_in("float32", reference));
  if (promise.logits > kMostRounding * kPromise.logits ||
      promise.loss > kMostRounding * kPromise.loss ||
      promise.delta_loss > kMostRounding * kPromise.delta_loss)
    return {};
  if (dtype == "float32") return {.known = true, .most = promise};
  const ReferenceSpread* spread = spread_in(dtype, reference);
  if (spread == nullptr || spread->logits > kMostLogits) return {};
  return {.known = true,
          .most = {.logits = promise.logits + kSpreadRoom * spread->logits,
                   .loss = promise.loss + kSpreadRoom * spread->loss,
                   .delta_loss = promise.delta_loss + kSpreadRoom * spread->delta_loss}};
}

/// Tasks of a reference: its prompts as they are, then with heads at zero.
class ReferenceTasks {
 public:
  explicit ReferenceTasks(const Reference& reference) : reference_(reference) {
    for (const ReferencePrompt& prompt : reference.prompts) {
      tasks_.add_prompt(prompt.tokens);
      std::vector<ReadPoint> reads;
      for (size_t t = 0; t < prompt.tokens.size(); ++t) {
        ReadPoint point{.position = static_cast<int32_t>(t), .tracked = {next_token(prompt, t)}};
        point.tracked.insert(point.tracked.end(), reference.sample.begin(), reference.sample.end());
        for (const auto& [token, logit] : prompt.top[t]) point.tracked.push_back(token);
        reads.push_back(std::move(point));
      }
      tasks_.add(static_cast<int32_t>(tasks_.tasks().size()), {}, std::move(reads));
    }
    for (const ReferenceHead& head : reference.heads) {
      const ReferencePrompt& prompt = reference.prompts[head.prompt];
      std::vector<ReadPoint> reads;
      for (size_t t = 0; t + 1 < prompt.tokens.size(); ++t)
        reads.push_back({.position = static_cast<int32_t>(t), .tracked = {next_token(prompt, t)}});
      Edit edit{.site = Site::z,
                .layer = head.layer,
                .heads = {head.head},
                .positions = first_numbers(tasks_.length(head.prompt))};
      tasks_.add(head.prompt, {std::move(edit)}, std::move(reads));
    }
  }

  void compare(Executor& executor) {
    const auto results = executor.run(tasks_.prompts(), tasks_.tasks());
    for (size_t p = 0; p < reference_.prompts.size(); ++p)
      compare_prompt(reference_.prompts[p], results[p]);
    for (size_t h = 0; h < reference_.heads.size(); ++h) {
      const ReferenceHead& head = reference_.heads[h];
      const TaskResult& base = results[head.prompt];
      const TaskResult& edited = results[reference_.prompts.size() + h];
      for (size_t t = 0; t < head.delta_loss.size(); ++t)
        delta_loss.add(edited.readings[t].loss() - base.readings[t].loss(), head.delta_loss[t]);
    }
  }

  LogitDifference logits;
  WorstDifference loss;
  WorstDifference delta_loss;

 private:
  /// The token whose loss is read at a position; any one at the last.
  static int32_t next_token(const ReferencePrompt& prompt, size_t t) {
    return prompt.tokens[std::min(t + 1, prompt.tokens.size() - 1)];
  }

  void compare_prompt(const ReferencePrompt& prompt, const TaskResult& result) {
    for (size_t t = 0; t < prompt.tokens.size(); ++t) {
      const Reading& reading = result.readings[t];
      size_t place = 1;
      const auto next = [&] { return static_cast<double>(reading.tracked_logits[place++]); };
      for (const double logit : prompt.logits[t]) logits.add(next(), logit);
      for (const auto& [token, logit] : prompt.top[t]) logits.add(next(), logit);
      loss.add(reading.logsumexp, prompt.logsumexp[t]);
      if (t < prompt.loss.size()) loss.add(reading.loss(), prompt.loss[t]);
    }
  }

  const Reference& reference_;
  CertificateTasks tasks_;
};

}  // namespace

CertificateCheck check_reference(const Reference& reference, Executor& executor,
                                 const std::string& dtype) {
  ReferenceTasks tasks(reference);
  tasks.compare(executor);
  const Bounds bounds = bounds_in(dtype, reference);
  struct Measure {
    const char* what;
    double worst;
    double bound;
  };
  const Measure measures[] = {{"logits (of the largest)", tasks.logits.share(), bounds.most.logits},
                              {"losses (nats)", tasks.loss.largest(), bounds.most.loss},
                              {"loss changes with a head at zero (nats)",
                               tasks.delta_loss.largest(), bounds.most.delta_loss}};
  const Measure* worst = &measures[0];
  std::string detail;
  for (const Measure& one : measures) {
    if (&one == &measures[2] && reference.heads.empty()) {
      detail += "; no head is at zero in the reference";
      continue;
    }
    if (one.worst * worst->bound > worst->worst * one.bound) worst = &one;
    detail +=
        fmt::format("{}{} off by up to {:.2g}", detail.empty() ? "" : ", ", one.what, one.worst);
    if (bounds.known) detail += fmt::format(" (bound {:.2g})", one.bound);
  }
  const bool non_finite =
      tasks.logits.worst.non_finite() || tasks.loss.non_finite() || tasks.delta_loss.non_finite();
  CertificateCheck check =
      judge("reference", worst->worst, worst->bound, non_finite, std::move(detail));
  if (!bounds.known && !non_finite) {
    check.outcome = CheckOutcome::skipped;
    check.detail =
        fmt::format("the reference does not say, or not closely enough, how far {} may be off ({})",
                    dtype, check.detail);
  }
  return check;
}

}  // namespace mechsweep
