#include "experiments/correct_in.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "unit/experiments/experiment_support.h"
#include "unit/experiments/stored_effects.h"

namespace mechsweep {
namespace {

using test_experiments::failure;
using test_experiments::kNaN;
using testing::ElementsAre;
using testing::HasSubstr;

/// A run on four prompts of two targets each (the last has one); `top1` are the unedited answers,
/// 5 and 6 the right ones.
StoredRun run_of(const std::string& id, const std::vector<double>& top1) {
  const Axis prompt{.name = "prompt", .size = 4};
  const Axis target{.name = "target", .size = 2};
  const Axis tracked{.name = "tracked", .size = 1};
  const std::vector<double> tokens = {5, 6, 5, 6, 5, 6, 5, -1};
  StoredRun run{.id = id, .kind = "head_ablation", .attributes = Json::object()};
  run.arrays = {{"base/loss", {prompt, target}, {1, 1, 1, 1, 1, 1, 1, kNaN}},
                {"base/logit", {prompt, target, tracked}, tokens},
                {"base/top1", {prompt, target}, top1},
                {"base/tracked_token", {prompt, target, tracked}, tokens}};
  run.templates.assign(4, "");
  run.prompt_ids = {"a", "b", "c", "d"};
  run.complete.assign(4, 1);
  return run;
}

const std::vector<double> kAllRight = {5, 6, 5, 6, 5, 6, 5, -1};

TEST(CorrectIn, EveryTargetHasToBeRightInEveryModel) {
  const StoredRun one = run_of("e/one/p", {5, 6, 5, 0, 5, 6, 5, -1});
  const StoredRun two = run_of("e/two/p", {0, 6, 5, 6, 5, 6, 5, -1});
  BaseAnswers answers;
  answers.add(one);
  answers.add(two);
  answers.add(run_of("other/three/p", {0, 0, 0, 0, 0, 0, 0, -1}));
  const PromptFilter all = answers.filter(one, {});
  EXPECT_THAT(all.models, ElementsAre("one", "two"));
  EXPECT_THAT(all.right, ElementsAre(3, 3));
  EXPECT_THAT(all.keep, ElementsAre(0, 0, 1, 1));
  EXPECT_EQ(all.kept, 2);
  EXPECT_EQ(all.prompts, 4);
  EXPECT_THAT(answers.filter(two, {.kind = CorrectIn::Kind::own_model}).keep,
              ElementsAre(0, 1, 1, 1));
  const PromptFilter listed =
      answers.filter(two, {.kind = CorrectIn::Kind::listed, .models = {"one", "three"}});
  EXPECT_THAT(listed.right, ElementsAre(3, 0));
  EXPECT_EQ(listed.kept, 0);
  EXPECT_EQ(listed.rule, "one, three");
}

TEST(CorrectIn, TheCleanRunCountsWhereTheBaseIsCorrupt) {
  StoredRun run = run_of("e/one/p", {0, 0, 0, 0, 0, 0, 0, -1});
  for (const char* name : {"loss", "logit", "top1"}) {
    StoredArray donor = *run.find(std::string("base/") + name);
    donor.name = std::string("donor/") + name;
    if (donor.name == "donor/top1") donor.values = kAllRight;
    run.arrays.push_back(donor);
  }
  run.attributes = {{"base", "corrupt"}};
  BaseAnswers answers;
  answers.add(run);
  EXPECT_EQ(answers.filter(run, {}).kept, 4);
}

TEST(CorrectIn, PromptsThatDoNotCountOtherwiseAreNotCounted) {
  StoredRun half = run_of("half/one/p", kAllRight);
  half.arrays.push_back({"selection/evaluated_on", {{.name = "prompt", .size = 4}}, {1, 1, 0, 1}});
  half.complete = {1, 0, 1, 1};
  StoredRun whole = run_of("e/one/p", {5, 6, 5, 6, 5, 6, 0, -1});
  BaseAnswers answers;
  answers.add(whole);
  const PromptFilter filter = [&] {
    BaseAnswers both = answers;
    StoredRun named = half;
    named.arrays.erase(named.arrays.begin(), named.arrays.begin() + 4);  // no base run of its own
    both.add(named);
    return both.filter(named, {});
  }();
  EXPECT_EQ(filter.prompts, 2);
  EXPECT_THAT(filter.right, ElementsAre(1));
  EXPECT_EQ(filter.kept, 1);
}

TEST(CorrectIn, WhatIsNotComputedYetIsNotRight) {
  StoredRun run = run_of("e/one/p", kAllRight);
  run.arrays[3].values[0] = run.arrays[3].values[1] = -1;  // nothing written
  BaseAnswers answers;
  answers.add(run);
  const PromptFilter filter = answers.filter(run, {});
  EXPECT_THAT(filter.not_computed, ElementsAre(1));
  EXPECT_THAT(filter.keep, ElementsAre(0, 1, 1, 1));
}

TEST(CorrectIn, NothingIsGuessed) {
  const StoredRun run = run_of("e/one/p", kAllRight);
  BaseAnswers answers;
  answers.add(run);
  EXPECT_THAT(
      failure(
          [&] { (void)answers.filter(run, {.kind = CorrectIn::Kind::listed, .models = {"two"}}); }),
      HasSubstr("input: run 'e/one/p': `correct_in` asks what model 'two' answers, but no run"));
  StoredRun other = run_of("e/two/p", kAllRight);
  other.prompt_ids[2] = "x";
  answers.add(other);
  EXPECT_THAT(failure([&] { (void)answers.filter(run, {}); }),
              HasSubstr("but prompts 'p' of model 'two' are not the same ones"));
}

TEST(CorrectIn, ItsFormsAreReadBack) {
  for (const CorrectIn& asked :
       {CorrectIn{}, CorrectIn{.kind = CorrectIn::Kind::own_model},
        CorrectIn{.kind = CorrectIn::Kind::listed, .models = {"a", "b"}}}) {
    const CorrectIn again = CorrectIn::from_json(asked.to_json());
    EXPECT_EQ(again.kind, asked.kind);
    EXPECT_EQ(again.models, asked.models);
  }
}

}  // namespace
}  // namespace mechsweep
