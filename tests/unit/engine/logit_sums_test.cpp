#include "engine/logit_sums.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "core/random.h"

namespace mechsweep {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
/// The fp32 exponential is good to two units in the last place, 2.4e-7 relative; so is a sum of
/// such, and its logarithm absolutely.
constexpr double kRoom = 5e-7;

std::vector<float> random_logits(int64_t count, uint64_t index, double spread, double offset) {
  RandomStream random(11, "tests/logits", index);
  std::vector<float> logits(count);
  for (float& logit : logits)
    logit = static_cast<float>(offset + spread * (2.0 * random.uniform() - 1.0));
  return logits;
}

double exact_logsumexp(const std::vector<float>& logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  long double sum = 0.0L;
  for (const float logit : logits) sum += std::exp(static_cast<long double>(logit) - top);
  return top + static_cast<double>(std::log(sum));
}

double exact_mean(const std::vector<float>& logits) {
  long double sum = 0.0L;
  for (const float logit : logits) sum += logit;
  return static_cast<double>(sum / static_cast<long double>(logits.size()));
}

/// By the definition: sum over tokens of softmax(p) (log softmax(p) - log softmax(q)).
double exact_kl(const std::vector<float>& p, const std::vector<float>& q) {
  const double log_p = exact_logsumexp(p);
  const double log_q = exact_logsumexp(q);
  long double kl = 0.0L;
  for (size_t i = 0; i < p.size(); ++i) {
    const double a = static_cast<double>(p[i]) - log_p;
    const double b = static_cast<double>(q[i]) - log_q;
    kl += std::exp(static_cast<long double>(a)) * (a - b);
  }
  return static_cast<double>(kl);
}

VocabularySums joined(const std::vector<float>& logits, const std::vector<int64_t>& cuts = {}) {
  std::vector<LogitSums> parts;
  int64_t begin = 0;
  for (size_t i = 0; i <= cuts.size(); ++i) {
    const int64_t end = i < cuts.size() ? cuts[i] : std::ssize(logits);
    parts.push_back(sum_logits(logits.data() + begin, end - begin, begin));
    begin = end;
  }
  return join_logits(parts, std::ssize(logits));
}

double kl_of(const std::vector<float>& p, const std::vector<float>& q) {
  return kl_divergence(p.data(), q.data(), std::ssize(p));
}

struct Case {
  int64_t count;
  double spread;
  double offset;
};

class LogitSumsOf : public ::testing::TestWithParam<Case> {
 protected:
  static std::vector<float> logits(uint64_t index) {
    return random_logits(GetParam().count, index, GetParam().spread, GetParam().offset);
  }
};

TEST_P(LogitSumsOf, OnePart) {
  const std::vector<float> values = logits(0);
  const LogitSums sums = sum_logits(values.data(), std::ssize(values), 1000);
  const auto best = std::max_element(values.begin(), values.end());
  EXPECT_EQ(sums.largest, *best);
  EXPECT_EQ(sums.argmax, 1000 + (best - values.begin()));
  const double exp_sum = std::exp(exact_logsumexp(values) - static_cast<double>(*best));
  EXPECT_NEAR(sums.exp_sum / exp_sum, 1.0, kRoom);
  const double sum = exact_mean(values) * static_cast<double>(values.size());
  EXPECT_NEAR(sums.sum, sum, 1e-12 * (std::abs(sum) + 1.0));
}

TEST_P(LogitSumsOf, PartsCutAnywhereAreJoined) {
  RandomStream random(12, "tests/cuts");
  const std::vector<float> values = logits(1);
  const double logsumexp = exact_logsumexp(values);
  const double mean = exact_mean(values);
  const auto best = std::max_element(values.begin(), values.end()) - values.begin();
  for (int draw = 0; draw < 30; ++draw) {
    std::vector<int64_t> cuts;
    const auto places = static_cast<uint32_t>(values.size() - 1);
    for (const uint32_t place :
         random.sample_without_replacement(places, std::min(places, random.below(6))))
      cuts.push_back(int64_t{place} + 1);
    std::sort(cuts.begin(), cuts.end());
    const VocabularySums found = joined(values, cuts);
    EXPECT_NEAR(found.logsumexp, logsumexp, kRoom) << draw;
    EXPECT_NEAR(found.mean, mean, 1e-12 * (std::abs(mean) + 1.0)) << draw;
    EXPECT_EQ(found.argmax, best) << draw;
  }
}

TEST_P(LogitSumsOf, DivergenceByTheDefinition) {
  const std::vector<float> p = logits(2);
  const std::vector<float> q = logits(3);
  // Weights are good to 2.4e-7 and meet differences of up to twice the spread.
  const double room = kRoom * (1.0 + 2.0 * GetParam().spread);
  EXPECT_NEAR(kl_of(p, q), exact_kl(p, q), room);
  EXPECT_NEAR(kl_of(q, p), exact_kl(q, p), room);
  if (p.size() > 1) {
    EXPECT_GT(exact_kl(p, q), 1000 * room);  // or near would say nothing
  }
}

TEST_P(LogitSumsOf, DivergenceFromItselfIsNone) {
  const std::vector<float> p = logits(4);
  EXPECT_NEAR(kl_of(p, p), 0.0, 1e-12);
  std::vector<float> raised = p;  // the same distribution
  for (float& logit : raised) logit += 8.0F;
  EXPECT_NEAR(kl_of(p, raised), 0.0, 1e-5);  // the addition rounds by up to 4e-6
}

TEST_P(LogitSumsOf, CountsLargerOnes) {
  const std::vector<float> values = logits(5);
  for (size_t i = 0; i < values.size(); i += 7) {
    int32_t larger = 0;
    for (const float other : values) larger += other > values[i] ? 1 : 0;
    EXPECT_EQ(count_larger(values.data(), std::ssize(values), values[i]), larger);
  }
  const float best = *std::max_element(values.begin(), values.end());
  EXPECT_EQ(count_larger(values.data(), std::ssize(values), best), 0);
  EXPECT_EQ(count_larger(values.data(), std::ssize(values), -1e30F), std::ssize(values));
}

TEST_P(LogitSumsOf, TheLargestInOrder) {
  const std::vector<float> values = logits(6);
  std::vector<std::pair<float, int32_t>> sorted;  // smallest negated logit first, then lowest id
  for (int32_t id = 0; id < std::ssize(values); ++id) sorted.emplace_back(-values[id], id);
  std::sort(sorted.begin(), sorted.end());
  for (const int64_t k : {0, 1, 3, 20, 1 << 20}) {
    const auto top = largest_logits(values.data(), std::ssize(values), k);
    ASSERT_EQ(std::ssize(top), std::min(k, std::ssize(values)));
    for (size_t i = 0; i < top.size(); ++i) {
      EXPECT_EQ(top[i].first, sorted[i].second);
      EXPECT_EQ(top[i].second, -sorted[i].first);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Counts, LogitSumsOf,
                         ::testing::Values(Case{1, 5.0, 0.0}, Case{7, 5.0, -60.0},
                                           Case{16, 8.0, 40.0}, Case{17, 8.0, 0.0},
                                           Case{101, 12.0, -30.0}, Case{4096, 15.0, 0.0},
                                           Case{9001, 60.0, 5.0}),
                         [](const auto& instance) {
                           return fmt::format("V{}", instance.param.count);
                         });

TEST(LogitSums, TiesGoToTheLowestId) {
  std::vector<float> logits(50, -2.0F);
  for (const int id : {9, 20, 33, 41}) logits[id] = 3.0F;
  EXPECT_EQ(sum_logits(logits.data(), 50, 0).argmax, 9);
  for (const int64_t cut : {5, 9, 10, 20, 21, 35}) EXPECT_EQ(joined(logits, {cut}).argmax, 9);
  EXPECT_EQ(count_larger(logits.data(), 50, 3.0F), 0);  // equals are not larger
  EXPECT_EQ(count_larger(logits.data(), 50, -2.0F), 4);
  const auto top = largest_logits(logits.data(), 50, 6);
  const std::vector<std::pair<int32_t, float>> wanted = {{9, 3.0F},  {20, 3.0F}, {33, 3.0F},
                                                         {41, 3.0F}, {0, -2.0F}, {1, -2.0F}};
  EXPECT_EQ(top, wanted);
}

TEST(LogitSums, TokensFarBelowTheBestAddNothing) {
  std::vector<float> logits(40, -200.0F);
  logits[23] = 10.0F;
  EXPECT_EQ(joined(logits, {3, 24, 30}).logsumexp, 10.0);
  // All weight on one of 40 tokens against the uniform distribution.
  EXPECT_NEAR(kl_of(logits, std::vector<float>(40, 1.0F)), std::log(40.0), kRoom);
}

/// Where one logit is not finite: in a whole vector of lanes, at its ends, and in the last part.
class OneBadLogit : public ::testing::TestWithParam<int> {
 protected:
  [[nodiscard]] static std::vector<float> with(float bad, uint64_t index = 7) {
    std::vector<float> logits = random_logits(37, index, 6.0, 0.0);
    logits[GetParam()] = bad;
    return logits;
  }
  static void expect_no_number(double value) { EXPECT_FALSE(std::isfinite(value)) << value; }
  static constexpr int64_t kCut = 18;
};

TEST_P(OneBadLogit, NanShowsInEverySum) {
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{}, {kCut}}) {
    const VocabularySums sums = joined(with(kNan), cuts);
    EXPECT_TRUE(std::isnan(sums.logsumexp));
    EXPECT_TRUE(std::isnan(sums.mean));
    EXPECT_GE(sums.argmax, 0);
    EXPECT_LT(sums.argmax, 37);
    EXPECT_NE(sums.argmax, GetParam());
  }
}

TEST_P(OneBadLogit, InfinityGivesNoNumber) {
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{}, {kCut}}) {
    const VocabularySums sums = joined(with(kInfinity), cuts);
    expect_no_number(sums.logsumexp);
    expect_no_number(sums.mean);
    EXPECT_EQ(sums.argmax, GetParam());
  }
}

