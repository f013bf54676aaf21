#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/group.h"
#include "core/json.h"

namespace mechsweep {

/// Element types of datasets: metrics f64, ids i32, activations and logits f32, little-endian.
enum class ElementType { f64, f32, i32, u8 };
int64_t element_size(ElementType type);
std::string_view element_type_name(ElementType type);

/// One axis of an array. Numeric coordinates by default 0..size-1; `labels`, when there are any,
/// name the places instead (sets, heads given by name).
struct Axis {
  std::string name;  ///< "prompt", "layer", "head", "position", "target", "offset", ...
  int64_t size = 0;
  std::vector<int32_t> coordinates;  ///< empty: 0..size-1
  std::vector<std::string> labels;   ///< empty: numeric
  bool operator==(const Axis&) const = default;
};

/// One dataset of a run. The first axis is the prompt; when `split_by_first` the second is the
/// first intervention axis, along which units of the stage are cut. Arrays that are not split are
/// filled by the units that begin that axis. So a unit owns at most one contiguous segment per
/// array and prompt. The one unit of a stage that decides fills its arrays whole, whatever their
/// axes.
struct ArraySpec {
  std::string name;  ///< path below the run: "loss", "base/loss"
  ElementType type = ElementType::f64;
  std::vector<Axis> axes;
  int stage = 0;  ///< the stage whose units fill it
  bool split_by_first = false;
  Json attributes = Json::object();  ///< long_name, units, definition

  [[nodiscard]] int64_t size() const;
  /// Elements of one prompt's row.
  [[nodiscard]] int64_t row_size() const;
};

/// The part of one array that a unit fills: [prompts, first range or everything, rest], row-major.
struct ArrayBlock {
  int array = 0;               ///< index into the run's arrays
  std::vector<uint8_t> bytes;  ///< little-endian elements
};

/// What computing one unit gives: a block for every array that it fills, in the arrays' order.
struct UnitResult {
  std::vector<ArrayBlock> blocks;
  /// Numbers that were computed and came out as NaN or infinite. Places that do not apply (past a
  /// prompt's end) are NaN as well, and do not count.
  int64_t non_finite = 0;
  /// A decision leaves the unit out: it has no blocks and is journalled as skipped.
  bool skipped = false;
};

/// An array as it was stored, widened to double (i32 becomes whole numbers), row-major.
struct StoredArray {
  std::string name;
  std::vector<Axis> axes;
  std::vector<double> values;
};

/// A unit that a decision left out: it holds no numbers, and none are missing.
struct LeftOutUnit {
  Range prompts;
  Range first;
};

/// What later steps (export, reduce) know of a run: only what the results file says, so that they
/// need neither the model nor the config.
struct StoredRun {
  std::string id;    ///< EXPERIMENT/MODEL/PROMPTS
  std::string kind;  ///< experiment kind
  Json attributes;   ///< the run group's attributes
  std::vector<StoredArray> arrays;
  std::vector<std::string> templates;   ///< per prompt, "" is its own cluster
  std::vector<int32_t> prompt_lengths;  ///< per prompt, in tokens
  std::vector<std::string> prompt_ids;  ///< per prompt
  /// Per prompt: 1 when every unit that holds it is done or left out by a decision, and some are
  /// done.
  std::vector<uint8_t> complete;
  std::vector<LeftOutUnit> left_out;
  int vocab_size = 0;

  /// Null pointer when the run has no such array.
  [[nodiscard]] const StoredArray* find(const std::string& name) const;
};

}  // namespace mechsweep
