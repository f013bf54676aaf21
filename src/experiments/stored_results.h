#pragma once

#include <string>
#include <vector>

#include "experiments/array_spec.h"

namespace mechsweep {

/// What the units of one stage stored.
struct StoredStage {
  /// Units that are not done, as people call them, with what became of them: "heads/m/p edited
  /// prompts 0..3 (failed)".
  std::vector<std::string> missing;
  /// The stage's arrays in the order of Run::arrays(). Places of missing units are NaN.
  std::vector<StoredArray> arrays;
};

/// What earlier stages of a sweep stored, as units of later ones get to know it: read from where it
/// was stored, never remembered, so that a selection is the same whoever makes it and whenever.
class StoredResults {
 public:
  virtual ~StoredResults() = default;
  /// Safe to call from any thread. Throws Error{resource} when it cannot be read, or when a unit's
  /// numbers are not those that its journal entry speaks of.
  [[nodiscard]] virtual StoredStage read(const std::string& run_id, int stage) const = 0;
};

}  // namespace mechsweep
