#include "app/bit_exactness.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "app/attempt_facts.h"
#include "core/json.h"

namespace mechsweep {

namespace {

/// What a test that did not find equal bits says. Worse is to have compared nothing.
struct Flaw {
  bool failed = false;
  double nats = 0.0;
  std::string text;

  [[nodiscard]] bool is_worse_than(const Flaw& other) const {
    return std::pair(failed, nats) > std::pair(other.failed, other.nats);
  }
};

Flaw flaw_of(const std::string& dtype, const Json& verdict) {
  const Json rank = fact(verdict, "rank");
  const Json failure = fact(verdict, "failure");
  const Json tolerance = fact(verdict, "tolerance_nats");
  std::string where = dtype;
  if (rank.is_number_integer()) where += fmt::format(", rank {}", rank.get<int64_t>());
  Flaw flaw{.failed = failure.is_string()};
  if (tolerance.is_number()) flaw.nats = tolerance.get<double>();
  flaw.text = flaw.failed
                  ? fmt::format("the self-test failed ({}): {}", where, failure.get<std::string>())
                  : fmt::format("losses differ by up to {:.3g} nats ({})", flaw.nats, where);
  return flaw;
}

}  // namespace

std::string BitExactness::text() const {
  if (!exact) return "NO: " + why;
  if (tested == launches) return "yes";
  return fmt::format("yes in {} of {} launches; the others have no self-test on record", tested,
                     launches);
}

std::optional<BitExactness> bit_exactness(const std::vector<AttemptRecord>& attempts) {
  BitExactness all{.launches = static_cast<int>(attempts.size()), .exact = true};
  std::optional<Flaw> worst;
  for (const AttemptRecord& attempt : attempts) {
    const Json verdicts = fact(attempt.facts, "selftest");
    if (!verdicts.is_object()) continue;
    bool tested = false;
    for (const auto& [dtype, verdict] : verdicts.items()) {
      const Json exact = fact(verdict, "bit_exact");
      tested = tested || exact.is_boolean();
      if (exact != Json(false)) continue;
      Flaw flaw = flaw_of(dtype, verdict);
      all.tolerance_nats = std::max(all.tolerance_nats, flaw.nats);
      if (!worst || flaw.is_worse_than(*worst)) worst = std::move(flaw);
    }
    all.tested += tested ? 1 : 0;
  }
  if (all.tested == 0) return std::nullopt;
  all.exact = !worst;
  if (worst) all.why = worst->text;
  return all;
}

}  // namespace mechsweep
