#include <array>

#include "core/error.h"
#include "experiments/activation_patching.h"
#include "experiments/attention_edges.h"
#include "experiments/attention_scores.h"
#include "experiments/component_ablation.h"
#include "experiments/direct_logit_attribution.h"
#include "experiments/effect_metrics.h"
#include "experiments/experiment.h"
#include "experiments/head_ablation.h"
#include "experiments/interventions.h"
#include "experiments/logit_lens.h"

namespace mechsweep {

std::span<const ExperimentKind> experiment_table() {
  static constexpr std::array<ExperimentKind, 8> kTable = {{
      {"activation_patching",
       "pastes a site's value from the donor run into the base run, one place at a time",
       parse_activation_patching, derive_effects},
      {"attention_edges",
       "changes single (query, key) pairs of attention and measures what the answers lose",
       parse_attention_edges, derive_effects},
      {"attention_scores",
       "previous-token, duplicate-token, induction and own attention scores of every head",
       parse_attention_scores, derive_attention_scores},
      {"component_ablation",
       "removes attention blocks, MLPs, the residual stream or neurons, layer by layer",
       parse_component_ablation, derive_effects},
      {"direct_logit_attribution",
       "what every head, MLP and embedding adds to the answer's logit, norms held fixed",
       parse_direct_logit_attribution, derive_direct_logit_attribution},
      {"head_ablation", "removes attention heads and measures what the answer loses",
       parse_head_ablation, derive_head_ablation},
      {"interventions",
       "applies the edits that a file lists, a line each: what the other kinds lack",
       parse_interventions, derive_effects},
      {"logit_lens",
       "reads the residual stream of every layer through the final norm and the unembedding",
       parse_logit_lens, derive_logit_lens},
  }};
  return kTable;
}

const ExperimentKind& experiment_kind(const std::string& name) {
  for (const auto& kind : experiment_table())
    if (kind.name == name) return kind;
  fail(ErrorKind::input, "experiment kind '{}' is not known to this version", name);
}

UnitResult Run::decide(int /*stage*/, const StoredResults& /*stored*/) const {
  ensure(false, "only a stage that decides is asked for a selection");
  return {};
}

int64_t Metric::cells() const {
  int64_t count = 1;
  for (const Axis& axis : axes) count *= axis.size;
  return count;
}

}  // namespace mechsweep
