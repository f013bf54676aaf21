#include "store/stored_stages.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <numeric>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/results_file.h"
#include "store/results_layout.h"
#include "unit/store/sample_layout.h"

namespace mechsweep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// A run, and one that takes two of its heads; on six prompts, cut into units by hand.
class StoredStagesTest : public testing::Test {
 protected:
  StoredStagesTest() {
    std::ofstream(folder_.file("c.yaml"))
        << "name: n\nmodels:\n  - {id: m, path: " MECHSWEEP_SOURCE_DIR
           "/tests/golden/checkpoints/llama-random}\n"
           "prompts:\n  - {id: p, kind: repeated_random, count: 6, period: 3, repeats: 2, "
           "prefix: none}\n"
           "experiments:\n"
           "  - {id: s, kind: head_ablation, operation: zero, positions: all, top_k: 2}\n"
           "  - {id: t, kind: head_ablation, operation: zero, positions: all, evaluate: half_b, "
           "heads: {top: {from: s, by: mean(delta_loss), k: [1, 2], on: half_a, at_least: 0}}}\n";
    OpenedSweep opened = open_sweep(folder_.file("c.yaml"));
    auto hashes = hash_models(opened);
    plan_ = make_plan(std::move(opened), std::move(hashes));
    layout_ = results_layout(plan_);
    const std::vector<UnitSpec> planned = std::exchange(layout_.units, {});
    for (const UnitSpec& unit : planned) {
      if (unit.run == 1) {
        add_unit(1, unit.stage, unit.prompts, unit.first);
        continue;
      }
      add_unit(0, 0, {0, 4}, {0, 1});
      add_unit(0, 0, {0, 4}, {1, 3});
      add_unit(0, 0, {4, 6}, {0, 3});
    }
    for (size_t unit = 0; unit < layout_.units.size(); ++unit)
      names_.push_back(fmt::format("unit {}", unit));
    create_file_alone(path_, layout_);
    open();
  }

  void add_unit(int run, int stage, Range prompts, Range first) {
    UnitSpec unit{.run = run, .stage = stage, .prompts = prompts, .first = first};
    unit.id.fill(static_cast<uint8_t>(layout_.units.size() + 1));
    layout_.units.push_back(unit);
  }

  void open() {
    writer_.emplace(path_, layout_);
    stages_.emplace(plan_, layout_, *writer_, names_);
  }

  /// Fills a unit with bytes that differ everywhere.
  void write(int unit) {
    const SegmentMap map(layout_);
    UnitResult result;
    for (const TargetDataset* target : map.targets(layout_.units[unit])) {
      const DatasetSpec& dataset = layout_.datasets[target->dataset];
      int64_t count = 0;
      for (const Segment& segment : map.segments(layout_.units[unit], *target))
        count += segment.count;
      std::vector<uint8_t> bytes(count * dataset.element_bytes());
      // A small exponent keeps every float finite.
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(++written_ % 61);
      result.blocks.push_back({0, std::move(bytes)});
    }
    writer_->write_unit(unit, result, {.attempt = 1});
  }

  /// What HDF5 itself reads of a run's dataset.
  std::vector<double> by_hdf5(const std::string& run, const std::string& name) {
    writer_->close();
    writer_.reset();
    const std::string path = fmt::format("/runs/{}/{}", run, name);
    const std::vector<double> values = ResultsReader(path_).read_array(path).values;
    open();
    return values;
  }

  const sample::TemporaryFolder folder_;
  std::string path_ = folder_.file("r.h5");
  Plan plan_;
  FileLayout layout_;
  std::vector<std::string> names_;
  std::optional<ResultsWriter> writer_;
  std::optional<StoredStages> stages_;
  int written_ = 0;
};

void expect_same(const std::vector<double>& found, const std::vector<double>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(found[i])) << i;
    } else {
      EXPECT_EQ(found[i], expected[i]) << i;
    }
  }
}

TEST_F(StoredStagesTest, UnitsAreReadBackAsHdf5ReadsThem) {
  for (const int unit : {0, 1, 2, 3, 5}) write(unit);
  for (const auto& [run, stage] :
       std::vector<std::pair<std::string, int>>{{"s/m/p", 0}, {"t/m/p", 0}}) {
    const StoredStage stored = stages_->read(run, stage);
    EXPECT_TRUE(stored.missing.empty());
    ASSERT_FALSE(stored.arrays.empty());
    for (const StoredArray& array : stored.arrays) {
      SCOPED_TRACE(run + "/" + array.name);
      expect_same(array.values, by_hdf5(run, array.name));
    }
  }
  const StoredStage decided = stages_->read("t/m/p", 0);
  std::vector<std::string> names;
  for (const StoredArray& array : decided.arrays) names.push_back(array.name);
  EXPECT_THAT(names, ElementsAre("selection/layer", "selection/head", "selection/score",
                                 "selection/chosen_on", "selection/evaluated_on"));
}

