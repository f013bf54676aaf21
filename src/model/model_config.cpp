#include "model/model_config.h"

#include <cmath>

#include "core/error.h"

namespace mechsweep {

namespace {

std::string_view name_of(NormKind kind) {
  return kind == NormKind::rms ? "rms" : "layer";
}

std::string_view name_of(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::silu:
      return "silu";
    case ActivationKind::gelu_tanh:
      return "gelu_tanh";
    case ActivationKind::gelu_erf:
      return "gelu_erf";
  }
  return "unknown";
}

void check_dimension(const char* name, int value, int maximum) {
  if (value < 1 || value > maximum)
    fail(ErrorKind::input, "{} is {}, outside 1..{}: the checkpoint's config is wrong or damaged",
         name, value, maximum);
}

}  // namespace

Json ModelConfig::to_json() const {
  return {{"architecture", architecture},
          {"n_layers", n_layers},
          {"n_heads", n_heads},
          {"n_kv_heads", n_kv_heads},
          {"head_size", head_size},
          {"d_model", d_model},
          {"d_mlp", d_mlp},
          {"vocab_size", vocab_size},
          {"max_positions", max_positions},
          {"norm", name_of(norm)},
          {"norm_eps", norm_eps},
          {"activation", name_of(activation)},
          {"gated_mlp", gated_mlp},
          {"position", position == PositionKind::rotary ? "rotary" : "learned"},
          {"rope_theta", rope.theta},
          {"rope_dimensions", rope.dimensions},
          {"attention_scale", attention_scale},
          {"tied_embeddings", tied_embeddings},
          {"bos_token", bos_token},
          {"eos_token", eos_token}};
}

void ModelConfig::check() const {
  check_dimension("number of layers", n_layers, 10'000);
  check_dimension("number of heads", n_heads, 100'000);
  check_dimension("number of key/value heads", n_kv_heads, 100'000);
  check_dimension("head size", head_size, 65'536);
  check_dimension("model width", d_model, 1'000'000);
  check_dimension("MLP width", d_mlp, 10'000'000);
  check_dimension("vocabulary size", vocab_size, 10'000'000);
  check_dimension("context length", max_positions, 1'000'000'000);
  if (n_heads % n_kv_heads != 0)
    fail(ErrorKind::input, "{} query heads cannot share {} key/value heads evenly", n_heads,
         n_kv_heads);
  if (!(norm_eps > 0.0 && norm_eps < 1.0))
    fail(ErrorKind::input, "the norm's epsilon is {}, outside (0, 1)", norm_eps);
  if (!(std::isfinite(attention_scale) && attention_scale > 0.0))
    fail(ErrorKind::input, "the attention scale is {}, not a positive number", attention_scale);
  if (position == PositionKind::rotary) {
    if (rope.dimensions < 2 || rope.dimensions > head_size || rope.dimensions % 2 != 0)
      fail(ErrorKind::input, "rotary dimensions {} must be even and within the head size {}",
           rope.dimensions, head_size);
    if (!(std::isfinite(rope.theta) && rope.theta > 1.0))
      fail(ErrorKind::input, "the rotary base is {}, not a number above 1", rope.theta);
  }
}

}  // namespace mechsweep
