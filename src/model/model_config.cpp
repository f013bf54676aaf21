#include "model/model_config.h"

#include <algorithm>
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
    case ActivationKind::relu:
      return "relu";
  }
  return "unknown";
}

void check_dimension(const char* name, int value, int maximum) {
  if (value < 1 || value > maximum)
    fail(ErrorKind::input, "{} is {}, outside 1..{}: the checkpoint's config is wrong or damaged",
         name, value, maximum);
}

}  // namespace

namespace {

std::string_view name_of(QkNormKind kind) {
  switch (kind) {
    case QkNormKind::none:
      return "none";
    case QkNormKind::per_head:
      return "per_head";
    case QkNormKind::all_heads:
      return "all_heads";
  }
  return "unknown";
}

std::string_view name_of(RopeScaling scaling) {
  switch (scaling) {
    case RopeScaling::none:
      return "none";
    case RopeScaling::linear:
      return "linear";
    case RopeScaling::llama3:
      return "llama3";
    case RopeScaling::yarn:
      return "yarn";
    case RopeScaling::dynamic:
      return "dynamic";
    case RopeScaling::longrope:
      return "longrope";
    case RopeScaling::factors:
      return "factors";
  }
  return "unknown";
}

void add_rope(const char* prefix, const RopeConfig& rope, Json& json) {
  const auto key = [&](const char* name) { return std::string(prefix) + name; };
  json[key("theta")] = rope.theta;
  json[key("dimensions")] = rope.dimensions;
  if (rope.scaling == RopeScaling::none) return;
  json[key("scaling")] = name_of(rope.scaling);
  if (rope.scaling != RopeScaling::longrope && rope.scaling != RopeScaling::factors)
    json[key("factor")] = rope.factor;
  if (rope.original_positions > 0) json[key("original_positions")] = rope.original_positions;
  if (rope.attention_factor != 1.0) json[key("attention_factor")] = rope.attention_factor;
}

void check_rope(const RopeConfig& rope, int head_size) {
  if (rope.dimensions < 2 || rope.dimensions > head_size || rope.dimensions % 2 != 0)
    fail(ErrorKind::input, "rotary dimensions {} must be even and within the head size {}",
         rope.dimensions, head_size);
  if (!(std::isfinite(rope.theta) && rope.theta > 1.0))
    fail(ErrorKind::input, "the rotary base is {}, not a number above 1", rope.theta);
  if (!(std::isfinite(rope.factor) && rope.factor >= 1.0))
    fail(ErrorKind::input, "the rotary scaling factor is {}, not a number from 1 on", rope.factor);
  if (!(std::isfinite(rope.attention_factor) && rope.attention_factor > 0.0))
    fail(ErrorKind::input, "the rotary attention factor is {}, not a positive number",
         rope.attention_factor);
  const bool needs_context = rope.scaling != RopeScaling::none &&
                             rope.scaling != RopeScaling::linear &&
                             rope.scaling != RopeScaling::factors;
  if (needs_context && rope.original_positions < 1)
    fail(ErrorKind::input, "rotary scaling of type {} needs the original context length",
         name_of(rope.scaling));
  if (rope.scaling == RopeScaling::dynamic && rope.dimensions < 4)
    fail(ErrorKind::input, "rotary scaling of type dynamic has no meaning for {} dimensions",
         rope.dimensions);
  if (rope.scaling != RopeScaling::longrope) return;
  for (const auto* factors : {&rope.frequency_factors, &rope.long_frequency_factors})
    if (std::ssize(*factors) != rope.dimensions / 2)
      fail(ErrorKind::input,
           "rotary scaling has {} frequency factors for {} dimensions, not half as many",
           factors->size(), rope.dimensions);
}

void check_factor(const char* name, double value, bool zero_is_none) {
  if (!std::isfinite(value) || value < 0.0 || (value == 0.0 && !zero_is_none))
    fail(ErrorKind::input, "the {} is {}, not a positive number", name, value);
}

}  // namespace

Json ModelConfig::to_json() const {
  Json json = {{"architecture", architecture},
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
               {"attention_scale", attention_scale},
               {"tied_embeddings", tied_embeddings},
               {"bos_token", bos_token},
               {"eos_token", eos_token}};
  if (position == PositionKind::rotary) add_rope("rope_", rope, json);
  if (local_rope.dimensions > 0) add_rope("local_rope_", local_rope, json);
  // What few models have is said only where they have it.
  if (qk_norm != QkNormKind::none) json["qk_norm"] = name_of(qk_norm);
  if (score_cap > 0.0) json["score_cap"] = score_cap;
  if (logit_cap > 0.0) json["logit_cap"] = logit_cap;
  if (embedding_scale != 1.0) json["embedding_scale"] = embedding_scale;
  if (parallel_residual) json["parallel_residual"] = true;
  std::vector<int> windows;
  for (const LayerKind& kind : layer_kinds) windows.push_back(kind.window);
  if (std::any_of(windows.begin(), windows.end(), [](int window) { return window > 0; }))
    json["windows"] = windows;
  return json;
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
  check_factor("attention scale", attention_scale, false);
  check_factor("embedding scale", embedding_scale, false);
  check_factor("soft cap of scores", score_cap, true);
  check_factor("soft cap of logits", logit_cap, true);
  if (!layer_kinds.empty() && std::ssize(layer_kinds) != n_layers)
    fail(ErrorKind::input, "the config describes {} layers, but the model has {}",
         layer_kinds.size(), n_layers);
  for (const LayerKind& kind : layer_kinds) {
    if (kind.window < 0)
      fail(ErrorKind::input, "a sliding window has {} keys, fewer than none", kind.window);
    check_factor("score factor of a layer", kind.score_factor, false);
    if (kind.local_rope) check_rope(local_rope, head_size);
  }
  if (position == PositionKind::rotary) check_rope(rope, head_size);
}

}  // namespace mechsweep
