#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <span>
#include <vector>

namespace mechsweep {

/// The model of a unit that needs none, such as a `decide` unit: any group can compute it.
inline constexpr int kNoModel = -1;

/// What the policy knows of a unit. A unit is named by its place in the plan's order.
struct UnitCost {
  int model = kNoModel;      ///< 0-based, or kNoModel
  int stage_group = 0;       ///< 0-based; units that become claimable together (a stage of a run)
  double predicted_s = 0.0;  ///< seconds, >= 0; only ratios within a model need to be right
};

/// A unit that the journal already holds, with the seconds that it took (0: not known).
struct JournalledUnit {
  int unit = 0;
  double elapsed_s = 0.0;
};

/// Decides which group computes which unit. A state machine without MPI, clocks or random numbers:
/// the same calls give the same answers, so a simulator can run it. Not thread-safe.
///
/// - A stage group opens when all the stage groups that it needs are complete: open themselves,
///   and every unit journalled, done or failed. Only units of open stage groups are handed out.
/// - Units without a model come first, since later stages wait for them.
/// - Within a model the unit with the largest predicted cost comes first (equal ones in plan
/// order).
/// - Models are laid end to end, each as long as its work, and cut into equal parts, one for each
///   group (McNaughton, "Scheduling with deadlines and loss functions", Management Science 6,
///   1959): about models + groups loads in all. A group begins with the model that fills most of
///   its part, stays while that has claimable units, then goes through the rest of its part, and
///   then helps where most work is left for each group that is there.
/// - Predictions are scaled by measured over predicted seconds of the model, or of all models as
///   long as a model has no measurement.
///
/// A claim costs O(log units) while a group stays with its model, O(models log units) when it
/// leaves. Arguments out of range, or a unit that the group did not claim, are faults of the caller
/// and abort.
class DispatchPolicy {
 public:
  /// `stage_needs[s]` lists the stage groups that must be complete before s opens; together they
  /// must have no cycle. `journalled` units count as finished from the start.
  DispatchPolicy(std::vector<UnitCost> units, std::vector<std::vector<int>> stage_needs, int groups,
                 std::span<const JournalledUnit> journalled = {});

  /// Claims a unit for `group`, which may hold several. Nothing when no unit is claimable, or when
  /// none is predicted to end within `seconds_left`. After nothing, with neither all_done() nor
  /// waiting(), the group has run out of time.
  std::optional<int> next(int group, double seconds_left = std::numeric_limits<double>::infinity());

  /// `group` journalled a unit that it had claimed. A failed unit is not handed out again, and its
  /// `elapsed_s` teaches nothing.
  void finished(int group, int unit, bool ok, double elapsed_s);

  /// A claim is given back: the unit becomes claimable again.
  void drop(int unit);

  /// Every unit is journalled.
  [[nodiscard]] bool all_done() const { return left_ == 0; }
  /// Nothing is claimable now, but units in flight may open further stages or be dropped.
  [[nodiscard]] bool waiting() const { return claimable_ == 0 && in_flight_ > 0; }

  /// Units not yet journalled, those in flight included.
  [[nodiscard]] int64_t units_left() const { return left_; }
  /// Units finished with ok = false since construction.
  [[nodiscard]] int64_t units_failed() const { return failed_; }
  /// Predicted seconds of a unit, corrected by what was measured.
  [[nodiscard]] double predicted_s(int unit) const;
  /// Corrected predicted seconds of all units not yet journalled, on one group.
  [[nodiscard]] double work_left_s() const;

 private:
  enum class State : uint8_t { blocked, claimable, claimed, journalled };

  /// The order of a pool: largest cost first, then plan order.
  struct PoolKey {
    double cost_s;
    int unit;
    bool operator<(const PoolKey& other) const {
      return cost_s != other.cost_s ? cost_s > other.cost_s : unit < other.unit;
    }
  };

  /// Everything about one model; the last one stands for kNoModel.
  struct Model {
    std::set<PoolKey> pool;           ///< claimable units
    double claimable_s = 0.0;         ///< predicted, of the pool
    double left_s = 0.0;              ///< predicted, of units not yet journalled
    double measured_s = 0.0;          ///< of finished units whose time is known
    double measured_predicted_s = 0;  ///< predicted, of the same units
    int groups_here = 0;              ///< groups whose current model this is
  };

  struct StageGroup {
    std::vector<int> units;  ///< not journalled at the start, largest first; freed when opened
    std::vector<int> opens;  ///< stage groups that need this one
    int64_t needs_left = 0;  ///< stage groups that this one still waits for
    int64_t units_left = 0;  ///< units not yet journalled
  };

  /// The part of the work that a group begins with.
  struct GroupState {
    std::vector<int> home;  ///< models of its part, the largest share first
    int current = kNoModel;
  };

  void check_units(int groups) const;
  void take_journal(std::span<const JournalledUnit> journalled);
  void link_stages(const std::vector<std::vector<int>>& stage_needs);
  void open_ready_stages(std::vector<int> ready);
  void lay_out_models();
  void measure(Model& model, const UnitCost& unit, double elapsed_s);

  Model& model_of(int unit);
  [[nodiscard]] double correction(const Model& model) const;
  [[nodiscard]] std::optional<int> largest_that_fits(const Model& model, double seconds_left) const;
  [[nodiscard]] std::optional<int> choose(GroupState& group, double seconds_left);
  [[nodiscard]] std::optional<int> help_elsewhere(GroupState& group, double seconds_left);
  void move_to(GroupState& group, int model);
  void make_claimable(int unit);

  std::vector<UnitCost> units_;
  std::vector<State> states_;
  std::vector<int> holders_;  ///< the group of a claimed unit
  std::vector<Model> models_;
  std::vector<StageGroup> stages_;
  std::vector<GroupState> groups_;
  double measured_s_ = 0.0;            ///< over all models
  double measured_predicted_s_ = 0.0;  ///< over all models
  int64_t left_ = 0;
  int64_t claimable_ = 0;
  int64_t in_flight_ = 0;
  int64_t failed_ = 0;
};

}  // namespace mechsweep
