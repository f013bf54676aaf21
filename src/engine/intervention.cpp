#include "engine/intervention.h"

namespace mechsweep {

std::string_view side_name(Side side) {
  return side == Side::clean ? "clean" : "corrupt";
}

std::string_view operation_name(Operation operation) {
  return operation == Operation::zero ? "zero" : "replace";
}

}  // namespace mechsweep
