#include "core/config_node.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mechsweep {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

ConfigNode scalar(const std::string& text, bool quoted = false) {
  ConfigNode node;
  node.kind = ConfigNode::Kind::scalar;
  node.scalar = text;
  node.quoted = quoted;
  node.position = {"sweep.yaml", 3, 9};
  node.path = "prompts[0].count";
  return node;
}

ConfigNode list(std::vector<ConfigNode> items) {
  ConfigNode node = scalar("");
  node.kind = ConfigNode::Kind::list;
  node.items = std::move(items);
  return node;
}

/// A map at experiments[2], line 12; its keys stand at column 5.
ConfigNode map(const std::vector<std::pair<std::string, ConfigNode>>& entries) {
  ConfigNode node;
  node.kind = ConfigNode::Kind::map;
  node.position = {"sweep.yaml", 12, 3};
  node.path = "experiments[2]";
  for (const auto& [key, value] : entries) {
    ConfigNode placed = value;
    placed.path = "experiments[2]." + key;
    node.entries.push_back({key, {"sweep.yaml", 12, 5}, placed});
  }
  return node;
}

TEST(SourcePosition, LeavesOutWhatIsUnknown) {
  EXPECT_EQ((SourcePosition{"sweep.yaml", 12, 5}.text()), "sweep.yaml:12:5");
  EXPECT_EQ((SourcePosition{"sweep.yaml", 12, 0}.text()), "sweep.yaml:12");
  EXPECT_EQ((SourcePosition{"sweep.yaml", 0, 0}.text()), "sweep.yaml");
}

TEST(ConfigNode, FindsKeysOfAMap) {
  const ConfigNode node = map({{"a", scalar("1")}});
  ASSERT_NE(node.find("a"), nullptr);
  EXPECT_EQ(node.find("a")->scalar, "1");
  EXPECT_EQ(node.find("b"), nullptr);
  EXPECT_EQ(scalar("a").find("a"), nullptr);
}

TEST(Problems, AreThrownTogetherAsAUsageError) {
  Problems problems;
  EXPECT_NO_THROW(problems.throw_if_any());
  problems.add(SourcePosition{"a.yaml", 1, 2}, "x", "one");
  problems.add(SourcePosition{"a.yaml", 0, 0}, "", "two");
  try {
    problems.throw_if_any();
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_STREQ(error.what(), "a.yaml:1:2: x: one\na.yaml: two");
  }
}

std::optional<int64_t> integer(const std::string& text, int64_t low = INT64_MIN,
                               int64_t high = INT64_MAX) {
  Problems problems;
  const auto value = node_integer(scalar(text), problems, low, high);
  EXPECT_EQ(value.has_value(), problems.empty()) << text;
  return value;
}

TEST(NodeInteger, ReadsDecimalIntegersExactly) {
  EXPECT_EQ(integer("0"), 0);
  EXPECT_EQ(integer("-17"), -17);
  EXPECT_EQ(integer("9223372036854775807"), INT64_MAX);
  EXPECT_EQ(integer("-9223372036854775808"), INT64_MIN);
  EXPECT_EQ(integer("5", 5, 5), 5);
}

TEST(NodeInteger, RefusesEverythingElse) {
  for (const char* text :
       {"", "1.0", "1e3", "0x10", "010", "-01", "+1", "1_000", "1,000", " 1", "1 ", "true", "--1",
        "-", "9223372036854775808", "-9223372036854775809", "99999999999999999999999"})
    EXPECT_EQ(integer(text), std::nullopt) << text;
  EXPECT_EQ(integer("4", 5, 6), std::nullopt);
  EXPECT_EQ(integer("7", 5, 6), std::nullopt);
}

TEST(NodeInteger, SaysWhatItWantedAndGot) {
  Problems problems;
  node_integer(scalar("0"), problems, 1, 100);
  node_integer(scalar("1.0"), problems, 1);
  node_integer(scalar("12", true), problems, INT64_MIN, 9);
  node_integer(list({}), problems);
  node_integer(ConfigNode{}, problems);
  node_integer(map({}), problems);
  EXPECT_THAT(
      problems.lines(),
      ElementsAre(
          "sweep.yaml:3:9: prompts[0].count: must be a whole number from 1 to 100, not '0'",
          "sweep.yaml:3:9: prompts[0].count: must be a whole number of at least 1, not '1.0'",
          "sweep.yaml:3:9: prompts[0].count: must be a whole number of at most 9, not the quoted "
          "text '12'",
          "sweep.yaml:3:9: prompts[0].count: must be a whole number, not a list",
          "must be a whole number, not an empty value",
          "sweep.yaml:12:3: experiments[2]: must be a whole number, not a map"));
}

