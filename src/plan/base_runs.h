#pragma once

namespace mechsweep {

struct Plan;

/// Throws Error{usage} when `statistics.correct_in` of an experiment asks what a model answers, and
/// no run of the plan has that model's base run on the same prompts.
void check_base_runs(const Plan& plan);

}  // namespace mechsweep
