#pragma once

#include <string>

namespace mechsweep {

/// Prints what was understood of a model folder or GGUF file, and what in it decides nothing.
/// Reads headers only. Throws Error{input} as open_checkpoint does.
void inspect_model(const std::string& path);

/// One line of an inspection: a name and its value.
void print_line(const std::string& name, const std::string& value);

}  // namespace mechsweep
