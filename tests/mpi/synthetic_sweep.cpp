// A sweep without models, worked through by the real policy, message loop and results file:
// tests/reliability/schedules.py and benchmarks/dispatch.py start it under mpirun.
//
//   mpi_synthetic_sweep run --out FILE [...]   computes what is left; the exit status of `run`
//   mpi_synthetic_sweep check --out FILE       verifies; one line of JSON
//
// Each run has units (stage 0), one unit without a model that needs them all and, from the second
// run on, the same unit of the run before (stage 1), and as many units again that need it (stage
// 2).
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>

#include "app/file_session.h"
#include "app/stop_signals.h"
#include "core/random.h"
#include "unit/store/sample_layout.h"

namespace mechsweep {
namespace {

constexpr int64_t kUnitPrompts = 2;
constexpr int64_t kRowSize = 8;
constexpr int kStages = 3;
constexpr int kDecideStage = 1;

struct Options {
  std::string out;
  int runs = 2;
  int units = 20;  ///< of a run's first stage, and of its last
  double predicted_s = 0.01;
  double delay_us = 0.0;  ///< a unit sleeps so long on average ...
  bool even = false;      ///< ... or exactly
  double fail_share = 0.0;
  int stop_rank = -1;  ///< asks for a stop ...
  int stop_after = 0;  ///< ... when it has computed so many units
  uint64_t seed = 0;   ///< of this launch's delays and failures
  std::string log;     ///< each rank appends its units to LOG.RANK
};

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// What a place of a result must hold.
double value_of(int run, int stage, int64_t prompt, int64_t column) {
  return static_cast<double>((31 * run + 17 * stage + 7919 * prompt + 13 * column) % 10007) / 8.0;
}

std::string dataset_path(int run, int stage) {
  return fmt::format("/runs/r{}/m/p/stage{}", run, stage);
}

FileLayout make_layout(const Options& options) {
  const int64_t prompts = options.units * kUnitPrompts;
  FileLayout layout;
  layout.attributes = {{"format", kResultsFormat},
                       {"key", fmt::format("{} {}", options.runs, options.units)},
                       {"config", ""},
                       {"identity", "{}"}};
  const auto add_unit = [&](int run, int stage, Range range) {
    sample::add_unit(layout, run, stage, range, {0, 0});
    const auto number = static_cast<uint32_t>(layout.units.size());
    std::memcpy(layout.units.back().id.data(), &number, sizeof number);
    layout.units.back().flops = options.predicted_s * 1e11;
  };
  for (int run = 0; run < options.runs; ++run) {
    layout.groups.push_back(
        {fmt::format("/runs/r{}/m/p", run), {{"kind", "synthetic"}, {"run_index", run}}});
    for (int stage = 0; stage < kStages; ++stage) {
      layout.datasets.push_back(
          sample::numbers(dataset_path(run, stage), ElementType::f64, {prompts, kRowSize}));
      layout.targets.push_back(
          {run, stage, static_cast<int32_t>(layout.datasets.size() - 1), false});
      if (stage == kDecideStage) {
        add_unit(run, stage, {0, prompts});
        continue;
      }
      for (int64_t p = 0; p < prompts; p += kUnitPrompts)
        add_unit(run, stage, {p, p + kUnitPrompts});
    }
  }
  return layout;
}

UnitResult result_of(const UnitSpec& unit) {
  std::vector<double> values;
  for (int64_t p = unit.prompts.begin; p < unit.prompts.end; ++p)
    for (int64_t column = 0; column < kRowSize; ++column)
      values.push_back(value_of(unit.run, unit.stage, p, column));
  UnitResult result;
  result.blocks.push_back({.array = 0, .bytes = sample::as_bytes(values)});
  return result;
}

/// One rank's units: computes them and keeps a record.
class Computer {
 public:
  Computer(const Options& options, const FileLayout& layout, int rank)
      : options_(options), layout_(layout), rank_(rank) {
    if (!options.log.empty()) log_.open(fmt::format("{}.{}", options.log, rank), std::ios::app);
  }

  /// On the thread that computes.
  UnitResult compute(int unit) {
    const double start_s = now_s();
    if (last_end_s_ > 0.0) gaps_s_.push_back(start_s - last_end_s_);
    RandomStream random(options_.seed, "synthetic_sweep", static_cast<uint64_t>(unit));
    const double drawn = -std::log(1.0 - random.uniform());
    const double delay_us = options_.delay_us * (options_.even ? 1.0 : drawn);
    if (delay_us >= 1.0) ::usleep(static_cast<useconds_t>(delay_us));
    const bool fails = random.uniform() < options_.fail_share;
    if (++computed_ == options_.stop_after && rank_ == options_.stop_rank)
      ::kill(::getpid(), SIGUSR1);
    last_end_s_ = now_s();
    log_ << fmt::format("{} {:.7f} {:.7f} {}\n", unit, start_s, last_end_s_, fails ? 0 : 1);
    log_.flush();
    if (fails) fail(ErrorKind::internal, "a failure that was asked for");
    return result_of(layout_.units[static_cast<size_t>(unit)]);
  }

