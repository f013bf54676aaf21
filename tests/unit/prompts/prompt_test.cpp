#include "prompts/prompt.h"

#include <functional>
#include <set>

#include <gtest/gtest.h>

#include "core/error.h"
#include "prompts/prompt_table.h"

namespace mechsweep {
namespace {

Prompt full_prompt() {
  Prompt prompt;
  prompt.id = "p17";
  prompt.tokens = {0, 5, 6, 7};
  prompt.corrupt_tokens = {0, 5, 8, 7};
  prompt.targets = {{2, 7, {}}, {3, 9, {1, 2}}};
  prompt.corrupt_targets = {{3, 1, {}}};
  prompt.spans = {{"swapped", {1, 3}}};
  prompt.pairs = {{"copy", {{3, 0}, {2, 2}}}};
  prompt.template_label = "t3";
  prompt.text = "a text";
  prompt.corrupt_text = "another";
  prompt.prefix_length = 1;
  return prompt;
}

TEST(PromptToJson, WritesEveryFieldThatIsThere) {
  EXPECT_EQ(prompt_to_json(full_prompt()), Json::parse(R"({
    "id": "p17", "tokens": [0, 5, 6, 7], "corrupt_tokens": [0, 5, 8, 7],
    "targets": [{"at": 2, "answer": 7}, {"at": 3, "answer": 9, "wrong": [1, 2]}],
    "corrupt_targets": [{"at": 3, "answer": 1}],
    "spans": {"swapped": [1, 3]}, "pairs": {"copy": [[3, 0], [2, 2]]},
    "template": "t3", "text": "a text", "corrupt_text": "another", "prefix_length": 1})"));
  Prompt plain;
  plain.id = "p0";
  plain.tokens = {4};
  EXPECT_EQ(prompt_to_json(plain).dump(), R"({"id":"p0","tokens":[4]})");
}

// Python: hashlib.sha256(b'{"id":"p0","tokens":[4]}\n{"id":"p1","tokens":[5,6]}\n').hexdigest()
TEST(PromptSetHash, IsTheHashOfTheCanonicalLines) {
  PromptSet set;
  set.prompts.resize(2);
  set.prompts[0].id = "p0";
  set.prompts[0].tokens = {4};
  set.prompts[1].id = "p1";
  set.prompts[1].tokens = {5, 6};
  EXPECT_EQ(prompt_set_hash(set),
            "c8a5c2217fce8df9d4772950557077c1ab60f3c2ed2fb61bde5c45e22740c731");
  std::swap(set.prompts[0], set.prompts[1]);
  EXPECT_NE(prompt_set_hash(set),
            "c8a5c2217fce8df9d4772950557077c1ab60f3c2ed2fb61bde5c45e22740c731");
}

TEST(PromptSetHash, EveryFieldCounts) {
  const std::vector<std::function<void(Prompt&)>> changes{
      [](Prompt&) {},
      [](Prompt& p) { p.id = "x"; },
      [](Prompt& p) { p.tokens[1] = 4; },
      [](Prompt& p) { p.corrupt_tokens.clear(); },
      [](Prompt& p) { p.targets[0].at = 1; },
      [](Prompt& p) {
        p.targets[1].wrong = {2, 1};
      },
      [](Prompt& p) { p.corrupt_targets[0].answer = 2; },
      [](Prompt& p) { p.spans["swapped"].end = 2; },
      [](Prompt& p) { p.pairs["copy"][0].second = 1; },
      [](Prompt& p) { p.template_label = "t4"; },
      [](Prompt& p) { p.text = "a"; },
      [](Prompt& p) { p.corrupt_text = "b"; },
      [](Prompt& p) { p.prefix_length = 0; },
  };
  std::set<std::string> hashes;
  for (const auto& change : changes) {
    PromptSet set;
    set.prompts = {full_prompt()};
    change(set.prompts[0]);
    hashes.insert(prompt_set_hash(set));
  }
  EXPECT_EQ(hashes.size(), changes.size());
}

/// The message of check_prompt after a change of a prompt that is right (10 ids, 4 positions).
std::string failure(const std::function<void(Prompt&)>& change) {
  Prompt prompt = full_prompt();
  change(prompt);
  try {
    check_prompt(prompt, 10, 4);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    return error.what();
  }
  return "nothing was thrown";
}

TEST(CheckPrompt, AcceptsAPromptThatFits) {
  EXPECT_EQ(failure([](Prompt&) {}), "nothing was thrown");
  EXPECT_EQ(failure([](Prompt& p) { p.corrupt_tokens.clear(); }), "nothing was thrown");
}

TEST(CheckPrompt, NamesThePromptTheFieldAndTheFault) {
  EXPECT_EQ(failure([](Prompt& p) { p.tokens.clear(); }),
            "prompt 'p17': tokens: the prompt is empty");
  EXPECT_EQ(failure([](Prompt& p) { p.tokens.push_back(1); }),
            "prompt 'p17': tokens: the prompt has 5 tokens, but the model takes at most 4");
  EXPECT_EQ(failure([](Prompt& p) { p.corrupt_tokens.pop_back(); }),
            "prompt 'p17': corrupt_tokens: the corrupt prompt has 3 tokens and the clean one 4; "
            "they must be equally long");
  EXPECT_EQ(failure([](Prompt& p) { p.tokens[2] = 10; }),
            "prompt 'p17': tokens[2]: 10 is not a token of this model, whose ids are 0 to 9");
  EXPECT_EQ(failure([](Prompt& p) { p.corrupt_tokens[0] = -1; }),
            "prompt 'p17': corrupt_tokens[0]: -1 is not a token of this model, whose ids are 0 to "
            "9");
  EXPECT_EQ(failure([](Prompt& p) { p.targets[1].at = 4; }),
            "prompt 'p17': targets[1].at: position 4 is outside the prompt of 4 tokens");
  EXPECT_EQ(failure([](Prompt& p) { p.targets[0].at = -1; }),
            "prompt 'p17': targets[0].at: position -1 is outside the prompt of 4 tokens");
  EXPECT_EQ(failure([](Prompt& p) { p.targets[1].at = 1; }),
            "prompt 'p17': targets[1].at: targets must be in ascending order of position");
  EXPECT_EQ(failure([](Prompt& p) { p.corrupt_targets[0].answer = 10; }),
            "prompt 'p17': corrupt_targets[0].answer: 10 is not a token of this model, whose ids "
            "are 0 to 9");
  EXPECT_EQ(failure([](Prompt& p) { p.targets[1].wrong[1] = 11; }),
            "prompt 'p17': targets[1].wrong[1]: 11 is not a token of this model, whose ids are 0 "
            "to 9");
  EXPECT_EQ(failure([](Prompt& p) { p.targets[1].wrong[1] = 9; }),
            "prompt 'p17': targets[1].wrong: token 9 is tracked twice");
  for (const Span span : {Span{2, 2}, Span{3, 5}, Span{-1, 1}, Span{3, 1}})
    EXPECT_EQ(failure([&](Prompt& p) { p.spans["swapped"] = span; }),
              fmt::format("prompt 'p17': spans.swapped: [{}, {}] is not a range of tokens of this "
                          "prompt, which has 4",
                          span.begin, span.end));
  for (const auto& [query, key] : PositionPairs{{4, 0}, {1, 2}, {1, -1}})
    EXPECT_EQ(failure([q = query, k = key](Prompt& p) {
                p.pairs["copy"] = {{q, k}};
              }),
              fmt::format("prompt 'p17': pairs.copy: [{}, {}] is not a query and a key at or "
                          "before it in this prompt of 4 tokens",
                          query, key));
  EXPECT_EQ(failure([](Prompt& p) { p.prefix_length = 5; }),
            "prompt 'p17': prefix_length: 5 is not a number of leading tokens of this prompt");
}

TEST(PromptTable, HasEveryKindOnce) {
  std::set<std::string_view> names;
  for (const PromptKind& kind : prompt_table()) {
    EXPECT_FALSE(kind.summary.empty());
    names.insert(kind.name);
  }
  EXPECT_EQ(names,
            (std::set<std::string_view>{"repeated_random", "ab_noise_a", "planted_pair",
                                        "multi_token_copy", "unique_copy", "reversed_unique_copy",
                                        "abab", "names", "natural_repeats", "file"}));
  EXPECT_EQ(prompt_table().size(), names.size());
}

}  // namespace
}  // namespace mechsweep
