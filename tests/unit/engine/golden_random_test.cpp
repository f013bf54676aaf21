// Every operation, site, position selection and direction on the three random checkpoints, against
// transformers in double precision (tests/golden/README.md).

#include <cmath>

#include <gtest/gtest.h>

#include "engine_support.h"

namespace mechsweep {
namespace {

using namespace test_engine;

/// transformers' own fp32 differs from its fp64 by the recorded amounts. Another order of sums
/// makes an error of the same size; four times it leaves room for the tails of a few thousand
/// numbers.
constexpr double kRoundingRoom = 4.0;
/// The promise on logits, as a share of the largest one.
constexpr double kLogitPromise = 5e-5;

Site site_of(const std::string& name) {
  for (const SiteInfo& info : site_table())
    if (info.name == name) return info.site;
  fail(ErrorKind::internal, "the golden names an unknown site '{}'", name);
}

double largest_magnitude(const Json& numbers) {
  if (!numbers.is_array()) return std::abs(numbers.get<double>());
  double largest = 0.0;
  for (const Json& item : numbers) largest = std::max(largest, largest_magnitude(item));
  return largest;
}

class GoldenRandom : public ::testing::TestWithParam<const char*> {
 protected:
  GoldenRandom()
      : golden_(read_golden(GetParam())),
        prompts_(read_prompts(golden_.at("prompts"))),
        views_(views(prompts_)),
        model_(open_checkpoint(golden_path(golden_.at("model")))) {
    const Json& rounding = golden_.at("largest_fp32_minus_fp64");
    loss_room_ = kRoundingRoom * rounding.at("loss").get<double>();
    logit_room_ = kRoundingRoom * rounding.at("logits").get<double>();
    EXPECT_LE(logit_room_,
              kLogitPromise * largest_magnitude(golden_.at("base").at("fp64").at("logits")));
  }

  /// One task for each prompt, with the edits that `edits_of(prompt)` gives it.
  template <typename EditsOf>
  void add_tasks(std::vector<Task>& tasks, Side base, EditsOf edits_of) const {
    for (size_t p = 0; p < prompts_.size(); ++p)
      tasks.push_back({.prompt = static_cast<int32_t>(p),
                       .intervention = {base, edits_of(prompts_[p])},
                       .reads = prompts_[p].reads});
  }

  /// The readings of every target of every prompt, one after the other, from the tasks of one
  /// add_tasks that begin at `first`.
  [[nodiscard]] std::vector<Reading> targets_of(const std::vector<std::vector<Reading>>& readings,
                                                size_t first) const {
    std::vector<Reading> all;
    for (size_t p = 0; p < prompts_.size(); ++p)
      all.insert(all.end(), readings[first + p].begin(), readings[first + p].end());
    return all;
  }

  void compare(const std::vector<Reading>& readings, const Json& losses, const Json& logits,
               const Json& top1, const std::string& what) const {
    ASSERT_EQ(readings.size(), losses.size()) << what;
    size_t next = 0;
    for (size_t t = 0; t < readings.size(); ++t) {
      EXPECT_NEAR(readings[t].loss(), losses[t].get<double>(), loss_room_)
          << what << " target " << t;
      EXPECT_EQ(readings[t].top1, top1[t].get<int32_t>()) << what << " target " << t;
      for (const float logit : readings[t].tracked_logits)
        EXPECT_NEAR(logit, logits.at(next++).get<double>(), logit_room_) << what << " target " << t;
    }
    EXPECT_EQ(next, logits.size()) << what;
  }

  void compare_base(const char* name, Side side) {
    const Json& golden = golden_.at(name);
    std::vector<Task> tasks;
    add_tasks(tasks, side, [](const TestPrompt&) { return std::vector<Edit>{}; });
    const auto readings = targets_of(model_.run(views_, tasks), 0);
    Json logits = Json::array();
    for (const Json& target : golden.at("fp64").at("logits"))
      for (const Json& logit : target) logits.push_back(logit);
    compare(readings, golden.at("fp64").at("loss"), logits, golden.at("top1"), name);
    for (size_t t = 0; t < readings.size(); ++t) {
      EXPECT_NEAR(readings[t].logsumexp, golden.at("fp64").at("logsumexp")[t].get<double>(),
                  loss_room_);
      EXPECT_NEAR(readings[t].logit_mean, golden.at("fp64").at("vocab_mean")[t].get<double>(),
                  logit_room_);
    }
  }

