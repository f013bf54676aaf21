#pragma once

#include <string>
#include <vector>

namespace mechsweep {

/// Mends the metadata of a results or summary file, and its STEM.meta, from each other. One process
/// alone; holds STEM.lock meanwhile. Returns what was done, one sentence each.
///
/// - FILE cannot be read, or differs from a STEM.meta of the same creation: its metadata are
/// written
///   back from STEM.meta, after a trial on the side showed that they then make a whole file, and
///   that STEM.meta is this file's: finished units have their checksums where it says they lie.
/// - FILE is as its own layout hash says, but STEM.meta is missing, damaged or another file's: it
/// is
///   made anew from FILE.
///
/// Throws Error{resource} when a run holds the lock or the disk fails, Error{input} when nothing
/// can be restored; FILE is then as it was.
std::vector<std::string> restore_metadata(const std::string& path);

}  // namespace mechsweep
