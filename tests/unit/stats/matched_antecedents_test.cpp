#include "stats/matched_antecedents.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "core/random.h"
#include "stats_golden.h"

namespace mechsweep {
namespace {

using testing::number;

LagOrigin origin_of(const std::string& name) {
  const std::map<std::string, LagOrigin> names = {{"shuffled", LagOrigin::shuffled},
                                                  {"drawn", LagOrigin::drawn},
                                                  {"shifted", LagOrigin::shifted},
                                                  {"none", LagOrigin::none}};
  return names.at(name);
}

struct Case {
  std::vector<int32_t> tokens;
  std::vector<CopyOperation> operations;
  std::vector<int64_t> set_lags;
  AntecedentRules rules;
};

Case case_of(const Json& golden) {
  Case result{.tokens = golden["tokens"].get<std::vector<int32_t>>(),
              .set_lags = golden["set_lags"].get<std::vector<int64_t>>(),
              .rules = {golden["prefix"].get<int32_t>(), golden["offset"].get<int32_t>(),
                        golden["max_shift"].get<int32_t>()}};
  for (const Json& pair : golden["operations"])
    result.operations.push_back({pair[0].get<int32_t>(), pair[1].get<int32_t>()});
  return result;
}

TEST(MatchedAntecedents, OutcomesHaveTheProbabilitiesOfTheWrittenOutScheme) {
  // Chi-square over all outcomes of each small prompt.
  for (const Json& golden : testing::stats_golden()["antecedents"]) {
    const Case small = case_of(golden);
    const auto draws = golden["draws"].get<uint32_t>();
    std::map<std::pair<std::vector<int32_t>, std::vector<LagOrigin>>, double> counts;
    for (uint32_t draw = 0; draw < draws; ++draw) {
      const auto result = match_antecedents(small.tokens, small.operations, small.set_lags,
                                            small.rules, {3, "test", 17, draw});
      counts[{result.sources, result.origins}] += 1.0;
    }
    double sum = 0.0, found = 0.0;
    for (const Json& outcome : golden["outcomes"]) {
      std::vector<LagOrigin> origins;
      for (const Json& name : outcome["origins"]) origins.push_back(origin_of(name));
      const double count = counts[{outcome["sources"].get<std::vector<int32_t>>(), origins}];
      const double expected = number(outcome["probability"]) * draws;
      sum += (count - expected) * (count - expected) / expected;
      found += count;
    }
    EXPECT_EQ(found, draws) << "an outcome that cannot be: " << golden["tokens"];
    EXPECT_LE(sum, number(golden["critical"])) << golden["tokens"];
  }
}

/// A random prompt with copies at several lags, and its operations with a key, latest occurrence.
Case random_case(uint64_t number, int32_t key_offset) {
  RandomStream stream(number, "matched_antecedents_test");
  Case result{.rules = {2, key_offset, static_cast<int32_t>(stream.below(3))}};
  const uint32_t length = 12 + stream.below(40), words = 3 + stream.below(20);
  result.tokens = {99, 99};
  for (uint32_t i = 0; i < length; ++i)
    result.tokens.push_back(static_cast<int32_t>(stream.below(words)));
  for (int32_t query = 2; query < std::ssize(result.tokens); ++query)
    for (int32_t source = query - 1; source >= 2; --source)
      if (result.tokens[source] == result.tokens[query]) {
        if (2 <= source + key_offset && source + key_offset < query)
          result.operations.push_back({query, source});
        break;
      }
  count_lags(result.operations, result.set_lags);
  std::reverse(result.operations.begin(), result.operations.end());  // any order will do
  return result;
}

/// Whether position `source` may be the null source of the operation, by the definition.
bool is_possible(const Case& prompt, const CopyOperation& operation, int32_t source) {
  const auto& tokens = prompt.tokens;
  const int32_t offset = prompt.rules.key_offset, key = source + offset;
  if (source < 2 || key < 2 || source >= operation.query || key >= operation.query) return false;
  const bool has_next = operation.query + 1 < std::ssize(tokens);
  return tokens[source] != tokens[operation.query] &&
         tokens[key] != tokens[operation.source + offset] &&
         (!has_next || tokens[key] != tokens[operation.query + 1]);
}

void check_case(const Case& prompt, const MatchedAntecedents& result) {
  std::vector<int64_t> left;
  count_lags(prompt.operations, left);
  left.resize(64);
  for (size_t i = 0; i < prompt.operations.size(); ++i) {
    const CopyOperation& operation = prompt.operations[i];
    const int32_t source = result.sources[i];
    if (result.origins[i] == LagOrigin::none) {
      EXPECT_EQ(source, -1);
      for (int32_t s = 0; s < operation.query; ++s)  // nothing of the set's lags was possible
        EXPECT_FALSE(is_possible(prompt, operation, s) &&
                     operation.query - s < std::ssize(prompt.set_lags) &&
                     prompt.set_lags[operation.query - s] > 0);
      continue;
    }
    EXPECT_TRUE(is_possible(prompt, operation, source));
    const int32_t lag = operation.query - source;
    if (result.origins[i] == LagOrigin::shuffled) --left[lag];
    if (result.origins[i] == LagOrigin::drawn) {
      EXPECT_GT(prompt.set_lags[lag], 0);
    }
    if (result.origins[i] == LagOrigin::shifted) {
      EXPECT_LE(std::abs(lag - (operation.query - operation.source)), prompt.rules.max_shift);
      EXPECT_NE(prompt.tokens[source + prompt.rules.key_offset], prompt.tokens[operation.query]);
    }
  }
  for (const int64_t count : left) EXPECT_GE(count, 0);  // no lag is used twice
}

TEST(MatchedAntecedents, KeepToTheirRulesOnRandomPrompts) {
  int64_t shuffled = 0, total = 0;
  for (uint64_t number = 0; number < 600; ++number) {
    const Case prompt = random_case(number, static_cast<int32_t>(number % 3) - 1);
    const auto result = match_antecedents(prompt.tokens, prompt.operations, prompt.set_lags,
                                          prompt.rules, {number, "rules", 0, 0});
    ASSERT_EQ(result.sources.size(), prompt.operations.size());
    check_case(prompt, result);
    EXPECT_EQ(result.count(LagOrigin::shuffled) + result.count(LagOrigin::drawn) +
                  result.count(LagOrigin::shifted) + result.count(LagOrigin::none),
              std::ssize(prompt.operations));
    shuffled += result.count(LagOrigin::shuffled);
    total += std::ssize(prompt.operations);
  }
  EXPECT_GT(total, 5000);
  EXPECT_GT(shuffled, total * 3 / 4);
}

TEST(MatchedAntecedents, DependOnSeedPurposePromptAndDrawOnly) {
  const Case prompt = random_case(5, 1);
  const auto run = [&](const AntecedentDraw& draw) {
    return match_antecedents(prompt.tokens, prompt.operations, prompt.set_lags, prompt.rules, draw)
        .sources;
  };
  const auto base = run({1, "a", 2, 3});
  EXPECT_EQ(base, run({1, "a", 2, 3}));
  EXPECT_NE(base, run({2, "a", 2, 3}));
  EXPECT_NE(base, run({1, "b", 2, 3}));
  EXPECT_NE(base, run({1, "a", 3, 3}));
  EXPECT_NE(base, run({1, "a", 2, 4}));
}

TEST(MatchedAntecedents, APromptWithoutCopiesHasNoSources) {
  const std::vector<int32_t> tokens{1, 2, 3};
  const auto result = match_antecedents(tokens, {}, {}, {}, {});
  EXPECT_TRUE(result.sources.empty());
  EXPECT_EQ(result.count(LagOrigin::none), 0);
}

}  // namespace
}  // namespace mechsweep
