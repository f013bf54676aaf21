#include "app/progress.h"

#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

namespace mechsweep {

namespace {

constexpr double kTerminalInterval_s = 0.5;
constexpr double kLogInterval_s = 10.0;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole >= 3600) return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
  if (whole >= 60) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} s", whole);
}

Progress::Progress(std::string what, int64_t units, int64_t done, double total_flops,
                   double done_flops)
    : what_(std::move(what)),
      units_(units),
      done_(done),
      total_flops_(total_flops),
      done_flops_(done_flops),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(std::chrono::steady_clock::now()),
      shown_(start_) {}

void Progress::unit_done(double flops, bool ok) {
  ++done_;
  ++done_here_;
  done_flops_ += flops;
  done_flops_here_ += flops;
  if (!ok) ++failed_;
}

void Progress::show(bool now) {
  if (!now && seconds_since(shown_) < (terminal_ ? kTerminalInterval_s : kLogInterval_s)) return;
  shown_ = std::chrono::steady_clock::now();
  std::fprintf(stderr, terminal_ ? "\r%s\x1b[K" : "%s\n", line().c_str());
  std::fflush(stderr);
}

void Progress::finish() {
  show(true);
  if (terminal_) std::fputc('\n', stderr);
}

std::string Progress::line() const {
  const double elapsed = seconds_since(start_);
  const double share = total_flops_ > 0.0 ? done_flops_ / total_flops_ : 1.0;
  std::string text = fmt::format("{}: {}/{} units, {:.0f}%, {:.2f} units/s", what_, done_, units_,
                                 100.0 * share, static_cast<double>(done_here_) / elapsed);
  if (done_ < units_ && done_flops_here_ > 0.0)
    text += ", ETA " + duration_text((total_flops_ - done_flops_) * elapsed / done_flops_here_);
  if (done_ >= units_) text += ", took " + duration_text(elapsed);
  text += failed_ > 0 ? fmt::format(", {} failed", failed_) : "";
  return text;
}

}  // namespace mechsweep
