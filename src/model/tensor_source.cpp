#include "model/tensor_source.h"

#include <algorithm>

#include "core/error.h"
#include "core/thread_pool.h"
#include "model/tensor_files.h"

namespace mechsweep {

namespace {

// Values that a thread reads at a time: few enough to share out the tensors of small models, and
// otherwise enough for reads that suit a parallel file system.
constexpr int64_t kLeastPart = int64_t{1} << 17;
constexpr int64_t kMostPart = int64_t{1} << 22;

}  // namespace

int64_t TensorInfo::row_size() const {
  int64_t values = 1;
  for (size_t i = 1; i < shape.size(); ++i) values *= shape[i];
  return values;
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

void TensorSource::read_columns(const std::string& name, Range rows, Range columns,
                                float* out) const {
  const int64_t row_size = require(name).row_size();
  ensure(0 <= columns.begin && columns.begin <= columns.end && columns.end <= row_size,
         "columns are inside of the tensor");
  std::vector<float> row(static_cast<size_t>(row_size));
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    read_rows(name, r, r + 1, row.data());
    out = std::copy(row.begin() + columns.begin, row.begin() + columns.end, out);
  }
}

void read_rows(const TensorSource& source, const std::string& name, Range rows, ThreadPool& threads,
               float* out) {
  const int64_t row_size = source.require(name).row_size();
  const int64_t share = rows.size() * row_size / (4 * int64_t{threads.size()});
  const int64_t part_values = std::clamp(share, kLeastPart, kMostPart);
  const int64_t part_rows = std::max<int64_t>(part_values / std::max<int64_t>(row_size, 1), 1);
  const int64_t parts = (rows.size() + part_rows - 1) / part_rows;
  threads.parallel_for(parts, [&](int64_t part) {
    const int64_t begin = rows.begin + part * part_rows;
    const int64_t end = std::min(begin + part_rows, rows.end);
    source.read_rows(name, begin, end, out + (begin - rows.begin) * row_size);
  });
}

}  // namespace mechsweep
