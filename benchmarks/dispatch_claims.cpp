// Measures what rank 0 pays for a unit in the dispatch policy: next() and finished(), with groups
// that end in random order. Prints JSON; benchmarks/dispatch.py runs it.
//
//   dispatch_claims UNITS GROUPS MODELS
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "core/random.h"
#include "dispatch_trace.h"

namespace mechsweep {
namespace {

using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

/// Resident MiB of this process.
double resident_mib() {
  std::ifstream file("/proc/self/statm");
  int64_t all = 0, resident = 0;
  file >> all >> resident;
  return static_cast<double>(resident) * 4096.0 / 1048576.0;
}

int run(int units, int groups, int models) {
  const Trace trace = make_trace({.units = units, .models = models});
  const double before_mib = resident_mib();
  auto start = Clock::now();
  DispatchPolicy policy(trace.units, {{}}, groups);
  const double construct_ms = 1e-3 * microseconds_since(start);
  const double after_mib = resident_mib();

  std::vector<int> held;
  for (int group = 0; group < groups; ++group) held.push_back(policy.next(group).value_or(-1));
  RandomStream random(1, "dispatch_claims");
  std::vector<double> each_us;
  each_us.reserve(trace.units.size());
  start = Clock::now();
  while (!policy.all_done()) {
    const auto group = static_cast<int>(random.below(static_cast<uint32_t>(groups)));
    int& unit = held[static_cast<size_t>(group)];
    if (unit < 0) continue;
    const auto begun = Clock::now();
    policy.finished(group, unit, true, trace.true_s[static_cast<size_t>(unit)]);
    unit = policy.next(group).value_or(-1);
    each_us.push_back(microseconds_since(begun));
  }
  const double all_us = microseconds_since(start);
  std::sort(each_us.begin(), each_us.end());
  const auto quantile = [&](double share) {
    return each_us[static_cast<size_t>(share * static_cast<double>(each_us.size() - 1))];
  };
  fmt::print(
      "{{\"units\": {}, \"groups\": {}, \"models\": {}, \"construct_ms\": {:.1f}, "
      "\"policy_mib\": {:.1f}, \"mean_us\": {:.3f}, \"p50_us\": {:.3f}, \"p99_us\": {:.3f}, "
      "\"max_us\": {:.1f}}}\n",
      trace.units.size(), groups, models, construct_ms, after_mib - before_mib,
      all_us / static_cast<double>(each_us.size()), quantile(0.5), quantile(0.99), quantile(1.0));
  return 0;
}

}  // namespace
}  // namespace mechsweep

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "usage: dispatch_claims UNITS GROUPS MODELS\n");
    return 2;
  }
  return mechsweep::run(std::atoi(argv[1]), std::atoi(argv[2]), std::atoi(argv[3]));
}
