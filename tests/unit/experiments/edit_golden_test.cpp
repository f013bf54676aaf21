#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "experiments/readouts.h"
#include "unit/experiments/golden_support.h"

// `kind: interventions` on small random models against two references in double precision
// (tests/golden/README.md, "The edit goldens").

namespace mechsweep {
namespace {

using test_experiments::array_of;
using test_experiments::golden_path;
using test_experiments::ParsedExperiment;
using test_experiments::RunPointer;
using test_experiments::value_at;
using test_experiments::values_of;

constexpr double kTolerance = 1e-4;  // nats
constexpr double kLogitTolerance = 2e-4;

class EditGolden : public testing::TestWithParam<std::string> {
 protected:
  EditGolden() : checkpoint_(open_checkpoint(golden_path("checkpoints/" + GetParam()))) {
    std::ifstream file(golden_path("edits/" + GetParam() + ".json"));
    golden_ = Json::parse(file);
    session_ = open_model(checkpoint_, group_, {});
  }

  PromptSet prompts_of(const Json& golden_set) {
    PromptSet set{.id = "p"};
    std::ifstream lines(golden_path(golden_set.at("prompts")));
    for (std::string line; std::getline(lines, line);)
      set.prompts.push_back(prompt_from_json(parse_prompt_json(line), {}));
    return set;
  }

  RunPointer bind_set(const Json& golden_set, const PromptSet& prompts) {
    ParsedExperiment experiment("interventions", {{"file", golden_set.at("interventions")},
                                                  {"base", golden_set.at("base")},
                                                  {"readouts", {"answer_rank", "kl"}}});
    experiment.folder = golden_path("edits");
    return experiment.bind(checkpoint_.config, prompts);
  }

  /// Everything that a run stores, in units of so many prompts and interventions.
  std::vector<StoredArray> compute(const mechsweep::Run& run, int64_t prompts, int64_t piece) {
    const auto specs = run.arrays();
    const auto stages = run.stages();
    std::vector<StoredArray> stored;
    for (const ArraySpec& spec : specs)
      stored.push_back({spec.name, spec.axes, std::vector<double>(spec.size())});
    for (int stage = 0; stage < static_cast<int>(stages.size()); ++stage) {
      const int64_t firsts = std::max<int64_t>(1, stages[stage].first_size);
      for (int64_t p = 0; p < prompts; p += piece)
        for (int64_t f = 0; f < firsts; f += piece) {
          const Range own = {p, std::min(prompts, p + piece)};
          const Range first = {f, std::min(firsts, f + piece)};
          const UnitResult result = run.execute(stage, own, first, session_->executor());
          EXPECT_EQ(result.non_finite, 0);
          for (const ArrayBlock& block : result.blocks)
            place(specs[block.array], block, own, first, stored[block.array]);
        }
    }
    return stored;
  }

  static void place(const ArraySpec& spec, const ArrayBlock& block, Range own, Range first,
                    StoredArray& stored) {
    std::vector<double> values;
    if (spec.type == ElementType::f64) values = values_of<double>(block);
    if (spec.type == ElementType::f32) {
      const auto narrow = values_of<float>(block);
      values.assign(narrow.begin(), narrow.end());
    }
    if (spec.type == ElementType::i32) {
      const auto whole = values_of<int32_t>(block);
      values.assign(whole.begin(), whole.end());
    }
    const int64_t row = spec.row_size();
    const int64_t skip = spec.split_by_first ? first.begin * (row / spec.axes[1].size) : 0;
    const int64_t part = std::ssize(values) / own.size();
    for (int64_t p = own.begin; p < own.end; ++p)
      std::copy_n(values.begin() + (p - own.begin) * part, part,
                  stored.values.begin() + p * row + skip);
  }

