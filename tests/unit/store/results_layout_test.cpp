#include "store/results_layout.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/group.h"
#include "engine/model_session.h"
#include "unit/store/sample_layout.h"

namespace mechsweep {
namespace {

using testing::ElementsAre;

const std::string kCheckpoint =
    std::string(MECHSWEEP_SOURCE_DIR) + "/tests/golden/checkpoints/llama-random";

// Two prompts of 3 and 5 tokens; targets, wrong answers, spans and pairs differ between them.
constexpr const char* kPrompts =
    R"({"tokens": [5, 6, 7], "corrupt_tokens": [5, 9, 7], "answer": 8, "wrong": [9, 10],)"
    R"( "spans": {"s": [1, 2]}, "pairs": {"copy": [[2, 0]]}, "id": "a", "template": "t"})"
    "\n"
    R"({"tokens": [5, 6, 7, 8, 9], "corrupt_tokens": [5, 6, 7, 8, 1],)"
    R"( "targets": [{"at": 1, "answer": 20}, {"at": -1, "answer": 30, "wrong": [31]}],)"
    R"( "spans": {"s": [2, 4]}, "id": "b"})"
    "\n";

// One run of every kind, and of every kind of axis.
constexpr const char* kExperiments =
    "  - {id: scores, kind: attention_scores, scores: [previous_token, copy]}\n"
    "  - {id: heads, kind: head_ablation, operation: zero, positions: targets}\n"
    "  - {id: some, kind: head_ablation, operation: [zero], positions: s, heads: [L2H1, L0H3]}\n"
    "  - {id: sets, kind: head_ablation, operation: zero, positions: [0, -1],"
    " heads: {sets: {x: [L0H0, L1H1]}}}\n"
    "  - {id: resid, kind: activation_patching, site: resid_pre, direction: clean_to_corrupt,"
    " positions: each, layers: 1..2}\n"
    "  - {id: z, kind: activation_patching, site: z, direction: corrupt_to_clean,"
    " positions: all}\n";

class ResultsLayout : public testing::Test {
 protected:
  ResultsLayout() {
    std::ofstream(folder_.file("p.jsonl")) << kPrompts;
    text_ = "name: all\nseed: 3\nmodels:\n  - {id: m, path: " + kCheckpoint +
            "}\nprompts:\n  - {id: p, kind: file, path: p.jsonl}\nexperiments:\n" + kExperiments;
    std::ofstream(folder_.file("c.yaml")) << text_;
    OpenedSweep opened = open_sweep(folder_.file("c.yaml"));
    auto hashes = hash_models(opened);
    plan_ = make_plan(std::move(opened), std::move(hashes));
    layout_ = results_layout(plan_);
  }

  [[nodiscard]] const DatasetSpec& dataset(const std::string& path) const {
    for (const DatasetSpec& spec : layout_.datasets)
      if (spec.path == path) return spec;
    fail(ErrorKind::internal, "there is no dataset {}", path);
  }
  [[nodiscard]] const Json& attributes(const std::string& path) const {
    for (const GroupSpec& group : layout_.groups)
      if (group.path == path) return group.attributes;
    fail(ErrorKind::internal, "there is no group {}", path);
  }
  [[nodiscard]] std::vector<int32_t> integers(const std::string& path) const {
    const auto& content = dataset(path).content;
    std::vector<int32_t> values(content.size() / sizeof(int32_t));
    std::memcpy(values.data(), content.data(), content.size());
    return values;
  }
  [[nodiscard]] std::vector<std::string> strings(const std::string& path) const {
    return unpack_texts(dataset(path).content, dataset(path).text_size);
  }

