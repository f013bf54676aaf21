#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "core/error.h"
#include "model/model.h"

namespace mechsweep {

/// Fills a Model from a checkpoint, one tensor at a time: the fp32 copy of a tensor lives only
/// until it is packed.
class ModelLoader {
 public:
  ModelLoader(Model& model, const Checkpoint& checkpoint)
      : model_(model), checkpoint_(checkpoint) {}

  void load() {
    const ModelConfig& config = model_.config_;
    const ModelTensors& tensors = checkpoint_.tensors;
    model_.embedding_ = keep(read(tensors.embedding));
    if (tensors.positions.present()) model_.positions_ = keep(read(tensors.positions));
    for (const LayerTensors& layer : tensors.layers) model_.layers_.push_back(load_layer(layer));
    model_.final_norm_ = norm(tensors.final_norm, tensors.final_norm_bias);
    load_unembedding();
    if (config.position == PositionKind::rotary) {
      model_.rope_ = rotary(config.rope);
      if (config.local_rope.dimensions > 0) model_.local_rope_ = rotary(config.local_rope);
    }
  }

 private:
  /// [out, in] or [out], fp32, contiguous.
  at::Tensor read(const TensorRef& ref) const {
    const TensorInfo* info = checkpoint_.source->find(ref.name);
    ensure(info != nullptr, "a tensor that was checked is gone");
    const bool all = ref.rows.size() == 0;
    at::Tensor tensor;
    if (ref.pieces.count > 0) {
      tensor = read_pieces(ref, *info);
    } else if (ref.transposed) {
      tensor = at::empty(info->shape, at::kFloat);
      checkpoint_.source->read_rows(ref.name, 0, info->shape[0], tensor.mutable_data_ptr<float>());
      tensor = tensor.t();
      if (!all) tensor = tensor.narrow(0, ref.rows.begin, ref.rows.size());
      tensor = tensor.contiguous();
    } else {
      const Range rows = all ? Range{0, info->shape[0]} : ref.rows;
      std::vector<int64_t> shape = info->shape;
      shape[0] = rows.size();
      tensor = at::empty(shape, at::kFloat);
      checkpoint_.source->read_rows(ref.name, rows.begin, rows.end,
                                    tensor.mutable_data_ptr<float>());
    }
    if (ref.interleaved_heads > 0) tensor = undo_interleaving(tensor, ref.interleaved_heads);
    if (ref.add_one) tensor += 1.0F;
    return model_.type_ == ComputeType::bfloat16 ? tensor.to(at::kBFloat16).to(at::kFloat) : tensor;
  }

  at::Tensor read_pieces(const TensorRef& ref, const TensorInfo& info) const {
    ensure(!ref.transposed, "pieces of a transposed tensor");
    const RowPieces& pieces = ref.pieces;
    std::vector<int64_t> shape = info.shape;
    shape[0] = pieces.count * pieces.size;
    at::Tensor tensor = at::empty(shape, at::kFloat);
    const int64_t floats = tensor.numel() / pieces.count;
    for (int64_t i = 0; i < pieces.count; ++i) {
      const int64_t first = pieces.offset + i * pieces.stride;
      checkpoint_.source->read_rows(ref.name, first, first + pieces.size,
                                    tensor.mutable_data_ptr<float>() + i * floats);
    }
    return tensor;
  }

  /// Rows of a head stored as (0, E/2, 1, E/2 + 1, ...) back to (0, 1, ..., E - 1).
  static at::Tensor undo_interleaving(const at::Tensor& tensor, int heads) {
    std::vector<int64_t> shape = tensor.sizes().vec();
    const int64_t head_size = shape[0] / heads;
    const at::Tensor pairs = tensor.reshape({heads, head_size / 2, 2, -1});
    return pairs.transpose(1, 2).contiguous().reshape(shape);
  }

  std::vector<float> keep(const at::Tensor& tensor) {
    model_.weight_bytes_ += tensor.numel() * 4;
    const at::Tensor whole = tensor.contiguous();
    return {whole.const_data_ptr<float>(), whole.const_data_ptr<float>() + whole.numel()};
  }

  std::unique_ptr<Linear> pack(const at::Tensor& weight, ComputeType type,
                               std::vector<Range> parts = {}) {
    const at::Tensor whole = weight.contiguous();
    auto linear = make_linear({.values = whole.const_data_ptr<float>(),
                               .out_features = whole.size(0),
                               .in_features = whole.size(1),
                               .parts = std::move(parts)},
                              model_.kernels_, type);
    model_.weight_bytes_ += linear->bytes();
    return linear;
  }
  std::unique_ptr<Linear> pack(const at::Tensor& weight) { return pack(weight, model_.type_); }

