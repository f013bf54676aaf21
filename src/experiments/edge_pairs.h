#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "experiments/experiment.h"
#include "experiments/score_keys.h"

namespace mechsweep {

/// The (query, key) pairs that an experiment's `pairs:` names, on every prompt of a run:
///   previous_token, duplicate_token, induction, anti_induction
///                  every query and key that the attention score of that name counts
///   NAME, pairs.NAME   the prompts' own pairs; the second form also where NAME is built in
///   random.NAME    as many as NAME has: for every query of NAME and in place of its keys, keys
///   drawn
///                  evenly, without replacement, from the content positions before the query that
///                  are not keys of NAME, with RandomStream(seed, "edge_pairs/RUN/random.NAME/I",
///                  draw) for prompt I
class EdgePairs {
 public:
  using Edges = std::vector<std::array<int32_t, 2>>;

  /// Throws Error{usage} when a name is neither built in nor any prompt's, Error{input} naming the
  /// first prompt that has no such pair, or no other key to draw for a query.
  EdgePairs(const RunContext& context, std::vector<std::string> names, Occurrence occurrence);

  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }
  /// Pairs of a prompt, ascending, without repeats; `draw` counts for random ones only.
  [[nodiscard]] Edges on(int64_t prompt, int64_t name, int64_t draw) const;
  /// What the cost of edits at these pairs depends on: their queries.
  [[nodiscard]] std::vector<std::string> queries_of_prompts() const;
  /// For people: "induction 11 a prompt, copy 3 to 7 a prompt".
  [[nodiscard]] std::string describe_counts() const;

  /// Whether a name stands for random pairs.
  [[nodiscard]] static bool is_random(const std::string& name);
  /// What is wrong with a name whatever the prompts are; empty: nothing.
  [[nodiscard]] static std::string problem_of(const std::string& name);

 private:
  void add(const std::string& name, Occurrence occurrence);
  [[nodiscard]] Edges random_like(const Edges& edges, int64_t prompt, const std::string& name,
                                  int64_t draw) const;

  const PromptSet* prompts_;
  uint64_t seed_;
  std::string run_id_;
  std::vector<std::string> names_;
  std::vector<std::vector<Edges>> edges_;  ///< [name][prompt]; of random ones those they are like
};

}  // namespace mechsweep
