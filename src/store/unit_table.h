#pragma once

#include <functional>
#include <string>
#include <vector>

#include "store/file_layout.h"

namespace mechsweep {

/// /units and /targets as datasets with content, so that a file says by itself which bytes belong
/// to which unit. Throws Error{internal} when a number does not fit into int32.
std::vector<DatasetSpec> unit_table_datasets(const FileLayout& layout);

/// Loads a dataset of the table by path, with its content.
using LoadDataset = std::function<DatasetSpec(const std::string& path)>;

/// Units from /units. Throws Error{input} when columns differ in length or ranges are reversed.
std::vector<UnitSpec> load_units(const LoadDataset& load);
/// Targets from /targets; `datasets` are those of the layout, whose index a target holds.
std::vector<TargetDataset> load_targets(const LoadDataset& load,
                                        const std::vector<DatasetSpec>& datasets);

}  // namespace mechsweep
