#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/json.h"

// Files of interventions and vectors, in a folder of their own.

namespace mechsweep::test_experiments {

/// A folder of its own that is removed with everything in it.
class Folder {
 public:
  Folder() {
    std::string name =
        (std::filesystem::temp_directory_path() / "mechsweep-experiments-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(file(name), std::ios::binary) << text;
    return file(name);
  }

  /// A safetensors file with one fp32 tensor: 8 bytes of header size, a JSON header, the data.
  std::string write_tensor(const std::string& name, const std::string& tensor,
                           const std::vector<int64_t>& shape,
                           const std::vector<float>& values) const {
    const Json header = {{tensor,
                          {{"dtype", "F32"},
                           {"shape", shape},
                           {"data_offsets", {0, values.size() * sizeof(float)}}}}};
    const std::string text = header.dump();
    const uint64_t size = text.size();
    std::string bytes(sizeof(size), '\0');
    std::memcpy(bytes.data(), &size, sizeof(size));
    bytes += text;
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    return write(name, bytes);
  }

 private:
  std::string path_;
};

}  // namespace mechsweep::test_experiments
