#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/config_node.h"
#include "core/json.h"
#include "engine/intervention.h"
#include "experiments/array_spec.h"
#include "prompts/prompt.h"

namespace mechsweep {

/// `positions:` of an experiment. Everything but `each` is one joint edit.
struct PositionSelection {
  enum class Kind { all, each, targets, span, list };
  Kind kind = Kind::all;
  std::string span_name;
  std::vector<int64_t> list;  ///< negative ones count from the end

  [[nodiscard]] Json to_json() const;
  /// For people: "all positions", "each position", "the positions of span 'swapped'".
  [[nodiscard]] std::string describe() const;
  /// The positions of the joint edit on one prompt, ascending, without repeats. Throws Error{input}
  /// when the prompt has no such span or position. Not for `each`.
  [[nodiscard]] std::vector<int32_t> resolve(const Prompt& prompt) const;
};
/// The required key `positions`.
PositionSelection parse_positions(MapReader& reader);
/// The axis that `each` makes: as long as the longest prompt.
Axis position_axis(const PromptSet& prompts);

/// `layers:`; absent or `all` means every layer. Accepted: all, 3, 8..15 (both ends), lists of
/// those.
struct LayerSelection {
  bool all = true;
  std::vector<int64_t> list;  ///< ascending, without repeats

  [[nodiscard]] Json to_json() const;
  /// Ascending layer numbers; throws Error{usage} when the model lacks one.
  [[nodiscard]] std::vector<int32_t> resolve(int n_layers) const;
};
LayerSelection parse_layers(MapReader& reader);

/// A head by its name: layer 9, head 5 is L9H5.
struct HeadName {
  int32_t layer = 0;
  int32_t head = 0;
  [[nodiscard]] std::string text() const;
  auto operator<=>(const HeadName&) const = default;
};
/// The head of a name that was made by HeadName::text().
HeadName head_of_name(const std::string& name);

/// `heads:`; absent or `all` means one edit for each head of the chosen layers; a list of names one
/// edit for each; `sets` one joint edit per set, or with `all_but` one of every head but the set's.
struct HeadSelection {
  enum class Kind { all, list, sets };
  Kind kind = Kind::all;
  std::vector<HeadName> list;
  std::vector<std::pair<std::string, std::vector<HeadName>>> sets;
  bool all_but = false;  ///< of sets: what is edited is the rest of the model's heads

  [[nodiscard]] Json to_json() const;
  /// Throws Error{usage} when the model lacks a named head of the site, or `all_but` leaves none.
  void check(Site site, const ModelConfig& model) const;
};
HeadSelection parse_heads(MapReader& reader);

/// The optional key `downstream`: recompute (default) or freeze.
Downstream parse_downstream(MapReader& reader);
/// For people: "downstream recomputed", "everything else frozen (direct effects)".
std::string describe_downstream(Downstream downstream);

}  // namespace mechsweep
