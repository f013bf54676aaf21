#pragma once

namespace mechsweep {

/// Version of the results file: datasets, their meaning, and how units are cut
/// (docs/results-file.md). Part of every file's key.
inline constexpr int kFormatVersion = 1;

}  // namespace mechsweep
