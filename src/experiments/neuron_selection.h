#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/config_node.h"
#include "core/json.h"
#include "model/model_config.h"

namespace mechsweep {

/// A neuron of an MLP by its name: layer 3, number 17 of mlp_hidden is L3N17.
struct NeuronName {
  int32_t layer = 0;
  int32_t neuron = 0;
  [[nodiscard]] std::string text() const;
  auto operator<=>(const NeuronName&) const = default;
};

/// `neurons:`: a list of names means one edit for each; `sets` one joint edit per set.
struct NeuronSelection {
  enum class Kind { list, sets };
  Kind kind = Kind::list;
  std::vector<NeuronName> list;
  std::vector<std::pair<std::string, std::vector<NeuronName>>> sets;

  [[nodiscard]] Json to_json() const;
  /// Throws Error{usage} when the model lacks a named neuron.
  void check(const ModelConfig& model) const;
};
/// Nothing when the key is absent.
std::optional<NeuronSelection> parse_neurons(MapReader& reader);

}  // namespace mechsweep
