#pragma once

#include "core/config_node.h"
#include "experiments/intervention_file.h"
#include "experiments/vector_files.h"

namespace mechsweep {

/// One entry of a line's `edits`. Records problems; what is returned may be used only when there
/// were none.
ListedEdit read_listed_edit(const ConfigNode& node, VectorFiles& vectors, Problems& problems);

}  // namespace mechsweep
