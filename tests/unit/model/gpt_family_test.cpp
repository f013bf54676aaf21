#include "model/arch/gpt_family.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"
#include "model/arch/architecture.h"
#include "model/arch/gpt2.h"
#include "model/arch/gpt_neox.h"
#include "model/arch/gptj.h"
#include "model/arch/opt.h"

// What the configs of GPT-2, GPT-NeoX, GPT-J and OPT mean, and which are refused. The numbers that
// come out of whole models are compared elsewhere, with the goldens of the architectures.

namespace mechsweep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// The smallest configs; what they leave out has transformers' defaults.
const Json kGpt2Config = {
    {"n_layer", 3}, {"n_head", 4}, {"n_embd", 32}, {"n_positions", 16}, {"vocab_size", 11}};
const Json kGptNeoxConfig = {{"num_hidden_layers", 2},
                             {"num_attention_heads", 4},
                             {"hidden_size", 64},
                             {"intermediate_size", 48},
                             {"vocab_size", 11}};
const Json kGptjConfig = {
    {"n_layer", 2}, {"n_head", 2}, {"n_embd", 256}, {"n_positions", 16}, {"vocab_size", 11}};
const Json kOptConfig = {{"num_hidden_layers", 2}, {"num_attention_heads", 4},
                         {"hidden_size", 32},      {"ffn_dim", 48},
                         {"vocab_size", 11},       {"max_position_embeddings", 16}};

ModelConfig read(const Architecture& architecture, Json config,
                 const Json& patch = Json::object()) {
  config.update(patch);
  ModelConfig result = architecture.config_from_hf(config);
  result.check();
  return result;
}

/// A checkpoint of which only the names count.
class NamedTensors final : public TensorSource {
 public:
  explicit NamedTensors(const std::vector<std::string>& names) {
    for (const std::string& name : names) infos_.push_back({.name = name, .shape = {1}});
  }
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const override { return infos_; }
  void read_rows(const std::string&, int64_t, int64_t, float*) const override {
    FAIL() << "nothing is to be read";
  }
  [[nodiscard]] std::vector<std::string> files() const override { return {}; }

 private:
  std::vector<TensorInfo> infos_;
};

ModelTensors tensors(const Architecture& architecture, const ModelConfig& config,
                     const std::vector<std::string>& names = {}) {
  return architecture.tensors_of_hf(config, NamedTensors(names));
}

struct BadConfig {
  const char* name;
  const Architecture* architecture;
  const Json* config;
  Json patch;
  std::vector<std::string> parts;
};

void PrintTo(const BadConfig& one, std::ostream* out) {
  *out << one.name;
}

class GptFamilyRefuses : public ::testing::TestWithParam<BadConfig> {};

