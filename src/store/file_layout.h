#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/group.h"
#include "core/json.h"
#include "experiments/array_spec.h"
#include "experiments/format_version.h"

namespace mechsweep {

/// Values of the root attribute `format`.
inline constexpr std::string_view kResultsFormat = "mechsweep-results";
inline constexpr std::string_view kSummaryFormat = "mechsweep-summary";

/// An HDF5 group and its attributes (a JSON object: strings, numbers, booleans, non-empty arrays of
/// one of those; anything else is stored as JSON text). Groups that are only parents need no entry.
struct GroupSpec {
  std::string path;
  Json attributes = Json::object();
};

/// A dataset, at its final size from the start.
struct DatasetSpec {
  std::string path;
  ElementType type = ElementType::f64;
  int64_t text_size = 0;  ///< > 0: fixed-length UTF-8 strings of that many bytes; `type` is ignored
  std::vector<int64_t> shape;
  /// Per dimension the path of its dimension scale (a one-dimensional dataset); empty: none at all.
  /// netCDF readers want a scale in the dataset's own group or in one above it, and for all axes.
  std::vector<std::string> scales;
  Json attributes = Json::object();
  /// Written when the file is created. Empty: filled by units, prefilled with NaN (integers: all
  /// bits set, so -1 for int32 and 255 for uint8).
  std::vector<uint8_t> content;

  [[nodiscard]] int64_t element_bytes() const;
  [[nodiscard]] int64_t elements() const;  ///< product of the shape; 1 for a scalar
};

/// One unit as the file knows it.
struct UnitSpec {
  std::array<uint8_t, 32> id{};  ///< SHA-256 of its canonical JSON
  int32_t run = 0;
  int32_t stage = 0;
  Range prompts;  ///< {0, 0}: the one unit of a stage that decides; it fills its datasets whole
  Range first;    ///< on the first intervention axis; {0, 0} when the stage has none
  double flops = 0.0;
  bool operator==(const UnitSpec&) const = default;
};

/// A dataset that units of a (run, stage) fill. Its shape is [prompt, first axis if
/// `split_by_first`, ...]. Datasets that are not split belong to the units whose `first` range
/// begins at 0. A unit's payload is, for each of its target datasets in order and every prompt in
/// order, the contiguous segment of that prompt's row that its `first` range covers (or the whole
/// row). A unit without prompts fills its targets whole. That rule is all that verify needs.
struct TargetDataset {
  int32_t run = 0;
  int32_t stage = 0;
  int32_t dataset = 0;  ///< index into FileLayout::datasets
  bool split_by_first = false;
  bool operator==(const TargetDataset&) const = default;
};

/// Everything about a file that is known before anything runs.
struct FileLayout {
  /// Of the root: config, key, ...; format and format_version are filled in when missing.
  Json attributes = Json::object();
  std::vector<GroupSpec> groups;  ///< parents before children
  std::vector<DatasetSpec> datasets;
  std::vector<UnitSpec> units;  ///< in plan order
  std::vector<TargetDataset> targets;
};

/// A contiguous piece of a dataset, in elements.
struct Segment {
  int32_t dataset = 0;
  int64_t offset = 0;
  int64_t count = 0;
  bool operator==(const Segment&) const = default;
};

/// Where units lie in the datasets of a layout, which must outlive this. Finds the targets of a
/// (run, stage) without a search through all of them.
class SegmentMap {
 public:
  explicit SegmentMap(const FileLayout& layout);

  /// The unit's targets, in payload order.
  [[nodiscard]] std::vector<const TargetDataset*> targets(const UnitSpec& unit) const;
  /// The unit's part of one target: one segment per prompt, neighbours in the file joined.
  [[nodiscard]] std::vector<Segment> segments(const UnitSpec& unit,
                                              const TargetDataset& target) const;
  /// The segments of all targets of a unit, in payload order.
  [[nodiscard]] std::vector<Segment> segments(const UnitSpec& unit) const;
  [[nodiscard]] int64_t payload_bytes(const UnitSpec& unit) const;

 private:
  const FileLayout* layout_;
  std::map<std::pair<int32_t, int32_t>, std::vector<const TargetDataset*>> by_stage_;
};

/// The segments of a unit, in payload order.
std::vector<Segment> unit_segments(const FileLayout& layout, const UnitSpec& unit);

/// Checks that the layout makes sense: unique absolute paths, contents of the right size, a dataset
/// is filled either at creation or by units, units and targets within the shapes. Throws
/// Error{internal} with the first fault.
void check_layout(const FileLayout& layout);

/// Texts as the content of a text dataset, each padded with zeros to `text_size` bytes, which must
/// not be less than longest_text(texts).
std::vector<uint8_t> pack_texts(const std::vector<std::string>& texts, int64_t text_size);
/// Bytes of the longest text, at least 1.
int64_t longest_text(const std::vector<std::string>& texts);
/// The reverse of pack_texts.
std::vector<std::string> unpack_texts(const std::vector<uint8_t>& bytes, int64_t text_size);

}  // namespace mechsweep
