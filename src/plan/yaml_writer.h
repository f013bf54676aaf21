#pragma once

#include <string>

#include "core/config_node.h"

namespace mechsweep {

/// The tree as YAML, which parse_yaml reads back as the same tree, positions apart: texts that were
/// quoted stay so. Maps in block style, lists of scalars in one line.
std::string write_yaml(const ConfigNode& root);

}  // namespace mechsweep
