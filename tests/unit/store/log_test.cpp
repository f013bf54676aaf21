#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "core/error.h"
#include "sample_layout.h"
#include "store/log_fold.h"
#include "store/log_segment.h"
#include "store/log_writer.h"

namespace mechsweep {
namespace {

/// A results file with nothing done, and the folder of its log.
class Log : public ::testing::Test {
 protected:
  Log() { make(folder_.file("r.h5"), layout_); }

  static void make(const std::string& path, const FileLayout& layout) {
    create_file_alone(path, layout);
    make_log_folder(path);
  }

  /// Appends units as one launch does.
  void append(const std::vector<int>& units, const FileLayout& layout, uint32_t attempt = 1,
              UnitState state = UnitState::done) {
    LogWriter writer(path_, layout, attempt, nullptr);
    for (const int unit : units) {
      JournalEntry entry = sample::entry(state);
      entry.attempt = attempt;
      if (state == UnitState::done) {
        writer.write_unit(unit, sample::result(layout, unit), entry);
      } else {
        writer.write_state(unit, entry);
      }
    }
    writer.close();
  }

  [[nodiscard]] std::vector<int> done_in_file() const {
    std::vector<int> done;
    const ResultsReader reader(path_);
    const auto journal = reader.journal();
    for (int unit = 0; unit < std::ssize(journal); ++unit) {
      if (journal[static_cast<size_t>(unit)].state != UnitState::done) continue;
      EXPECT_EQ(reader.read_payload(unit), sample::payload(layout_, unit));
      done.push_back(unit);
    }
    return done;
  }

  static std::vector<int> units_of(const SegmentContents& contents) {
    std::vector<int> units;
    for (const StoredRecord& record : contents.records) units.push_back(record.unit);
    return units;
  }