TEST(NodeInteger, ShowsOnlyTheBeginningOfALongTextAndNeverHalfACharacter) {
  Problems problems;
  node_integer(scalar(std::string(59, 'x') + "\xC3\xA9" + std::string(99, 'y')), problems);
  ASSERT_EQ(problems.lines().size(), 1U);
  EXPECT_TRUE(problems.lines()[0].ends_with(", not '" + std::string(59, 'x') + "...'"));
}

TEST(NodeNumber, ReadsDecimalsInRange) {
  Problems problems;
  EXPECT_EQ(node_number(scalar("0.95"), problems, 0, 1), 0.95);
  EXPECT_EQ(node_number(scalar("1"), problems, 0, 1), 1.0);
  EXPECT_EQ(node_number(scalar("-2.5e-3"), problems, -1, 1), -0.0025);
  EXPECT_THAT(problems.lines(), IsEmpty());
}

TEST(NodeNumber, RefusesWhatIsNotFiniteOrOutOfRange) {
  for (const char* text : {"", "nan", "inf", "-inf", ".inf", "1e999", "0x1p3", "1.5x", "01.5",
                           "1.01", "-0.01", "+1"}) {
    Problems problems;
    EXPECT_EQ(node_number(scalar(text), problems, 0, 1), std::nullopt) << text;
    EXPECT_EQ(problems.lines().size(), 1U) << text;
  }
  Problems problems;
  node_number(scalar("2"), problems, 0.5, 1);
  node_number(scalar("0.7", true), problems, 0, std::numeric_limits<double>::max());
  EXPECT_THAT(problems.lines(),
              ElementsAre("sweep.yaml:3:9: prompts[0].count: must be a number from 0.5 to 1, not "
                          "'2'",
                          "sweep.yaml:3:9: prompts[0].count: must be a number of at least 0, not "
                          "the quoted text '0.7'"));
}

TEST(NodeBool, IsTrueOrFalseAndNothingElse) {
  Problems good;
  EXPECT_EQ(node_bool(scalar("true"), good), true);
  EXPECT_EQ(node_bool(scalar("false"), good), false);
  EXPECT_THAT(good.lines(), IsEmpty());
  for (const char* text : {"yes", "no", "on", "True", "FALSE", "1", "0", ""}) {
    Problems problems;
    EXPECT_EQ(node_bool(scalar(text), problems), std::nullopt) << text;
    EXPECT_EQ(problems.lines().size(), 1U) << text;
  }
  Problems problems;
  node_bool(scalar("true", true), problems);
  EXPECT_THAT(problems.lines(), ElementsAre("sweep.yaml:3:9: prompts[0].count: must be true or "
                                            "false, not the quoted text 'true'"));
}

TEST(NodeText, TakesAnyScalarAsTyped) {
  Problems problems;
  EXPECT_EQ(node_text(scalar("12"), problems), "12");
  EXPECT_EQ(node_text(scalar(" A", true), problems), " A");
  EXPECT_THAT(problems.lines(), IsEmpty());
  EXPECT_EQ(node_text(list({}), problems), std::nullopt);
  EXPECT_THAT(problems.lines(),
              ElementsAre("sweep.yaml:3:9: prompts[0].count: must be text, not a list"));
}

TEST(NodeTexts, TakesAListOrOneText) {
  Problems problems;
  EXPECT_THAT(*node_texts(scalar("zero"), problems), ElementsAre("zero"));
  EXPECT_THAT(*node_texts(list({scalar("zero"), scalar("mean")}), problems),
              ElementsAre("zero", "mean"));
  EXPECT_THAT(*node_texts(list({}), problems), IsEmpty());
  EXPECT_THAT(problems.lines(), IsEmpty());
  EXPECT_EQ(node_texts(list({scalar("zero"), list({}), list({})}), problems), std::nullopt);
  EXPECT_EQ(node_texts(map({}), problems), std::nullopt);
  EXPECT_THAT(problems.lines(),
              ElementsAre("sweep.yaml:3:9: prompts[0].count: must be text, not a list",
                          "sweep.yaml:3:9: prompts[0].count: must be text, not a list",
                          "sweep.yaml:12:3: experiments[2]: must be a list of texts, not a map"));
}

