#include "model/normalizer.h"

#include <random>

#include "tokenizer_files.h"

namespace mechsweep {
namespace {

using Ints = std::vector<int32_t>;

std::string applied(const Normalizer::Step& step, const std::string& text) {
  return std::string(step(text).view(text));
}

TEST(TraceBuilder, KeepsTrackOfTheOriginal) {
  TraceBuilder out("abcdef");
  out.insert(">");
  out.copy(1);
  out.replace(2, "XYZ");
  out.replace(1, "");
  const TracedText traced = out.finish();
  EXPECT_EQ(traced.text, ">aXYZef");
  EXPECT_EQ(traced.begin, (Ints{0, 0, 1, 1, 1, 4, 5}));
  EXPECT_EQ(traced.end, (Ints{0, 1, 3, 3, 3, 5, 6}));
  EXPECT_EQ(traced.source({0, 1}), (Span{0, 0})) << "put in";
  EXPECT_EQ(traced.source({0, 2}), (Span{0, 1}));
  EXPECT_EQ(traced.source({3, 6}), (Span{1, 5}));
  EXPECT_EQ(traced.source({5, 5}), (Span{4, 4}));
  EXPECT_EQ(traced.source({7, 7}), (Span{6, 6}));
}

TEST(TraceBuilder, NothingChanged) {
  TraceBuilder out("abc");
  out.replace(1, "a");
  const TracedText traced = out.finish();
  EXPECT_FALSE(traced.changed);
  EXPECT_EQ(traced.view("abc"), "abc");
  EXPECT_EQ(traced.source({1, 2}), (Span{1, 2}));
}

TEST(TraceBuilder, AllDroppedIsAChange) {
  TraceBuilder out("ab");
  out.replace(2, "");
  const TracedText traced = out.finish();
  EXPECT_TRUE(traced.changed);
  EXPECT_EQ(traced.view("ab"), "");
  EXPECT_EQ(traced.source({0, 0}), (Span{0, 0}));
}

TEST(Normalizer, ChangesCompose) {
  Normalizer normalizer;
  EXPECT_FALSE(normalizer.apply("a b").changed);
  normalizer.add(prepend_step("\u2581"));
  normalizer.add(replace_step(SplitRegex::from_literal(" "), "\u2581"));
  normalizer.add(lowercase_step());
  const TracedText traced = normalizer.apply("A B");
  EXPECT_EQ(traced.text, "\u2581a\u2581b");
  EXPECT_EQ(traced.begin, (Ints{0, 0, 0, 0, 1, 1, 1, 2}));
  EXPECT_EQ(traced.end, (Ints{0, 0, 0, 1, 2, 2, 2, 3}));
  EXPECT_FALSE(normalizer.apply("").changed) << "nothing goes before an empty text";
}

// Examples of Unicode annex 15 and of its data file.
TEST(NormalForms, Published) {
  const std::string text = "\u1E9B\u0323 \uFB01 \u212B";
  EXPECT_EQ(applied(normal_form_step(NormalForm::nfc), text), "\u1E9B\u0323 \uFB01 \u00C5");
  EXPECT_EQ(applied(normal_form_step(NormalForm::nfd), text), "\u017F\u0323\u0307 \uFB01 A\u030A");
  EXPECT_EQ(applied(normal_form_step(NormalForm::nfkc), text), "\u1E69 fi \u00C5");
  EXPECT_EQ(applied(normal_form_step(NormalForm::nfkd), text), "s\u0323\u0307 fi A\u030A");
  EXPECT_EQ(applied(normal_form_step(NormalForm::nfc), "\u1100\u1161\u11A8"), "\uAC01");
}

// Values from the tokenizers package, 0.23.3. A Telugu mark of Unicode 14 and one of Unicode 10 are
// not put in order, a square of Unicode 12.1 is not taken apart; what came before is.
TEST(NormalForms, CharactersAfterUnicode9StayAsTheyAre) {
  for (const char* later : {"x\u0360\u0C3C", "x\u0360\u0D3B"})
    EXPECT_EQ(applied(normal_form_step(NormalForm::nfc), later), later);
  EXPECT_EQ(applied(normal_form_step(NormalForm::nfc), "x\u0360\u093C"), "x\u093C\u0360");
  EXPECT_EQ(applied(normal_form_step(NormalForm::nfkc), "\u32FF\u337E"), "\u32FF\u660E\u6CBB");
  EXPECT_EQ(applied(strip_accents_step(), "a\u0EBA\u0EB9"), "a\u0EBA");
}

TEST(NormalForms, KeepTrackOfTheOriginal) {
  EXPECT_FALSE(to_normal_form("ab\u00E9", NormalForm::nfc).changed);
  const TracedText traced = to_normal_form("xe\u0301y", NormalForm::nfc);  // x, e, two bytes, y
  EXPECT_EQ(traced.text, "x\u00E9y");
  EXPECT_EQ(traced.begin, (Ints{0, 1, 1, 4}));
  EXPECT_EQ(traced.end, (Ints{1, 4, 4, 5}));
}

TEST(Normalizer, Lowercase) {
  // Code point by code point: no final sigma, two code points for the dotted capital I.
  EXPECT_EQ(applied(lowercase_step(), "ÀΣΑΣ\u0130ẞ日"), "àσασi\u0307ß日");
}

TEST(Normalizer, StripAndAccents) {
  EXPECT_EQ(applied(strip_step(true, true), " \u3000a b\n"), "a b");
  EXPECT_EQ(applied(strip_step(true, false), " a "), "a ");
  EXPECT_EQ(applied(strip_step(false, true), " a "), " a");
  EXPECT_EQ(applied(strip_step(true, true), " \t"), "");
  EXPECT_EQ(applied(strip_accents_step(), "e\u0301\u0304\u00E9\u0903"), "e\u00E9");
}

TEST(Normalizer, Replace) {
  EXPECT_EQ(applied(replace_step(SplitRegex::from_pattern(" {2,}"), " "), "a   b  c"), "a b c");
  EXPECT_EQ(applied(replace_step(SplitRegex::from_literal("''"), "\""), "''a'''"), "\"a\"'");
  EXPECT_EQ(applied(replace_step(SplitRegex::from_pattern("^"), "_"), "ab"), "_ab");
}

// The rules as sentencepiece's builder of nmt tables has them.
TEST(Normalizer, Nmt) {
  EXPECT_EQ(applied(nmt_step(), "a\u0001\tb\u200B\u2581\u007F\uFEFFc"), "a b   c");
}

/// The table in a golden, made by sentencepiece from the rules in golden_sentencepiece.py.
std::string golden_table() {
  const Json file = golden_json("tokenizers/unigram-t5-style/tokenizer.json");
  return file.at("normalizer").at("normalizers").at(0).at("precompiled_charsmap");
}

TEST(Charsmap, AppliesItsRules) {
  const auto step = charsmap_step(Charsmap::from_base64(golden_table(), "table"));
  EXPECT_EQ(applied(step, "\uFB01x\uFF21\uFF22"), "fixAB");
  EXPECT_EQ(applied(step, "1\u00BD\u00A0\t"), "11\u20442  ");
  EXPECT_EQ(applied(step, "e\u0301 e \u00E9"), "\u00E9 e \u00E9") << "a cluster as a whole";
  EXPECT_EQ(applied(step, "\u337F\u00AD\U0001F600"), "株式会社:)");
  EXPECT_FALSE(step("plain").changed);
  const TracedText traced = step("a\uFB01");
  EXPECT_EQ(traced.begin, (Ints{0, 1, 1}));
  EXPECT_EQ(traced.end, (Ints{1, 4, 4}));
}

TEST(Charsmap, DamagedTablesDoNoHarm) {
  const std::string good = golden_table();
  const std::string text = "e\u0301\uFB01\t\u337F\U0001F600 abc";
  std::mt19937 random(5);
  int applications = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bad = good;
    for (int i = 0; i < 3; ++i) bad[random() % bad.size()] = "AZaz09+/"[random() % 8];
    try {
      const Charsmap table = Charsmap::from_base64(bad, "table");
      EXPECT_TRUE(is_utf8(table.apply(text).view(text)));
      ++applications;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input) << error.what();
    }
  }
  EXPECT_GT(applications, 100);
}

TEST(Charsmap, RefusesWhatIsNoTable) {
  for (const char* text : {"", "AAA", "////", "BAAAAA==", "A*AA", "BAAAAAAAAAD/"}) {
    EXPECT_NE(
        input_error([&] { (void)Charsmap::from_base64(text, "the table"); }).find("the table"),
        std::string::npos)
        << text;
  }
}

TEST(GraphemeEnds, ClustersOfAnnex29) {
  EXPECT_EQ(grapheme_ends("ae\u0301\r\n"), (Ints{1, 4, 6}));
  EXPECT_EQ(grapheme_ends("\U0001F468\u200D\U0001F469!"), (Ints{11, 12}));
  EXPECT_EQ(grapheme_ends(""), Ints{});
}

}  // namespace
}  // namespace mechsweep
