#include "experiments/statistics_config.h"

namespace mechsweep {

Json StatisticsConfig::to_json() const {
  Json json = {{"bootstrap",
                {{"resamples", resamples},
                 {"interval", interval},
                 {"level", level},
                 {"cluster", cluster_by_template ? "template" : "prompt"}}},
               {"tests", {{"flips", flips}, {"permutations", permutations}}}};
  if (correct_in) json["correct_in"] = correct_in->to_json();
  return json;
}

StatisticsConfig StatisticsConfig::from_json(const Json& json) {
  const Json& bootstrap = json.at("bootstrap");
  StatisticsConfig config{
      .resamples = bootstrap.at("resamples").get<int64_t>(),
      .interval = bootstrap.at("interval").get<std::string>(),
      .level = bootstrap.at("level").get<double>(),
      .cluster_by_template = bootstrap.at("cluster").get<std::string>() == "template"};
  if (json.contains("tests")) {
    config.flips = json.at("tests").at("flips").get<int64_t>();
    config.permutations = json.at("tests").at("permutations").get<int64_t>();
  }
  if (json.contains("correct_in")) config.correct_in = CorrectIn::from_json(json.at("correct_in"));
  return config;
}

StatisticsConfig parse_statistics(MapReader& reader) {
  StatisticsConfig config;
  const ConfigNode* node = reader.get("statistics");
  if (node == nullptr) return config;
  MapReader statistics(*node, reader.problems());
  if (const ConfigNode* inner = statistics.get("bootstrap")) {
    MapReader bootstrap(*inner, reader.problems());
    config.resamples = bootstrap.integer_or("resamples", config.resamples, 2, 10'000'000);
    config.interval = bootstrap.choice_or("interval", config.interval, {"bca", "percentile"});
    config.level = bootstrap.number_or("level", config.level, 0.01, 0.9999);
    config.cluster_by_template =
        bootstrap.choice_or("cluster", "template", {"template", "prompt"}) == "template";
    bootstrap.finish();
  }
  if (const ConfigNode* inner = statistics.get("tests")) {
    MapReader tests(*inner, reader.problems());
    config.flips = tests.integer_or("flips", config.flips, 1, 10'000'000);
    config.permutations = tests.integer_or("permutations", config.permutations, 1, 10'000'000);
    tests.finish();
  }
  if (const ConfigNode* inner = statistics.get("correct_in"))
    config.correct_in = parse_correct_in(*inner, reader.problems());
  statistics.finish();
  return config;
}

}  // namespace mechsweep