  /// Compares the readings of one intervention (or of the base run) with the reference's.
  void compare(const std::vector<StoredArray>& arrays, const std::string& prefix,
               const std::vector<int64_t>& place, const Json& golden_set, const PromptSet& prompts,
               const Json& known) {
    const Json& targets = golden_set.at("targets");
    size_t first_logit = 0;
    for (size_t i = 0; i < targets.at("prompt").size(); ++i) {
      const auto prompt = targets.at("prompt")[i].get<int64_t>();
      const Json& tracked = targets.at("tracked")[i];
      std::vector<int64_t> at = {prompt};
      at.insert(at.end(), place.begin(), place.end());
      if (array_of(arrays, prefix + "loss").axes.back().name == kTargetAxis)
        at.push_back(place_of(prompts.prompts[prompt], targets.at("at")[i], tracked[0]));
      const std::string where = fmt::format("{} target {}", known.value("id", "base"), i);
      const auto value = [&](const char* name) {
        return value_at(array_of(arrays, prefix + name), at);
      };
      EXPECT_NEAR(value("loss"), known.at("loss")[i].get<double>(), kTolerance) << where;
      EXPECT_NEAR(value("logsumexp"), known.at("logsumexp")[i].get<double>(), kTolerance) << where;
      EXPECT_NEAR(value("logit_mean"), known.at("vocab_mean")[i].get<double>(), kTolerance)
          << where;
      if (known.contains("kl")) {
        EXPECT_NEAR(value("kl_base"), known.at("kl")[i].get<double>(), kTolerance) << where;
      }
      const Json close = known.value("close", Json::array());
      if (std::find(close.begin(), close.end(), Json(i)) == close.end()) {
        EXPECT_EQ(value("top1"), known.at("top1")[i].get<double>()) << where;
        EXPECT_EQ(value("answer_rank"), known.at("answer_rank")[i].get<double>()) << where;
      }
      for (size_t t = 0; t < tracked.size(); ++t) {
        std::vector<int64_t> token = at;
        token.push_back(static_cast<int64_t>(t));
        EXPECT_NEAR(value_at(array_of(arrays, prefix + "logit"), token),
                    known.at("logits")[first_logit + t].get<double>(), kLogitTolerance)
            << where;
      }
      first_logit += tracked.size();
    }
  }

  static int64_t place_of(const Prompt& prompt, int32_t position, int32_t answer) {
    for (size_t t = 0; t < prompt.targets.size(); ++t)
      if (prompt.targets[t].at == position && prompt.targets[t].answer == answer)
        return static_cast<int64_t>(t);
    fail(ErrorKind::internal, "the golden's target is not a prompt's");
  }

  Checkpoint checkpoint_;
  Json golden_;
  SoloGroup group_;
  std::unique_ptr<ModelSession> session_;
};

TEST_P(EditGolden, EveryListedIntervention) {
  int64_t compared = 0;
  for (const Json& golden_set : golden_.at("sets")) {
    SCOPED_TRACE(golden_set.at("name").dump());
    const PromptSet prompts = prompts_of(golden_set);
    const RunPointer run = bind_set(golden_set, prompts);
    const Json& edited = golden_set.at("edited");
    const std::vector<std::string> ids = run->arrays().back().axes[1].labels;
    ASSERT_EQ(ids.size(), edited.size());
    const auto arrays = compute(*run, std::ssize(prompts.prompts), 1000);
    compare(arrays, "base/", {}, golden_set, prompts, golden_set.at("base_run"));
    for (size_t i = 0; i < edited.size(); ++i) {
      EXPECT_EQ(edited[i].at("id"), ids[i]);
      compare(arrays, "", {static_cast<int64_t>(i)}, golden_set, prompts, edited[i]);
      ++compared;
    }
  }
  EXPECT_EQ(compared, 172);
}

/// Means and donors of other prompts included, a piece has the bits of the whole.
TEST_P(EditGolden, PiecesHaveTheBitsOfTheWhole) {
  for (const Json& golden_set : golden_.at("sets")) {
    if (golden_set.at("name") == "sites") continue;  // the other sets have means and donors
    const PromptSet prompts = prompts_of(golden_set);
    const int64_t count = std::ssize(prompts.prompts);
    const auto whole = compute(*bind_set(golden_set, prompts), count, 1000);
    const auto pieces = compute(*bind_set(golden_set, prompts), count, 1);
    for (size_t a = 0; a < whole.size(); ++a)
      for (size_t i = 0; i < whole[a].values.size(); ++i) {
        const double one = whole[a].values[i];
        const double other = pieces[a].values[i];
        EXPECT_TRUE(one == other || (std::isnan(one) && std::isnan(other)))
            << whole[a].name << " " << i;
      }
  }
}

std::string checkpoint_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(RandomModels, EditGolden,
                         testing::Values("llama-random", "llama-random-sharded", "gpt2-random"),
                         checkpoint_name);

}  // namespace
}  // namespace mechsweep
