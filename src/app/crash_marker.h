#pragma once

#include <string>

#include "store/crash_mark.h"

namespace mechsweep {

/// From construction to destruction a fatal signal of this process's own making (SEGV, BUS, FPE,
/// ILL, ABRT) on any thread but the main one, which only moves messages and bytes, writes the mark
/// of the unit that is being computed, and then does what it did before. What comes from other
/// processes (kill, an abort of the whole job) marks nothing. At most one object at a time.
class CrashMarker {
 public:
  CrashMarker();
  ~CrashMarker();
  CrashMarker(const CrashMarker&) = delete;
  CrashMarker& operator=(const CrashMarker&) = delete;

  /// The calling thread begins a unit; `sentence` goes to standard error with the mark.
  static void arm(const CrashMark& mark, const std::string& sentence);
  /// The unit is over.
  static void disarm();
};

}  // namespace mechsweep
