#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "unit/experiments/golden_support.h"

// `kind: component_ablation` against transformers in double precision (tests/golden/README.md):
// whole components at every selection of positions, and those of further architectures.

namespace mechsweep {
namespace {

using test_experiments::array_of;
using test_experiments::case_name;
using test_experiments::golden_path;
using test_experiments::GoldenCase;
using test_experiments::GoldenModel;
using test_experiments::kGoldenCases;
using test_experiments::value_at;

constexpr double kTolerance = 1e-4;  // nats

const std::vector<std::string> kComponents = {"mlp_out", "resid_pre", "attn_out", "resid_post",
                                              "resid_mid"};

class ComponentGolden : public testing::TestWithParam<GoldenCase> {
 protected:
  /// The run of the goldens that zeroes a site at these positions.
  [[nodiscard]] const Json& known_run(const std::string& site, const Json& positions) const {
    for (const Json& run : model_.golden.at("runs"))
      if (run.at("operation") == "zero" && run.at("site") == site &&
          run.at("positions") == positions)
        return run;
    fail(ErrorKind::internal, "the goldens have no zeroed {}", site);
  }

  /// One place: `known` is a loss, or one for each position.
  void compare(const StoredArray& loss, std::vector<int64_t> at, int64_t target,
               const Json& known) {
    if (known.is_number()) {
      at.push_back(target);
      EXPECT_NEAR(value_at(loss, at), known.get<double>(), kTolerance);
      ++compared_;
      return;
    }
    for (size_t position = 0; position < known.size(); ++position) {
      std::vector<int64_t> one = at;
      one.push_back(static_cast<int64_t>(position));
      compare(loss, one, target, known[position]);
    }
  }

  GoldenModel model_{GetParam()};
  int compared_ = 0;
};

TEST_P(ComponentGolden, EveryComponentIsZeroed) {
  for (const Json& positions :
       {Json("all"), Json("targets"), Json("swapped"), Json({0, -1}), Json("each")}) {
    const auto run = model_.bind_run(
        "component_ablation",
        {{"components", kComponents}, {"operation", "zero"}, {"positions", positions}});
    const auto arrays = model_.compute(*run);
    for (size_t component = 0; component < kComponents.size(); ++component) {
      SCOPED_TRACE(kComponents[component] + positions.dump());
      const Json& losses = known_run(kComponents[component], positions).at("loss_fp64");
      for (size_t layer = 0; layer < losses.size(); ++layer)
        for (size_t i = 0; i < model_.targets().size(); ++i)
          compare(array_of(arrays, "loss"),
                  {model_.targets()[i].prompt, static_cast<int64_t>(layer),
                   static_cast<int64_t>(component)},
                  model_.place_of(model_.targets()[i]), losses[layer][i]);
    }
  }
  EXPECT_GT(compared_, 500);
}

/// The same bits as edits that a file would list: means, donors and neurons included.
TEST_P(ComponentGolden, AResampledComponentIsADonorsVector) {
  for (Prompt& prompt : model_.set.prompts) {
    prompt = model_.set.prompts.front();
    prompt.template_label.clear();
  }
  // Every prompt is the same, so a mean and a donor are what was there.
  for (const char* operation : {"mean", "resample"}) {
    Json json = {{"components", kComponents}, {"operation", operation}, {"positions", "all"}};
    if (operation == std::string("mean")) json["mean_over"] = "all";
    const auto arrays = model_.compute(*model_.bind_run("component_ablation", json));
    const auto& loss = array_of(arrays, "loss");
    const auto& base = array_of(arrays, "base/loss");
    const int64_t row = std::ssize(loss.values) / loss.axes[0].size;
    const int64_t targets = std::ssize(base.values) / base.axes[0].size;
    for (int64_t i = 0; i < std::ssize(loss.values); ++i) {
      const double before = base.values[i / row * targets + i % targets];
      if (std::isnan(before)) continue;
      EXPECT_NEAR(loss.values[i], before, operation == std::string("mean") ? 1e-6 : 0.0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(RandomModels, ComponentGolden, testing::ValuesIn(kGoldenCases), case_name);

/// Components of further architectures at positions 1 and -1: docs of the goldens, `zeroed`.
class ArchitectureComponents : public testing::TestWithParam<std::string> {};

TEST_P(ArchitectureComponents, AreZeroed) {
  GoldenModel model({"architectures/" + GetParam(), GetParam(), "architectures"});
  std::vector<std::string> components;
  for (const auto& [site, losses] : model.golden.at("zeroed").items())
    if (site_info(*find_site(site)).heads == SiteHeads::none) components.push_back(site);
  ASSERT_GE(components.size(), 7);
  const auto arrays = model.compute(
      *model.bind_run("component_ablation",
                      {{"components", components}, {"operation", "zero"}, {"positions", {1, -1}}}));
  double largest = 0.0;
  for (size_t c = 0; c < components.size(); ++c) {
    const Json& losses = model.golden.at("zeroed").at(components[c]);
    for (size_t layer = 0; layer < losses.size(); ++layer)
      for (size_t i = 0; i < model.targets().size(); ++i) {
        const auto& target = model.targets()[i];
        const double found =
            value_at(array_of(arrays, "loss"), {target.prompt, static_cast<int64_t>(layer),
                                                static_cast<int64_t>(c), model.place_of(target)});
        EXPECT_NEAR(found, losses[layer][0][i].get<double>(), kTolerance)
            << components[c] << " " << layer << " " << i;
        const double base =
            value_at(array_of(arrays, "base/loss"), {target.prompt, model.place_of(target)});
        largest = std::max(largest, std::abs(found - base));
      }
  }
  EXPECT_GT(largest, 0.1);
}

std::string checkpoint_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(SmallModels, ArchitectureComponents,
                         testing::Values("gpt2-relu", "gpt-neox-parallel", "gpt-neox-serial",
                                         "gemma2-caps", "olmo2-norms"),
                         checkpoint_name);

}  // namespace
}  // namespace mechsweep
