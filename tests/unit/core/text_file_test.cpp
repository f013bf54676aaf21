#include "core/text_file.h"

#include <cstdio>
#include <fstream>

#include <gtest/gtest.h>

namespace mechsweep {
namespace {

TEST(ReadTextFile, ReturnsEveryByte) {
  const std::string path = testing::TempDir() + "text_file_test.bin";
  std::string content("a\0\r\n\xff", 5);
  content.resize(200000, 'z');  // more than one buffer
  std::ofstream(path, std::ios::binary) << content;
  EXPECT_EQ(read_text_file(path, ErrorKind::input), content);
  std::remove(path.c_str());
}

TEST(ReadTextFile, NamesThePathAndTheReason) {
  const auto failure = [](const std::string& path, ErrorKind kind) -> std::string {
    try {
      read_text_file(path, kind);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind);
      return error.what();
    }
    return "nothing was thrown";
  };
  EXPECT_EQ(failure("/no/such/file.yaml", ErrorKind::usage),
            "/no/such/file.yaml: cannot be read: No such file or directory");
  EXPECT_EQ(failure("/tmp", ErrorKind::input), "/tmp: cannot be read: Is a directory");
}

// Well-formed and ill-formed sequences of the Unicode Standard, table 3-7 and its examples.
TEST(FindInvalidUtf8, AcceptsWellFormedText) {
  for (const char* text : {"", "ascii", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF",
                           "\xEE\x80\x80", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
    EXPECT_EQ(find_invalid_utf8(text), std::string_view::npos) << text;
}

TEST(FindInvalidUtf8, PointsAtTheFirstBadSequence) {
  EXPECT_EQ(find_invalid_utf8("ab\x80"), 2U);
  EXPECT_EQ(find_invalid_utf8("\xC3\xA9\xC0\xAF"), 2U);  // over-long '/'
  for (const char* text :
       {"\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80", "\xC3", "\xE2\x82", "\xC3x", "\xE2\x82x", "\xFF"})
    EXPECT_EQ(find_invalid_utf8(text), 0U) << text;
}

TEST(FitForMessage, EscapesWhatNoTerminalShowsAndCutsBetweenCharacters) {
  EXPECT_EQ(fit_for_message("a\n\x1B[31m\x7F", 50), R"(a\x0A\x1B[31m\x7F)");
  EXPECT_EQ(fit_for_message("\xFFz\xC3", 50), R"(\xFFz\xC3)");
  EXPECT_EQ(fit_for_message("\u00e9\u4f60", 5), "\u00e9\u4f60");
  EXPECT_EQ(fit_for_message("\u00e9\u4f60", 4), "\u00e9...");
  EXPECT_EQ(fit_for_message("a\n", 4), "a...");  // an escape is not cut either
  EXPECT_EQ(fit_for_message(std::string(9, 'a'), 9), std::string(9, 'a'));
  EXPECT_EQ(fit_for_message("", 0), "");
}

TEST(LineColumn, CountsLinesAndCharactersFromOne) {
  const std::string text = "ab\n\xC3\xA9x\n";
  EXPECT_EQ(line_column(text, 0), (LineColumn{1, 1}));
  EXPECT_EQ(line_column(text, 2), (LineColumn{1, 3}));
  EXPECT_EQ(line_column(text, 3), (LineColumn{2, 1}));
  EXPECT_EQ(line_column(text, 5), (LineColumn{2, 2}));  // after a character of two bytes
  EXPECT_EQ(line_column(text, 99), (LineColumn{3, 1}));
}

TEST(ByteOrderMark, IsTakenOffOnce) {
  EXPECT_EQ(without_byte_order_mark("\xEF\xBB\xBFx"), "x");
  EXPECT_EQ(without_byte_order_mark("x\xEF\xBB\xBF"), "x\xEF\xBB\xBF");
  EXPECT_EQ(without_byte_order_mark("\xEF\xBB"), "\xEF\xBB");
}

TEST(ResolvePath, IsRelativeToTheFolder) {
  EXPECT_EQ(resolve_path("configs", "p.jsonl"), "configs/p.jsonl");
  EXPECT_EQ(resolve_path("configs", "/data/p.jsonl"), "/data/p.jsonl");
  EXPECT_EQ(resolve_path("", "p.jsonl"), "p.jsonl");
}

}  // namespace
}  // namespace mechsweep
