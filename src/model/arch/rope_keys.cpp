#include "model/arch/rope_keys.h"

#include <algorithm>
#include <cmath>
#include <string>

#include <fmt/format.h>

#include "core/error.h"
#include "core/json_text.h"
#include "model/arch/config_keys.h"

namespace mechsweep {

namespace {

/// Where a config keeps its settings: beside the other keys, or in a map of their own.
struct Settings {
  std::string place;  ///< for messages, "'rope_scaling'"; empty where there is no map
  const Json* map = nullptr;
  bool of_layer_type = false;  ///< taken from a map of maps
};

bool holds_maps(const Json& map) {
  return std::any_of(map.begin(), map.end(), [](const Json& value) { return value.is_object(); });
}

Settings settings_of_layer_type(const char* name, const Json& maps, const std::string& layer_type) {
  if (layer_type.empty())
    fail(ErrorKind::input,
         "'{}' has settings for each type of layers, but this architecture rotates alike in all",
         name);
  if (!ConfigKeys(maps).has(layer_type) || !maps.at(layer_type).is_object())
    fail(ErrorKind::input, "'{}' has no map of settings for layers of type '{}'", name, layer_type);
  return {fmt::format("'{}' of '{}'", layer_type, name), &maps.at(layer_type), true};
}

Settings find_settings(const Json& json, const std::string& layer_type) {
  static const Json kNone = Json::object();
  // The older key wins where a config has both, as in transformers.
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    if (!ConfigKeys(json).has(name)) continue;
    const Json& map = json.at(name);
    if (!map.is_object())
      fail(ErrorKind::input, "'{}' is {}, not a map of settings", name, show_json(map));
    if (map.empty()) continue;
    if (holds_maps(map) || (!layer_type.empty() && map.contains(layer_type)))
      return settings_of_layer_type(name, map, layer_type);
    return {fmt::format("'{}'", name), &map, false};
  }
  return {"", &kNone, false};
}

/// Reads the settings of one rotation. Where a setting may stand in both places, the map wins.
class RopeReader {
 public:
  RopeReader(const Json& json, const Settings& settings, ModelConfig& config)
      : top_(json), map_(*settings.map), settings_(settings), config_(config) {
    promised_positions_ = top_.integer_or("max_position_embeddings", config.max_positions);
    type_ = map_.text_or("rope_type", map_.text_or("type", "default"));
  }

  [[nodiscard]] const std::string& type() const { return type_; }

  RopeConfig read() {
    rope_.theta = map_.number_or("rope_theta", top_.number_or("rope_theta", 10000.0));
    rope_.dimensions = dimensions();
    if (type_ == "default") return rope_;
    if (type_ == "linear") {
      read_linear();
    } else if (type_ == "llama3") {
      read_llama3();
    } else if (type_ == "yarn") {
      read_yarn();
    } else if (type_ == "longrope") {
      read_longrope();
    } else if (type_ == "dynamic") {
      read_dynamic();
    } else {
      fail(ErrorKind::input,
           "this version cannot compute this type of rotary scaling (it can: default, linear, "
           "llama3, yarn, dynamic, longrope)");
    }
    return rope_;
  }

 private:
  [[nodiscard]] int dimensions() const {
    const char* key = "partial_rotary_factor";
    const double share = map_.number_or(key, top_.number_or(key, 1.0));
    if (!(share > 0.0 && share <= 1.0))
      fail(ErrorKind::input, "'{}' is {}, not a share of a head in (0, 1]", key, share);
    return static_cast<int>(config_.head_size * share);
  }

  double positive(const char* key) const {
    const double value = map_.number(key);
    if (!(std::isfinite(value) && value > 0.0))
      fail(ErrorKind::input, "'{}' is {}, not a number above 0", key, value);
    return value;
  }
  /// transformers takes a zero for a missing key here.
  [[nodiscard]] double positive_or(const char* key, double fallback) const {
    return map_.number_or(key, 0.0) == 0.0 ? fallback : positive(key);
  }

  /// The context of pretraining. Beside the other keys (as Phi-3 has it) it counts more.
  [[nodiscard]] int original_positions() const {
    const char* key = "original_max_position_embeddings";
    const int inside = map_.integer_or(key, promised_positions_);
    const int positions = settings_.of_layer_type ? inside : top_.integer_or(key, inside);
    // One position has no logarithm to divide by.
    if (positions < 2) fail(ErrorKind::input, "'{}' is {}, not a number above 1", key, positions);
    return positions;
  }

  void read_linear() {
    rope_.scaling = RopeScaling::linear;
    rope_.factor = positive("factor");
  }

