#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "sample_layout.h"
#include "store/file_head.h"
#include "store/lock.h"
#include "store/metadata_copy.h"
#include "store/results_file.h"

namespace mechsweep {
namespace {

using sample::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Verify, DigestIsThatOfItsDefinitionForAnyOrderOfWriting) {
  const TemporaryFolder folder;
  const FileLayout layout = sample::layout();
  const std::string expected = sample::digest(layout, sample::all_units(layout));
  std::vector<uint8_t> first_bytes;
  for (const std::vector<int>& order :
       {std::vector{0, 1, 2, 3, 4, 5, 6}, std::vector{6, 5, 4, 3, 2, 1, 0},
        std::vector{3, 0, 6, 2, 5, 1, 4, 3}}) {
    const std::string path = folder.file(fmt::format("{}.h5", order[0]));
    sample::write_file(path, layout, order);
    const Verification found = verify_file(path);
    EXPECT_EQ(found.digest, expected);
    EXPECT_EQ(found.done, 7);
    EXPECT_THAT(found.damage, ElementsAre());
    EXPECT_THAT(found.notes, ElementsAre());
    // The same layout and results give the same bytes, whatever the order.
    if (first_bytes.empty()) first_bytes = sample::read_all(path);
    EXPECT_EQ(sample::read_all(path), first_bytes);
  }
}

TEST(Verify, CountsEveryState) {
  const TemporaryFolder folder;
  const FileLayout layout = sample::layout();
  const std::string path = folder.file("a.h5");
  sample::write_file(path, layout, {5, 1});
  ResultsWriter writer(path, layout);
  writer.write_state(0, sample::entry(UnitState::failed));
  writer.write_state(2, sample::entry(UnitState::skipped));
  writer.write_state(3, sample::entry(UnitState::crashed));
  writer.write_state(4, sample::entry(UnitState::quarantined));
  writer.close();
  const Verification found = verify_file(path);
  EXPECT_EQ(found.units, 7);
  EXPECT_EQ(found.done, 2);
  EXPECT_EQ(found.failed, 3);
  EXPECT_EQ(found.skipped, 1);
  EXPECT_EQ(found.left, 1);
  ASSERT_EQ(found.failed_ids.size(), 3U);
  EXPECT_THAT(found.failed_ids[1], testing::StartsWith("5e656c73"));  // 31 * 3 + 7 * i + 1
  EXPECT_EQ(found.digest, sample::digest(layout, {1, 5}));
}

/// A small file with one damaged byte; offsets come from the reader's own places in the file.
class DamagedFile : public testing::Test {
 protected:
  void SetUp() override {
    sample::write_file(path_, layout_, sample::all_units(layout_));
    good_ = sample::read_all(path_);
  }

  Verification with_flipped(int64_t offset, int bit) {
    const auto byte = good_[static_cast<size_t>(offset)];
    sample::overwrite(path_, offset, static_cast<uint8_t>(byte ^ (1 << bit)));
    Verification found = verify_file(path_);
    sample::overwrite(path_, offset, byte);
    return found;
  }

