#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "engine/certificate_checks.h"
#include "engine/random_tasks.h"

namespace mechsweep {

namespace {

constexpr int kReadTokens = 4;

/// Beginning, middle and end.
std::set<int> some_layers(int layers) {
  return {0, layers / 2, layers - 1};
}

/// Writes what is there already: the own run's value, or the value plus zero times something. Minus
/// zero is the number that changes no bit of any other, of zeros neither.
Edit no_op(Site site, int layer, Operation operation, const ModelConfig& config) {
  Edit edit{.site = site, .layer = layer, .operation = operation};
  if (operation == Operation::add) {
    edit.vector = std::make_shared<const std::vector<float>>(site_part_width(site, config), -1.0F);
    edit.scale = 0.0F;
  }
  return edit;
}

/// Single edges of attention with the own run's vectors: the last query's with the first key and
/// with its own, and one in the middle.
Edit no_op_edges(Site site, int layer, int32_t length, const ModelConfig& config) {
  return {.site = site,
          .layer = layer,
          .heads = first_numbers(config.n_heads),
          .operation = Operation::replace,
          .edges = {{length / 2, length / 4}, {length - 1, 0}, {length - 1, length - 1}}};
}

/// Every other head, from the first or the second on.
std::vector<int32_t> some_heads(int heads, int first) {
  std::vector<int32_t> some;
  for (int32_t head = heads > 1 ? first : 0; head < heads; head += 2) some.push_back(head);
  return some;
}

}  // namespace

std::pair<std::vector<ReadPoint>, std::vector<ActivationPoint>> whole_result(
    const ModelConfig& config, int32_t length) {
  const std::vector<int32_t> tracked = certificate_sample(config, kReadTokens);
  std::vector<ReadPoint> reads = {{.position = length - 1, .tracked = tracked}};
  if (length > 1) reads.push_back({.position = length / 2, .tracked = tracked});
  return {std::move(reads), {{Site::resid_post, config.n_layers - 1, length - 1}}};
}

NoOpCheck::NoOpCheck(CertificateTasks& tasks, const ModelConfig& config, std::vector<size_t> bases,
                     bool thorough) {
  const auto prompts = static_cast<int32_t>(bases.size());
  const auto add = [&](Edit edit, int32_t prompt) {
    auto [reads, activations] = whole_result(config, tasks.length(prompt));
    pairs_.emplace_back(
        tasks.add(prompt, {std::move(edit)}, std::move(reads), std::move(activations)),
        bases[prompt]);
  };
  int number = 0;
  const auto add_everywhere = [&](Edit edit) {
    const int32_t prompt = number++ % prompts;
    edit.heads = first_numbers(site_head_count(edit.site, config));
    edit.positions = first_numbers(tasks.length(prompt));
    add(std::move(edit), prompt);
  };
  const auto add_somewhere = [&](Edit edit, int32_t last_positions) {
    const int32_t prompt = number % prompts;
    edit.heads = some_heads(site_head_count(edit.site, config), number++ % 2);
    edit.positions = first_numbers(tasks.length(prompt));
    const int32_t kept = std::clamp(last_positions, 1, tasks.length(prompt));
    edit.positions.erase(edit.positions.begin(), edit.positions.end() - kept);
    add(std::move(edit), prompt);
  };
  for (const SiteInfo& info : site_table()) {
    if (!site_exists(info.site, config)) continue;
    if (!thorough) {
      const int layer = static_cast<int>(info.site) * config.n_layers / kSiteCount;
      add_somewhere(no_op(info.site, layer, Operation::replace, config), 2);
      continue;
    }
    for (const int layer : some_layers(config.n_layers)) {
      for (const Operation operation : {Operation::replace, Operation::add}) {
        if (!operation_fits(operation, info.site, false)) continue;
        add_everywhere(no_op(info.site, layer, operation, config));
        add_somewhere(no_op(info.site, layer, operation, config),
                      tasks.length(number % prompts) - 1);
      }
      if (operation_fits(Operation::replace, info.site, true))
        add(no_op_edges(info.site, layer, tasks.length(0), config), 0);
    }
  }
}

CertificateCheck NoOpCheck::check(std::span<const std::vector<TaskResult>* const> results) const {
  int64_t differing = 0;
  bool non_finite = false;
  for (const auto* all : results)
    for (const auto& [edited, unedited] : pairs_) {
      const TaskResult& base = all->at(unedited);
      non_finite = non_finite || !is_finite(base);
      if (!same_bits(all->at(edited), base)) ++differing;
    }
  return judge_bits("no_op", differing, std::ssize(pairs_) * std::ssize(results), non_finite,
                    results.size() > 1 ? "edits that write what is there, by both executors"
                                       : "edits that write what is there");
}

CertificateCheck judge_bits(std::string name, int64_t differing, int64_t compared, bool non_finite,
                            const std::string& what) {
  CertificateCheck check =
      judge(std::move(name), static_cast<double>(differing), 0.0, non_finite,
            fmt::format("{} results compared bit for bit: {}", compared, what));
  check.compares_bits = true;
  return check;
}

CertificateCheck judge(std::string name, double worst, double bound, bool non_finite,
                       std::string detail) {
  CertificateCheck check{.name = std::move(name),
                         .outcome = CheckOutcome::passed,
                         .non_finite = non_finite,
                         .worst = worst,
                         .bound = bound,
                         .detail = std::move(detail)};
  if (non_finite || !(worst <= bound)) check.outcome = CheckOutcome::failed;
  return check;
}

}  // namespace mechsweep