TEST(NodeChoice, NamesTheNearest) {
  Problems problems;
  EXPECT_EQ(node_choice(scalar("mean"), problems, {"zero", "mean"}), "mean");
  EXPECT_EQ(node_choice(scalar("zeor"), problems, {"zeros", "mean"}), std::nullopt);
  EXPECT_EQ(node_choice(scalar("replace"), problems, {"zero", "mean"}), std::nullopt);
  EXPECT_EQ(node_choice(list({}), problems, {"zero", "mean"}), std::nullopt);
  EXPECT_THAT(
      problems.lines(),
      ElementsAre("sweep.yaml:3:9: prompts[0].count: unknown value 'zeor' (known: zeros, mean)",
                  "sweep.yaml:3:9: prompts[0].count: unknown value 'replace' (known: zero, mean)",
                  "sweep.yaml:3:9: prompts[0].count: must be one of zero, mean, not a list"));
  Problems near;
  node_choice(scalar("resampel"), near, {"zero", "resample"});
  EXPECT_THAT(near.lines(), ElementsAre("sweep.yaml:3:9: prompts[0].count: unknown value "
                                        "'resampel'; did you mean 'resample'? (known: zero, "
                                        "resample)"));
}

TEST(NodeChoice, ShowsAQuotedTextAsAnyOther) {
  ConfigNode quoted = scalar("x");
  quoted.quoted = true;
  Problems problems;
  EXPECT_EQ(node_choice(quoted, problems, {"zero", "mean"}), std::nullopt);
  EXPECT_THAT(problems.lines(), ElementsAre("sweep.yaml:3:9: prompts[0].count: unknown value 'x' "
                                            "(known: zero, mean)"));
}

TEST(MapReader, ReadsWhatIsThereAndFallsBackOtherwise) {
  const ConfigNode node = map({{"t", scalar("x")},
                               {"i", scalar("7")},
                               {"n", scalar("0.5")},
                               {"b", scalar("true")},
                               {"c", scalar("mean")}});
  Problems problems;
  MapReader reader(node, problems);
  EXPECT_EQ(reader.text("t"), "x");
  EXPECT_EQ(reader.text_or("t", "y"), "x");
  EXPECT_EQ(reader.text_or("t2", "y"), "y");
  EXPECT_EQ(reader.integer("i", 0, 9), 7);
  EXPECT_EQ(reader.integer_or("i", 1, 0, 9), 7);
  EXPECT_EQ(reader.integer_or("i2", 1, 0, 9), 1);
  EXPECT_EQ(reader.number_or("n", 0.1, 0, 1), 0.5);
  EXPECT_EQ(reader.number_or("n2", 0.1, 0, 1), 0.1);
  EXPECT_TRUE(reader.bool_or("b", false));
  EXPECT_TRUE(reader.bool_or("b2", true));
  EXPECT_EQ(reader.choice("c", {"zero", "mean"}), "mean");
  EXPECT_EQ(reader.choice_or("c", "zero", {"zero", "mean"}), "mean");
  EXPECT_EQ(reader.choice_or("c2", "zero", {"zero", "mean"}), "zero");
  EXPECT_TRUE(reader.has("t"));
  EXPECT_FALSE(reader.has("t3"));
  EXPECT_EQ(reader.get("i")->scalar, "7");
  EXPECT_EQ(&reader.node(), &node);
  reader.finish();
  EXPECT_THAT(reader.problems().lines(), IsEmpty());
}

TEST(MapReader, GathersEveryProblem) {
  const ConfigNode node =
      map({{"operaton", scalar("zero")}, {"count", scalar("many")}, {"prefix", ConfigNode{}}});
  Problems problems;
  MapReader reader(node, problems);
  EXPECT_EQ(reader.text("operation"), "");
  EXPECT_EQ(reader.integer("count", 1, 9), 1);
  EXPECT_EQ(reader.require("heads"), nullptr);
  EXPECT_EQ(reader.choice("direction", {"first", "last"}), "first");
  EXPECT_EQ(reader.text_or("prefix", "bos"), "bos");
  reader.finish();
  EXPECT_THAT(
      problems.lines(),
      ElementsAre(
          "sweep.yaml:12:3: experiments[2]: the key 'operation' is missing",
          "sweep.yaml:3:9: experiments[2].count: must be a whole number from 1 to 9, not 'many'",
          "sweep.yaml:12:3: experiments[2]: the key 'heads' is missing",
          "sweep.yaml:12:3: experiments[2]: the key 'direction' is missing",
          "experiments[2].prefix: must be text, not an empty value",
          "sweep.yaml:12:5: experiments[2].operaton: unknown key; did you mean 'operation'? "
          "(known: operation, count, heads, direction, prefix)"));
}

TEST(MapReader, IsSilentAfterSayingThatThereIsNoMap) {
  const ConfigNode node = scalar("zero");
  Problems problems;
  MapReader reader(node, problems);
  EXPECT_EQ(reader.text("a"), "");
  EXPECT_EQ(reader.integer("b", 3, 5), 3);
  EXPECT_EQ(reader.require("c"), nullptr);
  reader.finish();
  EXPECT_THAT(problems.lines(), ElementsAre("sweep.yaml:3:9: prompts[0].count: must be a map of "
                                            "keys and values, not 'zero'"));
}

}  // namespace
}  // namespace mechsweep
