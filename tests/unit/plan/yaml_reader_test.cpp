#include "plan/yaml_reader.h"

#include <cstdio>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mechsweep {
namespace {

using Kind = ConfigNode::Kind;
using testing::StartsWith;

ConfigNode parse(const std::string& text) {
  return parse_yaml(text, "s.yaml");
}

/// The message of the usage Error that parsing throws.
std::string failure(const std::string& text) {
  try {
    parse(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << "not one sentence";
    return error.what();
  }
  return "nothing was thrown";
}

std::string place(const SourcePosition& position) {
  return position.text().substr(7);
}

TEST(YamlReader, KeepsOrderKindsPlacesAndPaths) {
  const ConfigNode root = parse(
      "seed: 42\n"
      "models:\n"
      "  - id: m1\n"
      "    path: ../m1  # a comment\n"
      "  - {id: m2, layers: [0, '1']}\n"
      "nothing:\n");
  EXPECT_EQ(root.kind, Kind::map);
  EXPECT_EQ(root.path, "");
  EXPECT_EQ(place(root.position), "1:1");
  ASSERT_EQ(root.entries.size(), 3U);
  EXPECT_EQ(root.entries[0].key, "seed");
  EXPECT_EQ(root.entries[1].key, "models");
  EXPECT_EQ(place(root.entries[1].key_position), "2:1");
  EXPECT_EQ(root.entries[0].value.scalar, "42");
  EXPECT_FALSE(root.entries[0].value.quoted);
  EXPECT_EQ(place(root.entries[0].value.position), "1:7");
  EXPECT_EQ(root.find("nothing")->kind, Kind::null);
  EXPECT_EQ(place(root.find("nothing")->position), "6:1");  // of the key: there is no value

  const ConfigNode& models = *root.find("models");
  EXPECT_EQ(models.kind, Kind::list);
  ASSERT_EQ(models.items.size(), 2U);
  EXPECT_EQ(place(models.items[0].position), "3:5");
  EXPECT_EQ(models.items[0].find("path")->scalar, "../m1");
  EXPECT_EQ(place(models.items[0].find("path")->position), "4:11");
  const ConfigNode& layers = *models.items[1].find("layers");
  EXPECT_EQ(layers.path, "models[1].layers");
  EXPECT_EQ(layers.items[1].path, "models[1].layers[1]");
  EXPECT_EQ(place(layers.items[1].position), "5:26");
  EXPECT_FALSE(layers.items[0].quoted);
  EXPECT_TRUE(layers.items[1].quoted);
}

TEST(YamlReader, TellsTextFromNumbersAndNull) {
  const ConfigNode root = parse("a: ' A'\nb: \"~\"\nc: ~\nd: null\ne: ''\nf: |\n  two\n  lines\n");
  EXPECT_EQ(root.find("a")->scalar, " A");
  EXPECT_EQ(root.find("b")->kind, Kind::scalar);
  EXPECT_TRUE(root.find("b")->quoted);
  EXPECT_EQ(root.find("c")->kind, Kind::null);
  EXPECT_EQ(root.find("d")->kind, Kind::null);
  EXPECT_EQ(root.find("e")->kind, Kind::scalar);
  EXPECT_EQ(root.find("f")->scalar, "two\nlines\n");
  EXPECT_TRUE(root.find("f")->quoted);
}

TEST(YamlReader, ReadsJsonWithTabs) {
  const ConfigNode root =
      parse("{\n\t\"a\": [1, 2.5,\ttrue, null],\n\t\"b\": {\"c\": \"x\\u00e9\"}\n}");
  EXPECT_EQ(root.find("a")->items.size(), 4U);
  EXPECT_EQ(root.find("a")->items[3].kind, Kind::null);
  EXPECT_EQ(root.find("b")->find("c")->scalar, "x\xC3\xA9");
  EXPECT_EQ(root.find("b")->find("c")->path, "b.c");
}

TEST(YamlReader, CountsCharactersNotBytes) {
  const ConfigNode root = parse("\xC3\xA9\xC3\xA9: [x, \xE2\x82\xAC, y]\n");
  EXPECT_EQ(place(root.entries[0].value.items[2].position), "1:12");
}

TEST(YamlReader, ToleratesByteOrderMarkWindowsLinesAndDocumentMarkers) {
  const ConfigNode root = parse("\xEF\xBB\xBF---\r\na: 1\r\nb: \"x\r\n  y\"\r\n...\r\n");
  EXPECT_EQ(root.find("a")->scalar, "1");
  EXPECT_EQ(root.find("b")->scalar, "x y");
  EXPECT_EQ(place(root.find("b")->position), "3:4");
}

TEST(YamlReader, AliasesCopyWithTheirOwnPath) {
  const ConfigNode root = parse("base: &b {x: 1}\nuse: [*b, *b]\n");
  const ConfigNode& second = root.find("use")->items[1];
  EXPECT_EQ(second.find("x")->scalar, "1");
  EXPECT_EQ(second.find("x")->path, "use[1].x");
  EXPECT_EQ(place(second.find("x")->position), "1:14");
}

TEST(YamlReader, RefusesWhatIsAmbiguousOrUnsupported) {
  EXPECT_EQ(failure("seed: 1\nx: 2\n'seed': 3\n"),
            "s.yaml:3:1: the key 'seed' is given twice, first in line 1; remove one");
  EXPECT_EQ(failure("a: {b: 1, c: 2, b: 3}"),
            "s.yaml:1:17: the key 'b' is given twice, first in line 1; remove one");
  EXPECT_EQ(failure("a: &x {b: 1}\nc:\n  <<: *x\n"),
            "s.yaml:3:3: the merge key '<<' is not supported; write the keys out");
  EXPECT_EQ(failure("a: !!int 3\n"),
            "s.yaml:1:4: the tag tag:yaml.org,2002:int is not supported; remove it");
  EXPECT_EQ(failure("a: !thing [1]\n"), "s.yaml:1:4: the tag !thing is not supported; remove it");
  EXPECT_EQ(failure("a: !thing {b: 1}\n"),
            "s.yaml:1:4: the tag !thing is not supported; remove it");
  EXPECT_EQ(failure("? [a, b]\n: 1\n"), "s.yaml:1:3: a key must be text");
  EXPECT_EQ(failure(": 1\n"), "s.yaml:1:1: a key must be text");
  EXPECT_EQ(failure("'': 1\n"), "s.yaml:1:1: a key must be text");
}

TEST(YamlReader, KeysOfDifferentMapsMayBeEqual) {
  EXPECT_EQ(parse("a: {x: 1}\nb: {x: 2}\nx: 3\n").entries.size(), 3U);
}

TEST(YamlReader, RefusesSeveralDocuments) {
  for (const char* text : {"a: 1\n---\nb: 2\n", "a: 1\n...\nb: 2\n", "- a\nb: 1\n", "{} {}"})
    EXPECT_THAT(failure(text), testing::HasSubstr("more text follows the end of the config"))
        << text;
  EXPECT_THAT(failure("- a\nb: 1\n"), StartsWith("s.yaml:2:1: "));
}

TEST(YamlReader, RefusesEmptyConfigs) {
  for (const char* text : {"", "\n\n", "# only a comment\n", "---\n", "~\n", "\xEF\xBB\xBF"})
    EXPECT_EQ(failure(text), "s.yaml: is empty; a config needs at least models and experiments")
        << text;
}

TEST(YamlReader, RefusesBytesThatAreNotText) {
  EXPECT_EQ(failure("a: 1\nb: \xFF\n"), "s.yaml:2:4: is not UTF-8 text; save the file as UTF-8");
  EXPECT_EQ(failure(std::string("a: \0", 4)),
            "s.yaml:1:4: has a control character (byte 0); remove it");
  EXPECT_EQ(failure("a: 1\n\x04z: 2\n"), "s.yaml:2:1: has a control character (byte 4); remove it");
  EXPECT_EQ(failure("a: 1\rb: 2\r"),
            "s.yaml:1:5: has a carriage return without a line feed; use Unix line ends");
}

TEST(YamlReader, RefusesTabsAsIndentation) {
  EXPECT_THAT(failure("a: 1\n\tb: 1\n"), StartsWith("s.yaml:2:1: is not valid YAML: illegal tab"));
  EXPECT_THAT(failure("a:\n\tb: 1\n"), StartsWith("s.yaml:2:"));
}

// yaml-cpp reads a byte 4 behind the end and puts it into its message.
TEST(YamlReader, SyntaxErrorsHoldNoControlCharacters) {
  EXPECT_EQ(failure("a: \"\\"), R"(s.yaml:1:7: is not valid YAML: unknown escape character: \x04)");
}

TEST(YamlReader, CutsLongTextsInErrors) {
  const std::string key(1000, 'k');  // YAML has no longer ones
  EXPECT_LT(failure(key + ": 1\n" + key + ": 2\n").size(), 400U);
  EXPECT_LT(failure("a: !" + key + " 1\n").size(), 400U);
  EXPECT_LT(parse_yaml(key + ": 1\n", "s.yaml").entries[0].value.path.size(), 400U);
}

TEST(YamlReader, PlacesSyntaxErrors) {
  EXPECT_EQ(failure("a: b: c\n"), "s.yaml:1:5: is not valid YAML: illegal map value");
  EXPECT_THAT(failure("a: [1, 2\nb: 3\n"), StartsWith("s.yaml:2:2: is not valid YAML: "));
  EXPECT_THAT(failure("a: ]\n"), StartsWith("s.yaml:1:4: is not valid YAML: "));
  EXPECT_THAT(failure("a: *nowhere\n"), StartsWith("s.yaml:1:4: is not valid YAML: "));
  EXPECT_THAT(failure("a:\n    b: 1\n  c: 2\n"), StartsWith("s.yaml:3:3: is not valid YAML: "));
}

// A missing quote swallows the rest of the file; yaml-cpp closes it at the end without a word.
TEST(YamlReader, RefusesAQuoteThatIsNeverClosed) {
  EXPECT_EQ(failure("name: \"sweep\nseed: 1\n"),
            "s.yaml:1:7: the text that starts with \" here is never closed");
}

TEST(YamlReader, UnclosedQuotesAreAlwaysErrors) {
  for (const char* text : {"a: \"x\n", "a: 'x\n\nb: 1\n", "a: 'it''s\n", "a: \"x\\\"\n",
                           "a: &q \"x\n", "- \"x", "'k: 1\n"})
    EXPECT_NE(failure(text), "nothing was thrown") << text;
  EXPECT_EQ(parse("a: 'it''s'\n").find("a")->scalar, "it's");
  EXPECT_EQ(parse("a: \"x\\\"\"\n").find("a")->scalar, "x\"");
  EXPECT_EQ(parse("a: &q \"x\"\n").find("a")->scalar, "x");
}

TEST(YamlReader, BoundsNesting) {
  const auto nested = [](int depth) {
    return std::string(static_cast<size_t>(depth), '[') + "1" +
           std::string(static_cast<size_t>(depth), ']');
  };
  EXPECT_EQ(parse(nested(kMaxConfigDepth - 1)).kind, Kind::list);
  EXPECT_THAT(failure(nested(kMaxConfigDepth + 1)),
              testing::EndsWith("lists and maps are nested more than 64 deep"));
  for (const char* piece : {"[", "{a: ", "- ", "? ", "[{a: ", "&a [", "a:\n "}) {
    std::string text;
    for (int i = 0; i < 100000; ++i) text += piece;
    EXPECT_THAT(failure(text), StartsWith("s.yaml:")) << piece;
  }
}

TEST(YamlReader, BoundsAliases) {
  std::string laughs = "l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i <= 9; ++i) {
    laughs += fmt::format("l{0}: &l{0} [", i);
    for (int j = 0; j < 10; ++j) laughs += fmt::format("{}*l{}", j > 0 ? ", " : "", i - 1);
    laughs += "]\n";
  }
  EXPECT_THAT(failure(laughs), testing::HasSubstr("more than 200000 values, aliases included"));

  std::string tower = "l0: &l0 [x]\n";  // few values, but every alias makes the tree deeper
  for (int i = 1; i <= 70; ++i) tower += fmt::format("l{0}: &l{0} [*l{1}]\n", i, i - 1);
  EXPECT_THAT(failure(tower), testing::HasSubstr("nested more than 64 deep"));

  EXPECT_EQ(failure("a: &a [1, *a]\n"),
            "s.yaml:1:11: this alias stands inside the value it refers to");
}

// Half-written files must end in an Error, never in anything else; so must files with odd bytes.
TEST(YamlReader, EveryTruncationParsesOrThrowsAnError) {
  const std::string text =
      "name: &n \"q\\u00e9\"\nmodels:\n  - {id: 'a', path: [x, *n]}\n  - ? k\n    : >-\n      t\n"
      "%TAG ! x\n";
  int parsed = 0;
  for (size_t length = 0; length <= text.size(); ++length)
    for (const char* ending : {"", "\n", "]", "}", "\"", ":", "&", "%", "\t"}) {
      try {
        parse(text.substr(0, length) + ending);
        ++parsed;
      } catch (const Error&) {
      }
    }
  EXPECT_GT(parsed, 50);
}

TEST(YamlReader, ReadsAFileAndNamesAMissingOne) {
  const std::string path = testing::TempDir() + "yaml_reader_test.yaml";
  std::ofstream(path) << "a: 1\n";
  const ConfigNode root = read_yaml(path);
  EXPECT_EQ(root.find("a")->position.text(), path + ":1:4");
  std::remove(path.c_str());
  try {
    read_yaml(path);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_EQ(std::string(error.what()), path + ": cannot be read: No such file or directory");
  }
}

}  // namespace
}  // namespace mechsweep
