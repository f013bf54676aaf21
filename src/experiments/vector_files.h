#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/tensor_source.h"

namespace mechsweep {

/// Vectors out of safetensors files; each file is opened and each tensor read once.
class VectorFiles {
 public:
  /// `folder`: relative paths are relative to it.
  explicit VectorFiles(std::string folder) : folder_(std::move(folder)) {}

  /// The values of a tensor with one dimension (others of size 1 do not count). The same tensor is
  /// the same object. Throws Error{input} naming the file when it cannot be read, has no such
  /// tensor, or the tensor is no vector or has values that are not finite.
  std::shared_ptr<const std::vector<float>> load(const std::string& file,
                                                 const std::string& tensor);

 private:
  std::string folder_;
  std::map<std::string, std::unique_ptr<TensorSource>> sources_;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<const std::vector<float>>> known_;
};

}  // namespace mechsweep
