// Simulates sweeps on many groups with the dispatch policy itself: benchmarks/dispatch.py runs it.
// Prints one line of comma-separated values for each strategy.
#include <algorithm>
#include <cstdio>
#include <deque>
#include <limits>
#include <queue>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "core/error.h"
#include "core/random.h"
#include "dispatch_strategies.h"
#include "dispatch_trace.h"

namespace mechsweep {
namespace {

struct Options {
  TraceOptions trace;
  int groups = 1000;
  int held = 2;               ///< units that a group asks for ahead
  double claim_us = 5.0;      ///< of rank 0's time for each unit
  double latency_us = 50.0;   ///< of a message, one way
  double group_mtbf_h = 0.0;  ///< mean time between failures of a group; 0: never
  double relaunch_s = 120.0;  ///< from a failure until the groups that are left begin again
  std::vector<std::string> strategies{"mechsweep", "queue", "largest", "blocks"};
};

struct Outcome {
  double end_s = 0.0;
  int64_t loads = 0;
  int64_t claims = 0;
  int launches = 0;
  int groups_at_end = 0;
  double computed_s = 0.0;  ///< of units that were committed
  double lost_s = 0.0;      ///< of units that a failure took away
  double loading_s = 0.0;
  double available_s = 0.0;  ///< of all groups while launches ran
  double first_idle_s = 0.0;
  double rank0_s = 0.0;
  std::vector<float> latencies_s;  ///< from asking to getting, where there was something to get
};

struct Event {
  enum class Kind { asks, gets, ends } kind;
  double time_s;
  int group;
  int unit;          ///< asks: the one that it finished, or -1
  double asked_s;    ///< gets: when it asked
  double elapsed_s;  ///< asks: of the unit, loading included
  bool operator>(const Event& other) const { return time_s > other.time_s; }
};

/// One launch, from a given time to its end or its first failure.
class Launch {
 public:
  Launch(const Options& options, const Trace& trace, const std::string& strategy, int groups,
         double start_s, std::vector<JournalledUnit>& done, Outcome& outcome)
      : options_(options),
        trace_(trace),
        strategy_(make_strategy(strategy, trace, groups, done)),
        groups_(static_cast<size_t>(groups)),
        start_s_(start_s),
        rank0_free_s_(start_s),
        done_(done),
        outcome_(outcome) {}

  /// Whether all units are done; `dies_s` is the time of the first failure.
  bool run(double dies_s) {
    for (int group = 0; group < std::ssize(groups_); ++group)
      for (int i = 0; i < options_.held; ++i) ask(group, -1, start_s_, 0.0);
    const auto all = std::ssize(trace_.units);
    while (std::ssize(done_) < all) {
      if (events_.empty()) fail(ErrorKind::internal, "the simulated sweep came to a halt");
      const Event event = events_.top();
      if (event.time_s > dies_s) break;
      events_.pop();
      handle(event);
    }
    const bool is_done = std::ssize(done_) == all;
    outcome_.end_s = is_done ? last_end_s_ : dies_s;
    outcome_.groups_at_end = static_cast<int>(groups_.size());
    outcome_.available_s += static_cast<double>(groups_.size()) * (outcome_.end_s - start_s_);
    outcome_.first_idle_s = outcome_.end_s;
    for (const Group& group : groups_) {
      outcome_.first_idle_s = std::min(outcome_.first_idle_s, group.free_s);
      if (group.computing >= 0) lose(group, dies_s);
    }
    ++outcome_.launches;
    return is_done;
  }

 private:
  struct Group {
    std::deque<int> waiting;
    int computing = -1;
    int model = -1;
    int refused = 0;               ///< requests that got nothing so far
    double computes_from_s = 0.0;  ///< when its model is loaded
    double free_s = 0.0;
  };

  void ask(int group, int finished, double now_s, double elapsed_s) {
    events_.push(
        {Event::Kind::asks, now_s + 1e-6 * options_.latency_us, group, finished, now_s, elapsed_s});
  }

  /// What the group was computing is gone, and part of the loading was never done.
  void lose(const Group& group, double dies_s) {
    const double computed_s = dies_s - group.computes_from_s;
    (computed_s > 0.0 ? outcome_.lost_s : outcome_.loading_s) += computed_s;
  }

