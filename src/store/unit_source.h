#pragma once

#include <cstdint>
#include <vector>

#include "store/journal.h"

namespace mechsweep {

/// Where units of later stages read what earlier ones stored, in the same launch or before, on this
/// rank or another. The calls are independent of other ranks, use neither MPI nor HDF5, and may
/// come from any thread. Throws Error{resource} that names file and unit.
class UnitSource {
 public:
  virtual ~UnitSource() = default;
  /// The unit's journal entry as it is now.
  [[nodiscard]] virtual JournalEntry read_entry(int unit) const = 0;
  /// The unit's payload as it is now, done or not.
  [[nodiscard]] virtual std::vector<uint8_t> read_payload(int unit) const = 0;
};

}  // namespace mechsweep