TEST_P(OneBadLogit, MinusInfinityIsATokenWithoutProbability) {
  std::vector<float> others = with(-kInfinity);
  others.erase(others.begin() + GetParam());
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{}, {kCut}}) {
    const VocabularySums sums = joined(with(-kInfinity), cuts);
    EXPECT_NEAR(sums.logsumexp, exact_logsumexp(others), kRoom);
    EXPECT_EQ(sums.mean, -std::numeric_limits<double>::infinity());
  }
}

TEST_P(OneBadLogit, DivergenceGivesNoNumber) {
  const std::vector<float> plain = random_logits(37, 8, 6.0, 0.0);
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    expect_no_number(kl_of(with(bad), plain));
    expect_no_number(kl_of(plain, with(bad)));
    expect_no_number(kl_of(with(bad), with(bad)));
  }
  // What q thinks impossible and p does not.
  EXPECT_EQ(kl_of(plain, with(-kInfinity)), std::numeric_limits<double>::infinity());
}

INSTANTIATE_TEST_SUITE_P(At, OneBadLogit, ::testing::Values(0, 5, 15, 16, 18, 31, 32, 36));

TEST(LogitSums, NothingButNanIsNan) {
  const std::vector<float> logits(20, kNan);
  EXPECT_TRUE(std::isnan(joined(logits).logsumexp));
  EXPECT_TRUE(std::isnan(joined(logits, {16}).mean));
  EXPECT_TRUE(std::isnan(kl_of(logits, logits)));
}

TEST(LargestLogits, NanIsTheLowest) {
  const std::vector<float> logits = {1.0F, kNan, 3.0F, 3.0F, -kInfinity, kInfinity};
  const auto top = largest_logits(logits.data(), 6, 6);
  std::vector<int32_t> ids;
  for (const auto& [id, logit] : top) ids.push_back(id);
  EXPECT_EQ(ids, (std::vector<int32_t>{5, 2, 3, 0, 1, 4}));
  EXPECT_TRUE(std::isnan(top[4].second));
}

}  // namespace
}  // namespace mechsweep
