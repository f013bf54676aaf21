#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/intervention.h"
#include "experiments/array_spec.h"
#include "experiments/neuron_selection.h"
#include "experiments/selection.h"
#include "model/model_config.h"
#include "prompts/prompt.h"

namespace mechsweep {

/// The places of a component ablation: layer and component, a named neuron, or a set of neurons;
/// then a position where `positions: each` asks for it.
class ComponentGrid {
 public:
  /// Components, in the order of their axis, or neurons. Throws Error{usage} when the model lacks
  /// a layer, a site or a neuron, Error{input} when a prompt lacks a position or span.
  ComponentGrid(const std::vector<Site>& components, const std::optional<NeuronSelection>& neurons,
                const LayerSelection& layers, PositionSelection positions, const ModelConfig& model,
                const PromptSet& prompts);

  [[nodiscard]] const std::vector<Axis>& axes() const { return axes_; }
  /// Every (site, layer) that some place edits, each once.
  [[nodiscard]] std::vector<std::pair<Site, int>> sites() const;
  /// The positions that edits of a prompt touch, over all places, ascending.
  [[nodiscard]] std::vector<int32_t> positions(const Prompt& prompt) const;
  /// Edits with site, layer and positions of the place (indices of further axes may follow); for
  /// neurons one an edit, with the neuron's direction as `vector`, so that what changes along it is
  /// that neuron alone. Nothing where the place lies past the prompt's end.
  [[nodiscard]] std::optional<std::vector<Edit>> edits(const Prompt& prompt,
                                                       std::span<const int64_t> place) const;

 private:
  /// A joint edit without its positions.
  using Joint = std::vector<Edit>;
  void add_neurons(const NeuronSelection& neurons, const ModelConfig& model);

  PositionSelection positions_;
  std::vector<Axis> axes_;
  size_t own_axes_ = 0;       ///< axes before the position's
  std::vector<Joint> joint_;  ///< by those axes, row-major
};

}  // namespace mechsweep
