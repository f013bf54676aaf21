#pragma once

#include <functional>
#include <string>

namespace mechsweep {

/// Runs ReadGuard for as long as this lives, where `wanted`. Made in main(), before MPI_Init and
/// before the first thread.
class GuardedReading {
 public:
  explicit GuardedReading(bool wanted);
  ~GuardedReading();
  GuardedReading(const GuardedReading&) = delete;
  GuardedReading& operator=(const GuardedReading&) = delete;
};

/// Runs what reads a results file that somebody may have tampered with: what it misses there
/// (attributes, labels) becomes an Error{input} that names the file.
int reading_results(const std::string& file, const std::function<int()>& step);

}  // namespace mechsweep
