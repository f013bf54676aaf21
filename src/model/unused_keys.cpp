#include "model/unused_keys.h"

#include <optional>
#include <set>
#include <string_view>

#include "core/error.h"
#include "model/json_file.h"

namespace mechsweep {

namespace {

using ConfigReader = ModelConfig (*)(const Json&);

/// The model that a config describes; nothing where it is refused.
std::optional<ModelConfig> read_config(ConfigReader read, const Json& config) {
  try {
    ModelConfig model = read(config);
    model.check();
    return model;
  } catch (const Error&) {
    return std::nullopt;
  }
}

class KeyProbe {
 public:
  KeyProbe(ConfigReader read, Json config) : read_(read), config_(std::move(config)) {
    original_ = read_config(read_, config_);
  }

  [[nodiscard]] std::vector<std::string> unused(bool (*is_probed)(std::string_view)) {
    std::vector<std::string> keys;
    if (original_) add_unused(config_, "", is_probed, keys);
    return keys;
  }

 private:
  void add_unused(Json& map, const std::string& prefix, bool (*is_probed)(std::string_view),
                  std::vector<std::string>& keys) {
    std::vector<std::string> names;
    for (const auto& [name, value] : map.items()) names.push_back(name);
    for (const std::string& name : names) {
      if (prefix.empty() && !is_probed(name)) continue;
      if (is_unused(map[name])) {
        keys.push_back(prefix + name);
      } else if (map[name].is_object()) {
        add_unused(map[name], prefix + name + ".", is_probed, keys);
      }
    }
  }

  /// Whether the model is the same with a list in the value's place: no reader takes an empty one.
  bool is_unused(Json& value) {
    Json kept = std::exchange(value, Json::array());
    const std::optional<ModelConfig> model = read_config(read_, config_);
    value = std::move(kept);
    return model == original_;
  }

  ConfigReader read_;
  Json config_;
  std::optional<ModelConfig> original_;
};

}  // namespace

std::vector<std::string> unused_config_keys(const Checkpoint& checkpoint) {
  const Architecture& architecture = *checkpoint.architecture;
  if (checkpoint.format == "gguf") {
    KeyProbe probe(architecture.config_from_gguf, open_gguf(checkpoint.path).metadata);
    return probe.unused([](std::string_view name) {
      return !name.starts_with("tokenizer.") && !name.starts_with("general.");
    });
  }
  KeyProbe probe(architecture.config_from_hf, read_json_file(checkpoint.path + "/config.json"));
  return probe.unused([](std::string_view name) { return name != "model_type"; });
}

std::vector<std::string> unused_tensors(const Checkpoint& checkpoint) {
  std::set<std::string> used;
  for (const auto& expected : expected_tensors(checkpoint.config, checkpoint.tensors))
    used.insert(expected.ref->name);
  std::vector<std::string> names;
  for (const TensorInfo& tensor : checkpoint.source->tensors())
    if (!used.contains(tensor.name)) names.push_back(tensor.name);
  return names;
}

}  // namespace mechsweep
