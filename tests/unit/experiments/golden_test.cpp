#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "unit/experiments/golden_support.h"

// Whole experiments on small random models against transformers in double precision
// (tests/golden/README.md, which also gives the tolerances).

namespace mechsweep {
namespace {

using test_experiments::array_of;
using test_experiments::GoldenCase;
using test_experiments::GoldenModel;
using test_experiments::value_at;
using Target = GoldenModel::Target;

constexpr double kLossTolerance = 1e-4;
constexpr double kLogitTolerance = 2e-4;
constexpr double kScoreTolerance = 1e-5;

class ExperimentGolden : public testing::TestWithParam<GoldenCase> {
 protected:
  /// Compares base or donor readings.
  void compare_side(const std::vector<StoredArray>& arrays, const std::string& prefix,
                    const std::string& side) {
    const Json& known = model_.golden.at(side);
    for (size_t i = 0; i < model_.targets().size(); ++i) {
      const Target& target = model_.targets()[i];
      const std::vector<int64_t> at = {target.prompt, model_.place_of(target)};
      const auto value = [&](const char* name) {
        return value_at(array_of(arrays, prefix + name), at);
      };
      const Json& fp64 = known.at("fp64");
      EXPECT_NEAR(value("loss"), fp64.at("loss")[i].get<double>(), kLossTolerance);
      EXPECT_NEAR(value("logsumexp"), fp64.at("logsumexp")[i].get<double>(), kLossTolerance);
      EXPECT_NEAR(value("logit_mean"), fp64.at("vocab_mean")[i].get<double>(), kLossTolerance);
      EXPECT_EQ(value("top1"), known.at("top1")[i].get<double>());
    }
  }

  /// Compares the edited readings of one golden run.
  void compare_edits(const std::vector<StoredArray>& arrays, const Json& known) {
    const bool heads = known.at("site") == "z";
    for (int64_t layer = 0; layer < model_.checkpoint.config.n_layers; ++layer) {
      if (!heads) {
        compare_place(arrays, known, {layer}, fmt::format("/{}", layer));
        continue;
      }
      for (int64_t head = 0; head < model_.checkpoint.config.n_heads; ++head)
        compare_place(arrays, known, {layer, head}, fmt::format("/{}/{}", layer, head));
    }
  }

  void compare_place(const std::vector<StoredArray>& arrays, const Json& known,
                     const std::vector<int64_t>& place, const std::string& pointer) {
    const Json& losses = known.at("loss_fp64").at(Json::json_pointer(pointer));
    size_t first_logit = 0;
    for (size_t i = 0; i < model_.targets().size(); ++i) {
      const Target& target = model_.targets()[i];
      std::vector<int64_t> at = {target.prompt};
      at.insert(at.end(), place.begin(), place.end());
      const std::string where = fmt::format("{} target {}", pointer, i);
      if (known.at("positions") == "each") {
        compare_positions(array_of(arrays, "loss"), at, target, losses[i], where);
        continue;
      }
      at.push_back(model_.place_of(target));
      EXPECT_NEAR(value_at(array_of(arrays, "loss"), at), losses[i].get<double>(), kLossTolerance)
          << where;
      EXPECT_EQ(value_at(array_of(arrays, "top1"), at),
                known.at("top1").at(Json::json_pointer(pointer))[i].get<double>())
          << where;
      const Json& logits = known.at("logits_fp64").at(Json::json_pointer(pointer));
      for (int64_t t = 0; t < target.tracked; ++t) {
        std::vector<int64_t> token = at;
        token.push_back(t);
        EXPECT_NEAR(value_at(array_of(arrays, "logit"), token),
                    logits[first_logit + t].get<double>(), kLogitTolerance)
            << where;
      }
      first_logit += target.tracked;
    }
  }

  void compare_positions(const StoredArray& loss, std::vector<int64_t> at, const Target& target,
                         const Json& known, const std::string& where) {
    const int64_t longest = loss.axes[loss.axes.size() - 2].size;
    EXPECT_EQ(std::ssize(known), std::ssize(model_.set.prompts[target.prompt].tokens));
    at.push_back(0);
    at.push_back(model_.place_of(target));
    for (int64_t position = 0; position < longest; ++position) {
      at[at.size() - 2] = position;
      const double mine = value_at(loss, at);
      if (position < std::ssize(known)) {
        EXPECT_NEAR(mine, known[position].get<double>(), kLossTolerance)
            << where << " position " << position;
      } else {
        EXPECT_TRUE(std::isnan(mine)) << where << " position " << position;
      }
    }
  }

  /// `known` [prompt][layer][head], null where no query counts; `offset` is -1 for arrays without.
  void compare_scores(const StoredArray& mine, const Json& known, int64_t offset) {
    for (int64_t p = 0; p < std::ssize(model_.set.prompts); ++p)
      for (int64_t layer = 0; layer < model_.checkpoint.config.n_layers; ++layer)
        for (int64_t head = 0; head < model_.checkpoint.config.n_heads; ++head) {
          std::vector<int64_t> at = {p, layer, head};
          if (offset >= 0) at.push_back(offset);
          const double value = value_at(mine, at);
          if (known.at(p).is_null()) {
            EXPECT_TRUE(std::isnan(value)) << "prompt " << p;
          } else {
            EXPECT_NEAR(value, known.at(p)[layer][head].get<double>(), kScoreTolerance)
                << "prompt " << p << " L" << layer << "H" << head;
          }
        }
  }

