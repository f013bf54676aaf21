#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/array_spec.h"

namespace mechsweep {

/// The columns of a tidy table that axes fill: layer, head, position, then every further axis in
/// the order in which it first appears. A named head fills layer and head; the axis "all" fills
/// none.
class AxisColumns {
 public:
  AxisColumns() : names_{"layer", "head", "position"} {}

  void include(const std::vector<Axis>& axes);
  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }
  /// The comma-separated cells of one flat index into the axes.
  [[nodiscard]] std::string cells(const std::vector<Axis>& axes, int64_t index) const;

 private:
  std::vector<std::string> names_;
};

/// 0 for -0, which no reader of a table asks for; else the value.
double without_negative_zero(double value);
/// A number with 9 significant digits; NaN is empty, -0 is 0.
std::string number_text(double value);
/// A text as a CSV field, quoted where it must be (RFC 4180).
std::string csv_field(const std::string& text);
/// A run's id EXPERIMENT/MODEL/PROMPTS, its model and its prompts as three fields.
std::string run_fields(const std::string& run_id);

}  // namespace mechsweep
