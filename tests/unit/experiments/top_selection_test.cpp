#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/experiments/stored_stage_support.h"

// The keys `heads: {top: ...}` and `evaluate`.

namespace mechsweep {
namespace {

using test_experiments::ParsedExperiment;
using test_experiments::top_json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> problems(const Json& json) {
  return ParsedExperiment("head_ablation", json).problems.lines();
}

TEST(TopSelection, TheConfigIsCheckedStrictly) {
  EXPECT_THAT(problems(top_json()), IsEmpty());
  Json json = top_json();
  json["heads"]["top"] = {{"form", "s"}, {"by", "delta_loss"}, {"k", {0, 2, 2}}};
  json.erase("evaluate");
  const std::string all = fmt::format("{}", fmt::join(problems(json), "\n"));
  EXPECT_THAT(all, HasSubstr("heads.top.by: must be the mean of a metric"));
  EXPECT_THAT(all, HasSubstr("heads.top.form: unknown key (known: from, by, k, on, at_least)"));
  EXPECT_THAT(all, HasSubstr("names a number of heads twice"));
  EXPECT_THAT(all, HasSubstr("the key 'from' is missing"));
  EXPECT_THAT(all, HasSubstr("the key 'on' is missing"));
  EXPECT_THAT(all, HasSubstr("the key 'evaluate' is missing"));
  json = top_json();
  json["heads"]["sets"] = {{"a", {"L0H0"}}};
  EXPECT_THAT(problems(json), ElementsAre(HasSubstr("heads.sets: unknown key")));
  json = top_json();
  json["layers"] = 1;
  EXPECT_THAT(problems(json), ElementsAre(HasSubstr("layers: goes with `heads: all` only")));
  json = top_json();
  json["heads"] = "all";
  EXPECT_THAT(problems(json),
              ElementsAre(HasSubstr("evaluate: goes with `heads: {top: ...}` only")));
}

TEST(TopSelection, ParametersAreCanonical) {
  const auto parameters = [](const Json& json) {
    return ParsedExperiment("head_ablation", json).experiment->parameters("").dump();
  };
  EXPECT_EQ(parameters(top_json({1, 2, 4})), parameters(top_json({4, 1, 2})));
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, Json>>{{"from", "t"},
                                                 {"by", "mean(-delta_loss)"},
                                                 {"k", {1, 2}},
                                                 {"on", "all"},
                                                 {"at_least", 0.5}}) {
    Json json = top_json();
    json["heads"]["top"][key] = value;
    EXPECT_NE(parameters(json), parameters(top_json())) << key;
  }
  Json json = top_json();
  json["evaluate"] = "all";
  EXPECT_NE(parameters(json), parameters(top_json()));
}

}  // namespace
}  // namespace mechsweep
