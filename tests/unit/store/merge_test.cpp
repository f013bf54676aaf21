#include "store/merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/error.h"
#include "sample_layout.h"
#include "store/lock.h"
#include "store/log_fold.h"
#include "store/log_segment.h"
#include "store/log_writer.h"

namespace mechsweep {
namespace {

using ::testing::HasSubstr;

class MergeFiles : public ::testing::Test {
 protected:
  std::string part(const std::string& name, const std::vector<int>& units,
                   UnitState state = UnitState::done, uint32_t crashes = 0) {
    const std::string path = folder_.file(name);
    if (!std::filesystem::exists(path)) create_file_alone(path, layout_);
    ResultsWriter writer(path, layout_);
    AttemptRecord record;
    record.facts = {{"attempt", 1}, {"started", name}};
    writer.write_attempt(0, record);
    for (const int unit : units) {
      JournalEntry entry = sample::entry(state);
      entry.crashes = crashes;
      if (state == UnitState::done) {
        writer.write_unit(unit, sample::result(layout_, unit), entry);
      } else {
        writer.write_state(unit, entry);
      }
    }
    writer.close();
    return path;
  }

  static std::string error_of(const std::function<void()>& step) {
    try {
      step();
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  }

  FileLayout layout_ = sample::layout(/*logits_per_row=*/7);
  sample::TemporaryFolder folder_;
  std::string out_ = folder_.file("out.h5");
};

TEST_F(MergeFiles, PartsMakeAWholeFile) {
  const auto report =
      merge_results(out_, {part("a.h5", {0, 3}), part("b.h5", {1, 2, 6}), part("c.h5", {4, 5, 3})});
  EXPECT_EQ(report.units, 7);
  EXPECT_EQ(report.done, 7);
  EXPECT_EQ(report.copied, 7);
  EXPECT_TRUE(report.notes.empty());
  const Verification found = verify_file(out_);
  EXPECT_TRUE(found.damage.empty());
  EXPECT_EQ(found.digest, sample::digest(layout_, sample::all_units(layout_)));
  for (const char* name : {"out.lock", "a.lock", "b.lock", "c.lock"}) {
    EXPECT_FALSE(std::filesystem::exists(folder_.file(name))) << name;
  }
}

TEST_F(MergeFiles, TheFileThatItMakesIsThatOfARun) {
  const std::string part0 = part("a.h5", {0});
  merge_results(out_, {part0});
  const ResultsReader made(out_);
  const ResultsReader before(part0);
  EXPECT_EQ(made.layout().attributes, before.layout().attributes);
  EXPECT_EQ(made.layout().units, before.layout().units);
  EXPECT_EQ(made.layout().targets, before.layout().targets);
  ASSERT_EQ(made.layout().datasets.size(), before.layout().datasets.size());
  for (size_t i = 0; i < made.layout().datasets.size(); ++i) {
    const DatasetSpec& a = made.layout().datasets[i];
    const DatasetSpec& b = before.layout().datasets[i];
    EXPECT_EQ(a.path, b.path);
    EXPECT_EQ(a.shape, b.shape);
    EXPECT_EQ(a.scales, b.scales);
    EXPECT_EQ(a.attributes, b.attributes);
    EXPECT_EQ(a.content, b.content);
  }
}

TEST_F(MergeFiles, AgainAndWithMore) {
  const std::string a = part("a.h5", {0, 3});
  EXPECT_EQ(merge_results(out_, {a}).left, 5);
  const auto bytes = sample::read_all(out_);
  EXPECT_EQ(merge_results(out_, {a}).copied, 0);
  EXPECT_EQ(sample::read_all(out_), bytes);
  const auto report = merge_results(out_, {part("b.h5", {1, 2, 4, 5, 6})});
  EXPECT_EQ(report.copied, 5);
  EXPECT_EQ(report.left, 0);
  EXPECT_EQ(verify_file(out_).digest, sample::digest(layout_, sample::all_units(layout_)));
}

TEST_F(MergeFiles, StatesByPrecedence) {
  constexpr UnitState kOrder[] = {UnitState::done,    UnitState::skipped, UnitState::quarantined,
                                  UnitState::crashed, UnitState::failed,  UnitState::empty};
  for (size_t i = 0; i + 1 < std::size(kOrder); ++i) {
    EXPECT_GT(merge_precedence(kOrder[i]), merge_precedence(kOrder[i + 1]));
  }
  const std::string failed = part("failed.h5", {0, 1, 2, 3, 4}, UnitState::failed);
  const std::string crashed = part("crashed.h5", {0, 1, 2, 3}, UnitState::crashed, 1);
  part("crashed.h5", {4}, UnitState::failed, 2);
  const std::string quarantined = part("quarantined.h5", {0, 1, 2}, UnitState::quarantined, 3);
  const std::string skipped = part("skipped.h5", {0, 1}, UnitState::skipped);
  const std::string done = part("done.h5", {0});
  for (const auto& order : {std::vector{failed, crashed, quarantined, skipped, done},
                            std::vector{done, skipped, quarantined, crashed, failed}}) {
    std::filesystem::remove(out_);
    const auto report = merge_results(out_, order);
    const auto journal = ResultsReader(out_).journal();
    for (size_t unit = 0; unit < 4; ++unit) EXPECT_EQ(journal[unit].state, kOrder[unit]);
    EXPECT_EQ(journal[4].state, UnitState::failed);
    EXPECT_EQ(journal[4].crashes, 2U);
    EXPECT_EQ(journal[5].state, UnitState::empty);
    EXPECT_EQ(report.done, 1);
    EXPECT_EQ(report.skipped, 1);
    EXPECT_EQ(report.failed, 3);
    EXPECT_EQ(report.left, 2);
  }
}

TEST_F(MergeFiles, DifferentNumbersForOneUnitAreRefused) {
  const std::string a = part("a.h5", {0, 3});
  const std::string b = part("b.h5", {1, 3});
  {
    ResultsWriter writer(b, layout_);
    UnitResult other = sample::result(layout_, 3);
    other.blocks[0].bytes[0] ^= 1;
    writer.write_unit(3, other, sample::entry());
    writer.close();
  }
  const std::string text = error_of([&] { merge_results(out_, {a, b}); });
  EXPECT_THAT(text, HasSubstr("unit 3"));
  EXPECT_THAT(text, HasSubstr(a));
  EXPECT_THAT(text, HasSubstr(b));
  EXPECT_FALSE(std::filesystem::exists(out_));
  EXPECT_FALSE(std::filesystem::exists(folder_.file("out.lock")));
  merge_results(out_, {a});
  const auto bytes = sample::read_all(out_);
  EXPECT_THAT(error_of([&] { merge_results(out_, {b}); }), HasSubstr("unit 3"));
  EXPECT_EQ(sample::read_all(out_), bytes);
}

TEST_F(MergeFiles, DamagedPayloadsAreNotTaken) {
  const std::string a = part("a.h5", {0});
  const auto bytes = sample::read_all(a);
  const auto row = sample::result(layout_, 0).blocks.at(0).bytes;
  const auto found = std::search(bytes.begin(), bytes.end(), row.begin(), row.begin() + 32);
  ASSERT_NE(found, bytes.end());
  sample::overwrite(a, found - bytes.begin() + 8, 0x77);
  const auto report = merge_results(out_, {a, part("b.h5", {1})});
  EXPECT_EQ(report.done, 1);
  ASSERT_EQ(report.notes.size(), 1U);
  EXPECT_THAT(report.notes[0], HasSubstr("unit 0"));
  EXPECT_EQ(merge_results(out_, {part("c.h5", {0})}).done, 2);
}

TEST_F(MergeFiles, OtherSweepsAreRefused) {
  const std::string a = part("a.h5", {0});
  layout_.attributes["key"] = "k2";
  layout_.attributes["identity"] = R"({"seed": 2})";
  const std::string b = part("b.h5", {1});
  EXPECT_THAT(error_of([&] { merge_results(out_, {a, b}); }), HasSubstr("seed"));
  EXPECT_FALSE(std::filesystem::exists(out_));
  merge_results(out_, {a});
  EXPECT_THAT(error_of([&] { merge_results(out_, {b}); }), HasSubstr("not of the same sweep"));
}

TEST_F(MergeFiles, FilesInUseMissingOrGivenTwiceAreRefused) {
  const std::string a = part("a.h5", {0});
  EXPECT_THAT(error_of([&] {
                merge_results(out_, {a, folder_.file("./a.h5")});
              }),
              HasSubstr("twice"));
  EXPECT_THAT(error_of([&] { merge_results(a, {a}); }), HasSubstr("twice"));
  EXPECT_THAT(error_of([&] { merge_results(out_, {folder_.file("no.h5")}); }),
              HasSubstr("not there"));
  EXPECT_THAT(error_of([&] { merge_results(out_, {}); }), HasSubstr("not there"));
  {
    const auto lock = FileLock::acquire(a);
    EXPECT_THAT(error_of([&] { merge_results(out_, {a}); }), HasSubstr("a.lock is held"));
    EXPECT_THAT(error_of([&] { merge_results(a, {part("b.h5", {1})}); }), HasSubstr("held"));
  }
  EXPECT_EQ(merge_results(out_, {a}).done, 1);
}

TEST_F(MergeFiles, LogsOfInputsAreReadAndThatOfTheOutputIsFolded) {
  const std::string a = part("a.h5", {0});
  const auto append = [&](const std::string& path, const std::vector<int>& units) {
    make_log_folder(path);
    LogWriter writer(path, layout_, 2, nullptr);
    for (const int unit : units) {
      writer.write_unit(unit, sample::result(layout_, unit), sample::entry());
    }
    writer.close();
  };
  append(a, {1, 2});
  const auto segments = log_segments(a);
  EXPECT_EQ(merge_results(out_, {a}).done, 3);
  EXPECT_EQ(log_segments(a), segments);
  append(out_, {3});
  const auto report = merge_results(out_, {});
  EXPECT_EQ(report.folded, 1);
  EXPECT_EQ(report.done, 4);
  EXPECT_FALSE(std::filesystem::exists(log_folder(out_)));
  append(out_, {4});
  EXPECT_EQ(merge_results(out_, {part("b.h5", {5, 6})}).done, 7);
  EXPECT_EQ(verify_file(out_).digest, sample::digest(layout_, sample::all_units(layout_)));
}

TEST_F(MergeFiles, LaunchesAreRenumberedAndKeptOnce) {
  const std::string a = part("a.h5", {0});
  const std::string b = part("b.h5", {1});
  merge_results(out_, {a, b});
  merge_results(out_, {a, b});
  const ResultsReader reader(out_);
  const auto attempts = reader.attempts();
  ASSERT_EQ(attempts.size(), 2U);
  EXPECT_EQ(attempts[1].facts.at("attempt"), 2);
  EXPECT_EQ(attempts[1].facts.at("started"), "b.h5");
  EXPECT_EQ(attempts[1].facts.at("merged_from").at("file"), "b.h5");
  EXPECT_EQ(reader.journal()[0].attempt, 1U);
  EXPECT_EQ(reader.journal()[1].attempt, 2U);
}

}  // namespace
}  // namespace mechsweep
