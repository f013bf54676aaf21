#pragma once

#include <cstdint>
#include <string>

namespace mechsweep {

/// The byte of the superblock whose lowest bit HDF5 sets while a file is open for writing. The only
/// byte outside raw data that changes after creation.
inline constexpr int64_t kOpenMarkAt = 20;
/// Bytes of the superblock, at the file's beginning.
inline constexpr int64_t kSuperblockBytes = 96;

/// A first look at a file without HDF5, whose reader can hang or crash on damage: a regular file,
/// HDF5's signature, a superblock as we write it and at least the size that it speaks of, which is
/// returned. Throws Error{input} with one sentence that says which of these is not so.
int64_t check_file_head(const std::string& path);

}  // namespace mechsweep
