// Certificates of every architecture's small random checkpoints; and that each check can fail: the
// slow second path gets other tensors than the model was loaded from, or an executor is made to
// lie.

#include <functional>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/certificate.h"
#include "engine/certificate_exact.h"
#include "engine_support.h"

namespace mechsweep {
namespace {

using namespace test_engine;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> checkpoint_names() {
  std::vector<std::string> names = {"llama-random", "llama-random-sharded", "gpt2-random"};
  const Json list = read_golden("architectures/list.json");
  for (const Json& one : list.at("checkpoints")) names.push_back(one.at("name"));
  return names;
}

Checkpoint open_golden(const std::string& name) {
  return open_checkpoint(golden_path("checkpoints/" + name));
}

/// Names of the checks that failed.
std::vector<std::string> failed_checks(const Certificate& certificate) {
  std::vector<std::string> names;
  for (const CertificateCheck& check : certificate.checks)
    if (check.failed()) names.push_back(check.name);
  return names;
}

/// The largest of the checks' worst differences that is no count of results.
double largest_difference_of(const Certificate& certificate) {
  double largest = 0.0;
  for (const CertificateCheck& check : certificate.checks)
    if (!check.compares_bits) largest = std::max(largest, check.worst);
  return largest;
}

Certificate certificate_of(LoadedModel& model, const Checkpoint& checkpoint,
                           const CertifyOptions& options) {
  const auto wavefront = model.wavefront();
  const auto naive = model.naive();
  return certify(checkpoint, *wavefront, *naive, options);
}

class CertificateOf : public ::testing::TestWithParam<std::string> {};

TEST_P(CertificateOf, EveryArchitecturePasses) {
  const Checkpoint checkpoint = open_golden(GetParam());
  for (const ComputeType type :
       {ComputeType::float32, ComputeType::bfloat16, ComputeType::float16}) {
    LoadedModel model(checkpoint, 1, KernelSet::native, type);
    for (const bool thorough : {true, false}) {
      const Certificate certificate = certificate_of(
          model, checkpoint, {.dtype = std::string(compute_type_name(type)), .thorough = thorough});
      EXPECT_TRUE(certificate.passed()) << certificate.to_json().dump(1);
      // Rounding alone: a tenth of the bound is never needed.
      EXPECT_LT(largest_difference_of(certificate), 2e-6);
      EXPECT_GT(largest_difference_of(certificate), 0.0);  // something was measured
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, CertificateOf, ::testing::ValuesIn(checkpoint_names()),
                         [](const auto& param_info) {
                           std::string name = param_info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// --- tensors that differ ------------------------------------------------------------------------

/// Tensors of another source, one of which has other numbers.
class ChangedTensors final : public TensorSource {
 public:
  ChangedTensors(std::unique_ptr<TensorSource> source, std::string name, float factor)
      : source_(std::move(source)), name_(std::move(name)), factor_(factor) {}

  [[nodiscard]] const std::vector<TensorInfo>& tensors() const override {
    return source_->tensors();
  }
  [[nodiscard]] std::vector<std::string> files() const override { return source_->files(); }
  void read_rows(const std::string& name, int64_t row_begin, int64_t row_end,
                 float* out) const override {
    source_->read_rows(name, row_begin, row_end, out);
    if (name != name_) return;
    const int64_t count = (row_end - row_begin) * require(name).row_size();
    // Unevenly: norms take a common factor out again.
    for (int64_t i = 0; i < count; ++i)
      if ((row_begin + i) % 2 == 0) out[i] *= factor_;
  }

 private:
  std::unique_ptr<TensorSource> source_;
  std::string name_;
  float factor_;
};

/// The certificate of a model against its checkpoint with one tensor changed by a factor.
Certificate certificate_with_changed(const std::string& name,
                                     const std::function<TensorRef(const ModelTensors&)>& which,
                                     bool thorough, float factor = 1.01F) {
  Checkpoint checkpoint = open_golden(name);
  LoadedModel model(checkpoint);
  const TensorRef ref = which(checkpoint.tensors);
  EXPECT_TRUE(ref.present());
  checkpoint.source =
      std::make_unique<ChangedTensors>(std::move(checkpoint.source), ref.name, factor);
  return certificate_of(model, checkpoint, {.thorough = thorough});
}

TEST(Certificate, AnotherEmbeddingFailsWhatIsLeftOfTheModelWithoutBlocks) {
  const auto certificate = certificate_with_changed(
      "llama-random", [](const ModelTensors& all) { return all.embedding; }, false);
  EXPECT_THAT(failed_checks(certificate), ElementsAre("zeroed"));
  EXPECT_THAT(certificate.why(), HasSubstr("check 'zeroed': worst "));
  ASSERT_NE(certificate.mismatch(), nullptr);
  EXPECT_EQ(certificate.to_record().at("outcome"), "failed");
}

TEST(Certificate, AnotherPositionEmbeddingFails) {
  const auto certificate = certificate_with_changed(
      "gpt2-random", [](const ModelTensors& all) { return all.positions; }, false);
  EXPECT_THAT(failed_checks(certificate), ElementsAre("zeroed"));
}

TEST(Certificate, AnotherOutputBiasFails) {
  const auto certificate = certificate_with_changed(
      "gpt2-random", [](const ModelTensors& all) { return all.layers[1].o_bias; }, false);
  EXPECT_THAT(failed_checks(certificate), ElementsAre("zeroed"));
}

TEST(Certificate, AnotherFinalNormOrUnembeddingFailsBothSums) {
  for (const auto& which : {&ModelTensors::final_norm, &ModelTensors::unembedding}) {
    const auto certificate = certificate_with_changed(
        "llama-random", [&](const ModelTensors& all) { return all.*which; }, false);
    EXPECT_THAT(failed_checks(certificate), ElementsAre("zeroed", "direct"));
  }
}

TEST(Certificate, AnotherOutputProjectionFailsTheSumOverHeads) {
  for (const char* name : {"llama-random", "gemma2-caps"}) {
    const auto o = [](const ModelTensors& all) { return all.layers[1].o; };
    EXPECT_THAT(failed_checks(certificate_with_changed(name, o, true)), ElementsAre("direct"));
    // The short form does not read it.
    EXPECT_TRUE(certificate_with_changed(name, o, false).passed());
  }
}

TEST(Certificate, AnotherNormAfterAttentionFailsTheSumOverHeads) {
  const auto certificate = certificate_with_changed(
      "gemma3-pattern", [](const ModelTensors& all) { return all.layers[0].attn_post_norm; }, true);
  EXPECT_THAT(failed_checks(certificate), ElementsAre("direct"));
}

TEST(Certificate, NumbersThatAreNotFiniteAreNamed) {
  Checkpoint checkpoint = open_golden("llama-random");
  const std::string name = checkpoint.tensors.layers[0].down.name;
  checkpoint.source = std::make_unique<ChangedTensors>(std::move(checkpoint.source), name,
                                                       std::numeric_limits<float>::quiet_NaN());
  LoadedModel model(checkpoint);
  const Certificate certificate = certificate_of(model, checkpoint, {.thorough = false});
  EXPECT_FALSE(certificate.passed());
  EXPECT_THAT(certificate.why(), HasSubstr("NaN or infinite"));
  // Such a run is warned about, not refused.
  EXPECT_EQ(certificate.mismatch(), nullptr);
}

// --- executors that lie -------------------------------------------------------------------------

/// Another executor whose results are bent where `lies` says so.
class Liar final : public Executor {
 public:
  using Bend = std::function<void(std::span<const PromptTokens>, const Task&, TaskResult&)>;
  Liar(Executor& honest, Bend bend) : honest_(honest), bend_(std::move(bend)) {}

  [[nodiscard]] std::string_view name() const override { return "liar"; }
  [[nodiscard]] const ModelConfig& config() const override { return honest_.config(); }
  std::vector<TaskResult> run(std::span<const PromptTokens> prompts, std::span<const Task> tasks,
                              AttentionObserver* observer) override {
    auto results = honest_.run(prompts, tasks, observer);
    for (size_t i = 0; i < tasks.size(); ++i) bend_(prompts, tasks[i], results[i]);
    return results;
  }

 private:
  Executor& honest_;
  Bend bend_;
};

/// One unit in the last place of what a task reads.
void nudge(TaskResult& result) {
  double& sum = result.readings.front().logsumexp;
  sum = std::nextafter(sum, 1e9);
}

std::vector<std::string> failed_with(const Liar::Bend& bend, bool of_other, bool thorough) {
  const Checkpoint checkpoint = open_golden("qwen3-norms");
  LoadedModel model(checkpoint);
  const auto wavefront = model.wavefront();
  const auto naive = model.naive();
  Liar liar(of_other ? *naive : *wavefront, bend);
  Executor& own = of_other ? static_cast<Executor&>(*wavefront) : liar;
  Executor& other = of_other ? static_cast<Executor&>(liar) : *naive;
  return failed_checks(certify(checkpoint, own, other, {.thorough = thorough}));
}

TEST(Certificate, AnEditThatChangesABitFails) {
  for (const Site site : {Site::resid_pre, Site::k, Site::pattern, Site::mlp_hidden}) {
    const auto bend = [site](auto, const Task& task, TaskResult& result) {
      const auto& edits = task.intervention.edits;
      if (edits.size() == 1 && edits.front().site == site) nudge(result);
    };
    EXPECT_THAT(failed_with(bend, false, false), ElementsAre("no_op"));
    EXPECT_THAT(failed_with(bend, true, true), ElementsAre("no_op", "executors"));
  }
}

TEST(Certificate, ABatchThatChangesABitFails) {
  const auto bend = [](std::span<const PromptTokens> prompts, const Task&, TaskResult& result) {
    if (prompts.size() == 1) nudge(result);
  };
  EXPECT_THAT(failed_with(bend, false, false), ElementsAre("batch"));
  EXPECT_THAT(failed_with(bend, true, true), ElementsAre("batch"));
}

TEST(Certificate, ExecutorsThatDifferInABitFail) {
  const auto bend = [](auto, const Task& task, TaskResult& result) {
    if (task.intervention.edits.size() > 1) nudge(result);  // all heads and MLPs at zero
  };
  EXPECT_THAT(failed_with(bend, true, false), ElementsAre("executors"));
}

// --- the second path's own arithmetic -----------------------------------------------------------

TEST(Certificate, RoundsToNarrowTypesAsTheyAreDefined) {
  EXPECT_EQ(nearest_in("float32", 0.1), 0.1);
  EXPECT_EQ(nearest_in("bfloat16", 1.0 + 0x1p-8), 1.0);  // a tie goes to even
  EXPECT_EQ(nearest_in("bfloat16", 1.0 + 0x1.8p-7), 1.0 + 0x1p-6);
  EXPECT_EQ(nearest_in("float16", 65519.0), 65504.0);
  EXPECT_EQ(nearest_in("float16", -65520.0), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(nearest_in("float16", 0x1p-25), 0.0);  // half of the least subnormal
  EXPECT_EQ(nearest_in("float16", 0x1.8p-25), 0x1p-24);
  EXPECT_EQ(nearest_in("bfloat16", 0x1p-126 * 1.001), 0x1p-126);
}

}  // namespace
}  // namespace mechsweep
