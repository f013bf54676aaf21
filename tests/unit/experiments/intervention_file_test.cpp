#include "experiments/intervention_file.h"

#include <fstream>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/experiments/experiment_support.h"
#include "unit/experiments/intervention_files.h"

namespace mechsweep {
namespace {

using test_experiments::failure;
using test_experiments::Folder;
using testing::ElementsAre;
using testing::HasSubstr;

class InterventionFile : public testing::Test {
 protected:
  std::vector<ListedIntervention> read(const std::string& text) {
    return read_intervention_file(folder_.write("e.jsonl", text));
  }
  /// The only edit of a file with one; it may be written over several lines.
  ListedEdit edit(std::string json) {
    std::erase(json, '\n');
    const auto listed = read("{\"edits\": [" + json + "]}");
    return listed.at(0).edits.at(0);
  }
  /// What is wrong with a file, without its folder.
  std::string problem(const std::string& text) {
    std::string message = failure([&] { read(text); });
    const std::string folder = folder_.path() + "/";
    for (size_t at = message.find(folder); at != std::string::npos; at = message.find(folder))
      message.erase(at, folder.size());
    return message;
  }
  /// What is wrong with an edit: "layer: message".
  std::string edit_problem(const std::string& json) {
    const std::string message = problem("{\"edits\": [" + json + "]}");
    const std::string common = "input: e.jsonl:1: edits[0]";
    if (!message.starts_with(common)) return message;
    return message.substr(message[common.size()] == '.' ? common.size() + 1 : common.size() + 2);
  }

  Folder folder_;
};

TEST_F(InterventionFile, ReadsEveryKindOfEdit) {
  const auto listed = read(
      "\xEF\xBB\xBF{\"edits\": [{\"site\": \"z\", \"layer\": -1, \"heads\": [2, 0], "
      "\"positions\": \"all\", \"operation\": \"zero\"}]}\r\n"
      "\n  \t\r\n"
      "{\"id\": \"two\", \"downstream\": \"freeze\", \"edits\": ["
      "{\"site\": \"resid_pre\", \"layer\": 3, \"positions\": [0, -1], \"operation\": \"add\", "
      "\"direction\": [1, 0.5], \"scale\": 2.5},"
      "{\"site\": \"k\", \"layer\": 1, \"heads\": \"all\", \"edges\": [[-1, 0], [2, 2]], "
      "\"operation\": \"cut\"}]}");
  ASSERT_EQ(listed.size(), 2U);
  EXPECT_EQ(listed[0].id, "1");
  EXPECT_EQ(listed[0].line, 1);
  EXPECT_EQ(listed[0].downstream, Downstream::recompute);
  EXPECT_EQ(listed[0].edits[0].layer, -1);
  EXPECT_THAT(listed[0].edits[0].heads, ElementsAre(0, 2));
  EXPECT_EQ(listed[1].id, "two");
  EXPECT_EQ(listed[1].line, 4);
  EXPECT_EQ(listed[1].downstream, Downstream::freeze);
  const ListedEdit& add = listed[1].edits[0];
  EXPECT_EQ(add.operation, Operation::add);
  EXPECT_EQ(add.scale, 2.5F);
  EXPECT_THAT(*add.vector, ElementsAre(1.0F, 0.5F));
  EXPECT_THAT(add.positions.list, ElementsAre(0, -1));
  const ListedEdit& cut = listed[1].edits[1];
  EXPECT_TRUE(cut.on_edges);
  EXPECT_TRUE(cut.all_heads);
  EXPECT_THAT(cut.edges, ElementsAre(ElementsAre(-1, 0), ElementsAre(2, 2)));
}

TEST_F(InterventionFile, ReadsDonorsAndSources) {
  const auto own = edit(R"({"site": "attn_out", "layer": 0, "positions": "targets",
                            "operation": "replace", "donor": "corrupt"})");
  ASSERT_TRUE(own.donor && own.donor->own());
  EXPECT_EQ(own.donor->side, Side::corrupt);
  const auto by_id = edit(R"({"site": "attn_out", "layer": 0, "positions": "span x",
                              "operation": "replace", "donor": {"prompt": "7"}})");
  EXPECT_EQ(by_id.donor->prompt_id, "7");
  EXPECT_EQ(by_id.positions.span_name, "span x");
  const auto by_number =
      edit(R"({"site": "attn_out", "layer": 0, "positions": "all", "operation": "replace",
               "donor": {"prompt": 7, "side": "corrupt"}})");
  EXPECT_EQ(by_number.donor->prompt_index, 7);
  EXPECT_EQ(by_number.donor->side, Side::corrupt);
  const auto mean = edit(R"({"site": "mlp_out", "layer": 0, "positions": "all",
                             "operation": "mean", "per": "all"})");
  EXPECT_EQ(mean.mean_over, MeanOver::all);
  const auto drawn = edit(R"({"site": "mlp_out", "layer": 0, "positions": "all",
                              "operation": "resample", "draw": 3})");
  EXPECT_TRUE(drawn.resample);
  EXPECT_EQ(drawn.operation, Operation::replace);
  EXPECT_EQ(drawn.draw, 3);
  EXPECT_EQ(edit(R"({"site": "q", "layer": 0, "heads": [1], "edges": "copy",
                     "operation": "zero"})")
                .pairs,
            "copy");
}

