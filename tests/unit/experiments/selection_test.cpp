#include "experiments/selection.h"

#include <gtest/gtest.h>

#include "unit/experiments/experiment_support.h"

namespace mechsweep {
namespace {

using test_experiments::failure;
using test_experiments::node_of;
using test_experiments::ragged_prompts;
using test_experiments::small_model;
using Numbers = std::vector<int32_t>;

/// What a parser makes of one key, and what it complains about.
template <typename Selection>
struct Parsed {
  Selection value;
  std::vector<std::string> problems;
};

template <typename Selection>
Parsed<Selection> parse(Selection (*parser)(MapReader&), const Json& json) {
  const ConfigNode node = node_of(json);
  Problems problems;
  MapReader reader(node, problems);
  Selection value = parser(reader);
  reader.finish();
  return {std::move(value), problems.lines()};
}

Numbers positions(const Json& value, const Prompt& prompt) {
  const auto parsed = parse(parse_positions, {{"positions", value}});
  EXPECT_TRUE(parsed.problems.empty()) << parsed.problems.front();
  return parsed.value.resolve(prompt);
}

template <typename Selection>
std::string problem(Selection (*parser)(MapReader&), const Json& json) {
  const auto parsed = parse(parser, json);
  EXPECT_EQ(parsed.problems.size(), 1U);
  return parsed.problems.empty() ? "" : parsed.problems.front();
}

TEST(Positions, EveryFormNamesThePositionsOfOneJointEdit) {
  const PromptSet set = ragged_prompts();
  const Prompt& b = set.prompts[1];
  EXPECT_EQ(positions("all", b), (Numbers{0, 1, 2}));
  EXPECT_EQ(positions("targets", b), (Numbers{0, 2}));
  EXPECT_EQ(positions("name", b), (Numbers{1, 2}));
  EXPECT_EQ(positions({2, -3}, b), (Numbers{0, 2}));
  EXPECT_EQ(positions({1, -2, 1}, b), (Numbers{1}));
  EXPECT_EQ(positions({0, -1}, set.prompts[0]), (Numbers{0, 1}));
  EXPECT_EQ(positions("'7", Prompt{.tokens = {1}, .spans = {{"7", {0, 1}}}}), (Numbers{0}));
}

TEST(Positions, EachIsAnAxisAsLongAsTheLongestPrompt) {
  EXPECT_EQ(parse(parse_positions, {{"positions", "each"}}).value.kind,
            PositionSelection::Kind::each);
  const Axis axis = position_axis(ragged_prompts());
  EXPECT_EQ(axis.name, "position");
  EXPECT_EQ(axis.size, 3);
}

TEST(Positions, CanonicalFormsDiffer) {
  const auto json = [](const Json& value) {
    return parse(parse_positions, {{"positions", value}}).value.to_json().dump();
  };
  EXPECT_EQ(json("all"), R"("all")");
  EXPECT_EQ(json("each"), R"("each")");
  EXPECT_EQ(json("targets"), R"("targets")");
  EXPECT_EQ(json("swapped"), R"({"span":"swapped"})");
  EXPECT_EQ(json({-1, 2}), "[-1,2]");
}

TEST(Positions, BadFormsAreNamedWithTheirPlace) {
  EXPECT_EQ(problem(parse_positions, Json::object()), "s.yaml:9:1: the key 'positions' is missing");
  EXPECT_EQ(problem(parse_positions, {{"positions", Json::array()}}),
            "s.yaml:10:5: positions: the list of positions is empty");
  EXPECT_EQ(problem(parse_positions, {{"positions", 5}}),
            "s.yaml:10:5: positions: a single position is written as a list: [5]");
  EXPECT_EQ(problem(parse_positions, {{"positions", -1}}),
            "s.yaml:10:5: positions: a single position is written as a list: [-1]");
  EXPECT_EQ(problem(parse_positions, {{"positions", "'"}}),
            "s.yaml:10:5: positions: must be all, each, targets, a span's name, or a list of "
            "indices");
  EXPECT_EQ(problem(parse_positions, {{"positions", nullptr}}),
            "s.yaml:10:5: positions: must be text, not an empty value");
  EXPECT_EQ(problem(parse_positions, {{"positions", {0, "x"}}}),
            "s.yaml:10:21: positions[1]: must be a whole number from -2147483648 to 2147483647, "
            "not 'x'");
}

TEST(Positions, PromptsThatLackThemAreNamed) {
  const PromptSet set = ragged_prompts();
  EXPECT_EQ(failure([&] { positions({2}, set.prompts[0]); }),
            "input: prompt 'a' has 2 tokens and no position 2");
  EXPECT_EQ(failure([&] {
              positions({0, -3}, set.prompts[0]);
            }),
            "input: prompt 'a' has 2 tokens and no position -3");
  EXPECT_EQ(failure([&] { positions("al", set.prompts[1]); }),
            "input: `positions` is 'al', which is neither all, each, targets nor a span of prompt "
            "'b' (it has: name)");
  EXPECT_EQ(failure([&] { positions("x", Prompt{.id = "c", .tokens = {1}}); }),
            "input: `positions` is 'x', which is neither all, each, targets nor a span of prompt "
            "'c' (it has none)");
}

TEST(Layers, EveryFormGivesAscendingNumbers) {
  const auto layers = [](const Json& value) {
    const auto parsed = parse(parse_layers, {{"layers", value}});
    EXPECT_TRUE(parsed.problems.empty()) << parsed.problems.front();
    return parsed.value.resolve(6);
  };
  EXPECT_EQ(layers("all"), (Numbers{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(parse(parse_layers, Json::object()).value.resolve(2), (Numbers{0, 1}));
  EXPECT_EQ(layers(3), (Numbers{3}));
  EXPECT_EQ(layers("2..4"), (Numbers{2, 3, 4}));
  EXPECT_EQ(layers("5..5"), (Numbers{5}));
  EXPECT_EQ(layers({4, "0..1", 1}), (Numbers{0, 1, 4}));
}

TEST(Layers, OneMeaningHasOneCanonicalForm) {
  const auto json = [](const Json& value) {
    return parse(parse_layers, {{"layers", value}}).value.to_json().dump();
  };
  EXPECT_EQ(json("1..3"), "[1,2,3]");
  EXPECT_EQ(json({3, 1, 2}), "[1,2,3]");
  EXPECT_EQ(json("all"), R"("all")");
}

TEST(Layers, BadFormsAreNamedWithTheirPlace) {
  const std::string form = "must be all, a layer, a range such as 8..15, or a list of those";
  for (const Json& bad : {Json("x"), Json("3..1"), Json("1.."), Json("..2"), Json(-1), Json("-0"),
                          Json("1...2"), Json("1..2..3"), Json("1.5"), Json("0..99999999999"),
                          Json("0..200000"), Json(nullptr), Json{{"from", 1}}})
    EXPECT_EQ(problem(parse_layers, {{"layers", bad}}), "s.yaml:10:5: layers: " + form) << bad;
  EXPECT_EQ(problem(parse_layers, {{"layers", {0, "y"}}}), "s.yaml:10:21: layers[1]: " + form);
  EXPECT_EQ(problem(parse_layers, {{"layers", Json::array()}}),
            "s.yaml:10:5: layers: the list of layers is empty");
  EXPECT_EQ(failure([] {
              (void)LayerSelection{.all = false, .list = {0, 6}}.resolve(6);
            }),
            "usage: `layers` names layer 6, but the model has layers 0..5");
}

TEST(Heads, EveryFormIsRead) {
  using Kind = HeadSelection::Kind;
  EXPECT_EQ(parse(parse_heads, Json::object()).value.kind, Kind::all);
  EXPECT_EQ(parse(parse_heads, {{"heads", "all"}}).value.kind, Kind::all);
  const auto list = parse(parse_heads, {{"heads", {"L9H5", "L0H10"}}}).value;
  EXPECT_EQ(list.kind, Kind::list);
  EXPECT_EQ(list.list, (std::vector<HeadName>{{9, 5}, {0, 10}}));
  EXPECT_EQ(list.list[0].text(), "L9H5");
  const Json json = {{"sets", {{"movers", {"L9H5", "L1H0"}}, {"others", {"L9H5"}}}}};
  const auto sets = parse(parse_heads, {{"heads", json}}).value;
  EXPECT_EQ(sets.kind, Kind::sets);
  ASSERT_EQ(sets.sets.size(), 2U);
  EXPECT_EQ(sets.sets[0].first, "movers");
  EXPECT_EQ(sets.sets[0].second, (std::vector<HeadName>{{9, 5}, {1, 0}}));
  EXPECT_EQ(sets.to_json().dump(),
            R"([{"heads":["L9H5","L1H0"],"set":"movers"},{"heads":["L9H5"],"set":"others"}])");
  EXPECT_EQ(list.to_json().dump(), R"(["L9H5","L0H10"])");
}

TEST(Heads, BadFormsAreNamedWithTheirPlace) {
  const std::string name = "must be a head's name: L, the layer, H, the head, such as L9H5";
  for (const Json& bad :
       {Json("9H5"), Json("L9"), Json("LH5"), Json("L9H"), Json("l9h5"), Json("L-1H0"),
        Json("L1H-0"), Json("L1H2H3"), Json("L1 H2"), Json(3), Json(nullptr), Json{{"L9", 1}}})
    EXPECT_EQ(problem(parse_heads, {{"heads", Json::array({"L0H0", bad})}}),
              "s.yaml:10:21: heads[1]: " + name)
        << bad;
  EXPECT_EQ(problem(parse_heads, {{"heads", {"L1H1", "L0H0", "L1H1"}}}),
            "s.yaml:10:22: heads[2]: L1H1 is named twice");
  EXPECT_EQ(problem(parse_heads, {{"heads", Json::array()}}),
            "s.yaml:10:5: heads: must be a list of head names such as [L9H5, L10H0]");
  for (const Json& bad : {Json("L9H5"), Json(nullptr), Json(3)})
    EXPECT_EQ(problem(parse_heads, {{"heads", bad}}),
              "s.yaml:10:5: heads: must be all, a list of head names, or {sets: {NAME: [L9H5, "
              "...]}}");
  EXPECT_EQ(problem(parse_heads, {{"heads", {{"sets", Json::object()}}}}),
            "s.yaml:10:5: heads.sets: must name at least one set: {NAME: [L9H5, ...]}");
  EXPECT_EQ(problem(parse_heads, {{"heads", {{"sets", {{"a", "L0H0"}}}}}}),
            "s.yaml:10:5: heads.sets.a: must be a list of head names such as [L9H5, L10H0]");
  EXPECT_EQ(problem(parse_heads, {{"heads", {{"top", {{"from", "x"}}}}}}),
            "s.yaml:10:5: heads.top: goes with `kind: head_ablation` only");
  EXPECT_EQ(problem(parse_heads, {{"heads", {{"sets", {{"a", {"L0H0"}}}}, {"set", 1}}}}),
            "s.yaml:10:1: heads.set: unknown key; did you mean 'sets'? (known: sets, all_but)");
}

TEST(Heads, ThoseThatTheModelLacksAreNamed) {
  const auto check = [](const HeadSelection& heads) {
    return failure([&] { heads.check(Site::z, small_model(2, 4)); });
  };
  using Kind = HeadSelection::Kind;
  EXPECT_EQ(check({.kind = Kind::list, .list = {{1, 3}, {0, 0}}}), "nothing was thrown");
  EXPECT_EQ(check({.kind = Kind::list, .list = {{1, 4}}}),
            "usage: `heads` names L1H4, but the model has layers 0..1 with heads 0..3");
  EXPECT_EQ(check({.kind = Kind::sets, .sets = {{"a", {{2, 0}}}}}),
            "usage: `heads` names L2H0, but the model has layers 0..1 with heads 0..3");
}

}  // namespace
}  // namespace mechsweep