  sample::TemporaryFolder folder_;
  std::string text_;
  Plan plan_;
  FileLayout layout_;
};

TEST_F(ResultsLayout, MakesSenseAndCanBeWrittenAndRead) {
  check_layout(layout_);
  const std::string path = folder_.file("out.h5");
  create_file_alone(path, layout_);
  const ResultsReader reader(path);
  EXPECT_THAT(reader.run_ids(),
              ElementsAre("scores/m/p", "heads/m/p", "some/m/p", "sets/m/p", "resid/m/p", "z/m/p"));
  EXPECT_EQ(reader.layout().units, layout_.units);
  EXPECT_EQ(reader.layout().attributes.at("key"), plan_.key);
  EXPECT_EQ(reader.layout().attributes.at("config"), text_);
  for (int run = 0; run < 6; ++run) {
    const StoredRun stored = reader.read_run(run);
    EXPECT_EQ(stored.arrays.size(), plan_.runs[run].arrays.size()) << stored.id;
    EXPECT_EQ(stored.vocab_size, 101);
    EXPECT_THAT(stored.prompt_lengths, ElementsAre(3, 5));
    EXPECT_THAT(stored.templates, ElementsAre("t", ""));
    EXPECT_THAT(stored.complete, ElementsAre(0, 0));
  }
}

TEST_F(ResultsLayout, UnitsAreThePlansUnits) {
  ASSERT_EQ(layout_.units.size(), plan_.units.size());
  for (size_t i = 0; i < plan_.units.size(); ++i) {
    const auto& id = layout_.units[i].id;
    std::string hex;
    for (const uint8_t byte : id) hex += fmt::format("{:02x}", byte);
    EXPECT_EQ(hex, plan_.units[i].id);
    EXPECT_EQ(layout_.units[i].prompts, plan_.units[i].prompts);
    EXPECT_EQ(layout_.units[i].first, plan_.units[i].first);
  }
}

/// The payload of every unit, computed by the real engine, fills its place exactly; together they
/// fill every byte of every array.
TEST_F(ResultsLayout, PayloadsHaveTheSizesThatExecuteReturns) {
  SoloGroup group;
  const auto session = open_model(plan_.models[0].checkpoint, group, {});
  const SegmentMap map(layout_);
  std::map<int32_t, int64_t> filled;
  for (size_t i = 0; i < plan_.units.size(); ++i) {
    const Unit& unit = plan_.units[i];
    const PlannedRun& run = plan_.runs[unit.run];
    const UnitResult result =
        run.run->execute(unit.stage, unit.prompts, unit.first, session->executor());
    const auto targets = map.targets(layout_.units[i]);
    ASSERT_EQ(result.blocks.size(), targets.size()) << run.id;
    int64_t bytes = 0;
    for (size_t block = 0; block < result.blocks.size(); ++block) {
      const ArraySpec& array = run.arrays.at(result.blocks[block].array);
      const DatasetSpec& target = layout_.datasets.at(targets[block]->dataset);
      EXPECT_EQ("/runs/" + run.id + "/" + array.name, target.path);
      int64_t expected = 0;
      for (const Segment& segment : map.segments(layout_.units[i], *targets[block])) {
        expected += segment.count * target.element_bytes();
        filled[segment.dataset] += segment.count;
      }
      EXPECT_EQ(std::ssize(result.blocks[block].bytes), expected) << target.path;
      bytes += expected;
    }
    EXPECT_EQ(map.payload_bytes(layout_.units[i]), bytes);
  }
  for (const TargetDataset& target : layout_.targets) {
    const DatasetSpec& spec = layout_.datasets[target.dataset];
    EXPECT_EQ(filled[target.dataset], spec.elements()) << spec.path;
  }
}

TEST_F(ResultsLayout, DatasetsHaveTheShapesOfTheirAxes) {
  EXPECT_THAT(dataset("/runs/heads/m/p/loss").shape, ElementsAre(2, 3, 4, 2));
  EXPECT_THAT(dataset("/runs/heads/m/p/loss").scales,
              ElementsAre("/runs/heads/m/p/prompt", "/runs/heads/m/p/layer", "/runs/heads/m/p/head",
                          "/runs/heads/m/p/target"));
  EXPECT_THAT(dataset("/runs/heads/m/p/base/logit").shape, ElementsAre(2, 2, 3));
  EXPECT_THAT(dataset("/runs/some/m/p/top1").shape, ElementsAre(2, 2, 1, 2));
  EXPECT_THAT(strings("/runs/some/m/p/named_head"), ElementsAre("L2H1", "L0H3"));
  EXPECT_THAT(strings("/runs/some/m/p/operation"), ElementsAre("zero"));
  EXPECT_THAT(strings("/runs/sets/m/p/set"), ElementsAre("x"));
  EXPECT_THAT(dataset("/runs/resid/m/p/loss").shape, ElementsAre(2, 2, 5, 2));
  EXPECT_THAT(integers("/runs/resid/m/p/layer"), ElementsAre(1, 2));
  EXPECT_THAT(integers("/runs/resid/m/p/position"), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(dataset("/runs/resid/m/p/donor/loss").shape, ElementsAre(2, 2));
  EXPECT_THAT(dataset("/runs/scores/m/p/copy").shape, ElementsAre(2, 3, 4));
  EXPECT_THAT(integers("/runs/scores/m/p/offset"), ElementsAre(-2, -1, 0, 1, 2));
  EXPECT_EQ(dataset("/runs/heads/m/p/loss").type, ElementType::f64);
  EXPECT_EQ(dataset("/runs/heads/m/p/logit").type, ElementType::f32);
  EXPECT_EQ(dataset("/runs/heads/m/p/top1").type, ElementType::i32);
}

TEST_F(ResultsLayout, PromptsAreStoredPaddedWithMinusOne) {
  const std::string group = attributes("/runs/heads/m/p").at("prompts_group").get<std::string>();
  EXPECT_EQ(group, "/prompts/p/m");
  EXPECT_THAT(integers(group + "/tokens"), ElementsAre(5, 6, 7, -1, -1, 5, 6, 7, 8, 9));
  EXPECT_THAT(integers(group + "/corrupt_tokens"), ElementsAre(5, 9, 7, -1, -1, 5, 6, 7, 8, 1));
  EXPECT_THAT(integers(group + "/target_at"), ElementsAre(2, -1, 1, 4));
  EXPECT_THAT(integers(group + "/tracked_tokens"),
              ElementsAre(8, 9, 10, -1, -1, -1, 20, -1, -1, 30, 31, -1));
  EXPECT_THAT(strings(group + "/id"), ElementsAre("a", "b"));
  EXPECT_THAT(strings(group + "/spans"), ElementsAre(R"({"s":[1,2]})", R"({"s":[2,4]})"));
  EXPECT_THAT(strings(group + "/pairs"), ElementsAre(R"({"copy":[[2,0]]})", "{}"));
}

TEST_F(ResultsLayout, RunsCarryTheirEstimandAndConventions) {
  for (const PlannedRun& run : plan_.runs)
    for (const char* name : {"kind",
                             "run_index",
                             "run_id",
                             "site",
                             "operation",
                             "positions",
                             "downstream",
                             "estimand",
                             "base",
                             "dtype",
                             "kernels",
                             "seed",
                             "model_hash",
                             "prompts_hash",
                             "prefix",
                             "stages",
                             "statistics",
                             "parameters",
                             "transformers_path",
                             "transformer_lens_hook"})
      EXPECT_TRUE(attributes("/runs/" + run.id).contains(name)) << run.id << " " << name;
  const Json& resid = attributes("/runs/resid/m/p");
  EXPECT_EQ(resid.at("transformer_lens_hook"), "blocks.{layer}.hook_resid_pre");
  EXPECT_EQ(resid.at("direction"), "clean_to_corrupt");
  EXPECT_EQ(resid.at("donor"), "clean");
  EXPECT_THAT(attributes("/runs/sets/m/p").at("estimand").get<std::string>(),
              testing::StartsWith("z of all heads of a set together zeroed at positions [0,-1]"));
  EXPECT_EQ(attributes("/runs/scores/m/p").at("transformer_lens_hook"),
            "blocks.{layer}.attn.hook_pattern");
  EXPECT_EQ(attributes("/models/m").at("hash"), plan_.models[0].hash);
}

TEST(AddScales, OneScaleForEachAxisOfAGroup) {
  FileLayout layout;
  const std::vector<Axis> axes = {{.name = "prompt", .size = 2},
                                  {.name = "layer", .size = 2, .coordinates = {4, 6}}};
  EXPECT_THAT(add_scales(layout, "/runs/a", axes), ElementsAre("/runs/a/prompt", "/runs/a/layer"));
  EXPECT_THAT(add_scales(layout, "/runs/a", {axes[0]}), ElementsAre("/runs/a/prompt"));
  EXPECT_EQ(layout.datasets.size(), 2U);
  add_scales(layout, "/runs/ab", axes);
  EXPECT_EQ(layout.datasets.size(), 4U);
}

}  // namespace
}  // namespace mechsweep
