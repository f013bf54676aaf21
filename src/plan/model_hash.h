#pragma once

#include <string>
#include <vector>

#include "core/json.h"

namespace mechsweep {

/// A file that decides a model's numbers.
struct FileHash {
  std::string name;  ///< without its folder
  int64_t size_bytes = 0;
  std::string sha256;
};

/// SHA-256 of every file. Hashes are remembered in the user's cache folder (XDG_CACHE_HOME, else
/// ~/.cache; none: not remembered) by path, inode, size and modification time, since nobody wants
/// to read 141 GB at every requeue. Throws Error{input} when a file cannot be read.
std::vector<FileHash> hash_files(const std::vector<std::string>& paths);

/// One hash for all of them: SHA-256 over the canonical JSON of (name, SHA-256), sorted by name.
std::string model_hash(const std::vector<FileHash>& files);

Json to_json(const std::vector<FileHash>& files);
std::vector<FileHash> file_hashes_from_json(const Json& json);

}  // namespace mechsweep
