// Rewriting the weights without changing the function changes no effect: by a power of two not in a
// bit, by another order of heads not beyond rounding.

#include <cmath>
#include <functional>

#include <gtest/gtest.h>

#include "engine_support.h"

namespace mechsweep {
namespace {

using namespace test_engine;

constexpr int kHeads = 4;  // of llama-random, which has 2 key/value heads of 8
constexpr int kKvHeads = 2;
constexpr int64_t kSize = 8;

/// A checkpoint's tensors, changed on their way: change(name, values of the whole tensor).
class ChangedSource final : public TensorSource {
 public:
  using Change = std::function<void(const std::string&, std::vector<float>&)>;
  ChangedSource(std::unique_ptr<TensorSource> source, Change change)
      : source_(std::move(source)), change_(std::move(change)) {}

  [[nodiscard]] const std::vector<TensorInfo>& tensors() const override {
    return source_->tensors();
  }
  [[nodiscard]] std::vector<std::string> files() const override { return source_->files(); }
  void read_rows(const std::string& name, int64_t row_begin, int64_t row_end,
                 float* out) const override {
    const TensorInfo& info = source_->require(name);
    const int64_t columns = info.shape.size() > 1 ? info.shape[1] : 1;
    std::vector<float> values(info.shape[0] * columns);
    source_->read_rows(name, 0, info.shape[0], values.data());
    change_(name, values);
    std::copy(values.begin() + row_begin * columns, values.begin() + row_end * columns, out);
  }

 private:
  std::unique_ptr<TensorSource> source_;
  Change change_;
};

LoadedModel load_changed(ChangedSource::Change change) {
  Checkpoint checkpoint = open_checkpoint(golden_path("checkpoints/llama-random"));
  EXPECT_EQ(checkpoint.config.n_heads, kHeads);
  EXPECT_EQ(checkpoint.config.n_kv_heads, kKvHeads);
  EXPECT_EQ(checkpoint.config.head_size, kSize);
  checkpoint.source =
      std::make_unique<ChangedSource>(std::move(checkpoint.source), std::move(change));
  return LoadedModel(checkpoint);
}

/// Every head zeroed at all positions, on every prompt; `head_of` names the same head in a model
/// whose heads stand in another order.
std::vector<std::vector<Reading>> ablations(LoadedModel& model,
                                            const std::function<int(int)>& head_of) {
  const auto prompts = read_prompts("prompts/random_llama.jsonl");
  std::vector<Task> tasks;
  for (size_t p = 0; p < prompts.size(); ++p)
    for (int layer = 0; layer < model.config().n_layers; ++layer)
      for (int head = 0; head < kHeads; ++head)
        tasks.push_back({static_cast<int32_t>(p),
                         {Side::clean,
                          {{.site = Site::z,
                            .layer = layer,
                            .heads = {head_of(head)},
                            .positions = all_positions(prompts[p])}}},
                         prompts[p].reads});
  return model.run(views(prompts), tasks);
}

int same_head(int head) {
  return head;
}

TEST(Gauge, ScalingValuesByAPowerOfTwoChangesNoBit) {
  LoadedModel plain = load_changed([](const std::string&, std::vector<float>&) {});
  LoadedModel scaled = load_changed([](const std::string& name, std::vector<float>& values) {
    const float factor = name.ends_with("v_proj.weight")   ? 4.0F
                         : name.ends_with("o_proj.weight") ? 0.25F
                                                           : 1.0F;
    for (float& value : values) value *= factor;
  });
  const auto expected = ablations(plain, same_head);
  const auto found = ablations(scaled, same_head);
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i)
    for (size_t r = 0; r < found[i].size(); ++r) {
      EXPECT_EQ(found[i][r].tracked_logits, expected[i][r].tracked_logits) << i;
      EXPECT_EQ(found[i][r].logsumexp, expected[i][r].logsumexp) << i;
    }
}

/// Rows of heads trade places: the groups of two query heads that share a key/value head, and the
/// heads within a group.
int moved(int head) {
  return kHeads - 1 - head;
}

TEST(Gauge, AnotherOrderOfHeadsChangesNothingBeyondRounding) {
  LoadedModel plain = load_changed([](const std::string&, std::vector<float>&) {});
  LoadedModel permuted = load_changed([](const std::string& name, std::vector<float>& values) {
    const std::vector<float> old = values;
    const auto columns = [&](int heads) {
      return static_cast<int64_t>(old.size()) / (heads * kSize);
    };
    const auto move_rows = [&](int heads) {
      for (int head = 0; head < heads; ++head)
        std::copy_n(old.begin() + head * kSize * columns(heads), kSize * columns(heads),
                    values.begin() + (heads - 1 - head) * kSize * columns(heads));
    };
    if (name.ends_with("q_proj.weight")) move_rows(kHeads);
    if (name.ends_with("k_proj.weight") || name.ends_with("v_proj.weight")) move_rows(kKvHeads);
    if (!name.ends_with("o_proj.weight")) return;
    for (int64_t row = 0; row < columns(kHeads); ++row)  // o: [D, H E]
      for (int head = 0; head < kHeads; ++head)
        std::copy_n(old.begin() + (row * kHeads + head) * kSize, kSize,
                    values.begin() + (row * kHeads + moved(head)) * kSize);
  });
  const auto expected = ablations(plain, same_head);
  const auto found = ablations(permuted, moved);
  for (size_t i = 0; i < found.size(); ++i)
    for (size_t r = 0; r < found[i].size(); ++r)
      // transformers' own rounding on this model is 2.7e-6 (tests/golden/README.md).
      EXPECT_NEAR(found[i][r].loss(), expected[i][r].loss(), 1.1e-5) << i;
}

}  // namespace
}  // namespace mechsweep
