#pragma once

#include <span>
#include <string>
#include <vector>

namespace mechsweep {

/// Part `number` (from 1) of `count` of a sweep's units, for job arrays with a file each.
struct SweepPart {
  int number = 1;
  int count = 1;
};

/// "3/16". Throws Error{usage} when it is not two whole numbers with 1 <= number <= count.
SweepPart parse_part(const std::string& text);

/// By unit, in plan order, whether it belongs to the part: neighbours stay together, so that each
/// part loads few models, and parts have equal shares of the `flops`. Every unit is in one part.
std::vector<bool> units_of_part(std::span<const double> flops, const SweepPart& part);

}  // namespace mechsweep
