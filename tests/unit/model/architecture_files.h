#pragma once

#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/json.h"
#include "model/arch/architecture.h"

// Configs of the random checkpoints, for the tests of architecture families.

namespace mechsweep::test_files {

inline const Architecture& architecture(const std::string& name) {
  for (const Architecture& one : architecture_table())
    if (one.name == name) return one;
  throw std::runtime_error("no architecture " + name);
}

/// The folder of a golden checkpoint.
inline std::string golden(const std::string& name) {
  return std::string(MECHSWEEP_SOURCE_DIR) + "/tests/golden/checkpoints/" + name;
}

/// A golden's config with keys changed; a null in `patch` removes one.
inline Json patched(const std::string& name, const Json& patch = Json::object()) {
  std::ifstream file(golden(name) + "/config.json");
  Json json = Json::parse(file);
  json.merge_patch(patch);
  return json;
}

/// By layer.
inline std::vector<int> windows(const ModelConfig& config) {
  std::vector<int> all;
  for (int layer = 0; layer < config.n_layers; ++layer)
    all.push_back(config.layer_kind(layer).window);
  return all;
}

}  // namespace mechsweep::test_files
