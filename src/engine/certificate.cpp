#include "engine/certificate.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "engine/certificate_checks.h"
#include "engine/random_tasks.h"

namespace mechsweep {

namespace {

using Results = std::vector<TaskResult>;

constexpr std::array<int, 3> kThoroughLengths = {8, 14, 20};
constexpr std::array<int, 2> kCheapLengths = {7, 11};
constexpr size_t kMostReferenceText = 240;  // in a record, whose size is fixed

/// The tasks of all checks on two executors.
class Battery {
 public:
  Battery(const Checkpoint& checkpoint, Executor& executor, Executor& other,
          const CertifyOptions& options)
      : checkpoint_(checkpoint), executor_(executor), other_(other), options_(options) {
    const auto lengths = options.thorough ? std::span<const int>(kThoroughLengths)
                                          : std::span<const int>(kCheapLengths);
    for (auto& tokens : certificate_prompts(checkpoint, lengths))
      tasks_.add_prompt(std::move(tokens));
    for (int32_t prompt = 0; prompt < std::ssize(tasks_.prompts()); ++prompt) {
      auto [reads, activations] = whole_result(checkpoint.config, tasks_.length(prompt));
      bases_.push_back(tasks_.add(prompt, {}, std::move(reads), std::move(activations)));
    }
  }

  std::vector<CertificateCheck> run() {
    const bool thorough = options_.thorough;
    const ZeroedCheck zeroed(tasks_, checkpoint_, thorough);
    const DirectCheck direct(tasks_, checkpoint_, thorough);
    const size_t shared = tasks_.tasks().size();
    const NoOpCheck no_op(tasks_, checkpoint_.config, bases_, thorough);
    const auto all = std::span(tasks_.tasks());
    const Results own = executor_.run(tasks_.prompts(), all);
    const Results others = other_.run(tasks_.prompts(), thorough ? all : all.first(shared));
    std::vector<const Results*> with_no_ops = {&own};
    if (thorough) with_no_ops.push_back(&others);
    ExactEnds ends(checkpoint_, options_.dtype);
    return {no_op.check(with_no_ops), check_batch(own), check_executors(own, others),
            zeroed.check(own, ends), direct.check(own, ends, options_)};
  }

 private:
  [[nodiscard]] bool non_finite(const Results& results) const {
    return !std::all_of(bases_.begin(), bases_.end(),
                        [&](size_t task) { return is_finite(results[task]); });
  }

  /// Each prompt by itself, or the longest one.
  [[nodiscard]] CertificateCheck check_batch(const Results& own) {
    std::vector<Executor*> executors = {&executor_};
    if (options_.thorough) executors.push_back(&other_);
    int64_t compared = 0;
    int64_t differing = 0;
    for (Executor* executor : executors)
      for (size_t p = options_.thorough ? 0 : bases_.size() - 1; p < bases_.size(); ++p) {
        Task task = tasks_.tasks()[bases_[p]];
        const PromptTokens alone = tasks_.prompts()[task.prompt];
        task.prompt = 0;
        const Results results = executor->run({&alone, 1}, {&task, 1});
        ++compared;
        if (!same_bits(results.front(), own[bases_[p]])) ++differing;
      }
    return judge_bits("batch", differing, compared, non_finite(own),
                      "a prompt alone and beside longer and shorter ones");
  }

  [[nodiscard]] CertificateCheck check_executors(const Results& own, const Results& others) const {
    int64_t differing = 0;
    for (size_t i = 0; i < others.size(); ++i)
      if (!same_bits(own[i], others[i])) ++differing;
    return judge_bits("executors", differing, std::ssize(others), non_finite(own),
                      fmt::format("{} and {}", executor_.name(), other_.name()));
  }

