#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config_node.h"
#include "core/json.h"
#include "experiments/activation_sums.h"
#include "experiments/array_spec.h"

namespace mechsweep {

/// More draws of donors than anybody wants.
inline constexpr int64_t kMostDraws = 100'000;

/// What is done to what is ablated: the keys `operation`, `mean_over` and `draws`.
struct OperationChoice {
  std::vector<std::string> operations;  ///< more than one: an axis
  bool operation_axis = false;          ///< given as a list, be it of one
  MeanOver mean_over = MeanOver::own_template;
  int64_t draws = 1;  ///< of resample; more than one: an axis

  [[nodiscard]] bool uses(const std::string& operation) const;
  /// The required key `operation`: one of `known`, or a list of them without repeats.
  void read_operations(MapReader& reader, const std::vector<std::string>& known);
  /// The optional keys of single operations; after read_operations().
  void read_operation_keys(MapReader& reader);
  /// The keys, to be merged into an experiment's parameters.
  [[nodiscard]] Json operations_json() const;
  /// Adds what tells which operations they are; `definition_of` gives each one's.
  template <typename DefinitionOf>
  void describe_operations(Json& attributes, DefinitionOf definition_of) const {
    attributes.update(operations_json());
    for (const std::string& name : operations)
      attributes["definition_" + name] = definition_of(name);
  }
  /// The axes that come after those of the places.
  [[nodiscard]] std::vector<Axis> operation_axes() const;
};

}  // namespace mechsweep
