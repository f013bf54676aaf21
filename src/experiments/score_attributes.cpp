#include "experiments/score_attributes.h"

#include <fmt/format.h>

#include "experiments/prompt_half.h"

namespace mechsweep {

namespace {

void add_query_set(const ScoreOptions& options, Json& attributes) {
  attributes["queries"] = options.diagonal ? "diagonal" : "content";
  attributes["positions"] = options.diagonal ? "whole diagonals" : "all content queries";
  attributes["query_set"] =
      options.diagonal
          ? "every position, the prefix included, whatever token it holds, with the key on the "
            "diagonal of the prompt's one lag; S(q) is q - lag; the score of pairs is over its "
            "pairs"
          : "content positions (the prefix is never a query) that have such a key; a query whose "
            "key is the prefix does not count";
  attributes["definition_window"] =
      "in a layer with a sliding window a query that does not see all its keys does not count";
}

void add_null(const ScoreOptions& options, const PromptSet& prompts, Json& attributes) {
  attributes["null_draws"] = options.null->draws;
  attributes["null_max_shift"] = options.null->max_shift;
  attributes["null_streams"] = "antecedents/" + prompts.id + "/SCORE";
  attributes["definition_matched"] =
      "the score over the copies (q, s) that have a null source in every draw";
  attributes["definition_null"] =
      "the same score at null sources s' instead of s, mean over draws: s' has the lag of another "
      "copy (of the prompt, or else of the set), or its own lag moved by at most null_max_shift; "
      "neither s' nor its key holds what is copied";
  attributes["definition_excess"] = "matched minus null, prompt by prompt";
  attributes["top_fraction"] = options.top_fraction;
  if (options.top_fraction >= 1.0) return;
  attributes["top_heads"] = options.chosen_anew ? "each_resample" : "half_a";
  attributes["definition_top_heads"] =
      options.chosen_anew
          ? "in each layer the heads with the largest means over all prompts, chosen anew in every "
            "bootstrap resample and in every null draw by its own means"
          : "in each layer the heads with the largest means over half_a, profiled on half_b, the "
            "same heads for score and null";
  if (!options.chosen_anew) attributes["definition_halves"] = halves_definition(prompts);
}

}  // namespace

Json score_attributes(const ScoreOptions& options, const PromptSet& prompts) {
  Json attributes = {
      {"site", "pattern"},
      {"operation", "none"},
      {"base", "clean"},
      {"downstream", "recompute"},
      {"estimand", "attention pattern of every head on the clean prompts, without edits"},
      {"occurrence", options.to_json().at("occurrence")},
      {"definition_previous_token", "mean over q of A[q, q-1]"},
      {"definition_duplicate_token",
       "mean over q of the sum over s in S(q) of A[q, s]; S(q): earlier positions that hold "
       "q's token"},
      {"definition_induction", "mean over q of the sum over s in S(q) of A[q, s+1], s+1 < q"},
      {"definition_anti_induction", "mean over q of the sum over s in S(q) of A[q, s-1]"},
      {"definition_offset_score", "mean over q of the sum over s in S(q) of A[q, s+offset]"},
      {"definition_pairs",
       "every other score: mean of A[q, k] over the prompt's own pairs of that name, or of "
       "NAME where the score is pairs.NAME"}};
  add_query_set(options, attributes);
  if (!options.lags.empty() || options.lag_split > 0)
    attributes["definition_lag"] = "q - s; a query counts with the sources of that lag only";
  if (options.null) add_null(options, prompts, attributes);
  return attributes;
}

}  // namespace mechsweep