  FileLayout layout_ = sample::layout(/*logits_per_row=*/7);
  sample::TemporaryFolder folder_;
  std::string path_ = folder_.file("r.h5");
};

TEST_F(Log, RecordsComeBackInTheOrderInWhichTheyWereAppended) {
  append({3, 0, 6, 4}, layout_);
  const auto segments = log_segments(path_);
  ASSERT_EQ(segments.size(), 1U);
  const SegmentReader reader(layout_);
  for (const PayloadCheck check : {PayloadCheck::none, PayloadCheck::checksum}) {
    const SegmentContents contents = reader.read(segments[0], check);
    EXPECT_EQ(units_of(contents), (std::vector<int>{3, 0, 6, 4}));
    EXPECT_EQ(contents.lost_bytes, 0);
    EXPECT_EQ(contents.foreign, 0);
    for (const StoredRecord& record : contents.records) {
      EXPECT_EQ(reader.payload(segments[0], record), sample::payload(layout_, record.unit));
      EXPECT_EQ(record.entry.rank, sample::entry().rank);
      EXPECT_EQ(record.entry.seconds, sample::entry().seconds);
    }
  }
}

TEST_F(Log, ATailThatIsTornAtAnyByteLosesOneRecordOnly) {
  append({0, 3}, layout_);
  const std::string segment = log_segments(path_).at(0);
  const auto bytes = sample::read_all(segment);
  const auto first = kLogHeaderBytes + std::ssize(sample::payload(layout_, 0));
  const SegmentReader reader(layout_);
  for (int64_t length = 0; length < std::ssize(bytes); ++length) {
    std::filesystem::resize_file(segment, static_cast<uintmax_t>(length));
    for (const PayloadCheck check : {PayloadCheck::none, PayloadCheck::checksum}) {
      const SegmentContents contents = reader.read(segment, check);
      const bool has_first = length >= first;
      ASSERT_EQ(units_of(contents), has_first ? std::vector<int>{0} : std::vector<int>{}) << length;
      ASSERT_EQ(contents.lost_bytes, has_first ? length - first : length) << length;
    }
    std::ofstream(segment, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
  }
}

TEST_F(Log, ARecordTornInTheMiddleDoesNotHideThoseAfterIt) {
  append({0, 3, 5}, layout_);
  const std::string segment = log_segments(path_).at(0);
  const auto bytes = sample::read_all(segment);
  const auto first = kLogHeaderBytes + std::ssize(sample::payload(layout_, 0));
  const SegmentReader reader(layout_);
  for (int64_t kept = 0; kept < first; ++kept) {  // another rank appends after a short write
    std::vector<uint8_t> torn(bytes.begin(), bytes.begin() + kept);
    torn.insert(torn.end(), bytes.begin() + first, bytes.end());
    std::ofstream(segment, std::ios::binary)
        .write(reinterpret_cast<const char*>(torn.data()), std::ssize(torn));
    const SegmentContents contents = reader.read(segment, PayloadCheck::checksum);
    ASSERT_EQ(units_of(contents), (std::vector<int>{3, 5})) << kept;
    ASSERT_EQ(contents.lost_bytes, kept);
    // Headers alone may mistake what is torn for a record that hides exactly one other.
    ASSERT_EQ(reader.read(segment, PayloadCheck::none).records.size(), 2U) << kept;
  }
}

TEST_F(Log, AnyFlippedBitLosesItsRecordAndNoOther) {
  append({4, 0, 3}, layout_);
  const std::string segment = log_segments(path_).at(0);
  const auto bytes = sample::read_all(segment);
  const auto begin = kLogHeaderBytes + std::ssize(sample::payload(layout_, 4));
  const auto end = begin + kLogHeaderBytes + std::ssize(sample::payload(layout_, 0));
  const SegmentReader reader(layout_);
  for (int64_t at = begin; at < end; ++at) {
    sample::overwrite(segment, at,
                      bytes[static_cast<size_t>(at)] ^ static_cast<uint8_t>(1 << (at % 8)));
    const SegmentContents contents = reader.read(segment, PayloadCheck::checksum);
    ASSERT_EQ(units_of(contents), (std::vector<int>{4, 3})) << at;
    ASSERT_EQ(contents.lost_bytes, end - begin) << at;
    sample::overwrite(segment, at, bytes[static_cast<size_t>(at)]);
  }
}

TEST_F(Log, FoldingGivesTheFileOfARunWithoutALog) {
  append({3, 0, 6}, layout_);
  append({1, 2}, layout_, 2);
  append({4, 5}, layout_, 3);
  EXPECT_EQ(log_segments(path_).size(), 3U);
  const FoldReport report = fold_log(path_);
  EXPECT_EQ(report.units, 7);
  EXPECT_EQ(report.lost_bytes, 0);
  EXPECT_FALSE(std::filesystem::exists(log_folder(path_)));
  const Verification found = verify_file(path_);
  EXPECT_EQ(found.done, 7);
  EXPECT_EQ(found.digest, sample::digest(layout_, sample::all_units(layout_)));
  EXPECT_EQ(ResultsReader(path_).journal()[2].attempt, 2U);
}

TEST_F(Log, FoldingTwiceIsHarmless) {
  append({3, 0}, layout_);
  const std::string segment = log_segments(path_).at(0);
  const auto bytes = sample::read_all(segment);
  fold_log(path_);
  const auto file = sample::read_all(path_);
  make_log_folder(path_);  // as if it had been killed before the segment was removed
  std::ofstream(segment, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
  EXPECT_EQ(fold_log(path_).units, 0);
  EXPECT_EQ(sample::read_all(path_), file);
  EXPECT_EQ(fold_log(path_).units, 0);
}

TEST_F(Log, UnitsOfAnotherSweepAreNeverFolded) {
  FileLayout other = layout_;
  other.attributes["key"] = "k2";
  append({3, 0}, other);
  append({5}, layout_, 2);
  const FoldReport report = fold_log(path_);
  EXPECT_EQ(done_in_file(), std::vector<int>{5});
  ASSERT_EQ(report.foreign.size(), 1U);
  EXPECT_EQ(log_segments(path_), report.foreign);  // left alone
  FileLayout stranger = layout_;                   // same key, a unit that this sweep does not have
  stranger.units[0].id[0] ^= 1;
  append({0}, stranger, 3);
  EXPECT_EQ(fold_log(path_).foreign.size(), 2U);
  EXPECT_EQ(done_in_file(), std::vector<int>{5});
}

TEST_F(Log, DoneUnitsStayAndLaterAttemptsCount) {
  append({0}, layout_, 1);
  append({0, 1}, layout_, 2, UnitState::failed);
  append({1, 2}, layout_, 3, UnitState::crashed);
  append({2}, layout_, 4, UnitState::skipped);
  append({2}, layout_, 5, UnitState::failed);
  fold_log(path_);
  const auto journal = ResultsReader(path_).journal();
  EXPECT_EQ(journal[0].state, UnitState::done);
  EXPECT_EQ(journal[1].state, UnitState::crashed);
  EXPECT_EQ(journal[1].attempt, 3U);
  EXPECT_EQ(journal[2].state, UnitState::skipped);
}

TEST_F(Log, APayloadThatTheFileLostComesBackFromTheLog) {
  append({3}, layout_);
  {
    ResultsWriter writer(path_, layout_);
    writer.write_unit(3, sample::result(layout_, 3), sample::entry());
    writer.close();
  }
  const auto bytes = sample::read_all(path_);
  const auto loss = sample::result(layout_, 3).blocks.at(0).bytes;  // one row of one prompt
  const auto row = std::search(bytes.begin(), bytes.end(), loss.begin(), loss.begin() + 32);
  ASSERT_NE(row, bytes.end());
  // As after a power loss that spared the journal.
  sample::overwrite(path_, row - bytes.begin(), static_cast<uint8_t>(*row ^ 1));
  ASSERT_FALSE(ResultsReader(path_).payload_matches(3, ResultsReader(path_).journal()[3]));
  EXPECT_EQ(fold_log(path_).units, 1);
  EXPECT_EQ(done_in_file(), std::vector<int>{3});
}

TEST_F(Log, MissingRecordsAreNoticedBeforeAnythingIsRemoved) {
  append({3, 0}, layout_);
  const auto segments = log_segments(path_);
  EXPECT_THROW(fold_log(path_, segments, 3), Error);
  EXPECT_EQ(log_segments(path_), segments);
  EXPECT_THROW(fold_log(path_, {folder_.file("r.log/other.1.seg")}, 0), Error);
  EXPECT_EQ(fold_log(path_, segments, 2).records, 2);
}

TEST_F(Log, ACrashMarkIsARecord) {
  {
    LogWriter writer(path_, layout_, 1, nullptr);
    JournalEntry entry = sample::entry(UnitState::crashed);
    entry.crashes = 2;
    const CrashMark mark = writer.crash_mark(5, entry);
    EXPECT_EQ(mark.offset, -1);
    writer.write_unit(0, sample::result(layout_, 0), sample::entry());
    ASSERT_EQ(::write(mark.descriptor, mark.bytes.data(), mark.size),
              static_cast<ssize_t>(mark.size));
  }
  fold_log(path_);
  const auto journal = ResultsReader(path_).journal();
  EXPECT_EQ(journal[5].state, UnitState::crashed);
  EXPECT_EQ(journal[5].crashes, 2U);
  EXPECT_EQ(done_in_file(), std::vector<int>{0});
}

TEST_F(Log, ReadersSeeWhatWaits) {
  append({3, 0}, layout_);
  append({5}, layout_, 2, UnitState::failed);
  const ResultsReader reader(path_);
  auto journal = reader.journal();
  EXPECT_EQ(overlay_log(path_, layout_, journal), 3);
  EXPECT_EQ(journal[3].state, UnitState::done);
  EXPECT_EQ(journal[5].state, UnitState::failed);
  const Verification found = verify_file(path_);
  EXPECT_EQ(found.left, 7);
  EXPECT_TRUE(found.damage.empty());
  const bool says = std::any_of(
      found.notes.begin(), found.notes.end(),
      [](const std::string& note) { return note.find("3 units wait in ") != std::string::npos; });
  EXPECT_TRUE(says);
}

TEST_F(Log, RanksReadWhatOthersHaveStored) {
  {
    ResultsWriter writer(path_, layout_);
    writer.write_unit(1, sample::result(layout_, 1), sample::entry());
    writer.close();
  }
  LogWriter one(path_, layout_, 1, nullptr, /*is_read_back=*/true);
  LogWriter other(path_, layout_, 2, nullptr, /*is_read_back=*/true);
  EXPECT_EQ(other.read_entry(0).state, UnitState::empty);
  one.write_unit(0, sample::result(layout_, 0), sample::entry());
  one.write_state(2, sample::entry(UnitState::failed));
  for (const UnitSource* source : {&one, &other}) {
    EXPECT_EQ(source->read_entry(0).state, UnitState::done);
    EXPECT_EQ(source->read_payload(0), sample::payload(layout_, 0));
    EXPECT_EQ(source->read_entry(1).state, UnitState::done);
    EXPECT_EQ(source->read_payload(1), sample::payload(layout_, 1));
    EXPECT_EQ(source->read_entry(2).state, UnitState::failed);
    EXPECT_EQ(source->read_entry(3).state, UnitState::empty);
  }
  other.write_unit(2, sample::result(layout_, 2), sample::entry());
  EXPECT_EQ(one.read_entry(2).state, UnitState::done);
  EXPECT_EQ(one.read_payload(2), sample::payload(layout_, 2));
}

TEST_F(Log, RemovedWithTheFileThatItBelongedTo) {
  append({3, 0}, layout_);
  remove_log(path_);
  EXPECT_FALSE(std::filesystem::exists(log_folder(path_)));
  remove_log(path_);
}

TEST_F(Log, ASegmentIsNotWrittenThroughALink) {
  const std::string elsewhere = folder_.file("elsewhere");
  std::ofstream(elsewhere) << "x";
  std::filesystem::create_symlink(elsewhere, log_segment_path(path_, 1));
  EXPECT_THROW(append({0}, layout_), Error);
  EXPECT_EQ(sample::read_all(elsewhere).size(), 1U);
}

}  // namespace
}  // namespace mechsweep
