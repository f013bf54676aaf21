#include "plan/grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "plan/yaml_reader.h"
#include "plan/yaml_writer.h"

namespace mechsweep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<GridConfig> expanded(const std::string& text) {
  return expand_grid(parse_yaml(text, "g.yaml"));
}

std::vector<std::string> names(const std::string& text) {
  std::vector<std::string> out;
  for (const GridConfig& config : expanded(text)) out.push_back(config.name);
  return out;
}

std::string refusal(const std::string& text) {
  try {
    (void)expanded(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Grid, MakesOneConfigForEachCombinationTheLastAxisFastest) {
  EXPECT_THAT(
      names("name: patching_{task}_{model}_{length}\n"
            "grid:\n"
            "  over:\n"
            "    task: [unique_copy, reversed_unique_copy]\n"
            "    model: {llama: {path: a}, gemma: {path: b}}\n"
            "    length: [5, 6]\n"),
      ElementsAre("patching_unique_copy_llama_5", "patching_unique_copy_llama_6",
                  "patching_unique_copy_gemma_5", "patching_unique_copy_gemma_6",
                  "patching_reversed_unique_copy_llama_5", "patching_reversed_unique_copy_llama_6",
                  "patching_reversed_unique_copy_gemma_5",
                  "patching_reversed_unique_copy_gemma_6"));
}

TEST(Grid, LeavesOutWhatWithoutSays) {
  EXPECT_THAT(names("name: '{a}{b}'\n"
                    "grid: {over: {a: [x, y], b: [1, 2, 3]}, without: [{a: x, b: 2}, {b: 3}]}\n"),
              ElementsAre("x1", "y1", "y2"));
}

TEST(Grid, WholeTextsBecomeValuesAndPartsBecomeText) {
  const auto configs = expanded(
      "name: c_{m}\n"
      "grid: {over: {m: {one: {path: x.gguf, layers: [1, 2], n: 7, id: '7'}}}}\n"
      "models:\n"
      "  - {id: \"{m}\", path: \"../{m.path}\", layers: \"{m.layers}\", n: \"{m.n}\"}\n"
      "  - id: \"{m.id}\"\n"
      "    text: \"{{m}} {m.n}\"\n"
      "    n: 1{m.n}\n");
  ASSERT_EQ(configs.size(), 1U);
  EXPECT_EQ(configs[0].choices, "m=one");
  EXPECT_EQ(write_yaml(configs[0].config), write_yaml(parse_yaml("name: c_one\n"
                                                                 "models:\n"
                                                                 "  - id: one\n"
                                                                 "    path: \"../x.gguf\"\n"
                                                                 "    layers: [1, 2]\n"
                                                                 "    n: 7\n"
                                                                 "  - id: '7'\n"
                                                                 "    text: \"{m} 7\"\n"
                                                                 "    n: 17\n",
                                                                 "c.yaml")));
}

TEST(Grid, RefusesWhatItCannotMean) {
  const std::string grid = "grid: {over: {a: [1, 2]}}\n";
  EXPECT_THAT(refusal("name: x\n"), HasSubstr("has no `grid:`"));
  EXPECT_THAT(refusal(grid), HasSubstr("needs the key `name`"));
  EXPECT_THAT(refusal("name: '{b}'\n" + grid),
              HasSubstr("g.yaml:1:7: name: there is no axis 'b' in `grid.over`; there are: a"));
  EXPECT_THAT(
      refusal("name: x\n" + grid),
      HasSubstr("two configs would be called 'x' (a=1; a=2): put every axis into the name"));
  EXPECT_THAT(refusal("name: '{a} b'\n" + grid), HasSubstr("'1 b' is no file name"));
  EXPECT_THAT(refusal("name: '.{a}'\n" + grid), HasSubstr("'.1' is no file name"));
  EXPECT_THAT(refusal("name: '{a}'\nseed: {a}\n" + grid), HasSubstr("write \"{a}\" in quotes"));
  EXPECT_THAT(refusal("name: '{a}'\nx: '{a'\n" + grid), HasSubstr("a '{' without its partner"));
  EXPECT_THAT(refusal("name: '{a}'\nx: 'a}'\n" + grid), HasSubstr("a '}' without its partner"));
  EXPECT_THAT(refusal("name: '{a}'\nx: '{a.b}'\n" + grid),
              HasSubstr("'1' of `grid.over.a` has no field 'b'"));
  EXPECT_THAT(refusal("name: x\ngrid: {over: {a: []}}\n"), HasSubstr("and not empty"));
  EXPECT_THAT(refusal("name: x\ngrid: {over: {a: [1, 1]}}\n"), HasSubstr("'1' is given twice"));
  EXPECT_THAT(refusal("name: x\ngrid: {over: {a: [b c]}}\n"), HasSubstr("'b c' is no label"));
  EXPECT_THAT(refusal("name: x\ngrid: {over: {a: [[1]]}}\n"), HasSubstr("put lists and maps"));
  EXPECT_THAT(refusal("name: x\ngrid: {over: {a: {b: 1}}}\n"), HasSubstr("a map of fields"));
  EXPECT_THAT(refusal("name: x\ngrid: {over: [1]}\n"), HasSubstr("a map from the names of axes"));
  EXPECT_THAT(refusal("name: x\ngrid: {overr: {a: [1]}}\n"), HasSubstr("did you mean 'over'?"));
  EXPECT_THAT(refusal("name: '{a}'\ngrid: {over: {a: [1]}, without: [{a: 2}]}\n"),
              HasSubstr("the axis 'a' has no '2'"));
  EXPECT_THAT(refusal("name: '{a}'\ngrid: {over: {a: [1]}, without: [{a: 1}]}\n"),
              HasSubstr("leaves nothing of the grid"));
  EXPECT_THAT(refusal("name: '{a}'\nx: 'v{a.l}'\ngrid: {over: {a: {b: {l: [1]}}}}\n"),
              HasSubstr("{a.l} is no number or text"));
}

TEST(Grid, HasABoundOnItsSize) {
  std::string text = "name: x\ngrid:\n  over:\n";
  for (const char axis : {'a', 'b', 'c', 'd', 'e', 'f'})
    text += fmt::format("    {}: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n", axis);
  EXPECT_THAT(refusal(text), HasSubstr("more than 100000 configs"));
}

/// Kind, text and quotes of every node, by a walk that the writer has no part in.
std::string shape(const ConfigNode& node) {
  std::string out =
      fmt::format("{}{}<{}>", static_cast<int>(node.kind), node.quoted ? "q" : "", node.scalar);
  for (const ConfigNode& item : node.items) out += "[" + shape(item) + "]";
  for (const auto& entry : node.entries) out += "(" + entry.key + "=" + shape(entry.value) + ")";
  return out;
}

TEST(YamlWriter, WritesWhatTheReaderReadsAsTheSame) {
  const ConfigNode root = parse_yaml(
      "a: 5\nb: '5'\nc: \" A\"\nd: true\ne: 'no'\nf: ~\ng: [1, 'x, y', \"q\\\"\\n\"]\n"
      "h: {i: {j: [{k: 1}, {}, []]}}\nl: -1\nm: 1e-3\nn: '#x'\no: a#b\np: ''\nq: 'é: ü'\n"
      "r: a b c:d\n's t': |\n  two\n  lines\nu: [[1], [2, [3]]]\nv: null\nw: 'null'\n",
      "a.yaml");
  EXPECT_EQ(shape(parse_yaml(write_yaml(root), "b.yaml")), shape(root));
}

}  // namespace
}  // namespace mechsweep
