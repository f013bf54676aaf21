#include "experiments/summary.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/experiments/experiment_support.h"
#include "unit/experiments/stored_effects.h"

namespace mechsweep {
namespace {

using test_experiments::failure;
using test_experiments::kNaN;
using test_experiments::node_of;
using test_experiments::stored_effects;
using testing::ElementsAre;
using testing::IsNan;

StoredRun stored_scores(int64_t prompts) {
  StoredRun run{.id = "s/m/p", .kind = "attention_scores"};
  StoredArray score{.name = "induction",
                    .axes = {{.name = "prompt", .size = prompts},
                             {.name = "layer", .size = 2},
                             {.name = "head", .size = 2}}};
  for (int64_t p = 0; p < prompts; ++p) {
    const auto x = static_cast<double>(p);
    for (const double value : {x, 3 * x, kNaN, 2 * x}) score.values.push_back(value);
  }
  run.arrays = {score};
  StatisticsConfig statistics;
  statistics.resamples = 200;
  run.attributes = {{"statistics", statistics.to_json().dump()}};
  run.templates.assign(prompts, "");
  run.complete.assign(prompts, 1);
  return run;
}

const SummaryMetric& metric_of(const RunSummary& summary, const std::string& name) {
  for (const SummaryMetric& metric : summary.metrics)
    if (metric.name == name) return metric;
  fail(ErrorKind::internal, "there is no metric {}", name);
}

TEST(Summary, TargetsAreAveragedWithinAPrompt) {
  const RunSummary summary = summarise_run(stored_effects());
  EXPECT_FALSE(metric_of(summary, "delta_loss").tested) << "only heads are";
  const SummaryMetric& delta = metric_of(summary, "delta_loss");
  ASSERT_EQ(delta.axes.size(), 1U);
  EXPECT_EQ(delta.axes[0].name, "layer");
  EXPECT_EQ(delta.cells, 2);
  EXPECT_THAT(delta.values, ElementsAre(0.5, 0.0, 0.0, 3.0));
  EXPECT_THAT(metric_of(summary, "delta_margin").values, ElementsAre(-1.0, 0.0, 1.0, 3.0));
  const SummaryMetric& base = metric_of(summary, "base_loss");
  ASSERT_EQ(base.axes.size(), 1U);
  EXPECT_EQ(base.axes[0].name, "all");
  EXPECT_THAT(base.values, ElementsAre(1.0, 2.5));
}

TEST(Summary, NumbersThatAreNoneAreLeftOutCountedAndSaid) {
  StoredRun run = stored_effects();
  for (StoredArray& array : run.arrays)
    if (array.name == "loss") {
      array.values[4] = kNaN;  // prompt b, layer 0, one target of two
      array.values[6] = std::numeric_limits<double>::infinity();  // layer 1, both
      array.values[7] = kNaN;
    }
  const RunSummary summary = summarise_run(run);
  const SummaryMetric& delta = metric_of(summary, "delta_loss");
  // The target that came out does not stand in for the prompt: 0.5 and 0 are prompt a's.
  EXPECT_THAT(delta.values, ElementsAre(0.5, 0.0, IsNan(), IsNan()));
  EXPECT_THAT(delta.non_finite, ElementsAre(1, 2));
  EXPECT_EQ(summarise_metric(summary, delta, 1).cells[1].prompts, 1);
  const SummaryMetric& recovery = metric_of(summary, "recovery_loss");
  EXPECT_THAT(recovery.numerator, ElementsAre(0.5, 0.0, IsNan(), IsNan()));
  EXPECT_THAT(metric_of(summary, "base_loss").non_finite, ElementsAre(0));
  ASSERT_FALSE(summary.warnings.empty());
  EXPECT_EQ(summary.warnings.front(),
            "numbers that came out as NaN or infinite are left out, with their prompts: 3 of "
            "delta_loss, 3 of recovery_loss, 3 of loss, 3 of correct");
  run.complete[1] = 0;  // not computed: then they are nothing to wonder about
  for (const SummaryMetric& metric : summarise_run(run).metrics)
    for (const int32_t count : metric.non_finite) EXPECT_EQ(count, 0) << metric.name;
}

TEST(Summary, RecoveryIsTheRatioOfMeans) {
  const RunSummary summary = summarise_run(stored_effects());
  const auto cells = summarise_metric(summary, metric_of(summary, "recovery_loss"), 1).cells;
  // Prompt means: gained (0.5, 0) and (0, 3); possible 2 and (0.05 - 2) / 2.
  ASSERT_EQ(cells.size(), 2U);
  EXPECT_NEAR(cells[0].estimate, 0.5 / (2 - 0.975), 1e-12);
  EXPECT_NEAR(cells[1].estimate, 3.0 / (2 - 0.975), 1e-12);
}

TEST(Summary, HeadsAreRankedFromTheLargestAndMissingOnesNot) {
  const RunSummary summary = summarise_run(stored_scores(12));
  const SummaryMetric& metric = metric_of(summary, "induction");
  EXPECT_TRUE(metric.ranked);
  const MetricSummary numbers = summarise_metric(summary, metric, 7);
  EXPECT_THAT(numbers.ranks, ElementsAre(3, 1, 0, 2));
  EXPECT_DOUBLE_EQ(numbers.cells[1].estimate, 16.5);
  EXPECT_LT(numbers.cells[1].intervals.percentile_low, 16.5);
  EXPECT_GT(numbers.cells[1].intervals.percentile_high, 16.5);
  EXPECT_EQ(numbers.cells[2].prompts, 0);
  EXPECT_THAT(numbers.cells[2].estimate, IsNan());
}

TEST(Summary, EffectsOfHeadsAreTestedAgainstZeroAndScoresAreNot) {
  const RunSummary scores = summarise_run(stored_scores(12));
  EXPECT_FALSE(metric_of(scores, "induction").tested);
  EXPECT_TRUE(summarise_metric(scores, metric_of(scores, "induction"), 7).further.empty());

  RunSummary effects = scores;
  SummaryMetric& metric = effects.metrics.front();
  metric.tested = true;
  // Signs of 12 clusters have 4096 patterns. Cell 0: all of one sign, so that 2 patterns are as
  // extreme; cell 1 the same but for one cluster without effect, which doubles them; cell 3 of
  // alternating signs and one size: the observed sum 0 is the least extreme there is.
  for (int64_t p = 0; p < 12; ++p) {
    metric.values[p * 4] = 1.0 + static_cast<double>(p);
    metric.values[p * 4 + 1] = p == 3 ? 0.0 : -1.0;
    metric.values[p * 4 + 3] = p % 2 == 0 ? 1.0 : -1.0;
  }
  const auto columns = summarise_metric(effects, metric, 7).further;
  ASSERT_EQ(columns.size(), 3U);
  EXPECT_THAT(columns[0], ElementsAre(2.0 / 4096, 4.0 / 4096, IsNan(), 1.0));
  // The statistics are 3.06 (cell 0) and sqrt(11). Two patterns bring cell 3 above both, to
  // sqrt(12); the four of cell 1, two of cell 0 among them, are all others that get there.
  EXPECT_THAT(columns[1], ElementsAre(6.0 / 4096, 6.0 / 4096, IsNan(), 1.0));
  EXPECT_THAT(columns[2], ElementsAre(6.0 / 4096, 6.0 / 4096, IsNan(), 1.0));
}

TEST(Summary, ARatioIsTestedByItsNumerator) {
  RunSummary run{.id = "e/m/p", .prompts = 3, .clusters = {0, 1, 2}, .cluster_count = 3};
  SummaryMetric metric{.name = "recovery_loss",
                       .axes = {{.name = "layer", .size = 1}, {.name = "head", .size = 1}},
                       .cells = 1,
                       .values = {kNaN, kNaN, 2.0},
                       .numerator = {1.0, 1.0, 1.0},
                       .denominator = {0.01, kNaN, 0.5},
                       .ranked = true,
                       .tested = true,
                       .non_finite = {0}};
  // The second prompt has no denominator: two clusters are left, whose signs agree in 2 of 4
  // patterns (4 of 8 with the one that is not there).
  EXPECT_THAT(summarise_metric(run, metric, 7).further[0], ElementsAre(0.5));
}

TEST(Summary, ProfilesAreMeansOverTheHeadsThereAre) {
  const RunSummary summary = summarise_run(stored_scores(2));
  const SummaryMetric& profile = metric_of(summary, "induction_layer_profile");
  EXPECT_FALSE(profile.ranked);
  EXPECT_EQ(profile.cells, 2);
  EXPECT_THAT(profile.values, ElementsAre(0.0, 0.0, 2.0, 2.0));
}

TEST(Summary, OnlyCompletePromptsCount) {
  StoredRun run = stored_scores(12);
  run.complete[0] = run.complete[5] = 0;
  const RunSummary summary = summarise_run(run);
  EXPECT_EQ(summary.prompts, 10);
  EXPECT_EQ(summary.prompts_left_out, 2);
  EXPECT_EQ(summary.cluster_count, 10);
  const auto cells = summarise_metric(summary, metric_of(summary, "induction"), 7).cells;
  EXPECT_DOUBLE_EQ(cells[0].estimate, (66.0 - 5) / 10);
  EXPECT_THAT(summary.warnings,
              ElementsAre("2 of 12 prompts are not computed in full and left out"));
}

TEST(Summary, NoCompletePromptMeansNoMetricsButAWarning) {
  StoredRun run = stored_effects();
  run.complete = {0, 0};
  const RunSummary summary = summarise_run(run);
  EXPECT_TRUE(summary.metrics.empty());
  EXPECT_EQ(summary.prompts, 0);
  EXPECT_EQ(summary.prompts_left_out, 2);
  EXPECT_FALSE(summary.performance.has_value());
  EXPECT_THAT(summary.warnings, ElementsAre("no prompt is computed in full yet"));
}

TEST(Summary, TemplatesAreClustersUnlessPromptsAre) {
  StoredRun run = stored_scores(12);
  for (size_t p = 0; p < 12; ++p) run.templates[p] = p < 8 ? "a" : p < 11 ? "b" : "";
  RunSummary summary = summarise_run(run);
  EXPECT_EQ(summary.cluster_count, 3);
  EXPECT_THAT(summary.clusters, ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2));
  EXPECT_THAT(summary.warnings,
              ElementsAre("only 3 independent prompts or templates: intervals are rough"));
  StatisticsConfig statistics;
  statistics.cluster_by_template = false;
  run.attributes["statistics"] = statistics.to_json().dump();
  EXPECT_EQ(summarise_run(run).cluster_count, 12);
}

TEST(Summary, ATaskThatTheModelFailsIsSaid) {
  StoredRun run = stored_effects();
  run.vocab_size = 5;  // chance is ln 5 = 1.61, the base loss 1.75
  const RunSummary summary = summarise_run(run);
  ASSERT_FALSE(summary.warnings.empty());
  EXPECT_EQ(summary.warnings.back(),
            "the model fails this task: base loss 1.75 nats is no better than chance (1.61), so "
            "effects on it say little");
}

TEST(Summary, DamagedFilesAreRefused) {
  StoredRun run = stored_scores(3);
  run.attributes["statistics"] = "{}";
  EXPECT_EQ(failure([&] { summarise_run(run); }),
            "input: run 's/m/p': its attribute 'statistics' cannot be read: the file is damaged");
  run = stored_scores(3);
  run.templates.pop_back();
  EXPECT_EQ(failure([&] { summarise_run(run); }),
            "input: run 's/m/p' is about 3 prompts, but 2 are stored: the file is damaged");
}

StatisticsConfig read_statistics(const Json& json, std::vector<std::string>& problems) {
  const ConfigNode node = node_of(json);
  Problems found;
  MapReader reader(node, found);
  StatisticsConfig config = parse_statistics(reader);
  problems = found.lines();
  return config;
}

TEST(StatisticsConfigTest, DefaultsAndValuesSurviveJson) {
  std::vector<std::string> problems;
  const StatisticsConfig none = read_statistics(Json::object(), problems);
  EXPECT_EQ(none.to_json().dump(),
            R"({"bootstrap":{"cluster":"template","interval":"bca","level":0.95,)"
            R"("resamples":10000},"tests":{"flips":10000,"permutations":10000}})");
  const StatisticsConfig given = read_statistics(
      {{"statistics",
        {{"bootstrap",
          {{"resamples", 500}, {"interval", "percentile"}, {"level", 0.9}, {"cluster", "prompt"}}},
         {"tests", {{"flips", 64}}}}}},
      problems);
  EXPECT_TRUE(problems.empty());
  const StatisticsConfig back = StatisticsConfig::from_json(given.to_json());
  EXPECT_EQ(back.resamples, 500);
  EXPECT_EQ(back.interval, "percentile");
  EXPECT_EQ(back.level, 0.9);
  EXPECT_FALSE(back.cluster_by_template);
  EXPECT_EQ(back.flips, 64);
  EXPECT_EQ(back.permutations, 10000);
  // A file of an earlier program says nothing of tests.
  Json earlier = given.to_json();
  earlier.erase("tests");
  EXPECT_EQ(StatisticsConfig::from_json(earlier).flips, 10000);
}

TEST(StatisticsConfigTest, EveryProblemIsNamed) {
  std::vector<std::string> problems;
  read_statistics({{"statistics",
                    {{"bootstrap",
                      {{"cluster", "both"},
                       {"interval", "bc"},
                       {"level", 1},
                       {"resample", 10},
                       {"resamples", 1}}},
                     {"boot", 1}}}},
                  problems);
  EXPECT_THAT(problems,
              testing::UnorderedElementsAre(
                  "s.yaml:14:5: statistics.bootstrap.resamples: must be a whole number from 2 to "
                  "10000000, not '1'",
                  "s.yaml:11:5: statistics.bootstrap.interval: unknown value 'bc'; did you mean "
                  "'bca'? (known: bca, percentile)",
                  "s.yaml:12:5: statistics.bootstrap.level: must be a number from 0.01 to 0.9999, "
                  "not '1'",
                  "s.yaml:10:5: statistics.bootstrap.cluster: unknown value 'both' (known: "
                  "template, prompt)",
                  "s.yaml:13:1: statistics.bootstrap.resample: unknown key; did you mean "
                  "'resamples'? (known: resamples, interval, level, cluster)",
                  "s.yaml:10:1: statistics.boot: unknown key (known: bootstrap, tests, "
                  "correct_in)"));
}

}  // namespace
}  // namespace mechsweep
