#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "prompts/prompt_line.h"
#include "tests/unit/prompts/prompt_set_support.h"

// What tests of several generators ask of their prompts. Pairs are looked up by token ids here,
// while generators place them by arithmetic.

namespace mechsweep::test_prompts {

/// Positions of [begin, end) that hold a token.
inline std::vector<int32_t> places_of(const std::vector<int32_t>& tokens, int32_t token,
                                      int32_t begin, int32_t end) {
  std::vector<int32_t> found;
  for (int32_t at = begin; at < end; ++at)
    if (tokens[at] == token) found.push_back(at);
  return found;
}

/// The only place before `query` at which its token stands.
inline int32_t earlier_place(const Prompt& prompt, int32_t query) {
  const auto found = places_of(prompt.tokens, prompt.tokens[query], prompt.prefix_length, query);
  EXPECT_EQ(found.size(), 1U) << "query " << query;
  return found.empty() ? -1 : found.front();
}

/// The pairs of `queries` whose source is `step` after the earlier copy of their token (1 or -1),
/// by a search for token ids. Keys of induction and its mirror image count inside of `keys` only.
inline std::map<std::string, PositionPairs> searched_pairs(const Prompt& prompt,
                                                           const std::vector<int32_t>& queries,
                                                           Span keys, int32_t step) {
  std::map<std::string, PositionPairs> pairs;
  for (const int32_t query : queries) {
    const int32_t earlier = earlier_place(prompt, query);
    if (query - 1 >= prompt.prefix_length) pairs["previous"].emplace_back(query, query - 1);
    pairs["duplicate"].emplace_back(query, earlier);
    for (const auto& [name, key] : std::map<std::string, int32_t>{{"induction", earlier + 1},
                                                                  {"anti_induction", earlier - 1},
                                                                  {"source", earlier + step}})
      if (key >= keys.begin && key < keys.end && key < query) pairs[name].emplace_back(query, key);
  }
  return pairs;
}

/// Pearson's statistic against equal counts; every value that can occur must have occurred.
template <typename Value>
double chi_square(const std::map<Value, int>& counts, size_t values) {
  EXPECT_EQ(counts.size(), values);
  double total = 0;
  for (const auto& [value, count] : counts) total += count;
  const double expected = total / static_cast<double>(values);
  double sum = 0;
  for (const auto& [value, count] : counts)
    sum += (count - expected) * (count - expected) / expected;
  return sum;
}

/// Nothing is lost when a prompt is printed and read again.
inline void expect_round_trip(const Prompt& prompt) {
  const std::string printed = prompt_to_json(prompt).dump();
  const Prompt read = prompt_from_json(parse_prompt_json(printed), {});
  EXPECT_EQ(prompt_to_json(read).dump(), printed);
}

/// The prompts of a smaller count are the first ones of a larger count, another seed gives others.
inline void expect_prefix_property(const std::vector<Prompt>& few, const std::vector<Prompt>& many,
                                   const std::vector<Prompt>& other_seed) {
  ASSERT_LT(few.size(), many.size());
  for (size_t i = 0; i < few.size(); ++i)
    EXPECT_EQ(prompt_to_json(few[i]).dump(), prompt_to_json(many[i]).dump());
  std::set<std::vector<int32_t>> distinct;
  for (const Prompt& prompt : many) distinct.insert(prompt.tokens);
  EXPECT_EQ(distinct.size(), many.size());
  ASSERT_FALSE(other_seed.empty());
  EXPECT_NE(other_seed[0].tokens, many[0].tokens);
}

}  // namespace mechsweep::test_prompts
