#include "store/file_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "sample_layout.h"
#include "store/hdf5_dataset.h"

namespace mechsweep {
namespace {

/// The elements of a unit by asking of every element of every target whether it belongs to it.
std::vector<std::pair<int32_t, int64_t>> brute_force(const FileLayout& layout,
                                                     const UnitSpec& unit) {
  std::vector<std::pair<int32_t, int64_t>> out;
  for (const auto& target : layout.targets) {
    if (target.run != unit.run || target.stage != unit.stage) continue;
    const auto& shape = layout.datasets[static_cast<size_t>(target.dataset)].shape;
    const int64_t first_size = shape.size() > 1 ? shape[1] : 1;
    int64_t rest = 1;
    for (size_t i = 2; i < shape.size(); ++i) rest *= shape[i];
    int64_t element = 0;
    for (int64_t p = 0; p < shape[0]; ++p) {
      for (int64_t f = 0; f < first_size; ++f) {
        for (int64_t r = 0; r < rest; ++r, ++element) {
          const bool prompt_is_in = p >= unit.prompts.begin && p < unit.prompts.end;
          const bool is_whole = unit.prompts.size() == 0;
          const bool first_is_in = f >= unit.first.begin && f < unit.first.end;
          const bool begins = unit.first.begin == 0;
          if (is_whole || (prompt_is_in && (target.split_by_first ? first_is_in : begins))) {
            out.emplace_back(target.dataset, element);
          }
        }
      }
    }
  }
  return out;
}

TEST(SegmentMap, WhatIsNotSplitBelongsToTheUnitsThatBeginTheAxis) {
  FileLayout layout = sample::layout();
  for (TargetDataset& target : layout.targets) target.stage = 0;
  sample::add_unit(layout, 0, 0, {0, 5}, {0, 1});
  sample::add_unit(layout, 0, 0, {0, 5}, {1, 3});
  const SegmentMap map(layout);
  const auto& begins = *(layout.units.end() - 2);
  const auto& goes_on = layout.units.back();
  EXPECT_GT(map.targets(begins).size(), map.targets(goes_on).size());
  ASSERT_FALSE(map.targets(goes_on).empty());
  for (const TargetDataset* target : map.targets(goes_on)) EXPECT_TRUE(target->split_by_first);
}

TEST(SegmentMap, SegmentsAreTheElementsOfTheUnitInOrder) {
  FileLayout layout = sample::layout();
  sample::add_unit(layout, 0, 0, {0, 5}, {0, 3});
  sample::add_unit(layout, 0, 0, {0, 0}, {0, 0});  // decides for all prompts
  sample::add_unit(layout, 0, 0, {1, 2}, {1, 1});
  sample::add_unit(layout, 9, 0, {0, 5}, {0, 0});
  for (TargetDataset& target : layout.targets) target.stage = 0;
  for (const auto& unit : layout.units) {
    std::vector<std::pair<int32_t, int64_t>> elements;
    for (const Segment& segment : unit_segments(layout, unit)) {
      for (int64_t i = 0; i < segment.count; ++i) {
        elements.emplace_back(segment.dataset, segment.offset + i);
      }
    }
    EXPECT_EQ(elements, brute_force(layout, unit));
  }
}

TEST(SegmentMap, NeighbouringRowsAreOneSegment) {
  const FileLayout layout = sample::layout();
  EXPECT_EQ(unit_segments(layout, layout.units[5]).size(), 3U);  // three datasets, rows in whole
  EXPECT_EQ(unit_segments(layout, layout.units[0]).size(), 6U);  // two datasets, three prompts
}

TEST(BoxesOf, CoverEveryPieceOfAnArrayInOrder) {
  const std::vector<int64_t> shape{3, 4, 5};
  for (int64_t offset = 0; offset < 60; ++offset) {
    for (int64_t count = 0; count <= 60 - offset; ++count) {
      std::vector<int64_t> elements;
      for (const Box& box : boxes_of(shape, offset, count)) {
        for (hsize_t i = 0; i < box.count[0]; ++i) {
          for (hsize_t j = 0; j < box.count[1]; ++j) {
            for (hsize_t k = 0; k < box.count[2]; ++k) {
              elements.push_back(static_cast<int64_t>((box.start[0] + i) * 20 +
                                                      (box.start[1] + j) * 5 + box.start[2] + k));
            }
          }
        }
      }
      std::vector<int64_t> expected(static_cast<size_t>(count));
      std::iota(expected.begin(), expected.end(), offset);
      ASSERT_EQ(elements, expected) << offset << " " << count;
    }
  }
}

TEST(PackTexts, RoundTripKeepsTextsOfAnyLength) {
  const std::vector<std::string> values{"", "abc", "\xE2\x82\xAC", "ab"};
  EXPECT_EQ(longest_text(values), 3);
  EXPECT_EQ(unpack_texts(pack_texts(values, 3), 3), values);
  EXPECT_EQ(longest_text({"", ""}), 1);
}

/// The message with which a changed sample layout is refused.
std::string fault(const std::function<void(FileLayout&)>& change) {
  FileLayout layout = sample::layout();
  change(layout);
  try {
    check_layout(layout);
  } catch (const Error& error) {
    return error.message();
  }
  return "accepted";
}

TEST(CheckLayout, NamesWhatDoesNotFit) {
  using testing::HasSubstr;
  EXPECT_EQ(fault([](FileLayout&) {}), "accepted");
  EXPECT_THAT(fault([](FileLayout& l) { l.datasets[0].path = "lengths"; }),
              HasSubstr("not an absolute path"));
  EXPECT_THAT(fault([](FileLayout& l) { l.datasets[1].path = l.datasets[0].path; }),
              HasSubstr("twice"));
  EXPECT_THAT(fault([](FileLayout& l) { l.datasets[0].content.pop_back(); }),
              HasSubstr("19 bytes of content but needs 20"));
  EXPECT_THAT(fault([](FileLayout& l) { l.datasets[0].content.clear(); }),
              HasSubstr("no unit fills it"));
  EXPECT_THAT(fault([](FileLayout& l) { l.targets[2].dataset = 0; }),
              HasSubstr("has content, yet units fill it"));
  EXPECT_THAT(fault([](FileLayout& l) { l.targets[0].dataset = 99; }), HasSubstr("99"));
  EXPECT_THAT(fault([](FileLayout& l) { l.targets[2].split_by_first = true; }),
              HasSubstr("does not have"));
  EXPECT_THAT(fault([](FileLayout& l) { l.units[0].prompts.end = 6; }),
              HasSubstr("unit 0 reaches"));
  EXPECT_THAT(fault([](FileLayout& l) { l.units[1].first.end = 4; }), HasSubstr("unit 1 reaches"));
  EXPECT_THAT(fault([](FileLayout& l) { l.units[1].prompts = {3, 1}; }), HasSubstr("unit 1"));
  EXPECT_THAT(fault([](FileLayout& l) {
                l.datasets[static_cast<size_t>(l.targets[0].dataset)].scales[1] = "/nowhere";
              }),
              HasSubstr("/nowhere"));
}

}  // namespace
}  // namespace mechsweep
