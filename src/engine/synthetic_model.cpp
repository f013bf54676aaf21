#include "engine/synthetic_model.h"

#include <cmath>

#include "core/error.h"
#include "core/random.h"

namespace mechsweep {

namespace {

/// Matrices with entries of variance 1 / columns, vectors near one.
class RandomTensors final : public TensorSource {
 public:
  explicit RandomTensors(std::vector<TensorInfo> tensors) : tensors_(std::move(tensors)) {}

  [[nodiscard]] const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  [[nodiscard]] std::vector<std::string> files() const override { return {}; }

  void read_rows(const std::string& name, int64_t row_begin, int64_t row_end,
                 float* out) const override {
    const TensorInfo& info = require(name);
    const bool vector = info.shape.size() == 1;
    const int64_t columns = vector ? 1 : info.shape[1];
    const float size = vector ? 0.1F : std::sqrt(3.0F / static_cast<float>(columns));
    for (int64_t row = row_begin; row < row_end; ++row) {
      RandomStream random(1, "selftest/" + name, static_cast<uint64_t>(row));
      for (int64_t column = 0; column < columns; ++column) {
        const float centred =
            static_cast<float>(static_cast<int32_t>(random.next_u32())) * 0x1p-31F;
        *out++ = (vector ? 1.0F : 0.0F) + size * centred;
      }
    }
  }

 private:
  std::vector<TensorInfo> tensors_;
};

}  // namespace

Checkpoint synthetic_checkpoint(int layers) {
  return synthetic_checkpoint({.n_heads = 9,
                               .n_kv_heads = 3,
                               .head_size = 64,
                               .d_model = 576,
                               .d_mlp = 1536,
                               .vocab_size = 4500},
                              layers);
}

Checkpoint synthetic_checkpoint(const ModelConfig& like, int layers) {
  Checkpoint checkpoint;
  checkpoint.path = "a synthetic model";
  checkpoint.format = "none";
  checkpoint.config = {.architecture = "llama",
                       .n_layers = layers,
                       .n_heads = like.n_heads,
                       .n_kv_heads = like.n_kv_heads,
                       .head_size = like.head_size,
                       .d_model = like.d_model,
                       .d_mlp = like.d_mlp,
                       .vocab_size = like.vocab_size,
                       .max_positions = 4096,
                       .gated_mlp = like.gated_mlp,
                       .rope = {.theta = 1e5, .dimensions = like.head_size / 2 * 2},
                       .attention_scale = 0.125,
                       .tied_embeddings = true};
  checkpoint.config.check();
  ModelTensors& tensors = checkpoint.tensors;
  tensors.embedding = {.name = "embedding"};
  for (int layer = 0; layer < layers; ++layer) {
    const auto named = [&](const char* name) {
      return TensorRef{.name = fmt::format("{}.{}", layer, name)};
    };
    tensors.layers.push_back({.attn_norm = named("attn_norm"),
                              .q = named("q"),
                              .k = named("k"),
                              .v = named("v"),
                              .o = named("o"),
                              .mlp_norm = named("mlp_norm"),
                              .gate = like.gated_mlp ? named("gate") : TensorRef{},
                              .up = named("up"),
                              .down = named("down")});
  }
  tensors.final_norm = {.name = "final_norm"};
  std::vector<TensorInfo> infos;
  for (const ExpectedTensor& expected : expected_tensors(checkpoint.config, tensors))
    infos.push_back({expected.ref->name, expected.shape, StorageType::f32});
  checkpoint.source = std::make_unique<RandomTensors>(std::move(infos));
  return checkpoint;
}

}  // namespace mechsweep
