#include "experiments/vector_files.h"

#include <algorithm>
#include <cmath>

#include <fmt/ranges.h>

#include "core/error.h"
#include "core/text_file.h"
#include "model/safetensors_header.h"
#include "model/tensor_files.h"

namespace mechsweep {

namespace {

/// Far above any model's width; keeps a wrong tensor from filling memory.
constexpr int64_t kMostValues = int64_t{1} << 24;

std::unique_ptr<TensorSource> open_file(const std::string& path) {
  std::vector<InputFile> inputs;
  inputs.emplace_back(path);
  SafetensorsHeader header = read_safetensors_header(inputs.front());
  return std::make_unique<FileTensorSource>(std::move(inputs), std::move(header.tensors),
                                            std::move(header.unreadable));
}

std::vector<float> read_vector(const TensorSource& source, const std::string& path,
                               const std::string& tensor) {
  const TensorInfo& info = source.require(tensor);
  const int64_t long_sides =
      std::count_if(info.shape.begin(), info.shape.end(), [](int64_t side) { return side != 1; });
  const auto count = checked_values(info.shape);
  if (long_sides > 1 || !count || *count < 1 || *count > kMostValues)
    fail(ErrorKind::input, "{}: tensor {} has the shape [{}] and is no vector; name one", path,
         printable(tensor), fmt::join(info.shape, ", "));
  std::vector<float> values(*count);
  source.read_rows(tensor, 0, info.shape.empty() ? 1 : info.shape.front(), values.data());
  if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }))
    fail(ErrorKind::input, "{}: tensor {} has values that are not finite", path, printable(tensor));
  return values;
}

}  // namespace

std::shared_ptr<const std::vector<float>> VectorFiles::load(const std::string& file,
                                                            const std::string& tensor) {
  const std::string path = resolve_path(folder_, file);
  auto& values = known_[{path, tensor}];
  if (values) return values;
  auto& source = sources_[path];
  if (!source) source = open_file(path);
  values = std::make_shared<const std::vector<float>>(read_vector(*source, path, tensor));
  return values;
}

}  // namespace mechsweep
