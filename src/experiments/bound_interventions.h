#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/activation_sums.h"
#include "experiments/experiment.h"
#include "experiments/intervention_file.h"
#include "experiments/resample_donors.h"

namespace mechsweep {

/// The interventions of a file, bound to a model and a prompt set.
class BoundInterventions {
 public:
  /// Checks everything: layers, heads and widths against the model; positions, edges, donors and
  /// sources of means against every prompt. Throws one Error{input} with the problems, each with
  /// file, line and key. `path` is the file's, for messages.
  BoundInterventions(const RunContext& context, Side base, std::string path,
                     std::vector<ListedIntervention> listed);

  [[nodiscard]] const std::vector<ListedIntervention>& listed() const { return listed_; }

  /// One of them on one prompt; without sums for means when `executor` is null.
  [[nodiscard]] Intervention on_prompt(int64_t prompt, int64_t index, Executor* executor) const;

 private:
  void bind_to_model(const ListedIntervention& line, Problems& problems);
  [[nodiscard]] Edit bound_edit(const ListedIntervention& line, const ListedEdit& listed,
                                Problems& problems) const;
  [[nodiscard]] std::vector<int32_t> bound_heads(const ListedIntervention& line,
                                                 const ListedEdit& listed,
                                                 Problems& problems) const;
  void bind_donor(const ListedIntervention& line, const ListedEdit& listed, Edit& edit,
                  Problems& problems) const;
  void check_on_prompts(int64_t index, Problems& problems) const;
  void place(const Prompt& prompt, const ListedEdit& listed, Edit& edit) const;
  void check_sources(int64_t prompt, const ListedEdit& listed, const Edit& edit) const;
  void add_problem(Problems& problems, const ListedIntervention& line, const ListedEdit& listed,
                   const char* key, const std::string& message) const;

  const ModelConfig* model_;
  const PromptSet* prompts_;
  Side base_;
  std::string path_;
  std::vector<ListedIntervention> listed_;
  std::vector<std::vector<Edit>> edits_;  ///< by intervention; without what a prompt decides
  MeanSources means_;
  ResampleDonors donors_;
};

}  // namespace mechsweep
