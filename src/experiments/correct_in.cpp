#include "experiments/correct_in.h"

#include <algorithm>
#include <cmath>

#include <fmt/ranges.h>

#include "core/error.h"
#include "experiments/stored_readings.h"
#include "experiments/top_heads.h"

namespace mechsweep {

namespace {

/// EXPERIMENT/MODEL/PROMPTS; ids have no slash.
struct RunParts {
  std::string experiment, model, prompts;
};

RunParts parts_of(const std::string& run_id) {
  const size_t first = run_id.find('/');
  const size_t second = run_id.find('/', first + 1);
  if (first == std::string::npos || second == std::string::npos)
    fail(ErrorKind::input, "run '{}' has no id of the form EXPERIMENT/MODEL/PROMPTS", run_id);
  return {run_id.substr(0, first), run_id.substr(first + 1, second - first - 1),
          run_id.substr(second + 1)};
}

std::string rule_text(const CorrectIn& asked) {
  const Json json = asked.to_json();
  return json.is_string() ? json.get<std::string>()
                          : fmt::format("{}", fmt::join(asked.models, ", "));
}

}  // namespace

Json CorrectIn::to_json() const {
  if (kind == Kind::everyone) return "all_models";
  if (kind == Kind::own_model) return "own_model";
  return models;
}

CorrectIn CorrectIn::from_json(const Json& json) {
  if (json.is_array())
    return {.kind = Kind::listed, .models = json.get<std::vector<std::string>>()};
  return {.kind = json.get<std::string>() == "own_model" ? Kind::own_model : Kind::everyone};
}

CorrectIn parse_correct_in(const ConfigNode& node, Problems& problems) {
  if (node.kind != ConfigNode::Kind::list) {
    const auto name = node_choice(node, problems, {"all_models", "own_model"});
    return {.kind = name == "own_model" ? CorrectIn::Kind::own_model : CorrectIn::Kind::everyone};
  }
  CorrectIn asked{.kind = CorrectIn::Kind::listed};
  if (node.items.empty()) problems.add(node, "names no model");
  for (const ConfigNode& item : node.items) {
    const auto id = node_text(item, problems);
    if (!id) continue;
    if (std::find(asked.models.begin(), asked.models.end(), *id) != asked.models.end())
      problems.add(item, fmt::format("names '{}' twice", *id));
    asked.models.push_back(*id);
  }
  return asked;
}

void BaseAnswers::add(const StoredRun& run) {
  const RunParts parts = parts_of(run.id);
  compared_[{parts.experiment, parts.prompts}].push_back(parts.model);
  if (run.find("base/loss") == nullptr) return;
  // The clean run does the task; where it is the donor, the base is the corrupt run.
  const bool clean_is_donor = run.attributes.value("base", "clean") == "corrupt";
  const StoredReadings clean = stored_readings(run, clean_is_donor ? "donor/" : "base/");
  const StoredArray& tokens = stored_array(run, "base/tracked_token");
  if (tokens.values.size() != clean.logit->values.size() ||
      run.prompt_ids.size() != run.templates.size())
    fail(ErrorKind::input,
         "run '{}': tracked tokens, logits and prompts differ in number: the file is damaged",
         run.id);
  OfModel& own = known_[{parts.model, parts.prompts}];
  if (own.prompts.empty()) {
    own.prompts = run.prompt_ids;
    own.answers.assign(run.prompt_ids.size(), Answer::unknown);
  } else if (own.prompts != run.prompt_ids) {
    fail(ErrorKind::input,
         "run '{}' has other prompts than an earlier run of its model on the same set: the file is "
         "damaged",
         run.id);
  }
  for (size_t p = 0; p < run.prompt_ids.size(); ++p) {
    bool known = false, right = true;
    for (int64_t t = 0; t < clean.cells; ++t) {
      const int64_t i = static_cast<int64_t>(p) * clean.cells + t;
      const double answer = tokens.values[i * clean.tracked];
      if (!(answer >= 0.0)) continue;  // no such target, or not computed
      known = true;
      right = right && std::isfinite(clean.loss->values[i]) && clean.top1->values[i] == answer;
    }
    // Where units are left to do, tokens are not there either.
    if (known) own.answers[p] = right ? Answer::right : Answer::wrong;
  }
}

PromptFilter BaseAnswers::filter(const StoredRun& run, const CorrectIn& asked) const {
  const RunParts parts = parts_of(run.id);
  PromptFilter filter{.rule = rule_text(asked),
                      .prompts = 0,
                      .keep = std::vector<uint8_t>(run.prompt_ids.size(), 1)};
  if (asked.kind == CorrectIn::Kind::own_model) filter.models = {parts.model};
  if (asked.kind == CorrectIn::Kind::listed) filter.models = asked.models;
  if (asked.kind == CorrectIn::Kind::everyone)
    filter.models = compared_.at({parts.experiment, parts.prompts});
  const std::vector<uint8_t> evaluated = stored_evaluated(run);
  const auto counts = [&](size_t p) { return evaluated[p] != 0 && run.complete[p] != 0; };
  for (size_t p = 0; p < filter.keep.size(); ++p) filter.prompts += counts(p) ? 1 : 0;
  for (const std::string& model : filter.models) {
    const auto known = known_.find({model, parts.prompts});
    if (known == known_.end())
      fail(ErrorKind::input,
           "run '{}': `correct_in` asks what model '{}' answers, but no run of it on prompts '{}' "
           "has a base run",
           run.id, model, parts.prompts);
    if (known->second.prompts != run.prompt_ids)
      fail(ErrorKind::input,
           "run '{}': `correct_in` compares prompts by their ids, but prompts '{}' of model '{}' "
           "are not the same ones",
           run.id, parts.prompts, model);
    int64_t right = 0, missing = 0;
    for (size_t p = 0; p < filter.keep.size(); ++p) {
      const Answer answer = known->second.answers[p];
      if (counts(p)) right += answer == Answer::right ? 1 : 0;
      if (counts(p)) missing += answer == Answer::unknown ? 1 : 0;
      if (answer != Answer::right) filter.keep[p] = 0;
    }
    filter.right.push_back(right);
    filter.not_computed.push_back(missing);
  }
  for (size_t p = 0; p < filter.keep.size(); ++p)
    filter.kept += counts(p) && filter.keep[p] != 0 ? 1 : 0;
  return filter;
}

}  // namespace mechsweep
