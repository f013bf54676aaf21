#include <cmath>
#include <filesystem>

#include <gtest/gtest.h>

#include "experiments/readouts.h"
#include "unit/experiments/golden_support.h"

// Logit lens and direct logit attribution against transformers' own final norm and unembedding in
// double precision (tests/golden/golden_lens.py).

namespace mechsweep {
namespace {

using test_experiments::array_of;
using test_experiments::golden_path;
using test_experiments::ParsedExperiment;
using test_experiments::RunPointer;
using test_experiments::value_at;
using test_experiments::values_of;

constexpr double kTolerance = 1e-4;  // nats, and logits that components add
constexpr double kLogitTolerance = 2e-4;
/// Ranks and top tokens are compared where no rounding could change them.
constexpr double kClearGap = 1e-3;

/// A model with its golden and the prompts that it is about.
class LensModel {
 public:
  LensModel(const std::string& name, const std::string& file, const SessionOptions& options = {})
      : checkpoint(open_checkpoint(file)) {
    std::ifstream stream(golden_path("lens/" + name + ".json"));
    golden = Json::parse(stream);
    prompts.id = "p";
    std::ifstream lines(golden_path(golden.at("prompts")));
    for (std::string line; std::getline(lines, line);)
      if (std::ssize(prompts.prompts) < golden.at("count").get<int64_t>())
        prompts.prompts.push_back(prompt_from_json(parse_prompt_json(line), {}));
    session_ = open_model(checkpoint, group_, options);
    const Json& targets = golden.at("targets");
    std::map<int64_t, int64_t> seen;
    for (size_t i = 0; i < targets.at("prompt").size(); ++i) {
      const auto prompt = targets.at("prompt")[i].get<int64_t>();
      // Ours ascend by position, the golden's stand as in the file.
      const auto& own = prompts.prompts[prompt].targets;
      for (size_t t = 0; t < own.size(); ++t)
        if (own[t].at == targets.at("at")[i] && own[t].answer == targets.at("tracked")[i][0])
          places.push_back({prompt, static_cast<int64_t>(t), std::ssize(targets.at("tracked")[i])});
    }
  }

  [[nodiscard]] RunPointer bind(const std::string& kind, const Json& keys) const {
    return ParsedExperiment(kind, keys).bind(checkpoint.config, prompts);
  }

  /// Everything that a run stores, in units of so many prompts and places of the first axis.
  std::vector<StoredArray> compute(const mechsweep::Run& run, int64_t piece = 1000) {
    const auto specs = run.arrays();
    std::vector<StoredArray> stored;
    for (const ArraySpec& spec : specs)
      stored.push_back({spec.name, spec.axes, std::vector<double>(spec.size())});
    const int64_t count = std::ssize(prompts.prompts);
    const int64_t firsts = std::max<int64_t>(1, run.stages().front().first_size);
    for (int64_t p = 0; p < count; p += piece)
      for (int64_t f = 0; f < firsts; f += piece) {
        const Range own = {p, std::min(count, p + piece)};
        const Range first = {f, std::min(firsts, f + piece)};
        const UnitResult result = run.execute(0, own, first, session_->executor());
        EXPECT_EQ(result.non_finite, 0);
        for (const ArrayBlock& block : result.blocks)
          put(specs[block.array], block, own, first, stored[block.array]);
      }
    return stored;
  }

  [[nodiscard]] double product_flops() const { return session_->product_flops(); }

  struct Place {
    int64_t prompt;
    int64_t target;
    int64_t tracked;
  };
  Checkpoint checkpoint;
  Json golden;
  PromptSet prompts;
  std::vector<Place> places;  ///< of the golden's targets