  void read_llama3() {
    rope_.scaling = RopeScaling::llama3;
    rope_.factor = positive("factor");
    rope_.low_freq_factor = positive("low_freq_factor");
    rope_.high_freq_factor = positive("high_freq_factor");
    if (rope_.high_freq_factor <= rope_.low_freq_factor)
      fail(ErrorKind::input, "'high_freq_factor' {} is not above 'low_freq_factor' {}",
           rope_.high_freq_factor, rope_.low_freq_factor);
    rope_.original_positions = original_positions();
  }

  void read_yarn() {
    rope_.scaling = RopeScaling::yarn;
    rope_.original_positions = original_positions();
    // Null, unlike no key at all, asks for the ratio of the contexts.
    const bool asks_for_ratio = settings_.map->contains("factor") && !map_.has("factor");
    rope_.factor = asks_for_ratio
                       ? static_cast<double>(promised_positions_) / rope_.original_positions
                       : positive("factor");
    rope_.beta_fast = positive_or("beta_fast", 32.0);
    rope_.beta_slow = positive_or("beta_slow", 1.0);
    // transformers looks for it beside the maps of layer types, not in them; null means no.
    if (settings_.of_layer_type) map_.require_unset_or("truncate", true);
    rope_.truncate = map_.flag_or("truncate", !settings_.map->contains("truncate"));
    rope_.attention_factor = map_.has("attention_factor") ? positive("attention_factor")
                                                          : yarn_attention_factor(rope_.factor);
  }

  [[nodiscard]] double yarn_attention_factor(double factor) const {
    const double growth = factor > 1.0 ? 0.1 * std::log(factor) : 0.0;
    const double above = map_.number_or("mscale", 0.0);
    const double below = map_.number_or("mscale_all_dim", 0.0);
    if (above == 0.0 || below == 0.0) return 1.0 + growth;
    const double ratio = (1.0 + above * growth) / (1.0 + below * growth);
    if (!(std::isfinite(ratio) && ratio > 0.0))
      fail(ErrorKind::input, "'mscale' {} and 'mscale_all_dim' {} give an attention factor of {}",
           above, below, ratio);
    return ratio;
  }

  /// The base grows with prompts that are longer than the promised context, which is the original
  /// one here.
  void read_dynamic() {
    rope_.scaling = RopeScaling::dynamic;
    rope_.factor = positive("factor");
    rope_.original_positions = promised_positions_;
    const double extended = rope_.factor * promised_positions_;
    config_.max_positions =
        static_cast<int>(std::clamp<double>(extended, promised_positions_, 1e9));
  }

  void read_longrope() {
    rope_.scaling = RopeScaling::longrope;
    rope_.original_positions = original_positions();
    rope_.frequency_factors = frequency_factors("short_factor");
    rope_.long_frequency_factors = frequency_factors("long_factor");
    const double factor = map_.has("factor")
                              ? positive("factor")
                              : static_cast<double>(promised_positions_) / rope_.original_positions;
    if (map_.has("attention_factor")) {
      rope_.attention_factor = positive("attention_factor");
    } else if (factor > 1.0) {
      rope_.attention_factor =
          std::sqrt(1.0 + std::log(factor) / std::log(rope_.original_positions));
    }
  }

  /// One for each frequency.
  [[nodiscard]] std::vector<double> frequency_factors(const char* key) const {
    if (!map_.has(key)) fail(ErrorKind::input, "the key '{}' is missing", key);
    const Json& list = settings_.map->at(key);
    const auto count = static_cast<size_t>(std::max(0, rope_.dimensions / 2));
    if (!list.is_array() || list.size() != count)
      fail(ErrorKind::input, "'{}' is not a list of {} numbers, one for each rotary frequency", key,
           count);
    std::vector<double> factors;
    for (const Json& one : list) {
      if (!one.is_number() || !(one.get<double>() > 0.0))
        fail(ErrorKind::input, "'{}' has {}, not a number above 0", key, show_json(one));
      factors.push_back(one.get<double>());
    }
    return factors;
  }

  ConfigKeys top_;
  ConfigKeys map_;
  const Settings& settings_;
  ModelConfig& config_;
  int promised_positions_ = 0;
  std::string type_;
  RopeConfig rope_;
};

}  // namespace

RopeConfig rope_from_hf(const Json& json, ModelConfig& config, const char* layer_type) {
  const Settings settings = find_settings(json, layer_type);
  if (settings.place.empty()) return RopeReader(json, settings, config).read();
  std::string place = settings.place;
  try {
    RopeReader reader(json, settings, config);
    place += fmt::format(" of type '{}'", reader.type());
    return reader.read();
  } catch (const Error& error) {
    throw error.within(place);
  }
}

}  // namespace mechsweep
