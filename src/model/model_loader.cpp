#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "core/error.h"
#include "core/thread_pool.h"
#include "model/model.h"
#include "model/tensor_reading.h"
#include "model/weight_shapes.h"

namespace mechsweep {

namespace {

/// Values that a thread rounds at a time.
constexpr int64_t kRoundedValues = int64_t{1} << 16;

/// The cut of a row-parallel product's inputs: `count` things of `size` numbers in even parts.
std::vector<Range> even_parts(int64_t count, int parts, int64_t size) {
  std::vector<Range> ranges;
  for (int part = 0; part < parts; ++part) {
    const Range range = even_part(count, parts, part);
    ranges.push_back({range.begin * size, range.end * size});
  }
  return ranges;
}

}  // namespace

/// Fills a Model from a checkpoint, one matrix of the model at a time: its fp32 values lie in one
/// buffer, the same for all, until they are packed.
class ModelLoader {
 public:
  ModelLoader(Model& model, const Checkpoint& checkpoint, ThreadPool& threads)
      : model_(model),
        checkpoint_(checkpoint),
        threads_(threads),
        shapes_(weight_shapes(checkpoint.config)) {}

  void load() {
    const ModelConfig& config = model_.config_;
    const ModelTensors& tensors = checkpoint_.tensors;
    buffer_ = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(largest_matrix()));
    load_embedding();
    model_.positions_ = keep_if_there(tensors.positions);
    load_layers();
    model_.final_norm_ = norm(tensors.final_norm, tensors.final_norm_bias);
    if (config.position == PositionKind::rotary) {
      model_.rope_ = std::make_unique<Rotations>(config.rope, config.max_positions);
      if (config.local_rope.dimensions > 0)
        model_.local_rope_ = std::make_unique<Rotations>(config.local_rope, config.max_positions);
    }
  }

 private:
  [[nodiscard]] int64_t largest_matrix() const {
    const int64_t tile = std::min<int64_t>(Model::kVocabTile, model_.config_.vocab_size);
    return std::max({shapes_.qkv.values(), shapes_.out.values(), shapes_.up.values(),
                     shapes_.down.values(), tile * model_.config_.d_model});
  }

  /// Rows of a ref, rounded to the run's type.
  void read(const TensorRef& ref, Range rows, float* out) const {
    const int64_t columns = tensor_extent(*checkpoint_.source, ref).columns;
    read_tensor(*checkpoint_.source, ref, rows, {0, columns}, threads_, out);
    round(ref, rows.size() * columns, out);
  }
  /// All rows of refs, one after another.
  void read(const std::vector<TensorRef>& refs, float* out) const {
    for (const TensorRef& ref : joined_refs(refs)) {
      const TensorExtent extent = tensor_extent(*checkpoint_.source, ref);
      read(ref, {0, extent.rows}, out);
      out += extent.values();
    }
  }

  void round(const TensorRef& ref, int64_t count, float* values) const {
    const ComputeType type = model_.type_;
    if (type == ComputeType::float32) return;
    threads_.parallel_for((count + kRoundedValues - 1) / kRoundedValues, [&](int64_t part) {
      float* first = values + part * kRoundedValues;
      const int64_t size = std::min(kRoundedValues, count - part * kRoundedValues);
      const int64_t overflow = first_overflow(type, first, size);
      if (overflow >= 0)
        fail(ErrorKind::input,
             "{}: tensor '{}' has the value {}, and the largest number of {} is {}; choose another "
             "dtype for this model",
             checkpoint_.path, ref.name, first[overflow], compute_type_name(type),
             largest_number(type));
      round_to(type, first, size);
    });
  }

  std::unique_ptr<Linear> pack(const float* values, const MatrixShape& shape, ComputeType type,
                               std::vector<Range> parts = {}) {
    auto linear = make_linear({.values = values,
                               .out_features = shape.rows,
                               .in_features = shape.columns,
                               .parts = std::move(parts),
                               .threads = &threads_},
                              model_.kernels_, type);
    model_.weight_bytes_ += linear->bytes();
    return linear;
  }
  /// The matrix of refs one under another.
  std::unique_ptr<Linear> load(const std::vector<TensorRef>& refs, const MatrixShape& shape,
                               std::vector<Range> parts = {}) {
    read(refs, buffer_.get());
    return pack(buffer_.get(), shape, model_.type_, std::move(parts));
  }

  std::vector<float> keep_if_there(const TensorRef& ref) {
    if (!ref.present()) return {};
    std::vector<float> values(
        static_cast<size_t>(tensor_extent(*checkpoint_.source, ref).values()));
    read({ref}, values.data());
    model_.weight_bytes_ += std::ssize(values) * 4;
    return values;
  }

  NormWeights norm(const TensorRef& gain, const TensorRef& bias) {
    return {keep_if_there(gain), keep_if_there(bias)};
  }

  struct Bias {
    const TensorRef& ref;
    int64_t size = 0;
  };
  /// Biases one after another, zeros where one is absent but a neighbour is there.
  std::vector<float> biases(const std::vector<Bias>& all) {
    int64_t size = 0;
    bool any = false;
    for (const Bias& one : all) {
      size += one.size;
      any = any || one.ref.present();
    }
    if (!any) return {};
    std::vector<float> values(static_cast<size_t>(size), 0.0F);
    float* out = values.data();
    for (const Bias& one : all) {
      if (one.ref.present()) read({one.ref}, out);
      out += one.size;
    }
    model_.weight_bytes_ += size * 4;
    return values;
  }

