#pragma once

#include <string>
#include <vector>

namespace mechsweep {

/// An operation on heads' z, as users name it.
struct HeadOperation {
  const char* name;
  const char* done;  ///< "z of one head ..."
  const char* definition;
};

const std::vector<HeadOperation>& head_operations();
/// The one of that name, which is there.
const HeadOperation& head_operation(const std::string& name);

}  // namespace mechsweep
