#pragma once

#include <string>

namespace mechsweep {

/// Whether a text is made of letters, digits, '_', '-' and '.', and not empty: what ids and the
/// labels of a grid are, which become names of files and of HDF5 groups.
bool has_id_characters(const std::string& text);

}  // namespace mechsweep
