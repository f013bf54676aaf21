#include "model/tokenizer.h"

#include "tokenizer_files.h"

namespace mechsweep {
namespace {

TEST(TokensOfBytes, TokensThatOverlap) {
  const Encoding encoding{{7, 8, 9, 9}, {{0, 3}, {3, 6}, {6, 7}, {9, 12}}};
  EXPECT_EQ(tokens_of_bytes(encoding, {0, 3}), (Span{0, 1}));
  EXPECT_EQ(tokens_of_bytes(encoding, {2, 4}), (Span{0, 2}));
  EXPECT_EQ(tokens_of_bytes(encoding, {3, 100}), (Span{1, 4}));
  EXPECT_EQ(tokens_of_bytes(encoding, {6, 10}), (Span{2, 4}));
}

TEST(TokensOfBytes, TokensWithoutBytesOverlapNothing) {
  const Encoding encoding{{7, 8}, {{1, 1}, {0, 3}}};
  EXPECT_EQ(tokens_of_bytes(encoding, {0, 3}), (Span{1, 2}));
}

TEST(TokensOfBytes, NoneIsAnError) {
  const Encoding encoding{{7, 8}, {{0, 3}, {5, 6}}};
  for (const Span bytes : {Span{3, 5}, Span{6, 9}, Span{1, 1}, Span{2, 1}, Span{-4, 0}}) {
    EXPECT_FALSE(input_error([&] { (void)tokens_of_bytes(encoding, bytes); }).empty());
  }
  EXPECT_FALSE(input_error([] { (void)tokens_of_bytes({}, {0, 1}); }).empty());
}

// Sequences of RFC 3629, section 10, and of the usual decoder stress tests.
TEST(CheckUtf8, NamesTheFirstInvalidByte) {
  struct Case {
    std::string text;
    std::string place;
  };
  for (const Case& c :
       {Case{"ab\xFF", "0xFF at byte offset 2"}, Case{"\xC0\x80", "0xC0 at byte offset 0"},
        Case{"é\xED\xA0\x80", "0xED at byte offset 2"},
        Case{"\xF4\x90\x80\x80", "0xF4 at byte offset 0"},
        Case{"日本\xE8\xAA", "0xE8 at byte offset 6"}, Case{"a\x80", "0x80 at byte offset 1"}}) {
    const std::string message = input_error([&] { check_utf8(c.text, "the text"); });
    EXPECT_NE(message.find(c.place), std::string::npos) << message;
  }
  EXPECT_NO_THROW(check_utf8("\u0000é日\U0010FFFF", "the text"));
}

TEST(ShowText, EscapesWhatATerminalCannotShow) {
  EXPECT_EQ(show_text("a\n\xFF"
                      "é"),
            R"('a\x0A\xFFé')");
  EXPECT_LT(show_text(std::string(1000, 'a')).size(), 80U);
}

}  // namespace
}  // namespace mechsweep