  /// The cut of a row-parallel product's inputs: `count` things of `size` numbers in even parts.
  static std::vector<Range> even_parts(int64_t count, int parts, int64_t size) {
    std::vector<Range> ranges;
    for (int part = 0; part < parts; ++part) {
      const Range range = even_part(count, parts, part);
      ranges.push_back({range.begin * size, range.end * size});
    }
    return ranges;
  }

  std::vector<float> keep_if_there(const TensorRef& ref) {
    return ref.present() ? keep(read(ref)) : std::vector<float>();
  }

  NormWeights norm(const TensorRef& gain, const TensorRef& bias) {
    return {keep_if_there(gain), keep_if_there(bias)};
  }

  /// The values of a bias, or zeros where this one is absent but a neighbour has one.
  at::Tensor bias_or_zeros(const TensorRef& ref, int64_t size) const {
    return ref.present() ? read(ref) : at::zeros({size}, at::kFloat);
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
    weights.qkv = pack(at::cat({read(layer.q), read(layer.k), read(layer.v)}));
    if (layer.q_bias.present() || layer.k_bias.present() || layer.v_bias.present()) {
      const int64_t q_rows = int64_t{config.n_heads} * config.head_size;
      const int64_t kv_rows = int64_t{config.n_kv_heads} * config.head_size;
      weights.qkv_bias =
          keep(at::cat({bias_or_zeros(layer.q_bias, q_rows), bias_or_zeros(layer.k_bias, kv_rows),
                        bias_or_zeros(layer.v_bias, kv_rows)}));
    }
    weights.out = pack(read(layer.o), model_.type_,
                       even_parts(config.n_heads, attention_parts(config), config.head_size));
    if (layer.o_bias.present()) weights.out_bias = keep(read(layer.o_bias));
  }

  void load_mlp(const LayerTensors& layer, LayerWeights& weights) {
    const ModelConfig& config = model_.config_;
    at::Tensor up = read(layer.up);
    if (config.gated_mlp) up = at::cat({read(layer.gate), up});
    weights.up = pack(up);
    if (layer.up_bias.present() || layer.gate_bias.present()) {
      at::Tensor bias = bias_or_zeros(layer.up_bias, config.d_mlp);
      if (config.gated_mlp) bias = at::cat({bias_or_zeros(layer.gate_bias, config.d_mlp), bias});
      weights.up_bias = keep(bias);
    }
    weights.down =
        pack(read(layer.down), model_.type_, even_parts(config.d_mlp, mlp_parts(config), 1));
    if (layer.down_bias.present()) weights.down_bias = keep(read(layer.down_bias));
  }

  void load_unembedding() {
    const TensorRef& ref = checkpoint_.tensors.unembedding;
    const int64_t vocab = model_.config_.vocab_size;
    const at::Tensor table =
        ref.present()
            ? read(ref)
            : at::from_blob(model_.embedding_.data(), {vocab, model_.config_.d_model}, at::kFloat);
    // Logits are fp32 whatever the type of the run.
    for (int64_t begin = 0; begin < vocab; begin += Model::kVocabTile)
      model_.unembedding_.push_back(
          pack(table.narrow(0, begin, std::min(Model::kVocabTile, vocab - begin)),
               ComputeType::float32));
    model_.unembedding_bias_ = keep_if_there(checkpoint_.tensors.unembedding_bias);
  }

  [[nodiscard]] Rotary rotary(const RopeConfig& rope) const {
    // The same library calls as transformers makes: at long positions one unit in the last place of
    // a frequency is an angle that can be seen.
    const at::Tensor exponents = at::arange(0, rope.dimensions, 2, at::kFloat) / rope.dimensions;
    const at::Tensor powers = at::pow(rope.theta, exponents).contiguous();
    const float* values = powers.const_data_ptr<float>();
    return {rope, {values, values + powers.numel()}, model_.config_.max_positions};
  }

  Model& model_;
  const Checkpoint& checkpoint_;
};

Model::Model(const Checkpoint& checkpoint, Group& group, const LoadOptions& options)
    : config_(checkpoint.config), kernels_(options.kernels), type_(options.type), group_(&group) {
  const at::NoGradGuard no_grad;
  ensure(group.size() == 1, "tensor parallel loading was asked for before it exists");
  try {
    ModelLoader(*this, checkpoint).load();
  } catch (const std::bad_alloc&) {
    fail(ErrorKind::resource, "{}: not enough memory for the weights", checkpoint.path);
  } catch (const c10::Error& error) {
    fail(ErrorKind::resource, "{}: loading the weights failed: {}", checkpoint.path,
         error.what_without_backtrace());
  }
}

}  // namespace mechsweep
