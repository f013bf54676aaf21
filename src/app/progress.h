#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace mechsweep {

/// The progress line of rank 0: on a terminal one line that is rewritten, otherwise a plain line
/// now and then. Written to stderr, so that stdout stays clean.
class Progress {
 public:
  Progress(std::string what, int64_t units, int64_t done, double total_flops, double done_flops);

  void unit_done(double flops, bool ok);
  /// Shows the line if it is time to.
  void show(bool now = false);
  /// Ends the line.
  void finish();

 private:
  [[nodiscard]] std::string line() const;

  std::string what_;
  int64_t units_;
  int64_t done_;
  int64_t done_here_ = 0;
  int64_t failed_ = 0;
  double total_flops_;
  double done_flops_;
  double done_flops_here_ = 0.0;
  bool terminal_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point shown_;
};

/// "1 h 02 min", "3 min 20 s", "12 s".
std::string duration_text(double seconds);

}  // namespace mechsweep
