#pragma once

#include "core/json.h"
#include "experiments/score_options.h"
#include "prompts/prompt.h"

namespace mechsweep {

/// The attributes of a run of `attention_scores`: estimand, query set, definitions, and how its
/// null is drawn.
Json score_attributes(const ScoreOptions& options, const PromptSet& prompts);

}  // namespace mechsweep
