#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dispatch_trace.h"

namespace mechsweep {

/// Who computes what: the policy under test and what it is compared with. One object is one launch.
class Strategy {
 public:
  virtual ~Strategy() = default;
  virtual std::optional<int> next(int group) = 0;
  virtual void finished(int group, int unit, double elapsed_s) = 0;
  /// Grows when a group that got nothing should ask again (beside its own finishing of a unit).
  [[nodiscard]] virtual int64_t changes() const { return 0; }
};

/// - "mechsweep": DispatchPolicy itself.
/// - "queue": one central queue in plan order; whoever is free takes the first.
/// - "largest": one central queue, largest prediction first, whatever the model.
/// - "blocks": every group gets one block of the plan's order, all with the same predicted work.
/// The two queues leave off prefetching at the end as the policy does.
/// `done` are the units that the journal holds. Throws Error{usage} for another name.
std::unique_ptr<Strategy> make_strategy(const std::string& name, const Trace& trace, int groups,
                                        const std::vector<JournalledUnit>& done);

}  // namespace mechsweep
