#include "app/summary_tables.h"

#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "app/stored_summary.h"
#include "core/error.h"
#include "experiments/summary.h"
#include "store/results_file.h"
#include "store/summary_layout.h"
#include "unit/store/sample_layout.h"

namespace mechsweep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// A results file's layout as far as a summary needs it.
FileLayout source_layout() {
  FileLayout source;
  source.attributes = {
      {"key", "k"}, {"name", "n"}, {"config", "c"}, {"seed", 1}, {"kernels", "aten"}};
  source.groups = {
      {"/models/m", {{"architecture", "llama"}}},
      {"/runs/e/m/p", {{"run_index", 0}, {"kind", "attention_scores"}, {"estimand", "x"}}},
      {"/runs/f/m/p", {{"run_index", 1}, {"kind", "head_ablation"}, {"estimand", "y"}}}};
  return source;
}

/// One run with a ranked metric of 1 layer and 2 heads, one without any complete prompt.
std::vector<RunSummary> two_runs() {
  RunSummary full{.id = "e/m/p", .prompts = 2, .clusters = {0, 1}, .cluster_count = 2};
  full.metrics = {
      {.name = "induction",
       .long_name = "induction score",
       .units = "1",
       .axes = {{.name = "layer", .size = 1, .coordinates = {4}}, {.name = "head", .size = 2}},
       .cells = 2,
       .values = {0.25, kNaN, 0.75, kNaN},
       .ranked = true,
       .tested = true,
       .non_finite = {0, 0},
       .further = {"p_value", "p_adjusted", "q_value"}},
      {.name = "base_loss",
       .long_name = "loss",
       .units = "nats",
       .axes = {{.name = "all", .size = 1}},
       .cells = 1,
       .values = {1.0, 2.0},
       .non_finite = {0}}};
  RunSummary empty{.id = "f/m/p", .prompts_left_out = 2};
  empty.warnings = {"no prompt is computed in full yet"};
  return {full, empty};
}

class SummaryTables : public testing::Test {
 protected:
  void write(const std::vector<RunSummary>& runs) {
    const SummaryPlan plan = plan_summary(source_layout(), "r.h5", runs, "state");
    check_layout(plan.layout);
    create_file_alone(path_, plan.layout);
    ResultsWriter writer(path_, plan.layout);
    for (size_t i = 0; i < plan.units.size(); ++i) {
      const SummaryMetric& metric = runs[plan.units[i].run].metrics[plan.units[i].metric];
      MetricSummary summary;
      summary.cells.resize(metric.cells);
      for (int64_t c = 0; c < metric.cells; ++c) {
        const bool there = !metric.ranked || c == 0;
        summary.cells[c].estimate = there ? estimate_ : kNaN;
        summary.cells[c].prompts = there ? 2 : 0;
        summary.cells[c].clusters = there ? 2 : 0;
        summary.cells[c].intervals = {.standard_error = 0.125,
                                      .percentile_low = 0.25,
                                      .percentile_high = 0.75,
                                      .bca_low = kNaN,
                                      .bca_high = kNaN};
      }
      if (metric.ranked) {
        summary.ranks = {1, 0};
        summary.further = {{0.03125, kNaN}, {0.0625, kNaN}, {0.046875, kNaN}};
      }
      writer.write_unit(static_cast<int>(i), summary_blocks(metric, summary), {.attempt = 1});
    }
    writer.close();
  }
  static std::string text(const std::string& path) {
    const auto bytes = sample::read_all(path);
    return {bytes.begin(), bytes.end()};
  }

  double estimate_ = 0.5;
  sample::TemporaryFolder folder_;
  std::string path_ = folder_.file("r.summary.h5");
};

TEST_F(SummaryTables, CsvHasOneRowForEachCell) {
  write(two_runs());
  write_summary_csv(path_, folder_.file("r.csv"));
  EXPECT_EQ(text(folder_.file("r.csv")),
            "run,model,prompts,layer,head,position,metric,units,mean,standard_error,percentile_low,"
            "percentile_high,bca_low,bca_high,n_prompts,n_clusters,rank,p_value,p_adjusted,"
            "q_value\n"
            "e/m/p,m,p,4,0,,induction,1,0.5,0.125,0.25,0.75,,,2,2,1,0.03125,0.0625,0.046875\n"
            "e/m/p,m,p,4,1,,induction,1,,0.125,0.25,0.75,,,0,0,0,,,\n"
            "e/m/p,m,p,,,,base_loss,nats,0.5,0.125,0.25,0.75,,,2,2,,,,\n");
}

