#include "store/unit_table.h"

#include <cstring>
#include <limits>
#include <map>
#include <utility>

#include "core/error.h"
#include "core/hash.h"

namespace mechsweep {
namespace {

DatasetSpec table_dataset(const std::string& path, ElementType type, std::vector<int64_t> shape) {
  DatasetSpec spec;
  spec.path = path;
  spec.type = type;
  spec.shape = std::move(shape);
  return spec;
}

DatasetSpec column(const std::string& path, const std::vector<int64_t>& values) {
  DatasetSpec spec = table_dataset(path, ElementType::i32, {std::ssize(values)});
  std::vector<int32_t> narrow;
  for (const int64_t value : values) {
    if (value < 0 || value > std::numeric_limits<int32_t>::max()) {
      fail(ErrorKind::internal, "{} in {} does not fit into int32", value, path);
    }
    narrow.push_back(static_cast<int32_t>(value));
  }
  const auto bytes = bytes_of(std::span<const int32_t>(narrow));
  spec.content.assign(bytes.begin(), bytes.end());
  return spec;
}

template <typename Items, typename Get>
DatasetSpec column_of(const std::string& path, const Items& items, Get get) {
  std::vector<int64_t> values;
  for (const auto& item : items) values.push_back(get(item));
  return column(path, values);
}

template <typename T>
std::vector<T> values_of(const DatasetSpec& spec, ElementType type, size_t count) {
  if (spec.type != type || spec.text_size > 0 || spec.content.size() != count * sizeof(T)) {
    fail(ErrorKind::input, "{} has not the type and size that it must have; the file is damaged",
         spec.path);
  }
  std::vector<T> values(count);
  std::memcpy(values.data(), spec.content.data(), spec.content.size());
  return values;
}

}  // namespace

std::vector<DatasetSpec> unit_table_datasets(const FileLayout& layout) {
  const auto& units = layout.units;
  DatasetSpec ids = table_dataset("/units/id", ElementType::u8, {std::ssize(units), 32});
  DatasetSpec flops = table_dataset("/units/flops", ElementType::f64, {std::ssize(units)});
  for (const auto& unit : units) {
    ids.content.insert(ids.content.end(), unit.id.begin(), unit.id.end());
    const auto bytes = bytes_of(std::span<const double>(&unit.flops, 1));
    flops.content.insert(flops.content.end(), bytes.begin(), bytes.end());
  }
  std::vector<std::string> paths;
  for (const auto& target : layout.targets) {
    paths.push_back(layout.datasets[static_cast<size_t>(target.dataset)].path);
  }
  DatasetSpec names = table_dataset("/targets/dataset", ElementType::u8, {std::ssize(paths)});
  names.text_size = longest_text(paths);
  names.content = pack_texts(paths, names.text_size);
  const auto& targets = layout.targets;
  return {
      ids,
      flops,
      column_of("/units/run", units, [](const UnitSpec& u) { return u.run; }),
      column_of("/units/stage", units, [](const UnitSpec& u) { return u.stage; }),
      column_of("/units/prompt_begin", units, [](const UnitSpec& u) { return u.prompts.begin; }),
      column_of("/units/prompt_end", units, [](const UnitSpec& u) { return u.prompts.end; }),
      column_of("/units/first_begin", units, [](const UnitSpec& u) { return u.first.begin; }),
      column_of("/units/first_end", units, [](const UnitSpec& u) { return u.first.end; }),
      column_of("/targets/run", targets, [](const TargetDataset& t) { return t.run; }),
      column_of("/targets/stage", targets, [](const TargetDataset& t) { return t.stage; }),
      column_of("/targets/split_by_first", targets,
                [](const TargetDataset& t) { return t.split_by_first ? 1 : 0; }),
      names,
  };
}

std::vector<UnitSpec> load_units(const LoadDataset& load) {
  const DatasetSpec ids = load("/units/id");
  if (ids.type != ElementType::u8 || ids.shape.size() != 2 || ids.shape[1] != 32) {
    fail(ErrorKind::input, "/units/id is not uint8 [unit, 32]; the file is damaged");
  }
  const auto count = static_cast<size_t>(ids.shape[0]);
  const auto ints = [&](const char* path) {
    return values_of<int32_t>(load(path), ElementType::i32, count);
  };
  const auto run = ints("/units/run");
  const auto stage = ints("/units/stage");
  const auto prompt_begin = ints("/units/prompt_begin");
  const auto prompt_end = ints("/units/prompt_end");
  const auto first_begin = ints("/units/first_begin");
  const auto first_end = ints("/units/first_end");
  const auto flops = values_of<double>(load("/units/flops"), ElementType::f64, count);
  std::vector<UnitSpec> units(count);
  for (size_t i = 0; i < count; ++i) {
    std::memcpy(units[i].id.data(), ids.content.data() + 32 * i, 32);
    units[i].run = run[i];
    units[i].stage = stage[i];
    units[i].prompts = {prompt_begin[i], prompt_end[i]};
    units[i].first = {first_begin[i], first_end[i]};
    units[i].flops = flops[i];
  }
  return units;
}

std::vector<TargetDataset> load_targets(const LoadDataset& load,
                                        const std::vector<DatasetSpec>& datasets) {
  const DatasetSpec names = load("/targets/dataset");
  if (names.text_size == 0 || names.shape.size() != 1) {
    fail(ErrorKind::input, "/targets/dataset is not a list of texts; the file is damaged");
  }
  const auto paths = unpack_texts(names.content, names.text_size);
  const auto ints = [&](const char* path) {
    return values_of<int32_t>(load(path), ElementType::i32, paths.size());
  };
  const auto run = ints("/targets/run");
  const auto stage = ints("/targets/stage");
  const auto split = ints("/targets/split_by_first");
  std::map<std::string, int32_t> index;
  for (size_t i = 0; i < datasets.size(); ++i) index[datasets[i].path] = static_cast<int32_t>(i);
  std::vector<TargetDataset> targets;
  for (size_t i = 0; i < paths.size(); ++i) {
    const auto found = index.find(paths[i]);
    if (found == index.end()) {
      fail(ErrorKind::input, "dataset {} is missing, though units fill it; the file is damaged",
           paths[i]);
    }
    targets.push_back({run[i], stage[i], found->second, split[i] != 0});
  }
  return targets;
}

}  // namespace mechsweep