  /// The embedding, unless the unembedding has it, and the unembedding.
  void load_embedding() {
    const TensorRef& embedding = checkpoint_.tensors.embedding;
    const TensorRef& unembedding = checkpoint_.tensors.unembedding;
    const int64_t vocab = model_.config_.vocab_size;
    const int64_t width = model_.config_.d_model;
    const bool tied = !unembedding.present();
    if (!has_one_table(checkpoint_, model_.kernels_)) {
      const int64_t values = vocab * width;
      model_.embedding_ = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(values));
      read({embedding}, model_.embedding_.get());
      model_.weight_bytes_ += values * 4;
    }
    // Logits are fp32 whatever the type of the run.
    for (int64_t begin = 0; begin < vocab; begin += Model::kVocabTile) {
      const Range rows = {begin, std::min(begin + Model::kVocabTile, vocab)};
      const bool held = tied && model_.embedding_ != nullptr;
      if (!held) read(tied ? embedding : unembedding, rows, buffer_.get());
      model_.unembedding_.push_back(
          pack(held ? model_.embedding_.get() + begin * width : buffer_.get(), {rows.size(), width},
               ComputeType::float32));
    }
    model_.unembedding_bias_ = keep_if_there(checkpoint_.tensors.unembedding_bias);
  }

  /// Matrices of a layer.
  static std::vector<const TensorRef*> matrices(const LayerTensors& layer) {
    return {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down};
  }

  /// Layers as their tensors follow one another in the files.
  [[nodiscard]] std::vector<size_t> layers_in_file_order() const {
    std::map<std::string, size_t> places;
    for (const TensorInfo& info : checkpoint_.source->tensors())
      places.emplace(info.name, places.size());
    std::vector<std::pair<size_t, size_t>> order;
    for (size_t l = 0; l < checkpoint_.tensors.layers.size(); ++l)
      order.emplace_back(places[checkpoint_.tensors.layers[l].q.name], l);
    std::sort(order.begin(), order.end());
    std::vector<size_t> layers;
    for (const auto& [place, layer] : order) layers.push_back(layer);
    return layers;
  }

  void load_layers() {
    const std::vector<LayerTensors>& layers = checkpoint_.tensors.layers;
    const std::vector<size_t> order = layers_in_file_order();
    const auto expect = [&](size_t i) {
      if (i >= order.size()) return;
      for (const TensorRef* ref : matrices(layers[order[i]]))
        if (ref->present()) checkpoint_.source->expect_reading(ref->name);
    };
    model_.layers_.resize(layers.size());
    expect(0);
    for (size_t i = 0; i < order.size(); ++i) {
      expect(i + 1);  // comes in while this layer is converted
      model_.layers_[order[i]] = load_layer(layers[order[i]]);
    }
  }

  LayerWeights load_layer(const LayerTensors& layer) {
    LayerWeights weights;
    weights.attn_norm = norm(layer.attn_norm, layer.attn_norm_bias);
    load_attention(layer, weights);
    weights.q_norm = keep_if_there(layer.q_norm);
    weights.k_norm = keep_if_there(layer.k_norm);
    weights.attn_post_norm = norm(layer.attn_post_norm, {});
    weights.mlp_norm = norm(layer.mlp_norm, layer.mlp_norm_bias);
    load_mlp(layer, weights);
    weights.mlp_post_norm = norm(layer.mlp_post_norm, {});
    return weights;
  }

  void load_attention(const LayerTensors& layer, LayerWeights& weights) {
    const ModelConfig& config = model_.config_;
    const int64_t q_rows = int64_t{config.n_heads} * config.head_size;
    const int64_t kv_rows = int64_t{config.n_kv_heads} * config.head_size;
    weights.qkv = load({layer.q, layer.k, layer.v}, shapes_.qkv);
    weights.qkv_bias =
        biases({{layer.q_bias, q_rows}, {layer.k_bias, kv_rows}, {layer.v_bias, kv_rows}});
    weights.out = load({layer.o}, shapes_.out,
                       even_parts(config.n_heads, attention_parts(config), config.head_size));
    weights.out_bias = keep_if_there(layer.o_bias);
  }

  void load_mlp(const LayerTensors& layer, LayerWeights& weights) {
    const ModelConfig& config = model_.config_;
    if (config.gated_mlp) {
      weights.up = load({layer.gate, layer.up}, shapes_.up);
      weights.up_bias = biases({{layer.gate_bias, config.d_mlp}, {layer.up_bias, config.d_mlp}});
    } else {
      weights.up = load({layer.up}, shapes_.up);
      weights.up_bias = biases({{layer.up_bias, config.d_mlp}});
    }
    weights.down = load({layer.down}, shapes_.down, even_parts(config.d_mlp, mlp_parts(config), 1));
    weights.down_bias = keep_if_there(layer.down_bias);
  }

  Model& model_;
  const Checkpoint& checkpoint_;
  ThreadPool& threads_;
  WeightShapes shapes_;
  std::unique_ptr<float[]> buffer_;  ///< one matrix, fp32
};

Model::Model(const Checkpoint& checkpoint, Group& group, const LoadOptions& options)
    : config_(checkpoint.config), kernels_(options.kernels), type_(options.type), group_(&group) {
  const at::NoGradGuard no_grad;
  ensure(group.size() == 1, "tensor parallel loading was asked for before it exists");
  try {
    std::optional<ThreadPool> own;
    ThreadPool& threads = options.threads != nullptr ? *options.threads : own.emplace(1);
    ModelLoader(*this, checkpoint, threads).load();
  } catch (const std::bad_alloc&) {
    fail(ErrorKind::resource, "{}: not enough memory for the weights", checkpoint.path);
  } catch (const c10::Error& error) {
    fail(ErrorKind::resource, "{}: loading the weights failed: {}", checkpoint.path,
         error.what_without_backtrace());
  }
}

}  // namespace mechsweep
