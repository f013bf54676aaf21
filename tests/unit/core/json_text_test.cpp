#include "core/json_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace mechsweep {
namespace {

using testing::StartsWith;

std::string failure(std::string_view text) {
  try {
    (void)parse_json(text);
  } catch (const Error& error) {
    return error.kind() == ErrorKind::input ? error.what() : "wrong kind";
  }
  return "nothing was thrown";
}

// Judged by the library's own reader, which takes the same documents.
TEST(ParseJson, ReadsEveryKindOfValue) {
  for (
      const std::string text :
      {R"({"a": [1, -2, 0.5, 1e3, true, false, null, "x\u00e9\ud83d\ude00", {}, []], "b": {"c": 0}})",
       R"(18446744073709551615)", R"(-9223372036854775808)", R"("text")", R"([[[]], {"": ""}])",
       " \n[1]\t", "1.0"}) {
    EXPECT_EQ(parse_json(text), Json::parse(text)) << text;
    EXPECT_EQ(parse_json(text).dump(), Json::parse(text).dump()) << text;
  }
  EXPECT_TRUE(parse_json("7").is_number_unsigned());
  EXPECT_TRUE(parse_json("-7").is_number_integer());
}

TEST(ParseJson, SaysWhereATextIsNoJson) {
  EXPECT_THAT(failure(""), StartsWith("is not valid JSON: column 1: "));
  EXPECT_THAT(failure("[1, 2"), StartsWith("is not valid JSON: column 6: "));
  EXPECT_THAT(failure("{\n  \"a\": ?\n}"), StartsWith("is not valid JSON: line 2, column 8: "));
  EXPECT_THAT(failure("[1] 2"), StartsWith("is not valid JSON: column 5: "));
  EXPECT_THAT(failure("\"\xFF\""), StartsWith("is not valid JSON: column 2: "));
  EXPECT_THAT(failure("[1e999]"), StartsWith("is not valid JSON: column "));
  EXPECT_LT(failure("\"" + std::string(100'000, 'a')).size(), 400U);
}

TEST(ParseJson, RefusesTheSameNameTwiceAtAnyDepth) {
  EXPECT_EQ(failure(R"({"a": 1, "a": 1})"), "has the name 'a' twice");
  EXPECT_EQ(failure(R"({"a": [{"b": {}, "c": {"b": 1}, "b": 2}]})"), "has the name 'b' twice");
  EXPECT_EQ(failure(R"({"a\n": 1, "a\u000a": 1})"), R"(has the name 'a\x0A' twice)");
  EXPECT_EQ(parse_json(R"({"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 2}]})")["b"].size(), 2U);
}

TEST(ParseJson, RefusesDeepNesting) {
  const std::string deepest = std::string(kDeepestJson, '[') + std::string(kDeepestJson, ']');
  EXPECT_EQ(parse_json(deepest), Json::parse(deepest));
  EXPECT_EQ(failure("[" + deepest + "]"), "is nested deeper than 64 levels");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_EQ(failure(objects), "is nested deeper than 64 levels");
  EXPECT_NO_THROW((void)parse_json("[[]]", 2));
  EXPECT_THROW((void)parse_json("[[[]]]", 2), Error);
}

TEST(ShowJson, ShortValuesAsTheyAreOthersBySize) {
  EXPECT_EQ(show_json(Json::parse(R"({"a": [1, "b"]})")), R"({"a":[1,"b"]})");
  EXPECT_EQ(show_json(Json(nullptr)), "null");
  EXPECT_EQ(show_json(Json(std::vector<int>(9, 1))), "a list of 9 items");
  EXPECT_EQ(show_json(Json(std::string(500, 'x'))).size(), 123U);
  EXPECT_EQ(show_json(Json("a\xFF")), "\"a\uFFFD\"");
}

}  // namespace
}  // namespace mechsweep
