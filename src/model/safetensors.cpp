#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/json_text.h"
#include "model/json_file.h"
#include "model/safetensors_header.h"
#include "model/tensor_files.h"

namespace mechsweep {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

std::unique_ptr<TensorSource> open_single(const fs::path& path) {
  std::vector<InputFile> inputs;
  inputs.emplace_back(path.string());
  SafetensorsHeader header = read_safetensors_header(inputs.front());
  return std::make_unique<FileTensorSource>(std::move(inputs), std::move(header.tensors),
                                            std::move(header.unreadable));
}

/// A shard's file name must stay inside the checkpoint's folder: an index is a download, and must
/// not make us open anything else. (The file itself may be a link: download caches use them.)
bool stays_inside(const std::string& shard) {
  const fs::path path(shard);
  if (shard.empty() || shard.find('\0') != std::string::npos || path.is_absolute()) return false;
  return std::none_of(path.begin(), path.end(), [](const fs::path& part) {
    return part.empty() || part == "." || part == "..";
  });
}

/// Shard file name to the tensors that the index expects in it.
using ShardMap = std::map<std::string, std::vector<std::string>>;

ShardMap read_index(const InputFile& index) {
  index.refuse_lfs_pointer();
  const Json json = read_json(index, 0, index.size_bytes(), "the index");
  const auto weights = json.is_object() ? json.find("weight_map") : json.end();
  if (weights == json.end() || !weights->is_object() || weights->empty()) {
    index.refuse("the index has no 'weight_map' that names tensors; fetch it again");
  }
  ShardMap shards;
  for (const auto& [name, shard] : weights->items()) {
    if (!shard.is_string() || !stays_inside(shard.get_ref<const std::string&>())) {
      index.refuse(
          fmt::format("the index places tensor {} in {}, which is not a file inside its "
                      "folder; fetch the index again",
                      printable(name), show_json(shard)));
    }
    shards[shard.get<std::string>()].push_back(name);
  }
  return shards;
}

/// Moves the tensors that the index places in this shard from its header into the result.
void take_tensors(const InputFile& shard, SafetensorsHeader header,
                  const std::vector<std::string>& expected, size_t file_number,
                  SafetensorsHeader& all) {
  std::map<std::string, bool> found;
  for (const std::string& name : expected) found.emplace(name, false);
  for (StoredTensor& tensor : header.tensors) {
    const auto place = found.find(tensor.info.name);
    if (place == found.end()) continue;
    place->second = true;
    tensor.file = file_number;
    all.tensors.push_back(std::move(tensor));
  }
  for (auto& [name, type] : header.unreadable) {
    const auto place = found.find(name);
    if (place == found.end()) continue;
    place->second = true;
    all.unreadable.emplace(name, std::move(type));
  }
  for (const auto& [name, there] : found) {
    if (there) continue;
    shard.refuse(fmt::format("the shard lacks tensor {}, which {} places in it; fetch both again",
                             printable(name), kIndexFile));
  }
}

std::unique_ptr<TensorSource> open_sharded(const fs::path& folder) {
  const InputFile index((folder / kIndexFile).string());
  std::vector<InputFile> inputs;
  SafetensorsHeader all;
  for (const auto& [shard, names] : read_index(index)) {
    const fs::path path = folder / shard;
    if (!is_there(path)) {
      index.refuse(fmt::format("the index names shard {}, which is not in the folder; fetch it",
                               printable(shard)));
    }
    inputs.emplace_back(path.string());
    take_tensors(inputs.back(), read_safetensors_header(inputs.back()), names, inputs.size() - 1,
                 all);
  }
  return std::make_unique<FileTensorSource>(std::move(inputs), std::move(all.tensors),
                                            std::move(all.unreadable),
                                            std::vector<std::string>{index.path()});
}

}  // namespace

std::unique_ptr<TensorSource> open_safetensors(const std::string& folder) {
  const fs::path path(folder);
  if (is_there(path / kSingleFile)) return open_single(path / kSingleFile);
  if (is_there(path / kIndexFile)) return open_sharded(path);
  throw Error(ErrorKind::input,
              fmt::format("the folder has neither {} nor {}; name a folder with safetensors "
                          "weights, or a .gguf file",
                          kSingleFile, kIndexFile),
              {folder});
}

}  // namespace mechsweep