TEST_P(GptFamilyRefuses, ByName) {
  const BadConfig& bad = GetParam();
  ASSERT_NO_THROW(read(*bad.architecture, *bad.config));
  try {
    read(*bad.architecture, *bad.config, bad.patch);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    for (const std::string& part : bad.parts) EXPECT_THAT(error.what(), HasSubstr(part));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Configs, GptFamilyRefuses,
    ::testing::Values(BadConfig{"cross_attention",
                                &kGpt2,
                                &kGpt2Config,
                                {{"add_cross_attention", true}},
                                {"'add_cross_attention'"}},
                      BadConfig{
                          "layers_that_would_not_fit",
                          &kGpt2,
                          &kGpt2Config,
                          {{"scale_attn_by_inverse_layer_idx", true}, {"n_layer", 2000000000}},
                          {"number of layers"}},
                      BadConfig{"fewer_than_no_layers",
                                &kGpt2,
                                &kGpt2Config,
                                {{"scale_attn_by_inverse_layer_idx", true}, {"n_layer", -1}},
                                {"number of layers"}},
                      BadConfig{"uneven_heads",
                                &kGptNeox,
                                &kGptNeoxConfig,
                                {{"num_attention_heads", 5}},
                                {"'hidden_size' 64", "'num_attention_heads' 5"}},
                      BadConfig{"activation",
                                &kGptNeox,
                                &kGptNeoxConfig,
                                {{"hidden_act", "quick_gelu"}},
                                {"'hidden_act'", "quick_gelu"}},
                      BadConfig{"heads_of_another_size",
                                &kGptNeox,
                                &kGptNeoxConfig,
                                {{"head_dim", 8}},
                                {"'head_dim'", "8"}},
                      BadConfig{"rotary_base_that_is_not_read",
                                &kGptNeox,
                                &kGptNeoxConfig,
                                {{"rope_theta", 500.0}, {"rotary_emb_base", 700}},
                                {"'rope_theta'", "500", "700", "'rotary_emb_base'"}},
                      BadConfig{"rotary_share_that_is_not_read",
                                &kGptNeox,
                                &kGptNeoxConfig,
                                {{"partial_rotary_factor", 0.5}},
                                {"'partial_rotary_factor'", "0.5", "0.25"}},
                      BadConfig{"rotary_settings_that_are_no_map",
                                &kGptNeox,
                                &kGptNeoxConfig,
                                {{"rope_scaling", "linear"}},
                                {"'rope_scaling'", "linear"}},
                      BadConfig{"nothing_rotated",
                                &kGptNeox,
                                &kGptNeoxConfig,
                                {{"rotary_pct", 0.0625}},
                                {"rotary dimensions 1"}},
                      BadConfig{"no_rotary_dimensions",
                                &kGptj,
                                &kGptjConfig,
                                {{"rotary_dim", nullptr}},
                                {"'rotary_dim'", "128"}},
                      BadConfig{"more_rotated_than_there_is",
                                &kGptj,
                                &kGptjConfig,
                                {{"n_head", 8}},
                                {"rotary dimensions 64", "32"}},
                      BadConfig{"norms_after",
                                &kOpt,
                                &kOptConfig,
                                {{"do_layer_norm_before", false}},
                                {"'do_layer_norm_before'"}},
                      BadConfig{"no_final_norm",
                                &kOpt,
                                &kOptConfig,
                                {{"_remove_final_layer_norm", true}},
                                {"'_remove_final_layer_norm'"}},
                      BadConfig{"narrow_embedding",
                                &kOpt,
                                &kOptConfig,
                                {{"word_embed_proj_dim", 16}},
                                {"'word_embed_proj_dim'", "16", "32"}},
                      BadConfig{"norms_without_weights",
                                &kOpt,
                                &kOptConfig,
                                {{"layer_norm_elementwise_affine", false}},
                                {"'layer_norm_elementwise_affine'"}}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(GptFamily, ActivationsByTheirNamesInTransformers) {
  const auto named = [](const char* name) {
    return read(kGptNeox, kGptNeoxConfig, {{"hidden_act", name}}).activation;
  };
  EXPECT_EQ(named("gelu"), ActivationKind::gelu_erf);
  EXPECT_EQ(named("gelu_new"), ActivationKind::gelu_tanh);
  EXPECT_EQ(named("gelu_fast"), ActivationKind::gelu_tanh);  // the 20B model's
  EXPECT_EQ(named("relu"), ActivationKind::relu);
}

TEST(GptFamily, DefaultsOfTransformers) {
  EXPECT_EQ(read(kGpt2, kGpt2Config).activation, ActivationKind::gelu_tanh);
  EXPECT_TRUE(read(kGpt2, kGpt2Config).tied_embeddings);
  const ModelConfig neox = read(kGptNeox, kGptNeoxConfig);
  EXPECT_EQ(neox.activation, ActivationKind::gelu_erf);
  EXPECT_TRUE(neox.parallel_residual);
  EXPECT_TRUE(neox.attention_biases);
  EXPECT_FALSE(neox.tied_embeddings);
  EXPECT_EQ(neox.rope, (RopeConfig{.theta = 10000.0, .dimensions = 4}));
  EXPECT_EQ(neox.max_positions, 2048);
  const ModelConfig gptj = read(kGptj, kGptjConfig);
  EXPECT_EQ(gptj.activation, ActivationKind::gelu_tanh);
  EXPECT_EQ(gptj.d_mlp, 4 * 256);
  EXPECT_EQ(gptj.rope, (RopeConfig{.theta = 10000.0, .dimensions = 64, .interleaved = true}));
  EXPECT_FALSE(gptj.tied_embeddings);
  const ModelConfig opt = read(kOpt, kOptConfig);
  EXPECT_EQ(opt.activation, ActivationKind::relu);
  EXPECT_TRUE(opt.tied_embeddings);
}

TEST(Gpt2, ScalesOfScores) {
  const ModelConfig usual = read(kGpt2, kGpt2Config);
  for (int layer = 0; layer < 3; ++layer)
    EXPECT_DOUBLE_EQ(usual.score_scale(layer), 0.35355339059327376);  // 1 / sqrt(8)
  const ModelConfig inverse = read(kGpt2, kGpt2Config, {{"scale_attn_by_inverse_layer_idx", true}});
  EXPECT_DOUBLE_EQ(inverse.score_scale(0), 0.35355339059327376);
  EXPECT_DOUBLE_EQ(inverse.score_scale(2), 0.11785113019775793);
  const ModelConfig both =
      read(kGpt2, kGpt2Config,
           {{"scale_attn_by_inverse_layer_idx", true}, {"scale_attn_weights", false}});
  EXPECT_DOUBLE_EQ(both.score_scale(1), 0.5);
}

/// What llama.cpp writes for the smallest config above.
const Json kGpt2Metadata = {{"gpt2.block_count", 3},
                            {"gpt2.attention.head_count", 4},
                            {"gpt2.embedding_length", 32},
                            {"gpt2.feed_forward_length", 128},
                            {"gpt2.context_length", 16},
                            {"gpt2.attention.layer_norm_epsilon", 1e-5},
                            {"tokenizer.ggml.tokens", {"a", "b", "c"}},
                            {"tokenizer.ggml.eos_token_id", 2}};

TEST(Gpt2, KeysOfGguf) {
  const ModelConfig config = kGpt2.config_from_gguf(kGpt2Metadata);
  EXPECT_NO_THROW(config.check());
  EXPECT_EQ(config.head_size, 8);
  EXPECT_EQ(config.d_mlp, 128);
  EXPECT_EQ(config.vocab_size, 3);
  EXPECT_EQ(config.max_positions, 16);
  EXPECT_EQ(config.activation, ActivationKind::gelu_tanh);
  EXPECT_EQ(config.position, PositionKind::learned);
  EXPECT_EQ(config.eos_token, 2);
  Json nameless = kGpt2Metadata;
  nameless.erase("tokenizer.ggml.tokens");
  EXPECT_THROW(kGpt2.config_from_gguf(nameless), Error);
}

TEST(Gpt2, TensorsOfGguf) {
  const ModelConfig config = kGpt2.config_from_gguf(kGpt2Metadata);
  const ModelTensors tied = kGpt2.tensors_of_gguf(config, NamedTensors({"token_embd.weight"}));
  EXPECT_FALSE(tied.unembedding.present());
  const TensorRef& values = tied.layers.at(2).v;
  EXPECT_EQ(values.name, "blk.2.attn_qkv.weight");
  EXPECT_EQ(values.rows, (Range{64, 96}));
  EXPECT_FALSE(values.transposed);
  EXPECT_TRUE(kGpt2.tensors_of_gguf(config, NamedTensors({"output.weight"})).unembedding.present());
}

TEST(GptNeox, RotarySettingsInEverySpelling) {
  const auto rope = [](const Json& patch) { return read(kGptNeox, kGptNeoxConfig, patch).rope; };
  const RopeConfig wanted{.theta = 700.0, .dimensions = 8};
  EXPECT_EQ(rope({{"rotary_emb_base", 700}, {"rotary_pct", 0.5}}), wanted);
  EXPECT_EQ(rope({{"rope_parameters", {{"rope_theta", 700.0}, {"partial_rotary_factor", 0.5}}}}),
            wanted);
  EXPECT_EQ(rope({{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 700.0}}},
                  {"rotary_pct", 0.5}}),
            wanted);
  EXPECT_EQ(rope({{"rotary_emb_base", 700},
                  {"rotary_pct", 0.5},
                  {"rope_theta", 700.0},
                  {"partial_rotary_factor", 0.5},
                  {"rope_scaling", nullptr}}),
            wanted);
  const RopeConfig scaled = rope({{"rotary_emb_base", 700},
                                  {"rotary_pct", 0.5},
                                  {"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}});
  EXPECT_EQ(
      scaled,
      (RopeConfig{.theta = 700.0, .dimensions = 8, .scaling = RopeScaling::linear, .factor = 2.0}));
}

/// Rows of a stored tensor that make one of ours, in order.
std::vector<int64_t> rows_of(const RowPieces& pieces) {
  std::vector<int64_t> rows;
  for (int64_t piece = 0; piece < pieces.count; ++piece)
    for (int64_t row = 0; row < pieces.size; ++row)
      rows.push_back(pieces.offset + piece * pieces.stride + row);
  return rows;
}

TEST(GptNeox, QueriesKeysAndValuesOfAHeadLieTogether) {
  // Two heads of 2: the rows are q0 q0 k0 k0 v0 v0 q1 q1 k1 k1 v1 v1.
  const ModelConfig config =
      read(kGptNeox, kGptNeoxConfig,
           {{"hidden_size", 4}, {"num_attention_heads", 2}, {"rotary_pct", 1.0}});
  const LayerTensors layer = tensors(kGptNeox, config).layers.at(1);
  EXPECT_EQ(layer.q.name, "layers.1.attention.query_key_value.weight");
  EXPECT_THAT(rows_of(layer.q.pieces), ElementsAre(0, 1, 6, 7));
  EXPECT_THAT(rows_of(layer.k.pieces), ElementsAre(2, 3, 8, 9));
  EXPECT_THAT(rows_of(layer.v.pieces), ElementsAre(4, 5, 10, 11));
  EXPECT_EQ(layer.v_bias.name, "layers.1.attention.query_key_value.bias");
  EXPECT_THAT(rows_of(layer.v_bias.pieces), ElementsAre(4, 5, 10, 11));
}

TEST(GptNeox, BiasesOnlyWhereTheConfigPromisesThem) {
  const ModelConfig config = read(kGptNeox, kGptNeoxConfig, {{"attention_bias", false}});
  const LayerTensors layer = tensors(kGptNeox, config).layers.at(0);
  for (const TensorRef* bias : {&layer.q_bias, &layer.k_bias, &layer.v_bias, &layer.o_bias})
    EXPECT_FALSE(bias->present());
  EXPECT_TRUE(layer.up_bias.present());
}

TEST(GptNeox, NamesOfTheUnembedding) {
  const ModelConfig config = read(kGptNeox, kGptNeoxConfig);
  const std::string embedding = "gpt_neox.embed_in.weight";
  EXPECT_EQ(tensors(kGptNeox, config, {embedding}).embedding.name, embedding);
  EXPECT_EQ(tensors(kGptNeox, config, {embedding}).unembedding.name, "embed_out.weight");
  EXPECT_EQ(tensors(kGptNeox, config, {"lm_head.weight"}).unembedding.name, "lm_head.weight");
  const ModelConfig tied = read(kGptNeox, kGptNeoxConfig, {{"tie_word_embeddings", true}});
  EXPECT_FALSE(tensors(kGptNeox, tied, {"lm_head.weight"}).unembedding.present());
}

TEST(GptNeox, BuffersOfOlderVersionsAreNoWeights) {
  for (const char* name :
       {"attention.bias", "attention.masked_bias", "attention.rotary_emb.inv_freq"})
    EXPECT_TRUE(kGptNeox.is_ignored(std::string("gpt_neox.layers.0.") + name)) << name;
  for (const char* name : {"attention.dense.bias", "attention.query_key_value.bias"})
    EXPECT_FALSE(kGptNeox.is_ignored(std::string("gpt_neox.layers.0.") + name)) << name;
}

TEST(Gptj, AttentionAndMlpShareANorm) {
  const LayerTensors layer =
      tensors(kGptj, read(kGptj, kGptjConfig), {"transformer.wte.weight"}).layers.at(1);
  EXPECT_EQ(layer.attn_norm.name, "transformer.h.1.ln_1.weight");
  EXPECT_EQ(layer.mlp_norm.name, layer.attn_norm.name);
  EXPECT_EQ(layer.mlp_norm_bias.name, layer.attn_norm_bias.name);
}

TEST(Gptj, TheUnembeddingHasABiasEvenIfTied) {
  const ModelConfig tied = read(kGptj, kGptjConfig, {{"tie_word_embeddings", true}});
  const ModelTensors all = tensors(kGptj, tied);
  EXPECT_FALSE(all.unembedding.present());
  EXPECT_EQ(all.unembedding_bias.name, "lm_head.bias");
}

TEST(Opt, PositionsBeginAtTheThirdRow) {
  const ModelTensors all = tensors(kOpt, read(kOpt, kOptConfig));
  EXPECT_EQ(all.positions.name, "model.decoder.embed_positions.weight");
  EXPECT_EQ(all.positions.rows, (Range{2, 18}));
}

TEST(Opt, NamesOfTheBareModel) {
  const ModelTensors all = tensors(kOpt, read(kOpt, kOptConfig), {"decoder.embed_tokens.weight"});
  EXPECT_EQ(all.embedding.name, "decoder.embed_tokens.weight");
  EXPECT_EQ(all.layers.at(1).down_bias.name, "decoder.layers.1.fc2.bias");
}

TEST(Opt, BiasesOnlyWhereTheConfigPromisesThem) {
  const ModelConfig config = read(kOpt, kOptConfig, {{"enable_bias", false}});
  const LayerTensors layer = tensors(kOpt, config).layers.at(0);
  for (const TensorRef* bias : {&layer.q_bias, &layer.k_bias, &layer.v_bias, &layer.o_bias,
                                &layer.up_bias, &layer.down_bias})
    EXPECT_FALSE(bias->present());
  EXPECT_TRUE(layer.attn_norm_bias.present());
}

}  // namespace
}  // namespace mechsweep
