#pragma once

#include <string>
#include <vector>

#include "core/config_node.h"

namespace mechsweep {

/// More configs than this from one grid are a mistake.
inline constexpr size_t kMaxGridConfigs = 100'000;

/// One config that a grid stands for.
struct GridConfig {
  std::string name;     ///< from the template `name`, also the value of that key
  std::string choices;  ///< "model=llama, length=5", for messages and comments
  ConfigNode config;    ///< without `grid`; positions are those of the grid's own file
};

/// Expands a config with `grid:` into one config for each combination of its axes, the last axis
/// fastest.
///
/// `grid.over` maps each axis to a list of scalars, or to a map from labels to maps of fields.
/// `{axis}` in any text of the config becomes the scalar or the label, `{axis.field}` the field; a
/// text that is nothing else becomes the value itself, whatever it is: a number, a list, a map.
/// `{{` and `}}` stand for braces. `grid.without` lists combinations to leave out, each a map from
/// axes to labels. Keys are left as they are.
///
/// Throws Error{usage} with every problem that was found, each with its place: there is no grid,
/// an unknown axis or field, two configs with one name, and so on.
std::vector<GridConfig> expand_grid(const ConfigNode& root);

}  // namespace mechsweep