 private:
  static void put(const ArraySpec& spec, const ArrayBlock& block, Range own, Range first,
                  StoredArray& stored) {
    std::vector<double> values;
    if (spec.type == ElementType::f64) values = values_of<double>(block);
    if (spec.type == ElementType::f32)
      for (const float value : values_of<float>(block)) values.push_back(value);
    if (spec.type == ElementType::i32)
      for (const int32_t value : values_of<int32_t>(block)) values.push_back(value);
    const int64_t row = spec.row_size();
    const int64_t skip = spec.split_by_first ? first.begin * (row / spec.axes[1].size) : 0;
    const int64_t part = std::ssize(values) / own.size();
    for (int64_t p = own.begin; p < own.end; ++p)
      std::copy_n(values.begin() + (p - own.begin) * part, part,
                  stored.values.begin() + p * row + skip);
  }

  SoloGroup group_;
  std::unique_ptr<ModelSession> session_;
};

/// Indices of a place: the prompt, those in between, the target if targets make an axis.
std::vector<int64_t> at(const StoredArray& array, const LensModel::Place& place,
                        const std::vector<int64_t>& between) {
  std::vector<int64_t> indices = {place.prompt};
  indices.insert(indices.end(), between.begin(), between.end());
  for (const Axis& axis : array.axes)
    if (axis.name == kTargetAxis) indices.push_back(place.target);
  return indices;
}

std::vector<int64_t> then(std::vector<int64_t> indices, int64_t last) {
  indices.push_back(last);
  return indices;
}

void expect_lens(LensModel& model) {
  const Json& lens = model.golden.at("lens");
  std::vector<std::string> sites;
  for (const auto& [site, layers] : lens.items()) sites.push_back(site);
  const auto run = model.bind("logit_lens",
                              {{"site", sites}, {"readouts", {"kl", "answer_rank"}}, {"top_k", 3}});
  const auto stored = model.compute(*run);
  const auto value = [&](const char* name, size_t place, const std::vector<int64_t>& between) {
    const StoredArray& array = array_of(stored, name);
    return value_at(array, at(array, model.places[place], between));
  };
  for (size_t s = 0; s < sites.size(); ++s)
    for (int64_t layer = 0; layer < model.checkpoint.config.n_layers; ++layer)
      for (size_t i = 0; i < model.places.size(); ++i) {
        const Json& known = lens.at(sites[s])[layer][i];
        SCOPED_TRACE(fmt::format("{} layer {} target {}", sites[s], layer, i));
        const std::vector<int64_t> between = {layer, static_cast<int64_t>(s)};
        EXPECT_NEAR(value("loss", i, between), known.at("loss").get<double>(), kTolerance);
        EXPECT_NEAR(value("kl_base", i, between), known.at("kl").get<double>(), kTolerance);
        const StoredArray& logit = array_of(stored, "logit");
        const auto place = at(logit, model.places[i], between);
        for (size_t t = 0; t < known.at("logits").size(); ++t)
          EXPECT_NEAR(value_at(logit, then(place, static_cast<int64_t>(t))),
                      known.at("logits")[t].get<double>(), kLogitTolerance);
        if (known.at("gap").get<double>() < kClearGap) continue;
        EXPECT_EQ(value("top1", i, between), known.at("top")[0].get<double>());
        for (int64_t k = 0; k < 3; ++k)
          EXPECT_EQ(value_at(array_of(stored, "top_token"), then(place, k)),
                    known.at("top")[k].get<double>());
        EXPECT_EQ(value("answer_rank", i, between), known.at("answer_rank").get<double>());
      }
}

/// The golden's contributions of one target: name of the array, indices between, golden value.
template <typename Visit>
void each_part(const Json& direct, const Visit& visit) {
  const std::vector<std::string> others = {"token_embedding", "position_embedding",
                                           "final_norm_bias", "unembedding_bias"};
  for (int64_t i = 0; i < std::ssize(others); ++i)
    visit("other_contribution", {i}, direct.at(others[i]));
  for (int64_t layer = 0; layer < std::ssize(direct.at("mlps")); ++layer) {
    visit("mlp_contribution", {layer}, direct.at("mlps")[layer]);
    visit("attention_bias_contribution", {layer}, direct.at("attention_bias")[layer]);
    const Json& heads = direct.at("heads")[layer];
    for (int64_t head = 0; head < std::ssize(heads); ++head)
      visit("head_contribution", {layer, head}, heads[head]);
  }
}

void expect_direct(LensModel& model) {
  const auto stored = model.compute(*model.bind("direct_logit_attribution", Json::object()));
  for (size_t i = 0; i < model.places.size(); ++i) {
    const Json& direct = model.golden.at("direct")[i];
    SCOPED_TRACE(fmt::format("target {}", i));
    const StoredArray& uncapped = array_of(stored, "uncapped_logit");
    const auto place = at(uncapped, model.places[i], {});
    for (int64_t t = 0; t < model.places[i].tracked; ++t) {
      double sum = 0.0;
      each_part(direct, [&](const std::string& name, const std::vector<int64_t>& between,
                            const Json& known) {
        const StoredArray& array = array_of(stored, name);
        const double own = value_at(array, then(at(array, model.places[i], between), t));
        EXPECT_NEAR(own, known[t].get<double>(), kTolerance) << name << Json(between).dump();
        sum += own;
      });
      const double logit = value_at(uncapped, then(place, t));
      EXPECT_NEAR(logit, direct.at("uncapped")[t].get<double>(), kTolerance);
      EXPECT_NEAR(sum, logit, kTolerance);
      const StoredArray& rest = array_of(stored, "other_contribution");
      EXPECT_NEAR(value_at(rest, then(at(rest, model.places[i], {4}), t)), logit - sum, 1e-12);
      const double cap = model.checkpoint.config.logit_cap;
      EXPECT_NEAR(cap > 0.0 ? cap * std::tanh(sum / cap) : sum,
                  value_at(array_of(stored, "base/logit"), then(place, t)), kTolerance);
    }
  }
}

class LensGolden : public testing::TestWithParam<std::string> {
 protected:
  [[nodiscard]] LensModel open(const SessionOptions& options = {}) const {
    return LensModel(GetParam(), golden_path("checkpoints/" + GetParam()), options);
  }
};

TEST_P(LensGolden, LensAtTheTargets) {
  LensModel model = open();
  expect_lens(model);
}

TEST_P(LensGolden, LensAtAnotherPosition) {
  LensModel model = open();
  const auto stored =
      model.compute(*model.bind("logit_lens", {{"site", "resid_post"}, {"positions", {0, -1}}}));
  const StoredArray& loss = array_of(stored, "loss");
  const Json& known = model.golden.at("first_position").at("resid_post");
  for (int64_t layer = 0; layer < model.checkpoint.config.n_layers; ++layer)
    for (size_t i = 0; i < model.places.size(); ++i)
      EXPECT_NEAR(value_at(loss, at(loss, model.places[i], {layer, 0})),
                  known[layer][i].get<double>(), kTolerance)
          << layer << " " << i;
}

TEST_P(LensGolden, ContributionsAndTheirSum) {
  LensModel model = open();
  expect_direct(model);
}

bool same(const std::vector<StoredArray>& one, const std::vector<StoredArray>& other) {
  for (size_t a = 0; a < one.size(); ++a)
    for (size_t i = 0; i < one[a].values.size(); ++i) {
      const double x = one[a].values[i];
      const double y = other[a].values[i];
      if (!(x == y || (std::isnan(x) && std::isnan(y)))) {
        ADD_FAILURE() << one[a].name << " " << i << ": " << x << " " << y;
        return false;
      }
    }
  return one.size() == other.size();
}

TEST_P(LensGolden, ExecutorsAndPiecesGiveTheSameBits) {
  LensModel model = open();
  LensModel naive = open({.executor = "naive"});
  const Json lens = {{"site", "resid_pre"}, {"positions", "each"}, {"readouts", {"kl"}}};
  for (const auto& [kind, keys] : std::map<std::string, Json>{
           {"logit_lens", lens}, {"direct_logit_attribution", Json::object()}}) {
    const auto whole = model.compute(*model.bind(kind, keys));
    EXPECT_TRUE(same(whole, naive.compute(*naive.bind(kind, keys)))) << kind;
    EXPECT_TRUE(same(whole, model.compute(*model.bind(kind, keys), 1))) << kind;
  }
}

/// What leaves the last layer is what the run itself reads.
TEST_P(LensGolden, TheLastResidualIsTheRunItself) {
  for (const char* dtype : {"float32", "bfloat16"}) {
    LensModel model = open({.dtype = dtype});
    const int last = model.checkpoint.config.n_layers - 1;
    const auto stored = model.compute(
        *model.bind("logit_lens", {{"site", "resid_post"}, {"layers", last}, {"top_k", 2}}));
    for (const char* name : {"loss", "logit", "logsumexp", "top1", "top_token", "top_logit"}) {
      const auto& lens = array_of(stored, name).values;
      const auto& base = array_of(stored, std::string("base/") + name).values;
      ASSERT_EQ(lens.size(), base.size());
      for (size_t i = 0; i < lens.size(); ++i)
        EXPECT_TRUE(lens[i] == base[i] || (std::isnan(lens[i]) && std::isnan(base[i]))) << name;
    }
  }
}

/// Weights in 16 bits change the contributions, not that they add up; nor do other kernels, which
/// give rows of the unembedding in another way.
TEST_P(LensGolden, OtherTypesAndKernelsAddUpToo) {
  for (const SessionOptions& options :
       {SessionOptions{.dtype = "bfloat16"}, SessionOptions{.kernels = "aten"}}) {
    LensModel model = open(options);
    const auto stored = model.compute(*model.bind("direct_logit_attribution", Json::object()));
    const StoredArray& rest = array_of(stored, "other_contribution");
    int64_t compared = 0;
    for (const auto& place : model.places)
      for (int64_t t = 0; t < place.tracked; ++t, ++compared)
        EXPECT_NEAR(value_at(rest, then(at(rest, place, {4}), t)), 0.0, 2e-5)
            << options.dtype << options.kernels;
    EXPECT_GT(compared, 10);
    if (options.dtype == "float32") expect_direct(model);
  }
}

/// What `plan` says is what is done: a base run and one more for the lens, and its rows' logits.
TEST_P(LensGolden, PlannedOperationsAreThoseDone) {
  LensModel model = open();
  const auto lens = model.bind("logit_lens", {{"site", "resid_post"}});
  const auto direct = model.bind("direct_logit_attribution", Json::object());
  for (const mechsweep::Run* run : {lens.get(), direct.get()}) {
    double planned = 0.0;
    const int64_t firsts = std::max<int64_t>(1, run->stages().front().first_size);
    for (int64_t p = 0; p < std::ssize(model.prompts.prompts); ++p) {
      planned += run->shared_flops(0, p);
      for (int64_t f = 0; f < firsts; ++f) planned += run->flops(0, p, f);
    }
    const double before = model.product_flops();
    (void)model.compute(*run);
    const double done = model.product_flops() - before;
    EXPECT_NEAR(done / planned, 1.0, 0.25) << run->stages().front().name;
  }
}

std::string checkpoint_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(RandomModels, LensGolden,
                         testing::Values("gpt2-random", "gpt-neox-parallel", "gpt-neox-serial",
                                         "llama-random", "opt-relu", "gemma2-caps",
                                         "gemma3-pattern", "gemma3-layer-types", "olmo2-norms"),
                         checkpoint_name);

TEST(SlowSmolLm2Lens, LensAndContributions) {
  const std::string file =
      std::string(MECHSWEEP_SOURCE_DIR) + "/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";
  ASSERT_TRUE(std::filesystem::exists(file))
      << file << " is missing; run scripts/fetch_model.sh smollm2-135m";
  LensModel model("smollm2", file, {.threads = 2});
  expect_lens(model);
  expect_direct(model);
}

}  // namespace
}  // namespace mechsweep