  TemporaryFolder folder_;
  std::string path_ = folder_.file("a.h5");
  FileLayout layout_ = sample::layout(/*logits_per_row=*/2);  // a large one is only slow
  std::vector<uint8_t> good_;
};

TEST_F(DamagedFile, EveryByteIsNoticed) {
  const ResultsReader reader(path_);
  const auto raw = reader.raw_extents();
  const auto journal_bytes = std::ssize(layout_.units) * kJournalSlotBytes;
  const auto attempts_bytes = kAttemptSlots * kAttemptRecordBytes;
  int64_t payload_flips = 0;
  int64_t metadata_flips = 0;
  for (int64_t at = 0; at < std::ssize(good_);) {
    const auto extent = std::find_if(raw.begin(), raw.end(), [&](const Range& range) {
      return at >= range.begin && at < range.end;
    });
    if (extent != raw.end() && extent->size() == attempts_bytes) {
      at = extent->end;  // no launch is recorded in this file; no result depends on them
      continue;
    }
    const int bit = at == kOpenMarkAt ? 0 : static_cast<int>(at % 8);
    const Verification found = with_flipped(at, bit);
    if (at == kOpenMarkAt) {
      ASSERT_EQ(found.done, 7);  // HDF5 sets and clears this bit itself
      ASSERT_TRUE(found.damage.empty());
    } else if (extent == raw.end()) {
      ++metadata_flips;
      ASSERT_EQ(found.damage.size(), 1U) << "metadata byte " << at;
      ASSERT_THAT(found.damage[0], HasSubstr("metadata in bytes"));
    } else if (extent->size() == journal_bytes) {
      ASSERT_EQ(found.left, 1) << "journal byte " << at;
      ASSERT_EQ(found.done, 6);
      ASSERT_EQ(found.damage.size(), 1U) << "journal byte " << at;
      ASSERT_THAT(found.damage[0], HasSubstr("journal entry of unit"));
    } else {
      ++payload_flips;
      ASSERT_EQ(found.damage.size(), 1U) << "payload byte " << at;
      ASSERT_THAT(found.damage[0], HasSubstr("checksum"));
      ASSERT_EQ(found.left, 1);
    }
    // Every byte of payload and journal, but of the rest, mostly tables and gaps, a sample.
    int64_t next = at + (extent == raw.end() ? 211 : 1);
    for (const Range& range : raw) {
      if (range.begin > at) next = std::min(next, range.begin);
    }
    at = next;
  }
  EXPECT_EQ(payload_flips, 60 * 8 + 60 * 4 + 5 * 8 + 60 * 8 + 30 * 4 + 15);
  EXPECT_GT(metadata_flips, 100);
}

TEST_F(DamagedFile, ADamagedOrForeignMetadataCopyIsNamed) {
  const std::string meta = companion_path(path_, ".meta");
  const auto bytes = sample::read_all(meta);
  for (size_t at = 0; at < bytes.size(); at += 97) {
    sample::overwrite(meta, static_cast<int64_t>(at), static_cast<uint8_t>(bytes[at] ^ 1));
    const auto check = check_metadata(path_);
    EXPECT_EQ(check.damage.size(), 1U) << at;
    sample::overwrite(meta, static_cast<int64_t>(at), bytes[at]);
  }
  std::filesystem::resize_file(meta, 10);
  EXPECT_THAT(check_metadata(path_).damage, ElementsAre(HasSubstr("a.meta is damaged")));
  std::filesystem::remove(meta);
  const Verification without = verify_file(path_);
  EXPECT_TRUE(without.damage.empty());
  EXPECT_THAT(without.notes, ElementsAre(HasSubstr("no STEM.meta")));
  EXPECT_EQ(without.done, 7);
}

TEST_F(DamagedFile, ACutOffFileIsDamageByItsCopyAndAnErrorWithoutIt) {
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 1);
  EXPECT_THAT(verify_file(path_).damage, testing::Contains(HasSubstr("was made with")));
  std::filesystem::remove(companion_path(path_, ".meta"));
  EXPECT_THROW(verify_file(path_), Error);
}

TEST_F(DamagedFile, NoByteOutsideRawDataEverChangesAfterCreation) {
  const std::string path = folder_.file("b.h5");
  const auto only_metadata = [&](const std::vector<Range>& raw) {
    auto bytes = sample::read_all(path);
    for (const Range& range : raw) {
      std::fill(bytes.begin() + range.begin, bytes.begin() + range.end, uint8_t{0});
    }
    return bytes;
  };
  create_file_alone(path, layout_);
  const auto raw = ResultsReader(path).raw_extents();
  const auto before = only_metadata(raw);
  for (int round = 0; round < 2; ++round) {
    ResultsWriter writer(path, layout_);
    EXPECT_EQ(only_metadata(raw), before) << "after opening for writing";
    writer.write_attempt(round, {{{"round", round}}});
    for (const int unit : sample::all_units(layout_)) {
      writer.write_unit(unit, sample::result(layout_, unit), sample::entry());
    }
    writer.sync();
    EXPECT_EQ(only_metadata(raw), before) << "after writing";
    if (round == 0) writer.close();
  }
  EXPECT_EQ(only_metadata(raw), before) << "after closing";
  EXPECT_TRUE(check_metadata(path).damage.empty());
}

}  // namespace
}  // namespace mechsweep
