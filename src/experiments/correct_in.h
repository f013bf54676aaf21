#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/config_node.h"
#include "experiments/array_spec.h"

namespace mechsweep {

/// `statistics.correct_in`: only prompts that these models answer right without any edit are
/// counted by `reduce`.
struct CorrectIn {
  enum class Kind { everyone, own_model, listed };
  Kind kind = Kind::everyone;       ///< everyone: all models of the experiment on the prompt set
  std::vector<std::string> models;  ///< ids, where they are listed

  /// "all_models", "own_model" or a list of ids.
  [[nodiscard]] Json to_json() const;
  /// From to_json().
  static CorrectIn from_json(const Json& json);
};
/// From its config node.
CorrectIn parse_correct_in(const ConfigNode& node, Problems& problems);

/// Which prompts of a run `correct_in` keeps, and what each model got right of those that count
/// otherwise (computed in full, and evaluated).
struct PromptFilter {
  std::string rule;                   ///< as people typed it
  std::vector<std::string> models;    ///< whose answers decide
  std::vector<int64_t> right;         ///< by model: prompts that it answers right
  std::vector<int64_t> not_computed;  ///< by model: prompts without a base run yet
  int64_t prompts = 0;                ///< that count otherwise
  int64_t kept = 0;                   ///< of those, prompts that every model answers right
  std::vector<uint8_t> keep;          ///< by prompt of the run: all of these models are right
};

/// What the models of a results file answer without any edit. A prompt is answered right when the
/// answer has the largest logit of all at every target of the prompt, in the run on its clean side.
/// Models are compared prompt by prompt, by the prompts' ids.
class BaseAnswers {
 public:
  /// Takes in a run: its model's answers where it has a run without edits, and that the experiment
  /// has the model. Throws Error{input} when its datasets do not go together.
  void add(const StoredRun& run);

  /// Throws Error{input} when no run says what a model answers, or a model has not the same
  /// prompts.
  [[nodiscard]] PromptFilter filter(const StoredRun& run, const CorrectIn& asked) const;

 private:
  enum class Answer : uint8_t { unknown, right, wrong };
  struct OfModel {
    std::vector<std::string> prompts;  ///< ids
    std::vector<Answer> answers;       ///< by prompt
  };
  std::map<std::pair<std::string, std::string>, OfModel> known_;  ///< by (model, prompt set)
  /// Models by (experiment, prompt set).
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> compared_;
};

}  // namespace mechsweep