  GoldenModel model_{GetParam()};
};

TEST_P(ExperimentGolden, HeadAblation) {
  int compared = 0;
  for (const Json& known : model_.golden.at("runs")) {
    if (known.at("operation") != "zero" || known.at("site") != "z") continue;
    SCOPED_TRACE(known.at("positions").dump());
    const auto run = model_.bind_run("head_ablation",
                                     {{"operation", "zero"}, {"positions", known.at("positions")}});
    const auto arrays = model_.compute(*run);
    compare_side(arrays, "base/", "base");
    compare_edits(arrays, known);
    ++compared;
  }
  EXPECT_EQ(compared, 5);
}

TEST_P(ExperimentGolden, ActivationPatching) {
  int compared = 0;
  for (const Json& known : model_.golden.at("runs")) {
    if (known.at("operation") != "replace") continue;
    SCOPED_TRACE(known.at("site").dump() + known.at("positions").dump() +
                 known.at("direction").dump());
    const auto run = model_.bind_run("activation_patching", {{"site", known.at("site")},
                                                             {"positions", known.at("positions")},
                                                             {"direction", known.at("direction")}});
    const auto arrays = model_.compute(*run);
    const bool to_corrupt = known.at("direction") == "clean_to_corrupt";
    compare_side(arrays, "base/", to_corrupt ? "corrupt" : "base");
    compare_side(arrays, "donor/", to_corrupt ? "base" : "corrupt");
    compare_edits(arrays, known);
    ++compared;
  }
  EXPECT_EQ(compared, 60);
}

TEST_P(ExperimentGolden, AttentionScores) {
  const std::vector<std::string> offset_names = {"offset_-2", "anti_induction", "duplicate_token",
                                                 "induction", "offset_+2"};
  for (const int prefix : {0, 1}) {
    const Json& known = model_.golden.at("scores_fp64").at(fmt::format("prefix_length_{}", prefix));
    for (Prompt& prompt : model_.set.prompts) prompt.prefix_length = prefix;
    for (const std::string occurrence : {"latest", "first", "all"}) {
      const Json scores = {"previous_token", "copy", "induction", "duplicate_token",
                           "anti_induction"};
      const auto run =
          model_.bind_run("attention_scores", {{"scores", scores}, {"occurrence", occurrence}});
      const auto arrays = model_.compute(*run);
      const auto compare = [&](const std::string& array, const std::string& golden,
                               int64_t offset) {
        SCOPED_TRACE(fmt::format("{} prefix {}", golden, prefix));
        compare_scores(array_of(arrays, array), known.at(golden), offset);
      };
      compare("previous_token", "previous_token", -1);
      compare("copy", "copy", -1);
      for (const char* name : {"induction", "duplicate_token", "anti_induction"})
        compare(name, name + ("/" + occurrence), -1);
      for (int64_t i = 0; i < 5; ++i)
        compare("offset_score", offset_names[i] + "/" + occurrence, i);
    }
  }
}

/// A donor that equals the base changes nothing, not even a bit; a pasted residual stream gives the
/// donor's numbers bit for bit; and before the prompts part nothing can differ.
TEST_P(ExperimentGolden, ExactLawsOfPatching) {
  for (Prompt& prompt : model_.set.prompts) prompt.targets.resize(1);
  const Json json = {
      {"site", "resid_pre"}, {"direction", "clean_to_corrupt"}, {"positions", "all"}};
  const auto pasted = model_.compute(*model_.bind_run("activation_patching", json));
  const auto& donor = array_of(pasted, "donor/loss");
  const auto& loss = array_of(pasted, "loss");
  for (int64_t p = 0; p < std::ssize(model_.set.prompts); ++p)
    for (int64_t layer = 0; layer < model_.checkpoint.config.n_layers; ++layer)
      EXPECT_EQ(value_at(loss, {p, layer}), value_at(donor, {p}));

  Json each = json;
  each["positions"] = "each";
  const auto single = model_.compute(*model_.bind_run("activation_patching", each));
  int unchanged = 0;
  for (int64_t p = 0; p < std::ssize(model_.set.prompts); ++p) {
    const Prompt& prompt = model_.set.prompts[p];
    const auto parts =
        std::mismatch(prompt.tokens.begin(), prompt.tokens.end(), prompt.corrupt_tokens.begin());
    const int64_t same_tokens = parts.first - prompt.tokens.begin();
    for (int64_t at = 0; at < same_tokens; ++at, ++unchanged)
      for (int64_t layer = 0; layer < model_.checkpoint.config.n_layers; ++layer)
        EXPECT_EQ(value_at(array_of(single, "loss"), {p, layer, at}),
                  value_at(array_of(single, "base/loss"), {p}));
  }
  EXPECT_GT(unchanged, 0);

  for (Prompt& prompt : model_.set.prompts) prompt.corrupt_tokens = prompt.tokens;
  each["site"] = "z";
  const auto same = model_.compute(*model_.bind_run("activation_patching", each));
  const auto& edited = array_of(same, "loss");
  const int64_t row = std::ssize(edited.values) / edited.axes[0].size;
  for (int64_t i = 0; i < std::ssize(edited.values); ++i) {
    if (std::isnan(edited.values[i])) continue;
    EXPECT_EQ(edited.values[i], array_of(same, "base/loss").values[i / row]);
  }
}

INSTANTIATE_TEST_SUITE_P(RandomModels, ExperimentGolden,
                         testing::ValuesIn(test_experiments::kGoldenCases),
                         test_experiments::case_name);

}  // namespace
}  // namespace mechsweep
