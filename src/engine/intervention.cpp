#include "engine/intervention.h"

namespace mechsweep {

std::string_view side_name(Side side) {
  return side == Side::clean ? "clean" : "corrupt";
}

std::string_view operation_name(Operation operation) {
  switch (operation) {
    case Operation::zero:
      return "zero";
    case Operation::value_bias:
      return "value_bias";
    case Operation::mean:
      return "mean";
    case Operation::replace:
      return "replace";
    case Operation::add:
      return "add";
    case Operation::remove:
      return "remove";
    case Operation::transplant:
      return "transplant";
    case Operation::cut:
      return "cut";
  }
  return "?";
}

std::string_view downstream_name(Downstream downstream) {
  return downstream == Downstream::recompute ? "recompute" : "freeze";
}

bool Edit::takes_from_donor() const {
  switch (operation) {
    case Operation::replace:
      return vector == nullptr;
    case Operation::transplant:
      return true;
    case Operation::mean:
      return leave_out;
    default:
      return false;
  }
}

bool operation_fits(Operation operation, Site site, bool edges) {
  if (edges)
    return (site == Site::q || site == Site::k || site == Site::v) &&
           (operation == Operation::zero || operation == Operation::cut ||
            operation == Operation::replace);
  if (site == Site::pattern) return operation == Operation::zero || operation == Operation::replace;
  if (operation == Operation::value_bias) return site == Site::z;
  return operation != Operation::cut;
}

}  // namespace mechsweep
