#include "store/file_layout.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <set>

#include "core/error.h"

namespace mechsweep {

int64_t DatasetSpec::element_bytes() const {
  return text_size > 0 ? text_size : element_size(type);
}

int64_t DatasetSpec::elements() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

SegmentMap::SegmentMap(const FileLayout& layout) : layout_(&layout) {
  for (const auto& target : layout.targets) {
    by_stage_[{target.run, target.stage}].push_back(&target);
  }
}

std::vector<const TargetDataset*> SegmentMap::targets(const UnitSpec& unit) const {
  std::vector<const TargetDataset*> all;
  const auto found = by_stage_.find({unit.run, unit.stage});
  if (found == by_stage_.end()) return all;
  for (const TargetDataset* target : found->second)
    if (target->split_by_first || unit.first.begin == 0) all.push_back(target);
  return all;
}

std::vector<Segment> SegmentMap::segments(const UnitSpec& unit, const TargetDataset& target) const {
  const DatasetSpec& dataset = layout_->datasets[static_cast<size_t>(target.dataset)];
  const auto& shape = dataset.shape;
  if (unit.prompts.size() == 0) {
    const int64_t whole = dataset.elements();
    return whole > 0 ? std::vector<Segment>{{target.dataset, 0, whole}} : std::vector<Segment>();
  }
  int64_t row = 1;
  for (size_t axis = 1; axis < shape.size(); ++axis) row *= shape[axis];
  int64_t skipped = 0;
  int64_t count = row;
  if (target.split_by_first) {
    const int64_t step = shape[1] == 0 ? 0 : row / shape[1];
    skipped = unit.first.begin * step;
    count = unit.first.size() * step;
  }
  std::vector<Segment> out;
  if (count == 0) return out;
  for (int64_t prompt = unit.prompts.begin; prompt < unit.prompts.end; ++prompt) {
    const int64_t offset = prompt * row + skipped;
    if (!out.empty() && out.back().offset + out.back().count == offset) {
      out.back().count += count;
    } else {
      out.push_back({target.dataset, offset, count});
    }
  }
  return out;
}

std::vector<Segment> SegmentMap::segments(const UnitSpec& unit) const {
  std::vector<Segment> out;
  for (const TargetDataset* target : targets(unit)) {
    const auto part = segments(unit, *target);
    out.insert(out.end(), part.begin(), part.end());
  }
  return out;
}

int64_t SegmentMap::payload_bytes(const UnitSpec& unit) const {
  int64_t bytes = 0;
  for (const Segment& segment : segments(unit)) {
    bytes +=
        segment.count * layout_->datasets[static_cast<size_t>(segment.dataset)].element_bytes();
  }
  return bytes;
}

std::vector<Segment> unit_segments(const FileLayout& layout, const UnitSpec& unit) {
  return SegmentMap(layout).segments(unit);
}

namespace {

void check_path(const std::string& path, std::set<std::string>& seen) {
  const bool plain = path.size() > 1 && path[0] == '/' && path.back() != '/' &&
                     path.find("//") == std::string::npos && path.find('\0') == std::string::npos;
  if (!plain) fail(ErrorKind::internal, "'{}' is not an absolute path in an HDF5 file", path);
  if (!seen.insert(path).second) fail(ErrorKind::internal, "the path {} is there twice", path);
}

void check_dataset(const DatasetSpec& dataset, bool is_target) {
  for (const int64_t size : dataset.shape) {
    if (size < 0) fail(ErrorKind::internal, "dataset {} has a negative size", dataset.path);
  }
  const int64_t bytes = dataset.elements() * dataset.element_bytes();
  const bool has_content = !dataset.content.empty();
  if (has_content && std::ssize(dataset.content) != bytes) {
    fail(ErrorKind::internal, "dataset {} has {} bytes of content but needs {}", dataset.path,
         dataset.content.size(), bytes);
  }
  if (has_content && is_target) {
    fail(ErrorKind::internal, "dataset {} has content, yet units fill it too", dataset.path);
  }
  if (!has_content && !is_target && bytes > 0) {
    fail(ErrorKind::internal, "dataset {} has no content and no unit fills it", dataset.path);
  }
  if (is_target && (dataset.text_size > 0 || dataset.shape.empty())) {
    fail(ErrorKind::internal,
         "dataset {} is filled by units, so it needs numbers and a prompt axis", dataset.path);
  }
  if (!dataset.scales.empty() && dataset.scales.size() != dataset.shape.size()) {
    fail(ErrorKind::internal, "dataset {} has {} axes but {} scales", dataset.path,
         dataset.shape.size(), dataset.scales.size());
  }
  const auto missing = std::count(dataset.scales.begin(), dataset.scales.end(), "");
  if (missing != 0 && missing != std::ssize(dataset.scales)) {
    fail(ErrorKind::internal,
         "dataset {} has scales for some axes only, which netCDF readers call malformed",
         dataset.path);
  }
}

void check_scales(const FileLayout& layout) {
  std::map<std::string, const DatasetSpec*> by_path;
  for (const auto& dataset : layout.datasets) by_path[dataset.path] = &dataset;
  for (const auto& dataset : layout.datasets) {
    for (size_t axis = 0; axis < dataset.scales.size(); ++axis) {
      if (dataset.scales[axis].empty()) continue;
      const auto found = by_path.find(dataset.scales[axis]);
      if (found == by_path.end() || found->second->shape.size() != 1 ||
          found->second->shape[0] != dataset.shape[axis] || !found->second->scales.empty()) {
        fail(ErrorKind::internal,
             "axis {} of dataset {} needs a dimension scale of {} values at {}", axis, dataset.path,
             dataset.shape[axis], dataset.scales[axis]);
      }
    }
  }
}

bool inside(Range range, int64_t size) {
  return range.begin >= 0 && range.begin <= range.end && range.end <= size;
}

void check_units(const FileLayout& layout) {
  const SegmentMap map(layout);
  for (size_t unit = 0; unit < layout.units.size(); ++unit) {
    const UnitSpec& spec = layout.units[unit];
    if (!inside(spec.prompts, spec.prompts.end) || !inside(spec.first, spec.first.end)) {
      fail(ErrorKind::internal, "unit {} has a range that ends before it begins", unit);
    }
    for (const TargetDataset* target : map.targets(spec)) {
      const auto& shape = layout.datasets[static_cast<size_t>(target->dataset)].shape;
      if (!inside(spec.prompts, shape[0]) ||
          (target->split_by_first && !inside(spec.first, shape[1]))) {
        fail(ErrorKind::internal, "unit {} reaches beyond dataset {}", unit,
             layout.datasets[static_cast<size_t>(target->dataset)].path);
      }
    }
  }
}

}  // namespace

void check_layout(const FileLayout& layout) {
  std::set<int32_t> filled;
  for (const auto& target : layout.targets) {
    if (target.dataset < 0 || target.dataset >= std::ssize(layout.datasets)) {
      fail(ErrorKind::internal, "a target names dataset number {}, which is not there",
           target.dataset);
    }
    const auto& dataset = layout.datasets[static_cast<size_t>(target.dataset)];
    if (target.split_by_first && dataset.shape.size() < 2) {
      fail(ErrorKind::internal, "dataset {} is split along an axis that it does not have",
           dataset.path);
    }
    filled.insert(target.dataset);
  }
  std::set<std::string> paths;
  for (const auto& group : layout.groups) check_path(group.path, paths);
  for (size_t i = 0; i < layout.datasets.size(); ++i) {
    check_path(layout.datasets[i].path, paths);
    check_dataset(layout.datasets[i], filled.contains(static_cast<int32_t>(i)));
  }
  check_scales(layout);
  check_units(layout);
}

std::vector<uint8_t> pack_texts(const std::vector<std::string>& texts, int64_t text_size) {
  std::vector<uint8_t> out(texts.size() * static_cast<size_t>(text_size), 0);
  for (size_t i = 0; i < texts.size(); ++i) {
    ensure(std::ssize(texts[i]) <= text_size, "a text is longer than its dataset's strings");
    std::memcpy(out.data() + i * static_cast<size_t>(text_size), texts[i].data(), texts[i].size());
  }
  return out;
}

int64_t longest_text(const std::vector<std::string>& texts) {
  int64_t longest = 1;
  for (const auto& text : texts) longest = std::max(longest, static_cast<int64_t>(text.size()));
  return longest;
}

std::vector<std::string> unpack_texts(const std::vector<uint8_t>& bytes, int64_t text_size) {
  std::vector<std::string> out;
  for (int64_t begin = 0; begin + text_size <= std::ssize(bytes); begin += text_size) {
    std::string text(reinterpret_cast<const char*>(bytes.data()) + begin,
                     static_cast<size_t>(text_size));
    text.erase(text.find_last_not_of('\0') + 1);
    out.push_back(std::move(text));
  }
  return out;
}

}  // namespace mechsweep