  const Checkpoint& checkpoint_;
  Executor& executor_;
  Executor& other_;
  const CertifyOptions& options_;
  CertificateTasks tasks_;
  std::vector<size_t> bases_;
};

Json to_json(const CertificateCheck& check) {
  Json json = {{"name", check.name},
               {"outcome", check_outcome_name(check.outcome)},
               {"detail", check.detail}};
  if (check.compares_bits) {
    json["differing"] = check.worst;
  } else if (check.bound > 0.0) {
    json["worst"] = check.worst;
    json["bound"] = check.bound;
  }
  if (check.non_finite) json["non_finite"] = true;
  return json;
}

/// What a model does only in prompts that are longer than all of a reference's.
std::vector<std::string> not_reached(const ModelConfig& config, const Reference& reference) {
  int64_t longest = 0;
  for (const ReferencePrompt& prompt : reference.prompts)
    longest = std::max<int64_t>(longest, std::ssize(prompt.tokens));
  std::vector<std::string> parts;
  int window = 0;
  for (const LayerKind& kind : config.layer_kinds)
    if (kind.window > 0) window = window == 0 ? kind.window : std::min(window, kind.window);
  if (window >= longest && window < config.max_positions)
    parts.push_back(fmt::format("its windows of {} tokens", window));
  for (const RopeConfig* rope : {&config.rope, &config.local_rope})
    if (rope->rotation_of(config.max_positions) != 0 && rope->rotation_of(longest) == 0)
      parts.push_back(
          fmt::format("how it turns prompts beyond {} tokens", rope->original_positions));
  return parts;
}

/// Says in the certificate what its last check was made with. One that was skipped is none.
void name_reference(const ModelConfig& config, const Reference& reference,
                    Certificate& certificate) {
  const std::string file = std::filesystem::path(reference.path).filename().string();
  const CertificateCheck& check = certificate.checks.back();
  if (check.outcome == CheckOutcome::skipped) {
    certificate.reference_note = fmt::format("{} was not compared: {}", file, check.detail);
    return;
  }
  certificate.reference = fmt::format("{} ({})", file, reference.made_by);
  const std::vector<std::string> parts = not_reached(config, reference);
  if (!parts.empty())
    certificate.reference +=
        fmt::format("; its prompts are too short to show {}", fmt::join(parts, " and "));
}

/// Two digits say enough, and records are small.
double brief(double value) {
  return std::stod(fmt::format("{:.1e}", value));
}

}  // namespace

std::string_view check_outcome_name(CheckOutcome outcome) {
  switch (outcome) {
    case CheckOutcome::passed:
      return "passed";
    case CheckOutcome::failed:
      return "failed";
    case CheckOutcome::skipped:
      return "skipped";
  }
  return "?";
}

std::string CertificateCheck::numbers() const {
  if (non_finite) return "the model gives NaN or infinite numbers";
  if (compares_bits)
    return worst == 0.0 ? "no result differs" : fmt::format("{:.0f} results differ", worst);
  return fmt::format("worst {:.2g}, bound {:.2g}", worst, bound);
}

bool Certificate::passed() const {
  return std::none_of(checks.begin(), checks.end(),
                      [](const CertificateCheck& check) { return check.failed(); });
}

const CertificateCheck* Certificate::mismatch() const {
  for (const CertificateCheck& check : checks)
    if (check.failed() && !check.compares_bits && !check.non_finite) return &check;
  return nullptr;
}

std::string Certificate::why() const {
  const CertificateCheck* worst = mismatch();
  for (const CertificateCheck& check : checks)
    if (worst == nullptr && check.failed()) worst = &check;
  return worst == nullptr ? "" : fmt::format("check '{}': {}", worst->name, worst->numbers());
}

Json Certificate::to_json() const {
  Json json = {{"outcome", passed() ? "passed" : "failed"},
               {"dtype", dtype},
               {"kernels", kernels},
               {"executor", executor},
               {"reference", reference},
               {"reference_note", reference_note},
               {"seconds", elapsed_s},
               {"checks", Json::array()}};
  for (const CertificateCheck& check : checks) json["checks"].push_back(mechsweep::to_json(check));
  return json;
}

Json Certificate::to_record() const {
  Json json = {{"outcome", passed() ? "passed" : "failed"},
               {"dtype", dtype},
               {"reference", reference.substr(0, kMostReferenceText)},
               {"seconds", brief(elapsed_s)}};
  for (const CertificateCheck& check : checks)
    if (!check.compares_bits && !check.non_finite && check.outcome != CheckOutcome::skipped)
      json["measured"][check.name] = {brief(check.worst), brief(check.bound)};
  if (!reference_note.empty())
    json["reference_note"] = reference_note.substr(0, kMostReferenceText);
  if (!passed()) json["why"] = why();
  return json;
}

Certificate certify(const Checkpoint& checkpoint, Executor& executor, Executor& other,
                    const CertifyOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  Certificate certificate{
      .dtype = options.dtype, .kernels = options.kernels, .executor = std::string(executor.name())};
  certificate.checks = Battery(checkpoint, executor, other, options).run();
  if (options.reference != nullptr) {
    certificate.checks.push_back(check_reference(*options.reference, executor, options.dtype));
    name_reference(checkpoint.config, *options.reference, certificate);
  } else {
    certificate.checks.push_back({.name = "reference", .detail = "no reference was given"});
  }
  certificate.elapsed_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return certificate;
}

}  // namespace mechsweep