  void handle(const Event& event) {
    Group& group = groups_[static_cast<size_t>(event.group)];
    switch (event.kind) {
      case Event::Kind::asks:
        answer(event);
        break;
      case Event::Kind::gets:
        group.waiting.push_back(event.unit);
        ++outcome_.claims;
        outcome_.latencies_s.push_back(static_cast<float>(event.time_s - event.asked_s));
        if (group.computing < 0) begin(event.group, event.time_s);
        break;
      case Event::Kind::ends:
        end(event);
        break;
    }
  }

  /// Rank 0 takes messages one after another.
  void answer(const Event& event) {
    if (event.unit >= 0) strategy_->finished(event.group, event.unit, event.elapsed_s);
    Group& group = groups_[static_cast<size_t>(event.group)];
    const int asks = group.refused + 1;
    group.refused = 0;
    for (int i = 0; i < asks; ++i) give(event.group, event.time_s, event.asked_s);
    if (strategy_->changes() == seen_changes_) return;
    seen_changes_ = strategy_->changes();
    for (int other = 0; other < std::ssize(groups_); ++other)
      for (int i = std::exchange(groups_[static_cast<size_t>(other)].refused, 0); i > 0; --i)
        give(other, event.time_s, event.time_s - 1e-6 * options_.latency_us);
  }

  void give(int group, double now_s, double asked_s) {
    const auto unit = strategy_->next(group);
    if (!unit) {
      ++groups_[static_cast<size_t>(group)].refused;
      return;
    }
    const double cost_s = 1e-6 * options_.claim_us;
    rank0_free_s_ = std::max(rank0_free_s_, now_s) + cost_s;
    outcome_.rank0_s += cost_s;
    events_.push({Event::Kind::gets, rank0_free_s_ + 1e-6 * options_.latency_us, group, *unit,
                  asked_s, 0.0});
  }

  void begin(int index, double now_s) {
    Group& group = groups_[static_cast<size_t>(index)];
    group.computing = group.waiting.front();
    group.waiting.pop_front();
    const UnitCost& unit = trace_.units[static_cast<size_t>(group.computing)];
    double elapsed_s = trace_.true_s[static_cast<size_t>(group.computing)];
    if (unit.model != group.model) {
      const double loading_s = trace_.loading_s[static_cast<size_t>(unit.model)];
      elapsed_s += loading_s;
      outcome_.loading_s += loading_s;
      ++outcome_.loads;
    }
    group.model = unit.model;
    group.computes_from_s = now_s + elapsed_s - trace_.true_s[static_cast<size_t>(group.computing)];
    events_.push({Event::Kind::ends, now_s + elapsed_s, index, group.computing, now_s, elapsed_s});
  }

  void end(const Event& event) {
    Group& group = groups_[static_cast<size_t>(event.group)];
    group.computing = -1;
    group.free_s = event.time_s;
    last_end_s_ = event.time_s;
    done_.push_back({event.unit, event.elapsed_s});
    outcome_.computed_s += trace_.true_s[static_cast<size_t>(event.unit)];
    ask(event.group, event.unit, event.time_s, event.elapsed_s);
    if (!group.waiting.empty()) begin(event.group, event.time_s);
  }

  const Options& options_;
  const Trace& trace_;
  std::unique_ptr<Strategy> strategy_;
  std::vector<Group> groups_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  double start_s_;
  double rank0_free_s_;
  double last_end_s_ = 0.0;
  int64_t seen_changes_ = 0;
  std::vector<JournalledUnit>& done_;
  Outcome& outcome_;
};

/// A sweep with all its launches: one that dies is started again on the groups that are left.
Outcome simulate(const Options& options, const Trace& trace, const std::string& strategy) {
  Outcome outcome;
  std::vector<JournalledUnit> done;
  RandomStream random(options.trace.seed, "dispatch_simulator/failures");
  double start_s = 0.0;
  for (int groups = options.groups; groups > 0; --groups) {
    double dies_s = std::numeric_limits<double>::infinity();
    if (options.group_mtbf_h > 0.0)
      dies_s = start_s + exponential(random.uniform(), options.group_mtbf_h * 3600.0 / groups);
    if (Launch(options, trace, strategy, groups, start_s, done, outcome).run(dies_s))
      return outcome;
    start_s = dies_s + options.relaunch_s;
  }
  fail(ErrorKind::usage, "no group was left; choose a longer --group-mtbf-h");
}

double quantile_us(std::vector<float>& values, double share) {
  if (values.empty()) return 0.0;
  const auto place =
      values.begin() + static_cast<ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), place, values.end());
  return 1e6 * static_cast<double>(*place);
}

