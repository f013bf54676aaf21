#include "store/stored_stages.h"

#include <cstring>
#include <limits>
#include <span>

#include "core/error.h"
#include "core/hash.h"

namespace mechsweep {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

const char* state_name(UnitState state) {
  switch (state) {
    case UnitState::empty:
      return "not computed";
    case UnitState::done:
      return "done";
    case UnitState::failed:
      return "failed";
    case UnitState::crashed:
      return "crashed";
    case UnitState::quarantined:
      return "quarantined";
    case UnitState::skipped:
      return "skipped";
  }
  return "unknown";
}

template <typename T>
void widen(std::span<const uint8_t> bytes, std::span<double> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = static_cast<double>(value);
  }
}

void widen_elements(ElementType type, std::span<const uint8_t> bytes, std::span<double> values) {
  switch (type) {
    case ElementType::f64:
      return widen<double>(bytes, values);
    case ElementType::f32:
      return widen<float>(bytes, values);
    case ElementType::i32:
      return widen<int32_t>(bytes, values);
    case ElementType::u8:
      return widen<uint8_t>(bytes, values);
  }
}

}  // namespace

StoredStages::StoredStages(const Plan& plan, const FileLayout& layout, const UnitSource& source,
                           const std::vector<std::string>& unit_names)
    : plan_(plan), layout_(layout), source_(source), unit_names_(unit_names), map_(layout) {
  for (size_t unit = 0; unit < layout.units.size(); ++unit)
    units_[{layout.units[unit].run, layout.units[unit].stage}].push_back(static_cast<int>(unit));
}

StoredStage StoredStages::read(const std::string& run_id, int stage) const {
  int run = -1;
  for (size_t i = 0; i < plan_.runs.size(); ++i)
    if (plan_.runs[i].id == run_id) run = static_cast<int>(i);
  const auto units = units_.find({run, stage});
  if (units == units_.end())
    fail(ErrorKind::internal, "there is no stage {} of run '{}' to read", stage, run_id);
  StoredStage stored;
  for (const ArraySpec& array : plan_.runs[run].arrays)
    if (array.stage == stage)
      stored.arrays.push_back(
          {array.name, array.axes, std::vector<double>(static_cast<size_t>(array.size()), kNaN)});
  std::map<int32_t, size_t> places;  // of datasets among these arrays
  for (const TargetDataset& target : layout_.targets)
    if (target.run == run && target.stage == stage) places.emplace(target.dataset, places.size());
  for (const int unit : units->second) read_unit(unit, stored, places);
  return stored;
}

void StoredStages::read_unit(int unit, StoredStage& stage,
                             const std::map<int32_t, size_t>& places) const {
  const JournalEntry entry = source_.read_entry(unit);
  if (entry.state != UnitState::done) {
    stage.missing.push_back(fmt::format("{} ({})", unit_names_[unit], state_name(entry.state)));
    return;
  }
  const auto payload = source_.read_payload(unit);
  if (payload.size() != entry.payload_bytes || crc32c(payload) != entry.payload_crc)
    fail(ErrorKind::resource,
         "unit {} is done, but what can be read of it is not what was written: the file system "
         "does not show one process what another has written; try `mechsweep selftest --io FOLDER` "
         "there, or use one node",
         unit_names_[unit]);
  std::span<const uint8_t> rest = payload;
  const UnitSpec& spec = layout_.units[unit];
  for (const TargetDataset* target : map_.targets(spec)) {
    const DatasetSpec& dataset = layout_.datasets[target->dataset];
    StoredArray& array = stage.arrays[places.at(target->dataset)];
    for (const Segment& segment : map_.segments(spec, *target)) {
      const auto bytes = static_cast<size_t>(segment.count * dataset.element_bytes());
      widen_elements(dataset.type, rest.first(bytes),
                     std::span(array.values).subspan(segment.offset, segment.count));
      rest = rest.subspan(bytes);
    }
  }
}

}  // namespace mechsweep