TEST_F(StoredStagesTest, UnitsThatAreNotDoneAreNamedAndTheirPlacesAreNoNumbers) {
  write(0);
  writer_->write_state(1, {.state = UnitState::failed});
  writer_->write_state(2, {.state = UnitState::quarantined});
  const StoredStage stored = stages_->read("s/m/p", 0);
  EXPECT_THAT(stored.missing, ElementsAre("unit 1 (failed)", "unit 2 (quarantined)"));
  const StoredRun run{.arrays = stored.arrays};
  const auto& loss = run.find("loss")->values;  // [prompt, layer, head, target]
  const auto per_layer = static_cast<int64_t>(loss.size()) / 6 / 3;
  for (int64_t i = 0; i < std::ssize(loss); ++i) {
    const bool is_done = i / (3 * per_layer) < 4 && i / per_layer % 3 == 0;
    EXPECT_EQ(std::isnan(loss[i]), !is_done) << i;
  }
  EXPECT_THAT(stages_->read("t/m/p", 0).missing, ElementsAre("unit 3 (not computed)"));
}

TEST_F(StoredStagesTest, WhatIsNotWhatWasWrittenIsNeverUsed) {
  for (const int unit : {0, 1, 2}) write(unit);
  const SegmentMap map(layout_);
  const int64_t last = map.segments(layout_.units[2]).back().offset;
  EXPECT_GT(last, 0);
  // Another process writes other numbers over it.
  UnitResult other;
  {
    ResultsWriter second(path_, layout_);
    const JournalEntry entry = second.read_entry(2);
    auto payload = second.read_payload(2);
    payload.back() ^= 1;
    size_t at = 0;
    for (const TargetDataset* target : map.targets(layout_.units[2])) {
      int64_t bytes = 0;
      for (const Segment& segment : map.segments(layout_.units[2], *target))
        bytes += segment.count * layout_.datasets[target->dataset].element_bytes();
      other.blocks.push_back({0,
                              {payload.begin() + static_cast<long>(at),
                               payload.begin() + static_cast<long>(at) + bytes}});
      at += bytes;
    }
    second.write_unit(2, other, {.attempt = 2});
    second.write_state(2, entry);  // ... and the entry still speaks of the first ones
    second.close();
  }
  try {
    (void)stages_->read("s/m/p", 0);
    FAIL() << "other numbers were taken for those that were written";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::resource);
    EXPECT_THAT(error.what(), HasSubstr("unit unit 2 is done, but what can be read of it is not"));
  }
}

TEST_F(StoredStagesTest, LeftOutUnitsAreToldFromMissingOnes) {
  for (const int unit : {0, 1, 2, 3, 4}) write(unit);
  writer_->write_state(5, {.state = UnitState::skipped});
  writer_->close();
  writer_.reset();
  const StoredRun run = ResultsReader(path_).read_run(1);
  EXPECT_THAT(run.complete, testing::Each(1));
  ASSERT_EQ(run.left_out.size(), 1U);
  EXPECT_EQ(run.left_out[0].prompts, (Range{0, 6}));
  EXPECT_EQ(run.left_out[0].first, (Range{1, 2}));
}

TEST_F(StoredStagesTest, NothingIsCompleteWithoutItsDecisionOrWithEverythingLeftOut) {
  const auto complete = [&] {
    writer_->close();
    writer_.reset();
    const auto found = ResultsReader(path_).read_run(1).complete;
    open();
    return found;
  };
  for (const int unit : {3, 4, 5}) write(unit);
  EXPECT_THAT(complete(), testing::Each(1));
  writer_->write_state(3, {.state = UnitState::crashed});
  EXPECT_THAT(complete(), testing::Each(0));
  write(3);
  for (const int unit : {4, 5}) writer_->write_state(unit, {.state = UnitState::skipped});
  EXPECT_THAT(complete(), testing::Each(0));
}

}  // namespace
}  // namespace mechsweep
