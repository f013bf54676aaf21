#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "engine/site.h"

namespace mechsweep {

/// Which of a prompt's two token sequences a run uses.
enum class Side { clean, corrupt };
std::string_view side_name(Side side);

/// What an edit does to an activation x (one head's, where the site has heads).
enum class Operation {
  zero,        ///< x := 0; on an attention edge: the score, or the value's share, becomes 0
  value_bias,  ///< z := the value bias of its key/value head, 0 where the model has none
  mean,        ///< x := mean over a named set of runs, the own one left out
  replace,     ///< x := the donor run's, or a given vector
  add,         ///< x := x + scale d
  remove,      ///< x := x - (x . d) d, d of length 1
  transplant,  ///< x := x + (donor . d - x . d) d, d of length 1
  cut,         ///< attention edges only: the score becomes -infinity
};
std::string_view operation_name(Operation operation);

/// An unedited run that values are taken from.
struct DonorRun {
  int32_t prompt = -1;  ///< index among the prompts given with the task; -1: the task's own
  Side side = Side::clean;
  bool operator==(const DonorRun&) const = default;
};

/// Sums of one site over many runs, aligned from the end: what `mean` divides. Held in double
/// precision and added in the order of the runs, so a mean does not depend on who made it.
struct ActivationSums {
  Site site = Site::z;
  int layers = 0;               ///< L
  int64_t width = 0;            ///< site_width
  std::vector<int64_t> counts;  ///< runs that have a token so many places before their last
  std::vector<double> sums;     ///< [L, places from the end, width]

  [[nodiscard]] const double* at(int layer, int64_t from_end) const {
    return sums.data() + (layer * static_cast<int64_t>(counts.size()) + from_end) * width;
  }
};

/// One change of one activation: site + layer + heads + positions + operation. With `edges` it
/// changes single (query, key) pairs of attention instead (sites q, k, v).
struct Edit {
  Site site = Site::z;
  int layer = 0;
  /// Ascending; only and always where the site has heads: query heads for q, z and pattern,
  /// key/value heads for k and v. With `edges` always query heads.
  std::vector<int32_t> heads;
  /// Absolute, ascending, prefix included; of queries for pattern; empty with `edges`.
  std::vector<int32_t> positions;
  Operation operation = Operation::zero;
  /// replace without `vector`, transplant: the run that the value comes from, at the same
  /// position; it is as long as the edited one. mean: the run to leave out, where `leave_out`.
  DonorRun donor;
  bool leave_out = false;
  /// add, remove, transplant: the direction d; replace: the value. site_part_width numbers.
  std::shared_ptr<const std::vector<float>> vector;
  float scale = 1.0F;                          ///< add
  std::shared_ptr<const ActivationSums> sums;  ///< mean
  std::vector<std::array<int32_t, 2>> edges;   ///< [query, key] with key <= query

  /// Equal edits have the same effect; vectors and sums count as equal when they are one object.
  bool operator==(const Edit&) const = default;
  [[nodiscard]] bool takes_from_donor() const;
};

/// How what comes after an edit is computed.
enum class Downstream {
  recompute,
  freeze,  ///< every other attention block and MLP gives its base value: direct effects only
};
std::string_view downstream_name(Downstream downstream);

/// Edits on one base run, applied together: where several stand at one layer they act in the order
/// in which the layer computes their sites, at one site in the order of the list.
struct Intervention {
  Side base = Side::clean;
  std::vector<Edit> edits;  ///< none: the base run itself
  Downstream downstream = Downstream::recompute;
};

/// Whether an operation makes sense at a site; `edges` for attention edges. The plan refuses the
/// others. What an architecture lacks (a value bias) is no reason: it counts as zero.
bool operation_fits(Operation operation, Site site, bool edges);

}  // namespace mechsweep