TEST_F(SummaryTables, JsonHasTheStrongestHeadsAndWarnings) {
  write(two_runs());
  write_summary_json(path_, folder_.file("r.json"));
  const Json json = Json::parse(text(folder_.file("r.json")));
  ASSERT_EQ(json.at("runs").size(), 2U);
  const Json& full = json.at("runs")[0];
  EXPECT_EQ(full.at("run"), "e/m/p");
  EXPECT_EQ(full.at("n_prompts"), 2);
  ASSERT_EQ(full.at("strongest").at("induction").size(), 1U);
  const Json& best = full.at("strongest").at("induction")[0];
  EXPECT_EQ(best.at("layer"), 4);
  EXPECT_EQ(best.at("head"), 0);
  EXPECT_EQ(best.at("mean"), 0.5);
  EXPECT_EQ(best.at("p_adjusted"), 0.0625);
  EXPECT_EQ(best.at("q_value"), 0.046875);
  EXPECT_EQ(full.at("flips"), 10000);
  EXPECT_FALSE(full.contains("non_finite") || best.contains("non_finite"));
  EXPECT_TRUE(best.at("bca_low").is_null());
  const Json& empty = json.at("runs")[1];
  EXPECT_EQ(empty.at("n_prompts"), 0);
  EXPECT_EQ(empty.at("n_prompts_left_out"), 2);
  EXPECT_THAT(empty.at("warnings").dump(), HasSubstr("no prompt is computed in full yet"));
  EXPECT_FALSE(empty.contains("strongest"));
}

TEST_F(SummaryTables, NumbersThatAreNoneAreCountedWhereThereAreAny) {
  auto runs = two_runs();
  runs[0].metrics[0].non_finite = {0, 3};
  write(runs);
  const auto counts = ResultsReader(path_).read_array("/runs/e/m/p/induction/non_finite");
  EXPECT_THAT(counts.values, ElementsAre(0.0, 3.0));
  EXPECT_THAT(counts.axes, testing::SizeIs(2));
  EXPECT_THAT(ResultsReader(path_).read_array("/runs/e/m/p/base_loss/non_finite").values,
              ElementsAre(0.0));
  write_summary_csv(path_, folder_.file("r.csv"));
  EXPECT_EQ(text(folder_.file("r.csv")),
            "run,model,prompts,layer,head,position,metric,units,mean,standard_error,percentile_low,"
            "percentile_high,bca_low,bca_high,n_prompts,n_clusters,rank,p_value,p_adjusted,"
            "q_value,non_finite\n"
            "e/m/p,m,p,4,0,,induction,1,0.5,0.125,0.25,0.75,,,2,2,1,0.03125,0.0625,0.046875,0\n"
            "e/m/p,m,p,4,1,,induction,1,,0.125,0.25,0.75,,,0,0,0,,,,3\n"
            "e/m/p,m,p,,,,base_loss,nats,0.5,0.125,0.25,0.75,,,2,2,,,,,0\n");
  runs[0].metrics[0].non_finite = {1, 3};
  std::filesystem::remove(path_);
  write(runs);
  write_summary_json(path_, folder_.file("r.json"));
  const Json run = Json::parse(text(folder_.file("r.json"))).at("runs")[0];
  EXPECT_EQ(run.at("non_finite"), Json({{"induction", 4}}));
  EXPECT_EQ(run.at("strongest").at("induction")[0].at("non_finite"), 1);
}

TEST_F(SummaryTables, NegativeZeroIsPrintedAsZero) {
  estimate_ = -0.0;
  write(two_runs());
  write_summary_csv(path_, folder_.file("r.csv"));
  EXPECT_THAT(text(folder_.file("r.csv")), HasSubstr(",base_loss,nats,0,"));
  write_summary_json(path_, folder_.file("r.json"));
  EXPECT_THAT(text(folder_.file("r.json")), HasSubstr("\"mean\": 0.0"));
}

TEST_F(SummaryTables, ASweepWithoutACompletePromptStillHasAValidSummary) {
  auto runs = two_runs();
  runs[0].metrics.clear();
  write(runs);
  const ResultsReader reader(path_);
  EXPECT_THAT(reader.run_ids(), ElementsAre("e/m/p", "f/m/p"));
  EXPECT_TRUE(reader.layout().units.empty());
  EXPECT_EQ(read_summaries(reader).size(), 2U);
  write_summary_csv(path_, folder_.file("r.csv"));
  const std::string csv = text(folder_.file("r.csv"));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1);
}

TEST_F(SummaryTables, TablesThatCannotBeWrittenAreNamed) {
  write(two_runs());
  try {
    write_summary_csv(path_, folder_.file("none/r.csv"));
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::resource);
    EXPECT_THAT(error.what(), HasSubstr("none/r.csv cannot be written"));
  }
}

}  // namespace
}  // namespace mechsweep
