#pragma once

#include <source_location>
#include <string_view>

namespace mechsweep {

/// What is being waited for; each has a limit of its own.
enum class Waiting {
  collective,  ///< all ranks meet, and none of them has anything else to do
  io,          ///< reading or writing files, on any rank
  loading,     ///< a model, or hashing its files
};

/// Seconds.
struct WatchdogLimits {
  double collective_s = 60.0;
  double io_s = 1800.0;
  double loading_s = 3600.0;
};

/// A thread that ends the process with exit status 5, after a sentence that names the place, when a
/// Watch is open for longer than its limit: a rank that hangs would keep all others waiting until
/// the job's time is up. From construction to destruction; one at a time. Without one, watches
/// cost nothing and watch nothing. Time in which the machine sleeps does not count.
class Watchdog {
 public:
  explicit Watchdog(int rank);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// For watches from now on.
  static void set_limits(const WatchdogLimits& wanted);

  /// From construction to destruction the calling thread does what may hang. Within another one of
  /// the same thread a collective is not watched for itself: it waits for ranks that are busy with
  /// what the outer one allows. `what` must outlive it (a literal).
  class Watch {
   public:
    Watch(Waiting waiting, std::string_view what,
          std::source_location where = std::source_location::current());
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

   private:
    int number_ = -1;
  };
};

}  // namespace mechsweep
