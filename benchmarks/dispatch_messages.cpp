// Measures claims as rank 0 sees them, apart from computing and writing: rank 0 answers from the
// policy as fast as it can, all other ranks finish a unit and ask for the next one without pause.
// Prints JSON on rank 0; benchmarks/dispatch.py runs it under mpirun with at least two ranks.
//
//   dispatch_messages UNITS
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "mpi/world.h"
#include "plan/dispatch_policy.h"

namespace mechsweep {
namespace {

using Clock = std::chrono::steady_clock;
enum Kind : int { kAsk, kGive, kEnd };

double microseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

struct Served {
  int64_t units = 0;
  double busy_us = 0.0;  ///< from a message until its answer is on its way
  double all_us = 0.0;
};

Served serve(World& world, int units) {
  DispatchPolicy policy(std::vector<UnitCost>(static_cast<size_t>(units), {0, 0, 10.0}), {{}},
                        world.size());
  Served served;
  const auto start = Clock::now();
  for (int clients = world.size() - 1; clients > 0;) {
    const auto received = world.poll();
    if (!received) {
      ::sched_yield();
      continue;
    }
    const auto begun = Clock::now();
    const auto& [from, message] = *received;
    if (message.unit >= 0) {
      policy.finished(from, static_cast<int>(message.unit), true, 10.0);
      ++served.units;
    }
    const auto unit = policy.next(from);
    if (!unit) --clients;
    world.send(from, {.kind = unit ? kGive : kEnd, .unit = unit.value_or(-1)});
    served.busy_us += microseconds(Clock::now() - begun);
  }
  served.all_us = microseconds(Clock::now() - start);
  return served;
}

/// Microseconds of each question and answer.
std::vector<double> ask(World& world) {
  std::vector<double> trips_us;
  for (Message last;;) {
    const auto start = Clock::now();
    world.send(0, {.kind = kAsk, .unit = last.unit});
    auto received = world.poll();
    for (; !received; received = world.poll()) ::sched_yield();
    trips_us.push_back(microseconds(Clock::now() - start));
    last = received->second;
    if (last.kind == kEnd) return trips_us;
  }
}

void run(World& world, int units) {
  world.barrier();
  Served served;
  std::vector<double> mine;
  if (world.rank() == 0) {
    served = serve(world, units);
  } else {
    mine = ask(world);
  }
  const auto texts = world.gather(Json(mine).dump());
  if (world.rank() != 0) return;
  std::vector<double> trips_us;
  for (const std::string& text : texts) {
    const Json trips = Json::parse(text);
    for (const Json& trip : trips) trips_us.push_back(trip.get<double>());
  }
  std::sort(trips_us.begin(), trips_us.end());
  const auto quantile = [&](double share) {
    return trips_us[static_cast<size_t>(share * static_cast<double>(trips_us.size() - 1))];
  };
  const double count = static_cast<double>(served.units);
  const Json report{{"ranks", world.size()},
                    {"units", served.units},
                    {"claims_per_s", 1e6 * count / served.all_us},
                    {"rank0_us_per_claim", served.busy_us / count},
                    {"trip_p50_us", quantile(0.5)},
                    {"trip_p90_us", quantile(0.9)},
                    {"trip_p99_us", quantile(0.99)},
                    {"trip_max_us", quantile(1.0)}};
  std::printf("%s\n", report.dump().c_str());
  std::fflush(stdout);
}

}  // namespace
}  // namespace mechsweep

int main(int argc, char** argv) {
  using namespace mechsweep;
  try {
    const auto world = start_world(&argc, &argv);
    if (argc != 2 || world->size() < 2)
      fail(ErrorKind::usage, "usage: mpirun -n RANKS dispatch_messages UNITS, RANKS at least 2");
    run(*world, std::max(1, std::atoi(argv[1])));
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return exit_status(error.kind());
  }
}
