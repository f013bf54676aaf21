#include "experiments/activation_sums.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/experiments/experiment_support.h"

namespace mechsweep {
namespace {

using test_experiments::failure;
using test_experiments::small_model;
using test_experiments::SpellingExecutor;
using test_experiments::template_prompts;
using testing::ElementsAre;

// SpellingExecutor's activations are token + 100 layer + w / 2, so sums are worked out by hand.

class ActivationSumsTest : public testing::Test {
 protected:
  MeanSources sources(Side side = Side::clean) {
    return {{.run_id = "e/m/p", .model = &model_, .prompts = &prompts_}, side};
  }

  ModelConfig model_ = small_model(2, 2);
  PromptSet prompts_ = template_prompts();
  SpellingExecutor executor_{model_};
};

TEST_F(ActivationSumsTest, AreAlignedFromTheEndWithinATemplate) {
  MeanSources means(sources());
  means.need(MeanOver::own_template, Site::z, 1);
  const auto sums = means.sums(MeanOver::own_template, Site::z, 2, executor_);
  EXPECT_EQ(sums->site, Site::z);
  EXPECT_EQ(sums->layers, 2);
  EXPECT_EQ(sums->width, 8);
  // Template t: 1 2 3, 4 5 6 and 7 8.
  EXPECT_THAT(sums->counts, ElementsAre(3, 3, 2));
  for (int w = 0; w < 8; ++w) {
    EXPECT_EQ(sums->at(1, 0)[w], 3 + 6 + 8 + 3 * (100 + w / 2.0));
    EXPECT_EQ(sums->at(1, 1)[w], 2 + 5 + 7 + 3 * (100 + w / 2.0));
    EXPECT_EQ(sums->at(1, 2)[w], 1 + 4 + 2 * (100 + w / 2.0));
    EXPECT_EQ(sums->at(0, 0)[w], 0.0);  // a layer that nobody needs
  }
}

TEST_F(ActivationSumsTest, OverAllPromptsOfTheSet) {
  MeanSources means(sources());
  means.need(MeanOver::all, Site::resid_post, 0);
  const auto sums = means.sums(MeanOver::all, Site::resid_post, 0, executor_);
  EXPECT_THAT(sums->counts, ElementsAre(5, 5, 4, 2));
  EXPECT_EQ(sums->at(0, 0)[0], 3 + 6 + 8 + 12 + 16);
  EXPECT_EQ(sums->at(0, 3)[2], 9 + 13 + 2 * 1.0);
}

TEST_F(ActivationSumsTest, OfTheCorruptRuns) {
  for (Prompt& prompt : prompts_.prompts) {
    prompt.corrupt_tokens = prompt.tokens;
    prompt.corrupt_tokens.back() = 50;
  }
  MeanSources means(sources(Side::corrupt));
  means.need(MeanOver::own_template, Site::attn_out, 0);
  const auto sums = means.sums(MeanOver::own_template, Site::attn_out, 3, executor_);
  EXPECT_EQ(sums->at(0, 0)[0], 100.0);
  EXPECT_EQ(sums->at(0, 1)[0], 11 + 15);
}

TEST_F(ActivationSumsTest, AreComputedOnceForEveryTemplateAndShared) {
  MeanSources means(sources());
  means.need(MeanOver::own_template, Site::z, 0);
  means.need(MeanOver::own_template, Site::mlp_out, 1);
  const auto a = means.sums(MeanOver::own_template, Site::z, 0, executor_);
  EXPECT_EQ(executor_.calls, 1);
  EXPECT_EQ(means.sums(MeanOver::own_template, Site::z, 1, executor_), a);
  const auto other_site = means.sums(MeanOver::own_template, Site::mlp_out, 0, executor_);
  EXPECT_EQ(other_site->site, Site::mlp_out);
  EXPECT_EQ(other_site->width, 8);
  EXPECT_EQ(other_site->at(1, 2)[1], 1 + 4 + 2 * 100.5);
  EXPECT_EQ(executor_.calls, 1);
  EXPECT_NE(means.sums(MeanOver::own_template, Site::z, 3, executor_), a);
  EXPECT_EQ(executor_.calls, 2);
  EXPECT_EQ(executor_.asked.size(), 5U);  // every prompt once, without edits
  EXPECT_EQ(executor_.asked.front(), "clean 1,2,3");
}

TEST_F(ActivationSumsTest, PromptsWithoutOthersAreNamed) {
  const auto check = [&](MeanOver over, int64_t prompt, const std::vector<int32_t>& positions) {
    return failure([&] { sources().check(over, prompt, positions, "mean_over"); });
  };
  EXPECT_EQ(check(MeanOver::own_template, 0, {0, 1, 2}), "nothing was thrown");
  EXPECT_EQ(check(MeanOver::own_template, 3, {0}), "nothing was thrown");
  prompts_.prompts[1].tokens.pop_back();  // then only a has 3 tokens in template t
  EXPECT_EQ(check(MeanOver::own_template, 0, {1, 2}), "nothing was thrown");
  EXPECT_EQ(check(MeanOver::own_template, 0, {0, 2}),
            "input: prompt 'a' of set 'p' has no other prompt of its template with 3 tokens or "
            "more, so there is no mean for its position 0; use `mean_over: all`, add such prompts, "
            "or edit later positions only");
  EXPECT_EQ(check(MeanOver::all, 0, {0}), "nothing was thrown");
  prompts_.prompts[4].template_label.clear();
  EXPECT_EQ(check(MeanOver::own_template, 4, {3}),
            "input: prompt 'e' of set 'p' has no template, so there are no others of its template "
            "to take the mean over; use `mean_over: all`, or give the prompts a `template`");
  prompts_.prompts.erase(prompts_.prompts.begin() + 3);
  EXPECT_EQ(check(MeanOver::all, 3, {0}),
            "input: prompt 'e' of set 'p' has no other prompt in its set with 4 tokens or more, so "
            "there is no mean for its position 0; add such prompts, or edit later positions only");
}

TEST_F(ActivationSumsTest, PromptsWithoutATemplateAreNotOneTemplate) {
  for (Prompt& prompt : prompts_.prompts) prompt.template_label.clear();
  MeanSources means(sources());
  means.need(MeanOver::own_template, Site::z, 0);
  EXPECT_THAT(means.sums(MeanOver::own_template, Site::z, 1, executor_)->counts,
              ElementsAre(1, 1, 1));
}

}  // namespace
}  // namespace mechsweep
