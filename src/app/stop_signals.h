#pragma once

namespace mechsweep {

/// From construction to destruction INT, TERM, USR1 and USR2 ask for a clean stop: the first one is
/// only remembered, a second one ends the process at once with exit status 5. What was journalled
/// is safe either way.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  [[nodiscard]] static bool requested();
};

}  // namespace mechsweep
