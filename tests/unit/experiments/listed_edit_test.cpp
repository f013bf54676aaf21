#include "experiments/listed_edit_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/experiments/experiment_support.h"

namespace mechsweep {
namespace {

using test_experiments::node_of;
using testing::ElementsAre;
using testing::HasSubstr;

/// An edit that is fine, with some keys changed; null removes one.
Json changed(Json edit, const Json& changes) {
  for (const auto& [key, value] : changes.items()) {
    if (value.is_null())
      edit.erase(key);
    else
      edit[key] = value;
  }
  return edit;
}

const Json kZero = {
    {"site", "z"}, {"layer", 1}, {"heads", {0}}, {"positions", {-1}}, {"operation", "zero"}};
const Json kAdd = {{"site", "resid_pre"},
                   {"layer", 1},
                   {"positions", "all"},
                   {"operation", "add"},
                   {"direction", {1, 2}}};
const Json kCut = {
    {"site", "k"}, {"layer", 1}, {"heads", "all"}, {"edges", {{2, 1}}}, {"operation", "cut"}};

/// "key: message" of everything that is wrong, without line numbers.
std::vector<std::string> problems(const Json& edit) {
  VectorFiles vectors("");
  Problems found;
  // node_of takes texts that begin with ' as quoted, as all texts of a file are.
  Json quoted = edit;
  if (edit.contains("edges") && edit["edges"].is_string())
    quoted["edges"] = "'" + edit["edges"].get<std::string>();
  const ConfigNode node = node_of(quoted, "edit");
  read_listed_edit(node, vectors, found);
  std::vector<std::string> messages;
  for (const std::string& line : found.lines()) {
    const std::string message = line.substr(line.find("edit") + 4);
    messages.push_back(message.substr(message.find_first_not_of(".: ")));
  }
  return messages;
}

TEST(ListedEdit, SoundOnesAreAccepted) {
  for (const Json& edit : {kZero, kAdd, kCut}) EXPECT_THAT(problems(edit), ElementsAre());
  EXPECT_THAT(problems(changed(kCut, {{"edges", "copy"}})), ElementsAre());
  EXPECT_THAT(problems(changed(kCut, {{"edges", {{-1, 3}, {4, -2}}}})), ElementsAre());
}

TEST(ListedEdit, HeadsBelongToSitesWithHeads) {
  EXPECT_THAT(problems(changed(kZero, {{"heads", nullptr}})),
              ElementsAre("the key 'heads' is missing: a list of numbers, or \"all\""));
  EXPECT_THAT(problems(changed(kAdd, {{"heads", {0}}})),
              ElementsAre("heads: site 'resid_pre' has no heads; leave it out"));
  EXPECT_THAT(problems(changed(kZero, {{"heads", {1, 1}}})),
              ElementsAre("heads: names a head twice"));
  EXPECT_THAT(problems(changed(kZero, {{"heads", Json::array()}})),
              ElementsAre("heads: must be a list of heads' numbers, or \"all\""));
  EXPECT_THAT(problems(changed(kZero, {{"heads", "al"}})),
              ElementsAre("heads: must be a list of heads' numbers, or \"all\""));
  EXPECT_THAT(problems(changed(kZero, {{"heads", {-1}}})),
              ElementsAre("heads[0]: must be a whole number from 0 to 1000000, not '-1'"));
}

TEST(ListedEdit, PositionsOrEdges) {
  EXPECT_THAT(problems(changed(kZero, {{"positions", nullptr}})),
              ElementsAre("needs `positions` (or `edges`)"));
  EXPECT_THAT(problems(changed(kZero, {{"positions", "each"}})),
              ElementsAre("positions: `each` stands for several interventions; write a line for "
                          "each position"));
  EXPECT_THAT(problems(changed(kCut, {{"positions", "all"}})),
              ElementsAre("positions: goes not with `edges`, which say the positions; leave one of "
                          "them out"));
  EXPECT_THAT(problems(changed(kCut, {{"edges", {{1, 2}}}})),
              ElementsAre("edges[0]: the key 2 is after its query 1"));
  EXPECT_THAT(problems(changed(kCut, {{"edges", {{-2, -1}}}})),
              ElementsAre("edges[0]: the key -1 is after its query -2"));
  EXPECT_THAT(problems(changed(kCut, {{"edges", {{1}, 5}}})),
              ElementsAre("edges[0]: must be a pair of positions, [query, key]",
                          "edges[1]: must be a pair of positions, [query, key]"));
  EXPECT_THAT(
      problems(changed(kCut, {{"edges", Json::array()}})),
      ElementsAre("edges: must be a list of [query, key] pairs, or the name of the prompts' "
                  "`pairs`"));
}

TEST(ListedEdit, OperationsThatDoNotFitTheirSiteAreNamed) {
  EXPECT_THAT(problems(changed(kAdd, {{"operation", "value_bias"}, {"direction", nullptr}})),
              ElementsAre("operation: 'value_bias' does not go with site 'resid_pre' (possible: "
                          "zero, mean, resample, replace, add, remove, transplant)"));
  EXPECT_THAT(problems(changed(kZero, {{"operation", "cut"}})),
              ElementsAre(HasSubstr("'cut' does not go with site 'z'")));
  EXPECT_THAT(problems(changed(kCut, {{"operation", "mean"}})),
              ElementsAre("operation: 'mean' does not go with edges of site 'k' (possible: zero, "
                          "replace, cut)"));
  EXPECT_THAT(problems(changed(kCut, {{"operation", "resample"}})),
              ElementsAre(HasSubstr("'resample' does not go with edges")));
  EXPECT_THAT(problems(changed(kCut, {{"site", "z"}})),
              ElementsAre("edges: site 'z' has no attention edges; they go with q, k and v"));
  for (const char* refused : {"mean", "resample", "value_bias"})
    EXPECT_THAT(problems(changed(kZero, {{"site", "pattern"}, {"operation", refused}})),
                ElementsAre(fmt::format("operation: '{}' does not go with site 'pattern' "
                                        "(possible: zero, replace)",
                                        refused)));
}

TEST(ListedEdit, DonorsAndValues) {
  const Json replace = changed(kAdd, {{"operation", "replace"}, {"direction", nullptr}});
  EXPECT_THAT(problems(changed(replace, {{"donor", "clean"}})), ElementsAre());
  EXPECT_THAT(problems(changed(replace, {{"value", {1, 2}}})), ElementsAre());
  EXPECT_THAT(problems(replace),
              ElementsAre("the key 'donor' is missing: clean, corrupt, or {\"prompt\": id or "
                          "number, \"side\": ...}; or give a `value`"));
  EXPECT_THAT(problems(changed(replace, {{"donor", "clean"}, {"value", {1}}})),
              ElementsAre("donor: goes not with `value`; leave one of them out"));
  EXPECT_THAT(problems(changed(replace, {{"donor", "clen"}})),
              ElementsAre("donor: unknown value 'clen'; did you mean 'clean'? (known: clean, "
                          "corrupt)"));
  EXPECT_THAT(problems(changed(replace, {{"donor", {{"side", "clean"}}}})),
              ElementsAre("donor: the key 'prompt' is missing"));
  EXPECT_THAT(problems(changed(replace, {{"donor", {{"prompt", -1}, {"sides", "clean"}}}})),
              ElementsAre("donor.prompt: must be a whole number from 0 to 2147483647, not '-1'",
                          "donor.sides: unknown key; did you mean 'side'? (known: prompt, side)"));
  EXPECT_THAT(problems(changed(kZero, {{"donor", "clean"}})),
              ElementsAre("donor: goes with operation replace and transplant only; leave it out"));
  const Json edges = changed(kCut, {{"operation", "replace"}, {"value", {1}}, {"donor", "clean"}});
  EXPECT_THAT(problems(edges),
              ElementsAre("value: goes not with patterns or edges, which take a donor run's; give "
                          "`donor`",
                          "donor: goes not with `value`; leave one of them out"));
}

TEST(ListedEdit, Directions) {
  EXPECT_THAT(problems(changed(kAdd, {{"direction", nullptr}})),
              ElementsAre("the key 'direction' is missing, which operation add needs"));
  EXPECT_THAT(problems(changed(kAdd, {{"direction", Json::array()}})),
              ElementsAre("direction: must be a list of numbers, or {\"file\": a safetensors file, "
                          "\"tensor\": a name}"));
  EXPECT_THAT(problems(changed(kAdd, {{"direction", {1, "x", 1e300}}})),
              ElementsAre(HasSubstr("direction[1]: must be a number"),
                          HasSubstr("direction[2]: must be a number")));
  EXPECT_THAT(problems(changed(kAdd, {{"operation", "remove"}, {"direction", {0, 0}}})),
              ElementsAre("direction: has length 0 and so no direction"));
  EXPECT_THAT(problems(changed(kAdd, {{"direction", {{"file", "v.safetensors"}}}})),
              ElementsAre("direction: the key 'tensor' is missing"));
  EXPECT_THAT(problems(changed(kZero, {{"direction", {1}}, {"value", {1}}})),
              ElementsAre("value: goes with operation replace only; leave it out",
                          "direction: goes with operation add, remove and transplant only; leave "
                          "it out"));
}

TEST(ListedEdit, KeysOfOtherOperations) {
  EXPECT_THAT(problems(changed(kZero, {{"scale", 2}, {"per", "all"}, {"draw", 1}})),
              ElementsAre("scale: goes with operation add only; leave it out",
                          "per: goes with operation mean only; leave it out",
                          "draw: goes with operation resample only; leave it out"));
  EXPECT_THAT(problems(changed(kAdd, {{"scale", "big"}})),
              ElementsAre(HasSubstr("scale: must be a number")));
  EXPECT_THAT(problems(changed(kZero, {{"layer", nullptr}, {"lair", 1}})),
              ElementsAre("the key 'layer' is missing", HasSubstr("lair: unknown key")));
  EXPECT_THAT(problems(changed(kZero, {{"operation", nullptr}, {"site", nullptr}})),
              ElementsAre("the key 'site' is missing", "the key 'operation' is missing"));
}

}  // namespace
}  // namespace mechsweep
