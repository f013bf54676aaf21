#include "experiments/flops.h"

namespace mechsweep {

double forward_flops(const ModelConfig& model, int64_t tokens, int64_t read_rows) {
  const double t = static_cast<double>(tokens);
  const double width = model.d_model;
  const double head_size = model.head_size;
  const double q_width = model.n_heads * head_size;
  const double kv_width = model.n_kv_heads * head_size;
  const double projections = 2.0 * t * width * (2.0 * q_width + 2.0 * kv_width);
  const double mlp = 2.0 * t * width * model.d_mlp * (model.gated_mlp ? 3.0 : 2.0);
  const double attention = 2.0 * 2.0 * q_width * t * (t + 1.0) / 2.0;
  const double unembedding = 2.0 * static_cast<double>(read_rows) * width * model.vocab_size;
  return model.n_layers * (projections + mlp + attention) + unembedding;
}

}  // namespace mechsweep