TEST_F(InterventionFile, DirectionsThatAreProjectedOnHaveLengthOne) {
  const auto vector = [&](const std::string& operation, const std::string& more) {
    return *edit(R"({"site": "resid_pre", "layer": 0, "positions": "all", "operation": ")" +
                 operation + R"(", "direction": [3, 0, -4])" + more + "}")
                .vector;
  };
  EXPECT_THAT(vector("remove", ""), ElementsAre(0.6F, 0.0F, -0.8F));
  EXPECT_THAT(vector("transplant", R"(, "donor": "clean")"), ElementsAre(0.6F, 0.0F, -0.8F));
  EXPECT_THAT(vector("add", ""), ElementsAre(3.0F, 0.0F, -4.0F));
}

TEST_F(InterventionFile, VectorsComeFromSafetensorsBesideTheFile) {
  folder_.write_tensor("v.safetensors", "steer", {1, 3}, {1.0F, 2.0F, 4.0F});
  const std::string listed =
      R"({"site": "resid_pre", "layer": 0, "positions": "all", "operation": "replace",
          "value": {"file": "v.safetensors", "tensor": "steer"}})";
  const std::string line = "{\"edits\": [" + listed + "]}";
  std::string flat = line;
  std::erase(flat, '\n');
  const auto both = read(flat + "\n" + flat);
  EXPECT_THAT(*both[0].edits[0].vector, ElementsAre(1.0F, 2.0F, 4.0F));
  EXPECT_EQ(both[0].edits[0].vector, both[1].edits[0].vector);  // read once
  const auto given = edit(R"({"site": "resid_pre", "layer": 0, "positions": "all",
                              "operation": "replace", "value": [1, 2, 4]})");
  EXPECT_EQ(given.to_json(), both[0].edits[0].to_json());  // content counts, not where it stood
}

TEST_F(InterventionFile, VectorFilesThatCannotServeAreNamed) {
  const auto with = [&](const std::string& file, const std::string& tensor) {
    return edit_problem(R"({"site": "resid_pre", "layer": 0, "positions": "all",)"
                        R"( "operation": "replace", "value": {"file": ")" +
                        file + R"(", "tensor": ")" + tensor + R"("}})");
  };
  folder_.write_tensor("v.safetensors", "steer", {2, 2}, {1.0F, 2.0F, 4.0F, 5.0F});
  folder_.write_tensor("inf.safetensors", "x", {2}, {1.0F, std::numeric_limits<float>::infinity()});
  folder_.write("text.safetensors", "hello");
  EXPECT_THAT(with("none.safetensors", "x"), HasSubstr("value: none.safetensors: "));
  EXPECT_THAT(with("v.safetensors", "stear"), HasSubstr("steer"));
  EXPECT_EQ(with("v.safetensors", "steer"),
            "value: v.safetensors: tensor 'steer' has the shape [2, 2] and is no vector; name one");
  EXPECT_EQ(with("inf.safetensors", "x"),
            "value: inf.safetensors: tensor 'x' has values that are not finite");
  EXPECT_THAT(with("text.safetensors", "x"), HasSubstr("value: text.safetensors: "));
  EXPECT_EQ(with(R"(\u001b[31m)", "x"),
            "value: 'file' must be a path of at most 1000 bytes without control characters");
}

