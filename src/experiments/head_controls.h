#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "experiments/edit_grid.h"
#include "experiments/effect_run.h"
#include "stats/random_draws.h"

namespace mechsweep {

/// `controls:` of an ablation of chosen heads: random sets of as many heads, edited the same way.
struct ControlsConfig {
  int64_t random_k = 0;          ///< sets drawn for every chosen set and match
  std::vector<DrawMatch> match;  ///< in the order of the axis
  ChosenHeads chosen = ChosenHeads::allowed;
  /// Which mean delta_loss of the chosen set speaks for it; that of the accuracy is the other way.
  Alternative alternative = Alternative::greater;

  [[nodiscard]] Json to_json() const;
};
/// Reads the optional key `controls`; `fallback` is the alternative where none is given.
std::optional<ControlsConfig> parse_controls(MapReader& reader, Alternative fallback);

/// "uniform", "layer".
std::string_view draw_match_name(DrawMatch match);
/// "greater", "less", "two_sided".
std::string_view alternative_name(Alternative alternative);
/// From one of these names. Throws Error{input} for another one.
Alternative alternative_of(const std::string& name);

/// The axis of the random sets: the first one, along which units are cut, since hundreds of sets on
/// one prompt are too much work for one unit of a large model.
inline constexpr const char* kRandomSetAxis = "random_set";
inline constexpr const char* kMatchAxis = "match";

/// Sets of heads by place of the axis `k` or `set`; empty where too few heads were chosen.
using HeadSets = std::vector<std::vector<HeadName>>;

/// The control stages of a run that edits chosen sets of heads jointly: one that draws random sets
/// once the chosen ones are known and stores them, and one that tries them on the prompts of the
/// chosen sets. Of a random set only the loss and whether the answer came first are stored: nothing
/// else is compared, and there are hundreds of them for every prompt.
///
/// The random numbers are those of RandomStream(seed, "controls/RUN/PLACE/MATCH", draw), PLACE
/// being k or the set's name (draw_heads()).
class HeadControls final : public EffectRun {
 public:
  /// The intervention on a prompt that edits these heads (number `set` of the grid's first axis)
  /// with this operation; as EffectRun::intervention().
  using AblationOf = std::function<std::optional<Intervention>(
      const EditGrid& grid, int64_t prompt, int64_t set, int64_t operation, Executor* executor)>;

  struct Design {
    ControlsConfig config;
    Axis sets;                         ///< `k` or `set`
    std::vector<HeadName> candidates;  ///< heads to draw from
    std::optional<Axis> operations;    ///< where there are several
    PositionSelection positions;       ///< not `each`
    bool all_but = false;              ///< edits are of every head but those of a set
    int first_stage = 0;               ///< number of the stage that draws
    std::vector<StageNeed> needs;      ///< of the stage that draws
    int first_array = 0;               ///< number in the run of the first of arrays()
    std::vector<uint8_t> evaluated;    ///< EffectRun::Spec::evaluated
    HeadSets likely;                   ///< the chosen sets, or stand-ins of their sizes
    bool is_known = false;             ///< `likely` are the chosen sets themselves
    AblationOf ablation;
  };
  /// Throws Error{usage} when there are too few heads to draw from.
  HeadControls(const RunContext& context, Design design);

  /// The stage that draws, and the one that tries.
  [[nodiscard]] std::vector<StageSpec> stages() const override;
  [[nodiscard]] std::vector<ArraySpec> arrays() const override;
  [[nodiscard]] Json attributes() const override;
  [[nodiscard]] int draw_stage() const { return design_.first_stage; }
  [[nodiscard]] int trial_stage() const { return design_.first_stage + 1; }

  /// What the stage that draws stores, for these chosen sets. Throws Error{usage} when a layer has
  /// too few heads to draw from.
  [[nodiscard]] UnitResult draw(const HeadSets& chosen) const;
  /// Of the stage that tries: places of the range of random sets, drawn ones from `inputs.stored`,
  /// stand-ins where that is null.
  [[nodiscard]] UnitResult execute(int stage, Range prompts, Range draws,
                                   const UnitInputs& inputs) const override;

 protected:
  [[nodiscard]] std::optional<Intervention> intervention(int64_t prompt,
                                                         std::span<const int64_t> place,
                                                         Executor* executor) const override;

 private:
  /// Random sets of a range of draws, as edits.
  struct Drawn {
    std::optional<EditGrid> grid;  ///< none when every set is empty
    std::vector<int64_t> set_of;   ///< by [draw, place, match]: its number in the grid, or -1
  };
  static Spec spec_of(const Design& design);
  [[nodiscard]] int64_t places() const { return design_.sets.size; }
  [[nodiscard]] int64_t matches() const { return std::ssize(design_.config.match); }
  [[nodiscard]] int64_t members() const;
  /// [place, match, draw]: the drawn heads of a place and match, -1 where there are none.
  [[nodiscard]] std::vector<std::vector<HeadName>> draw_sets(const HeadSets& chosen,
                                                             bool stand_in) const;
  [[nodiscard]] std::vector<std::vector<HeadName>> stored_sets(const StoredResults& stored) const;
  [[nodiscard]] Drawn edits_of(const std::vector<std::vector<HeadName>>& sets, Range draws) const;
  [[nodiscard]] std::optional<Intervention> of_drawn(const Drawn& drawn, int64_t first_draw,
                                                     int64_t prompt, std::span<const int64_t> place,
                                                     Executor* executor) const;
  [[nodiscard]] UnitResult kept(const UnitResult& all, Range prompts, Range draws) const;

  Design design_;
  int64_t targets_ = 0;
  Drawn likely_;  ///< for costs
};

/// control_loss and control_correct by random set, for `export`; nothing without controls.
std::vector<Metric> control_metrics(const StoredRun& run);

}  // namespace mechsweep