constexpr const char* kColumns =
    "strategy,groups,units,models,costs,shape,error,loading_s,claim_us,latency_us,group_mtbf_h,"
    "seed,makespan_s,bound_s,makespan_over_bound,busy_share,loads,tail_s,idle_mean_s,launches,"
    "lost_share,claims_per_s,rank0_share,latency_p50_us,latency_p99_us,latency_max_us";

void print(const Options& options, const Trace& trace, const std::string& strategy,
           Outcome outcome) {
  const TraceOptions& t = options.trace;
  const double bound_s = trace.lower_bound_s(options.groups);
  const double unloaded_s = outcome.available_s - outcome.loading_s;
  const double idle_s = unloaded_s - outcome.computed_s - outcome.lost_s;
  fmt::print("{},{},{},{},{},{},{},{},{},{},{},{},", strategy, options.groups, trace.units.size(),
             t.models, t.costs, t.shape, t.error, t.loading_s, options.claim_us, options.latency_us,
             options.group_mtbf_h, t.seed);
  fmt::print("{:.1f},{:.1f},{:.4f},{:.4f},{},{:.1f},{:.2f},{},{:.4f},", outcome.end_s, bound_s,
             outcome.end_s / bound_s, outcome.computed_s / unloaded_s, outcome.loads,
             outcome.end_s - outcome.first_idle_s, idle_s / outcome.groups_at_end, outcome.launches,
             outcome.lost_s / outcome.available_s);
  fmt::print("{:.1f},{:.5f},{:.0f},{:.0f},{:.0f}\n",
             static_cast<double>(outcome.claims) / outcome.end_s, outcome.rank0_s / outcome.end_s,
             quantile_us(outcome.latencies_s, 0.5), quantile_us(outcome.latencies_s, 0.99),
             quantile_us(outcome.latencies_s, 1.0));
  std::fflush(stdout);
}

void declare(CLI::App& app, Options& options, bool& header) {
  TraceOptions& t = options.trace;
  app.add_option("--groups", options.groups)->check(CLI::PositiveNumber);
  app.add_option("--units", t.units)->check(CLI::PositiveNumber);
  app.add_option("--models", t.models)->check(CLI::PositiveNumber);
  app.add_option("--costs", t.costs, "lognormal or pareto");
  app.add_option("--shape", t.shape, "sigma of the logarithm, or Pareto's exponent");
  app.add_option("--mean-s", t.mean_s, "mean seconds of a unit");
  app.add_option("--longest-s", t.longest_s, "costs are cut to this");
  app.add_option("--error", t.error, "sigma of log(predicted / true) of units");
  app.add_option("--model-error", t.model_error, "the same of models");
  app.add_option("--loading-s", t.loading_s, "seconds to load the middle model");
  app.add_option("--seed", t.seed);
  app.add_option("--held", options.held, "units that a group asks for ahead");
  app.add_option("--claim-us", options.claim_us, "microseconds of rank 0 for each claim");
  app.add_option("--latency-us", options.latency_us, "microseconds of a message");
  app.add_option("--group-mtbf-h", options.group_mtbf_h, "hours between failures of a group");
  app.add_option("--relaunch-s", options.relaunch_s, "seconds from a failure to the next launch");
  app.add_option("--strategy", options.strategies, "mechsweep, queue, largest, blocks");
  app.add_flag("--header", header, "print the names of the columns first");
}

int run(int argc, char** argv) {
  Options options;
  bool header = false;
  CLI::App app("Simulates sweeps on many groups with the dispatch policy itself.");
  app.option_defaults()->always_capture_default();
  declare(app, options, header);
  CLI11_PARSE(app, argc, argv);
  if (header) fmt::print("{}\n", kColumns);
  const Trace trace = make_trace(options.trace);
  for (const std::string& strategy : options.strategies)
    print(options, trace, strategy, simulate(options, trace, strategy));
  return 0;
}

}  // namespace
}  // namespace mechsweep

int main(int argc, char** argv) {
  try {
    return mechsweep::run(argc, argv);
  } catch (const mechsweep::Error& error) {
    fmt::print(stderr, "dispatch_simulator: {}\n", error.what());
    return mechsweep::exit_status(error.kind());
  }
}
