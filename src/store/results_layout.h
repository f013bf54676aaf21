#pragma once

#include "plan/plan.h"
#include "store/file_layout.h"

namespace mechsweep {

/// The results file of a plan: every dataset at its final size, all attributes, in the order that
/// docs/results-file.md gives.
FileLayout results_layout(const Plan& plan);

/// Version of the program, stored in every file.
std::string_view software_version();

/// The time now as "2026-01-31T23:59:59Z".
std::string now_text();

/// Adds a dimension scale for every axis to the group `folder` (unless it is there) and returns
/// their paths in axis order. Equal names within a group must mean equal axes. The group's datasets
/// are added together, without another group's in between.
std::vector<std::string> add_scales(FileLayout& layout, const std::string& folder,
                                    const std::vector<Axis>& axes);

/// Path of a run's group.
std::string run_group(const std::string& run_id);

}  // namespace mechsweep
