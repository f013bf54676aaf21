#include "model/tensor_source.h"

#include "core/error.h"
#include "model/tensor_files.h"

namespace mechsweep {

std::string_view storage_type_name(StorageType type) {
  switch (type) {
    case StorageType::f32:
      return "F32";
    case StorageType::f16:
      return "F16";
    case StorageType::bf16:
      return "BF16";
    case StorageType::q4_0:
      return "Q4_0";
    case StorageType::q4_1:
      return "Q4_1";
    case StorageType::q8_0:
      return "Q8_0";
  }
  ensure(false, "not a storage type");
  return {};
}

const TensorInfo* TensorSource::find(const std::string& name) const {
  for (const TensorInfo& tensor : tensors()) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

const TensorInfo& TensorSource::require(const std::string& name) const {
  if (const TensorInfo* tensor = find(name)) return *tensor;
  std::vector<std::string> names;
  for (const TensorInfo& tensor : tensors()) names.push_back(tensor.name);
  const std::string nearest = nearest_name(name, names);
  const std::string hint =
      nearest.empty() ? std::string()
                      : fmt::format(" (the nearest that is there is {})", printable(nearest));
  const std::vector<std::string> paths = files();
  throw Error(ErrorKind::input,
              fmt::format("the checkpoint has no tensor {}{}; is it complete and of the "
                          "architecture that its config names?",
                          printable(name), hint),
              paths.empty() ? std::vector<std::string>{} : std::vector{paths.front()});
}

}  // namespace mechsweep
