#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experiments/experiment.h"
#include "experiments/prompt_half.h"
#include "experiments/selection.h"

namespace mechsweep {

/// `heads: {top: {from, by, k, on, at_least}, all_but}` and `evaluate`: heads chosen by what
/// another run of the sweep measured, and the prompts that their joint removal, or with `all_but`
/// that of every other head, is tried on.
struct TopSelection {
  std::string from;    ///< experiment id; its run on the same model and prompts
  std::string metric;  ///< whose mean ranks the heads
  bool negated = false;
  std::vector<int32_t> k;  ///< ascending: how many heads are edited together
  PromptHalf on = PromptHalf::all;
  std::optional<double> at_least;  ///< heads with a smaller score are never chosen
  PromptHalf evaluate = PromptHalf::all;
  bool all_but = false;

  [[nodiscard]] Json to_json() const;       ///< of the key `heads`
  [[nodiscard]] std::string score() const;  ///< "mean(delta_loss)"
};
/// Reads the keys `heads` and `evaluate` where `heads` is `top`; nothing where it is not.
std::optional<TopSelection> parse_top(MapReader& reader);

/// A head that was chosen, the best first.
struct ChosenHead {
  HeadName head;
  double score = 0.0;
};

/// The heads of a run with `top`: a stage that decides writes them into the file, best first, and
/// the run's units read them from there. A larger score is better; equal ones go by layer, then by
/// head.
class TopHeads {
 public:
  /// Throws Error{usage} when there is no such run above this one, or it has not what is asked.
  TopHeads(RunContext context, TopSelection asked);

  /// The stage, whose number in the run is 0.
  [[nodiscard]] StageSpec stage() const;
  [[nodiscard]] std::vector<ArraySpec> arrays() const;
  [[nodiscard]] Axis k_axis() const;
  /// The heads that may be chosen, in the order of the source's axes.
  [[nodiscard]] const std::vector<HeadName>& candidates() const { return candidates_; }
  /// The layers that heads may be chosen from, ascending.
  [[nodiscard]] std::vector<int> layers() const;
  /// By prompt: whether the run's edits are tried on it.
  [[nodiscard]] const std::vector<uint8_t>& evaluated() const { return evaluated_; }
  /// Adds what tells how heads are chosen.
  void describe(Json& attributes) const;
  /// For people: "the k heads with the largest mean(delta_loss) in run 'heads/m/p' on half_a".
  [[nodiscard]] std::string describe() const;

  /// Run::decide(); `first_array` is the number of the first of arrays() in the run.
  [[nodiscard]] UnitResult decide(const StoredResults& stored, int first_array) const;
  /// What decide() stored. Throws an Error that fails the unit when it is not there.
  [[nodiscard]] std::vector<ChosenHead> chosen(const StoredResults& stored) const;
  /// Of the places of k_axis() in the range, whether none has as many chosen heads.
  [[nodiscard]] bool leaves_out(Range places, const StoredResults& stored) const;
  /// One joint edit for each k, of the first k heads (none where fewer were chosen).
  [[nodiscard]] HeadSelection sets_of(const std::vector<ChosenHead>& chosen) const;
  /// What takes the most work: the heads of the first layers.
  [[nodiscard]] std::vector<ChosenHead> dearest() const;

 private:
  void find_candidates(const Metric& metric, const Run& source);
  [[nodiscard]] StoredRun probe() const;
  [[nodiscard]] Metric metric_of(const StoredRun& run) const;
  [[nodiscard]] StoredRun stored_source(const StoredResults& stored) const;
  [[nodiscard]] std::vector<double> scores(const Metric& metric) const;

  RunContext context_;
  TopSelection asked_;
  std::string source_id_;
  SourceRun source_;
  std::vector<HeadName> candidates_;  ///< in the order of the source's axes
  std::vector<uint8_t> chosen_on_;
  std::vector<uint8_t> evaluated_;
};

/// The selection that a results file holds, the best head first; empty when the run has none, or
/// none yet. Throws Error{input} when its datasets do not go together.
std::vector<ChosenHead> stored_selection(const StoredRun& run);
/// Per prompt: whether the run's edits are tried on it; all where the run does not say.
std::vector<uint8_t> stored_evaluated(const StoredRun& run);
/// The selection as numbers for `export`: selected_rank and selected_score by head, chosen_on and
/// evaluated_on by prompt.
std::vector<Metric> selection_metrics(const StoredRun& run);

}  // namespace mechsweep