TEST_F(InterventionFile, TheExamplesOfTheDocumentationAreSound) {
  std::ifstream document(std::string(MECHSWEEP_SOURCE_DIR) + "/docs/interventions-file.md");
  std::string examples;
  int count = 0;
  for (std::string line; std::getline(document, line);)
    if (line.starts_with("    {")) {
      examples += line + "\n";
      ++count;
    }
  folder_.write_tensor("dirs.safetensors", "truth", {2}, {1.0F, 2.0F});
  EXPECT_EQ(count, 5);
  EXPECT_EQ(std::ssize(read(examples)), count);
}

TEST_F(InterventionFile, LinesThatAreNoInterventionsAreNamed) {
  EXPECT_EQ(problem("\n\n"), "input: e.jsonl: lists no intervention");
  EXPECT_THAT(problem("{\"edits\": ["), HasSubstr("e.jsonl:1: is not valid JSON"));
  EXPECT_EQ(problem("[]"), "input: e.jsonl:1: must be a JSON object, not array");
  EXPECT_EQ(problem("{}"), "input: e.jsonl:1: the key 'edits' is missing");
  EXPECT_EQ(problem(R"({"edits": []})"),
            "input: e.jsonl:1: edits: must be a list of at least one edit");
  EXPECT_EQ(problem(R"({"edits": [1]})"),
            "input: e.jsonl:1: edits[0]: must be a map of keys and values, not '1'");
  EXPECT_EQ(problem(R"({"edits": [], "edits": []})"),
            "input: e.jsonl:1: has the name 'edits' twice");
  EXPECT_THAT(problem(R"({"edits": [], "dowstream": "freeze"})"),
              HasSubstr("e.jsonl:1: dowstream: unknown key; did you mean 'downstream'?"));
  EXPECT_THAT(problem("{\"edits\": \"\xFF\"}"), HasSubstr("e.jsonl:1: is not valid JSON"));
  const auto nested = [&](size_t levels) {
    return problem(R"({"edits": )" + std::string(levels, '[') + std::string(levels, ']') + "}");
  };
  EXPECT_THAT(nested(20), HasSubstr("is nested too deeply"));
  EXPECT_THAT(nested(100'000), HasSubstr("e.jsonl:1: is nested deeper than 64 levels"));
  EXPECT_THAT(problem("{\"a\\u001b" + std::string(5000, 'b') + "\": 1, \"edits\": []}"),
              AllOf(HasSubstr("a\\x1Bbbb"), Not(HasSubstr(std::string(200, 'b')))));
}

TEST_F(InterventionFile, IdsAreTextsAndUnique) {
  const std::string edits =
      R"("edits": [{"site": "attn_out", "layer": 0, "positions": "all", "operation": "zero"}]})";
  EXPECT_EQ(problem(R"({"id": "2", )" + edits + "\n{" + edits),
            "input: e.jsonl:2: id: '2' is the id of line 1 already");
  for (const std::string id : {"5", "\"\"", "\"a\\nb\"", "[]"})
    EXPECT_THAT(problem("{\"id\": " + id + ", " + edits), HasSubstr("e.jsonl:1: id: must be"))
        << id;
  const std::string bad = R"({"id": "a\u001b", )" + edits;
  EXPECT_THAT(problem(bad + "\n" + bad), Not(HasSubstr("already"))) << "what is no id is not said";
}

TEST_F(InterventionFile, EveryProblemOfAFileIsToldUpToSome) {
  const std::string bad = R"({"edits": [{"site": "x", "layer": 0.5, "positions": "all",)"
                          R"( "operation": "zero"}]})";
  EXPECT_EQ(problem(bad + "\n\n{}"),
            "input: e.jsonl:1: edits[0].site: unknown value 'x'; did you mean 'q'? "
            "(known: "
            "resid_pre, "
            "q, k, v, pattern, z, attn_out, resid_mid, mlp_in, mlp_norm, mlp_hidden, mlp_out, "
            "resid_post)\n"
            "e.jsonl:1: edits[0].layer: must be a whole number from -1000000 to 1000000, not "
            "'0.5'\n"
            "e.jsonl:3: the key 'edits' is missing");
  std::string many;
  for (int i = 0; i < 30; ++i) many += "{}\n";
  EXPECT_TRUE(problem(many).ends_with("\n... and 10 more"));
}

}  // namespace
}  // namespace mechsweep
