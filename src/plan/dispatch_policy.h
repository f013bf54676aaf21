#pragma once

#include <array>
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
  int crashes = 0;           ///< earlier launches that died while they computed it
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
/// - Units that crashed before come last, those that crashed twice or more after those that crashed
///   once, and only when all that come before them and can end in time are journalled: a launch
///   commits what it can before it risks dying again.
/// - Units without a model come first, since later stages wait for them.
/// - Within a model the unit with the largest predicted cost comes first (equal ones in plan
///   order).
/// - Models are laid end to end, each as long as its work, and cut into equal parts, one for each
///   group (McNaughton, "Scheduling with deadlines and loss functions", Management Science 6,
///   1959): about models + groups loads in all. A group begins with the model that fills most of
///   its part, stays while that has claimable units, then goes through the rest of its part, and
///   then helps where most work is left for each group that is there; nowhere if the groups there
///   have less left each than loading the model takes.
/// - A group that holds a unit gets another one, so that the way to whoever asks this policy and
///   back costs nothing, only while what it holds is predicted to take less than kAheadSeconds,
///   beside which that way is short, and at least as many units are claimable as there are groups.
///   So no unit waits behind a long one while other groups idle.
/// - Predictions are scaled by measured over predicted seconds of the model, or of all models as
///   long as a model has no measurement. The first unit that a group computes of a model takes the
///   loading with it: it tells what loading takes and corrects predictions only where nothing else
///   does.
///
/// A claim costs O(log units) while a group stays with its model, O(models log units) when it
/// leaves, O(1) when it was refused before and nothing has changed. Arguments out of range, or a
/// unit that the group did not claim, are faults of the caller and abort.
class DispatchPolicy {
 public:
  /// Groups that hold less than so many predicted seconds may claim ahead.
  static constexpr double kAheadSeconds = 1.0;

  /// `stage_needs[s]` lists the stage groups that must be complete before s opens; together they
  /// must have no cycle. `journalled` units count as finished from the start.
  DispatchPolicy(std::vector<UnitCost> units, const std::vector<std::vector<int>>& stage_needs,
                 int groups, std::span<const JournalledUnit> journalled = {});

  /// Claims a unit for `group`, which may hold several. Nothing when there is none for it now, or
  /// none that is predicted to end within `seconds_left`; then it asks again after changes(), or
  /// after it has finished a unit. A group that got nothing, with neither all_done() nor waiting(),
  /// has run out of time.
  std::optional<int> next(int group, double seconds_left = std::numeric_limits<double>::infinity());

  /// `group` journalled a unit that it had claimed. A failed unit is not handed out again, and its
  /// `elapsed_s` teaches nothing.
  void finished(int group, int unit, bool ok, double elapsed_s);

  /// A claim is given back: the unit becomes claimable again.
  void drop(int unit);

  /// Every unit is journalled.
  [[nodiscard]] bool all_done() const { return left_ == 0; }
  /// Units are in flight: once they end, open further stages or are dropped, a group that got
  /// nothing may get something.
  [[nodiscard]] bool waiting() const { return in_flight_ > 0; }
  /// Grows whenever a group that got nothing might get something now, but for what it holds itself.
  [[nodiscard]] int64_t changes() const { return changes_; }

  /// Units not yet journalled, those in flight included.
  [[nodiscard]] int64_t units_left() const { return left_; }
  /// Units finished with ok = false since construction.
  [[nodiscard]] int64_t units_failed() const { return failed_; }
  /// Predicted seconds of a unit, corrected by what was measured, without loading.
  [[nodiscard]] double predicted_s(int unit) const;
  /// Corrected predicted seconds of all units not yet journalled, on one group, without loading.
  [[nodiscard]] double work_left_s() const;

 private:
  enum class State : uint8_t { blocked, claimable, claimed, journalled };

  /// Units that never crashed, that crashed once, that crashed more often.
  static constexpr int kLevels = 3;

  /// The order of a pool: largest cost first, then plan order.
  struct PoolKey {
    double cost_s;
    int unit;
    bool operator<(const PoolKey& other) const {
      return cost_s != other.cost_s ? cost_s > other.cost_s : unit < other.unit;
    }
  };

  /// Claimable units of one model and level.
  struct Pool {
    std::set<PoolKey> units;
    double predicted_s = 0.0;  ///< in all; a sum of differences, so maybe a little below 0
  };

  /// Units whose time is known.
  struct Measured {
    double elapsed_s = 0.0;
    double predicted_s = 0.0;
    int64_t units = 0;
    void add(double elapsed, double predicted);
  };

  /// Everything about one model; the last one stands for kNoModel.
  struct Model {
    std::array<Pool, kLevels> pools;
    double left_s = 0.0;         ///< predicted, of units not yet journalled
    Measured first;              ///< of groups that came to it: loading included
    Measured later;              ///< all others
    double told_correction = 0;  ///< when changes() last grew for it; 0: never
    int groups_here = 0;         ///< groups whose current model this is
  };

  struct StageGroup {
    std::vector<int> units;  ///< not journalled at the start, largest first; freed when opened
    std::vector<int> opens;  ///< stage groups that need this one
    int64_t needs_left = 0;  ///< stage groups that this one still waits for
    int64_t units_left = 0;  ///< units not yet journalled
  };

  struct GroupState {
    std::vector<int> home;  ///< models of the part that it begins with, the largest share first
    int current = kNoModel;
    int first_unit = -1;      ///< claimed, of a model that the group comes to with it
    std::vector<int> holds;   ///< units claimed
    int64_t refused_at = -1;  ///< changes() when it last got nothing ...
    double refused_s = 0.0;   ///< ... with so many seconds left
  };

  struct LevelCount {
    int64_t claimable = 0;
    int64_t in_flight = 0;
  };

  void check_units(int groups) const;
  void take_journal(std::span<const JournalledUnit> journalled);
  void link_stages(const std::vector<std::vector<int>>& stage_needs);
  void open_ready_stages(std::vector<int> ready);
  void lay_out_models();
  void measure(int unit, double elapsed_s, bool with_loading);

  Model& model_of(int unit);
  [[nodiscard]] int level_of(int unit) const;
  [[nodiscard]] double correction(const Model& model) const;
  [[nodiscard]] double loading_s(const Model& model) const;
  [[nodiscard]] bool may_hold_more(const GroupState& group) const;
  [[nodiscard]] std::optional<int> largest_that_fits(const Model& model, int level,
                                                     double seconds_left) const;
  [[nodiscard]] bool any_fits(int level, double seconds_left) const;
  [[nodiscard]] bool is_worth_loading(const Model& model, int level) const;
  [[nodiscard]] std::optional<int> choose(const GroupState& group, double seconds_left) const;
  [[nodiscard]] std::optional<int> choose(const GroupState& group, int level,
                                          double seconds_left) const;
  [[nodiscard]] std::optional<int> help_elsewhere(int level, double seconds_left) const;
  void claim(int group, int unit);
  void release(int unit);
  void move_to(GroupState& group, int model);
  void make_claimable(int unit);

  std::vector<UnitCost> units_;
  std::vector<State> states_;
  std::vector<int> holders_;  ///< the group of a claimed unit
  std::vector<Model> models_;
  std::vector<StageGroup> stages_;
  std::vector<GroupState> groups_;
  std::array<LevelCount, kLevels> levels_;
  Measured first_;  ///< over all models
  Measured later_;  ///< over all models
  int64_t changes_ = 0;
  int64_t left_ = 0;
  int64_t claimable_ = 0;
  int64_t in_flight_ = 0;
  int64_t failed_ = 0;
};

}  // namespace mechsweep