  /// How long it waited between units, as JSON.
  [[nodiscard]] std::string gaps() const { return Json(gaps_s_).dump(); }

 private:
  const Options& options_;
  const FileLayout& layout_;
  int rank_;
  int computed_ = 0;
  double last_end_s_ = 0.0;
  std::vector<double> gaps_s_;
  std::ofstream log_;
};

/// Collective: units a second and how long ranks waited between units, on rank 0.
void print_timing(World& world, const Computer& computer, int64_t units, double elapsed_s) {
  const auto texts = world.gather(computer.gaps());
  if (world.rank() != 0) return;
  std::vector<double> gaps_s;
  for (const std::string& text : texts) {
    const Json gaps = Json::parse(text);
    for (const Json& gap : gaps) gaps_s.push_back(gap.get<double>());
  }
  std::sort(gaps_s.begin(), gaps_s.end());
  const auto quantile_us = [&](double share) {
    if (gaps_s.empty()) return 0.0;
    return 1e6 * gaps_s[static_cast<size_t>(share * static_cast<double>(gaps_s.size() - 1))];
  };
  const Json timing{
      {"ranks", world.size()},           {"units", units},
      {"elapsed_s", elapsed_s},          {"units_per_s", static_cast<double>(units) / elapsed_s},
      {"gap_p50_us", quantile_us(0.5)},  {"gap_p90_us", quantile_us(0.9)},
      {"gap_p99_us", quantile_us(0.99)}, {"gap_max_us", quantile_us(1.0)}};
  std::printf("%s\n", timing.dump().c_str());
  std::fflush(stdout);
}

int run(World& world, const Options& options) {
  const StopSignals stop_signals;
  FileSession session{.path = options.out, .layout = make_layout(options), .what = "sweep"};
  const FileLayout& layout = session.layout;
  Computer computer(options, layout, world.rank());
  for (const UnitSpec& unit : layout.units) {
    session.unit_models.push_back(unit.stage == kDecideStage ? -1 : unit.run);
    session.unit_names.push_back(fmt::format("{}/{}/{}", unit.run, unit.stage, unit.prompts.begin));
  }
  session.stage_needs = [](int number, int stage) {
    std::vector<RunStage> needs;
    if (stage > 0) needs.push_back({number, stage - 1});
    if (stage == kDecideStage && number > 0) needs.push_back({number - 1, kDecideStage});
    return needs;
  };
  session.compute = [&](int unit, const UnitSource& /*source*/) { return computer.compute(unit); };
  world.barrier();
  const double start_s = now_s();
  const int status = run_session(world, session);
  print_timing(world, computer, std::ssize(layout.units), now_s() - start_s);
  return status;
}

/// Places that do not hold what they must; NaN, of units that are left, does not count.
int64_t wrong_values(const Options& options) {
  const ResultsReader reader(options.out);
  int64_t wrong = 0;
  for (int run = 0; run < options.runs; ++run)
    for (int stage = 0; stage < kStages; ++stage) {
      const std::vector<double> values = reader.read_array(dataset_path(run, stage)).values;
      for (size_t i = 0; i < values.size(); ++i) {
        const auto place = static_cast<int64_t>(i);
        const double expected = value_of(run, stage, place / kRowSize, place % kRowSize);
        if (!std::isnan(values[i]) && values[i] != expected) ++wrong;
      }
    }
  return wrong;
}

int check(const Options& options) {
  const Verification found = verify_file(options.out);
  const Json report{{"units", found.units},
                    {"done", found.done},
                    {"failed", found.failed},
                    {"left", found.left},
                    {"damage", found.damage},
                    {"digest", found.digest},
                    {"wrong_values", wrong_values(options)}};
  std::printf("%s\n", report.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace mechsweep

int main(int argc, char** argv) {
  using namespace mechsweep;
  Options options;
  CLI::App app("A sweep without models.");
  app.require_subcommand(1);
  app.fallthrough();
  const CLI::App* checks = app.add_subcommand("check");
  app.add_subcommand("run");
  app.add_option("--out", options.out)->required();
  app.add_option("--runs", options.runs);
  app.add_option("--units", options.units);
  app.add_option("--predicted-s", options.predicted_s);
  app.add_option("--delay-us", options.delay_us);
  app.add_flag("--even", options.even);
  app.add_option("--fail-share", options.fail_share);
  app.add_option("--stop-rank", options.stop_rank);
  app.add_option("--stop-after", options.stop_after);
  app.add_option("--seed", options.seed);
  app.add_option("--log", options.log);
  CLI11_PARSE(app, argc, argv);
  try {
    if (checks->parsed()) return check(options);
    const auto world = start_world(&argc, &argv);
    return run(*world, options);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return exit_status(error.kind());
  }
}
