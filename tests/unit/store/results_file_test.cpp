#include "store/results_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "sample_layout.h"

namespace mechsweep {
namespace {

using sample::TemporaryFolder;

template <typename T>
std::vector<T> values(const std::vector<uint8_t>& bytes) {
  std::vector<T> out(bytes.size() / sizeof(T));
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

TEST(ResultsFile, ReaderRebuildsTheLayout) {
  const TemporaryFolder folder;
  FileLayout layout = sample::layout();
  create_file_alone(folder.file("a.h5"), layout);
  const ResultsReader reader(folder.file("a.h5"));
  const FileLayout& found = reader.layout();
  EXPECT_EQ(found.attributes.at("format"), "mechsweep-results");
  EXPECT_EQ(found.attributes.at("format_version"), 1);
  EXPECT_EQ(found.attributes.at("config"), "seed: 1\n");
  EXPECT_EQ(found.attributes.at("nested"), "{\"a\":1}");
  EXPECT_EQ(found.units, layout.units);
  ASSERT_EQ(found.targets.size(), layout.targets.size());
  for (size_t i = 0; i < layout.targets.size(); ++i) {
    EXPECT_EQ(found.targets[i].run, layout.targets[i].run);
    EXPECT_EQ(found.targets[i].stage, layout.targets[i].stage);
    EXPECT_EQ(found.targets[i].split_by_first, layout.targets[i].split_by_first);
    EXPECT_EQ(found.datasets[static_cast<size_t>(found.targets[i].dataset)].path,
              layout.datasets[static_cast<size_t>(layout.targets[i].dataset)].path);
  }
  std::sort(layout.datasets.begin(), layout.datasets.end(),
            [](const auto& a, const auto& b) { return a.path < b.path; });
  ASSERT_EQ(found.datasets.size(), layout.datasets.size());
  for (size_t i = 0; i < layout.datasets.size(); ++i) {
    const auto& expected = layout.datasets[i];
    EXPECT_EQ(found.datasets[i].path, expected.path);
    EXPECT_EQ(found.datasets[i].type, expected.type);
    EXPECT_EQ(found.datasets[i].text_size, expected.text_size);
    EXPECT_EQ(found.datasets[i].shape, expected.shape);
    EXPECT_EQ(found.datasets[i].scales, expected.scales);
    EXPECT_EQ(found.datasets[i].content, expected.content);
  }
}

TEST(ResultsFile, AttributesOfEveryKindSurvive) {
  const TemporaryFolder folder;
  FileLayout layout = sample::layout();
  const Json attributes = {{"text", "\xC3\xA9t\xC3\xA9"},
                           {"empty", ""},
                           {"whole", -7},
                           {"number", 0.5},
                           {"yes", true},
                           {"wholes", {1, 2, 3}},
                           {"numbers", {1.5, 2.0}},
                           {"words", {"a", "bcd"}},
                           {"flags", {true, false}}};
  layout.groups[0].attributes = attributes;
  layout.datasets[0].attributes = attributes;
  layout.groups[0].attributes["long"] = std::string(200000, 'x');
  layout.attributes["config"] = std::string(100000, 'y');
  create_file_alone(folder.file("a.h5"), layout);
  const ResultsReader reader(folder.file("a.h5"));
  const auto& groups = reader.layout().groups;
  const auto group = std::find_if(groups.begin(), groups.end(),
                                  [](const auto& g) { return g.path == "/prompts/ab"; });
  ASSERT_NE(group, groups.end());
  EXPECT_EQ(group->attributes, layout.groups[0].attributes);
  EXPECT_EQ(reader.layout().attributes.at("config"), std::string(100000, 'y'));
  EXPECT_EQ(reader.layout().datasets[1].path, "/prompts/ab/lengths");
  EXPECT_EQ(reader.layout().datasets[1].attributes, attributes);
}

TEST(ResultsFile, PrefillIsNaNAndMinusOneAndAnEmptyJournal) {
  const TemporaryFolder folder;
  create_file_alone(folder.file("a.h5"), sample::layout());
  const ResultsReader reader(folder.file("a.h5"));
  for (const auto& target : reader.layout().targets) {
    const auto& spec = reader.layout().datasets[static_cast<size_t>(target.dataset)];
    const auto bytes = reader.read({target.dataset, 0, spec.elements()});
    if (spec.type == ElementType::f64) {
      for (const double value : values<double>(bytes)) ASSERT_TRUE(std::isnan(value)) << spec.path;
    } else if (spec.type == ElementType::f32) {
      for (const float value : values<float>(bytes)) ASSERT_TRUE(std::isnan(value)) << spec.path;
    } else {
      for (const uint8_t byte : bytes) ASSERT_EQ(byte, 0xFF) << spec.path;
    }
  }
  for (const auto& entry : reader.journal()) EXPECT_EQ(entry, JournalEntry{});
  EXPECT_TRUE(reader.attempts().empty());
}

TEST(ResultsFile, WrittenUnitsAreReadBack) {
  const TemporaryFolder folder;
  const FileLayout layout = sample::layout();
  sample::write_file(folder.file("a.h5"), layout, {6, 2, 4});
  const ResultsReader reader(folder.file("a.h5"));
  const auto journal = reader.journal();
  for (const int unit : {2, 4, 6}) {
    const auto& entry = journal[static_cast<size_t>(unit)];
    EXPECT_EQ(entry.state, UnitState::done);
    EXPECT_EQ(entry.payload_bytes, sample::payload(layout, unit).size());
    EXPECT_EQ(reader.read_payload(unit), sample::payload(layout, unit));
    EXPECT_TRUE(reader.payload_matches(unit, entry));
  }
  EXPECT_EQ(journal[0].state, UnitState::empty);
  // Unit 2 is prompts 3 and 4, layers 0 and 1: its numbers stand at their places in the array.
  const StoredArray loss = reader.read_array("/runs/heads/tiny/ab/loss");
  const auto block = values<double>(sample::result(layout, 2).blocks[0].bytes);
  for (int64_t p = 0; p < 5; ++p) {
    for (int64_t l = 0; l < 3; ++l) {
      for (int64_t h = 0; h < 4; ++h) {
        const double value = loss.values[static_cast<size_t>((p * 3 + l) * 4 + h)];
        if (p < 3 || l > 1) {
          EXPECT_TRUE(std::isnan(value));
        } else {
          EXPECT_EQ(value, block[static_cast<size_t>(((p - 3) * 2 + l) * 4 + h)]);
        }
      }
    }
  }
}

TEST(ResultsFile, ReadRunGivesAxesPromptsAndCompleteness) {
  const TemporaryFolder folder;
  const FileLayout layout = sample::layout();
  sample::write_file(folder.file("a.h5"), layout, {0, 1, 4, 5});
  ResultsWriter writer(folder.file("a.h5"), layout);
  writer.write_state(6,
                     sample::entry(UnitState::skipped));  // all that prompts 2 to 4 have in run 1
  writer.write_state(3, sample::entry(UnitState::failed));
  writer.close();
  const ResultsReader reader(folder.file("a.h5"));
  EXPECT_THAT(reader.run_ids(), testing::ElementsAre("heads/tiny/ab", "scores/tiny/ab"));
  const StoredRun run = reader.read_run(0);
  EXPECT_EQ(run.id, "heads/tiny/ab");
  EXPECT_EQ(run.kind, "heads");
  EXPECT_EQ(run.vocab_size, 99);
  EXPECT_THAT(run.prompt_lengths, testing::ElementsAre(5, 6, 7, 8, 9));
  EXPECT_THAT(run.templates, testing::ElementsAre("t", "", "t", "u", "u"));
  EXPECT_THAT(run.prompt_ids, testing::ElementsAre("p0", "p1", "p2", "p3", "p4"));
  EXPECT_THAT(run.complete, testing::ElementsAre(1, 1, 1, 0, 0));
  EXPECT_THAT(reader.read_run(1).complete, testing::ElementsAre(1, 1, 0, 0, 0));
  ASSERT_EQ(run.arrays.size(), 3U);
  ASSERT_NE(run.find("base/loss"), nullptr);
  const StoredArray* loss = run.find("loss");
  ASSERT_NE(loss, nullptr);
  ASSERT_EQ(loss->axes.size(), 3U);
  EXPECT_EQ(loss->axes[1], (Axis{"layer", 3, {7, 8, 9}, {}}));
  EXPECT_EQ(loss->axes[2], (Axis{"head", 4, {}, {"a", "bb", "\xC3\xA9", "d"}}));
  EXPECT_EQ(run.find("top1")->values[0], 11.0);  // unit 0, array 1, place 0 of the sample
}

TEST(ResultsFile, AttemptsKeepTheirFactsAndDropTheLargestWhenTooLong) {
  const TemporaryFolder folder;
  const FileLayout layout = sample::layout();
  create_file_alone(folder.file("a.h5"), layout);
  ResultsWriter writer(folder.file("a.h5"), layout);
  writer.write_attempt(0, {{{"host", "n1"}, {"ranks", 2}}});
  writer.write_attempt(1, {{{"host", "n2"}, {"hosts", std::string(5000, 'h')}}});
  writer.close();
  const auto attempts = ResultsReader(folder.file("a.h5")).attempts();
  ASSERT_EQ(attempts.size(), 2U);
  EXPECT_EQ(attempts[0].facts, (Json{{"host", "n1"}, {"ranks", 2}}));
  EXPECT_EQ(attempts[1].facts, (Json{{"host", "n2"}, {"left_out", {"hosts"}}}));
}

TEST(ResultsFile, ACrashMarkIsWhatASignalHandlerWrites) {
  const TemporaryFolder folder;
  const FileLayout layout = sample::layout();
  create_file_alone(folder.file("a.h5"), layout);
  ResultsWriter writer(folder.file("a.h5"), layout);
  const CrashMark mark = writer.crash_mark(3, sample::entry(UnitState::crashed));
  ASSERT_EQ(::pwrite(mark.descriptor, mark.bytes.data(), mark.size, mark.offset), 64);
  writer.close();
  const auto journal = ResultsReader(folder.file("a.h5")).journal();
  EXPECT_EQ(journal[3], sample::entry(UnitState::crashed));
  EXPECT_EQ(std::count(journal.begin(), journal.end(), JournalEntry{}), 6);
}

TEST(ResultsFile, ReaderSeesUnitsWhileTheWriterHasTheFileOpen) {
  const TemporaryFolder folder;
  const FileLayout layout = sample::layout();
  create_file_alone(folder.file("a.h5"), layout);
  ResultsWriter writer(folder.file("a.h5"), layout);
  const ResultsReader reader(folder.file("a.h5"));
  for (int unit = 0; unit < 7; ++unit) {
    EXPECT_EQ(reader.journal()[static_cast<size_t>(unit)].state, UnitState::empty);
    writer.write_unit(unit, sample::result(layout, unit), sample::entry());
    EXPECT_EQ(reader.journal()[static_cast<size_t>(unit)].state, UnitState::done);
    EXPECT_EQ(reader.read_payload(unit), sample::payload(layout, unit));
  }
}

TEST(ResultsFile, AResultOfTheWrongSizeIsRefusedAndNotJournalled) {
  const TemporaryFolder folder;
  const FileLayout layout = sample::layout();
  create_file_alone(folder.file("a.h5"), layout);
  {
    ResultsWriter writer(folder.file("a.h5"), layout);
    UnitResult result = sample::result(layout, 0);
    result.blocks[1].bytes.pop_back();
    EXPECT_THROW(writer.write_unit(0, result, sample::entry()), Error);
    result.blocks.pop_back();
    EXPECT_THROW(writer.write_unit(0, result, sample::entry()), Error);
  }
  EXPECT_EQ(ResultsReader(folder.file("a.h5")).journal()[0].state, UnitState::empty);
}

TEST(DescribeDifferences, NamesEachChangedPlace) {
  const Json before = {{"seed", 42},
                       {"models", {{{"id", "a"}, {"path", "x"}}, {{"id", "b"}, {"path", "y"}}}},
                       {"k", {1, 2}},
                       {"same", 1}};
  const Json now = {{"seed", 43},
                    {"models", {{{"id", "b"}, {"path", "z"}}, {{"id", "c"}, {"path", "y"}}}},
                    {"k", {1, 3}},
                    {"new", true},
                    {"same", 1}};
  EXPECT_THAT(describe_differences(before, now),
              testing::UnorderedElementsAre(
                  "seed: 42 in the file, 43 now", "k[1]: 2 in the file, 3 now",
                  "new: not in the file, true now", "models[b].path: \"y\" in the file, \"z\" now",
                  "models[a]: {\"id\":\"a\",\"path\":\"x\"} in the file, not there now",
                  "models[c]: not in the file, {\"id\":\"c\",\"path\":\"y\"} now"));
  EXPECT_TRUE(describe_differences(now, now).empty());
}

}  // namespace
}  // namespace mechsweep
