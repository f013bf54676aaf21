#include "app/tidy_rows.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mechsweep {
namespace {

using testing::ElementsAre;

const Axis kLayer{.name = "layer", .size = 2, .coordinates = {8, 9}};
const Axis kHead{.name = "head", .size = 3};

TEST(AxisColumns, FurtherAxesFollowPositionInOrderOfAppearance) {
  AxisColumns columns;
  columns.include({kLayer, {.name = "offset", .size = 1}});
  columns.include({{.name = "all", .size = 1}});
  columns.include({{.name = "named_head", .size = 1}, {.name = "target", .size = 2}});
  columns.include({{.name = "offset", .size = 1}, kHead});
  EXPECT_THAT(columns.names(), ElementsAre("layer", "head", "position", "offset", "target"));
}

TEST(AxisColumns, CellsAreRowMajorWithCoordinates) {
  AxisColumns columns;
  const std::vector<Axis> axes = {kLayer, kHead, {.name = "target", .size = 2}};
  columns.include(axes);
  EXPECT_EQ(columns.cells(axes, 0), "8,0,,0");
  EXPECT_EQ(columns.cells(axes, 1), "8,0,,1");
  EXPECT_EQ(columns.cells(axes, 5), "8,2,,1");
  EXPECT_EQ(columns.cells(axes, 6), "9,0,,0");
  EXPECT_EQ(columns.cells({kLayer}, 1), "9,,,");
  EXPECT_EQ(columns.cells({}, 0), ",,,");
}

TEST(AxisColumns, NamedHeadsFillLayerAndHeadAndAllFillsNothing) {
  AxisColumns columns;
  const std::vector<Axis> axes = {{.name = "named_head", .size = 2, .labels = {"L12H0", "L3H14"}},
                                  {.name = "position", .size = 2}};
  columns.include(axes);
  EXPECT_EQ(columns.cells(axes, 0), "12,0,0");
  EXPECT_EQ(columns.cells(axes, 3), "3,14,1");
  EXPECT_EQ(columns.cells({{.name = "all", .size = 1}}, 0), ",,");
}

TEST(AxisColumns, LabelsAreQuotedWhereTheyMustBe) {
  AxisColumns columns;
  const std::vector<Axis> axes = {{.name = "set", .size = 2, .labels = {"a, b", "plain"}}};
  columns.include(axes);
  EXPECT_EQ(columns.cells(axes, 0), ",,,\"a, b\"");
  EXPECT_EQ(columns.cells(axes, 1), ",,,plain");
}

TEST(TidyRows, NumbersHaveNineSignificantDigits) {
  EXPECT_EQ(number_text(0.01234567890123), "0.0123456789");
  EXPECT_EQ(number_text(123456789012.0), "1.23456789e+11");
  EXPECT_EQ(number_text(49151), "49151");
  EXPECT_EQ(number_text(-2.5), "-2.5");
  EXPECT_EQ(number_text(-0.0), "0");
  EXPECT_EQ(number_text(-1e-300), "-1e-300");
  EXPECT_EQ(number_text(std::numeric_limits<double>::quiet_NaN()), "");
}

TEST(TidyRows, FieldsAreQuotedAsRfc4180Says) {
  EXPECT_EQ(csv_field("plain text"), "plain text");
  EXPECT_EQ(csv_field("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_field("say \"x\""), "\"say \"\"x\"\"\"");
  EXPECT_EQ(csv_field("two\nlines"), "\"two\nlines\"");
}

TEST(TidyRows, ARunIsThreeFields) {
  // The contract's example repeats the run's whole id before model and prompts.
  EXPECT_EQ(run_fields("heads/smollm2-135m/abna"), "heads/smollm2-135m/abna,smollm2-135m,abna");
}

}  // namespace
}  // namespace mechsweep
