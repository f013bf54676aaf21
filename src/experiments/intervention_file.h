#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/config_node.h"
#include "core/json.h"
#include "engine/intervention.h"
#include "experiments/activation_sums.h"
#include "experiments/selection.h"

namespace mechsweep {

/// Where an edit's value comes from, as a file says it.
struct ListedDonor {
  Side side = Side::clean;
  std::optional<std::string> prompt_id;  ///< another prompt, by id or
  std::optional<int64_t> prompt_index;   ///< by its number in the set; neither: the prompt's own
  [[nodiscard]] bool own() const { return !prompt_id && !prompt_index; }
  [[nodiscard]] Json to_json() const;
};

/// One edit as a file lists it, before it meets a model and prompts.
struct ListedEdit {
  std::string path;  ///< "edits[0]", for messages
  Site site = Site::z;
  int64_t layer = 0;  ///< negative ones count from the last
  bool all_heads = false;
  std::vector<int32_t> heads;                 ///< ascending; empty with all_heads and without heads
  PositionSelection positions;                ///< never `each`; unused on edges
  bool on_edges = false;                      ///< `edges` or `pairs` instead of positions
  std::string pairs;                          ///< a name of the prompts' pairs, or
  std::vector<std::array<int64_t, 2>> edges;  ///< [query, key]; negative ones count from the end
  Operation operation = Operation::zero;      ///< replace for resample
  bool resample = false;
  int64_t draw = 0;                  ///< resample
  std::optional<ListedDonor> donor;  ///< replace without vector, transplant
  /// The value (replace) or the direction, of length 1 for remove and transplant.
  std::shared_ptr<const std::vector<float>> vector;
  float scale = 1.0F;                           ///< add
  MeanOver mean_over = MeanOver::own_template;  ///< mean

  /// Everything that decides a number, in canonical form; a vector stands by its values' SHA-256.
  [[nodiscard]] Json to_json() const;
};

struct ListedIntervention {
  std::string id;
  int line = 0;  ///< in its file
  Downstream downstream = Downstream::recompute;
  std::vector<ListedEdit> edits;
  [[nodiscard]] Json to_json() const;
};

/// The interventions of a JSON Lines file (docs/interventions-file.md), in its order. Throws one
/// Error{input} with every problem up to kMostProblems, each with file, line and key.
std::vector<ListedIntervention> read_intervention_file(const std::string& path);

/// Problems that are told at once.
inline constexpr size_t kMostProblems = 20;
/// Throws one Error{input} with the problems, a line each, if there are any.
void throw_problems_of_file(const Problems& problems);

}  // namespace mechsweep