  /// Calls body(edit, losses of the golden, index path) for every layer and, at z, every head.
  template <typename Body>
  void for_each_place(const Json& run, Body body) const {
    const Site site = site_of(run.at("site"));
    for (int layer = 0; layer < model_.config().n_layers; ++layer) {
      Edit edit{.site = site, .layer = layer};
      if (run.at("operation") == "replace") {
        edit.operation = Operation::replace;
        edit.donor.side = run.at("direction") == "clean_to_corrupt" ? Side::clean : Side::corrupt;
      }
      const std::string place = fmt::format("/{}", layer);
      if (site_info(site).heads == SiteHeads::none) {
        body(edit, place);
        continue;
      }
      for (int head = 0; head < model_.config().n_heads; ++head) {
        edit.heads = {head};
        body(edit, fmt::format("{}/{}", place, head));
      }
    }
  }

  static Side base_of(const Json& run) {
    return run.at("direction") == "clean_to_corrupt" ? Side::corrupt : Side::clean;
  }

  static std::string name_of(const Json& run, const std::string& place) {
    return fmt::format("{} {} {} {} {}", run.at("operation").dump(), run.at("site").dump(),
                       run.at("positions").dump(), run.at("direction").dump(), place);
  }

  void compare_joint(const Json& run) {
    std::vector<Task> tasks;
    for_each_place(run, [&](const Edit& edit, const std::string&) {
      add_tasks(tasks, base_of(run), [&](const TestPrompt& prompt) {
        Edit mine = edit;
        mine.positions = positions_of(prompt, run.at("positions"));
        return std::vector<Edit>{mine};
      });
    });
    const auto readings = model_.run(views_, tasks);
    size_t first = 0;
    for_each_place(run, [&](const Edit&, const std::string& place) {
      const Json::json_pointer at(place);
      compare(targets_of(readings, first), run.at("loss_fp64").at(at), run.at("logits_fp64").at(at),
              run.at("top1").at(at), name_of(run, place));
      first += prompts_.size();
    });
    EXPECT_EQ(first, tasks.size());
  }

  void compare_each_position(const Json& run) {
    std::vector<Task> tasks;
    for_each_place(run, [&](const Edit& edit, const std::string&) {
      for (size_t p = 0; p < prompts_.size(); ++p)
        for (int32_t position = 0; position < prompts_[p].length(); ++position) {
          Edit mine = edit;
          mine.positions = {position};
          tasks.push_back({.prompt = static_cast<int32_t>(p),
                           .intervention = {base_of(run), {mine}},
                           .reads = prompts_[p].reads});
        }
    });
    const auto readings = model_.run(views_, tasks);
    size_t task = 0;
    for_each_place(run, [&](const Edit&, const std::string& place) {
      const Json& losses = run.at("loss_fp64").at(Json::json_pointer(place));  // [target][position]
      size_t first_target = 0;
      for (const TestPrompt& prompt : prompts_) {
        for (int32_t position = 0; position < prompt.length(); ++position, ++task)
          for (size_t t = 0; t < prompt.reads.size(); ++t)
            EXPECT_NEAR(readings[task][t].loss(),
                        losses.at(first_target + t).at(position).get<double>(), loss_room_)
                << name_of(run, place) << " target " << first_target + t << " position "
                << position;
        first_target += prompt.reads.size();
      }
      EXPECT_EQ(first_target, losses.size());
    });
    EXPECT_EQ(task, tasks.size());
  }

  Json golden_;
  std::vector<TestPrompt> prompts_;
  std::vector<PromptTokens> views_;
  LoadedModel model_;
  double loss_room_ = 0.0;
  double logit_room_ = 0.0;
};

TEST_P(GoldenRandom, BaseRunsAgreeWithTransformers) {
  compare_base("base", Side::clean);
  compare_base("corrupt", Side::corrupt);
}

TEST_P(GoldenRandom, EveryInterventionAgreesWithTransformers) {
  size_t joint = 0;
  size_t each = 0;
  for (const Json& run : golden_.at("runs")) {
    if (run.at("positions") == "each") {
      compare_each_position(run);
      ++each;
    } else {
      compare_joint(run);
      ++joint;
    }
  }
  // Six sites; zero and two directions of replace; four joint selections and each position.
  EXPECT_EQ(joint, 6U * 3U * 4U);
  EXPECT_EQ(each, 6U * 3U);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, GoldenRandom,
                         ::testing::Values("random_llama.json", "random_llama_sharded.json",
                                           "random_gpt2.json"),
                         [](const auto& param_info) {
                           const std::string file = param_info.param;
                           return file.substr(0, file.find('.'));
                         });

}  // namespace
}  // namespace mechsweep
