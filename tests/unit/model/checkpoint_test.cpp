#include "model/checkpoint.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint_files.h"
#include "core/json.h"

// Folders whose config and tensors contradict each other, made from the golden checkpoints.

namespace mechsweep {
namespace {

using namespace test_files;
namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string golden(const std::string& name) {
  return std::string(MECHSWEEP_SOURCE_DIR) + "/tests/golden/" + name;
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

/// A copy of a golden checkpoint that can be spoilt.
class SpoiltCopy {
 public:
  explicit SpoiltCopy(const std::string& name) {
    for (const auto& entry : fs::directory_iterator(golden("checkpoints/" + name)))
      folder_.write(entry.path().filename().string(), read_file(entry.path()));
  }
  [[nodiscard]] std::string path() const { return folder_.path(); }
  void write(const std::string& name, std::string_view bytes) const { folder_.write(name, bytes); }

  /// Changes keys of config.json; a null removes one.
  void patch_config(const Json& patch) const {
    Json config = Json::parse(read_file(fs::path(path()) / "config.json"));
    config.merge_patch(patch);
    write("config.json", config.dump());
  }

  /// Changes the header of model.safetensors; the data stay as they are.
  template <typename Change>
  void change_header(Change change) const {
    const std::string bytes = read_file(fs::path(path()) / "model.safetensors");
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    Json header = Json::parse(bytes.substr(sizeof length, length));
    change(header);
    const std::string text = header.dump();
    write("model.safetensors",
          Bytes().put<uint64_t>(text.size()).raw(text).data() + bytes.substr(8 + length));
  }

  /// The error must name this folder and hold every one of `parts`.
  void expect_refused(const std::vector<std::string>& parts) const {
    try {
      open_checkpoint(path());
      ADD_FAILURE() << "nothing was thrown; expected: " << parts.front();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(path()));
      for (const std::string& part : parts) EXPECT_THAT(error.what(), HasSubstr(part));
    }
  }

 private:
  TempFolder folder_;
};

struct ConfigCase {
  const char* name;
  const char* model;
  Json patch;
  std::vector<std::string> parts;
};

void PrintTo(const ConfigCase& one, std::ostream* out) {
  *out << one.name;
}

TEST(BadConfigText, IsRefusedBeforeAnythingIsBuiltOfIt) {
  const SpoiltCopy copy("llama-random");
  const std::string config = read_file(fs::path(copy.path()) / "config.json");
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  copy.write("config.json", "{\"rope_scaling\": " + deep + "," + config.substr(1));
  copy.expect_refused({"config.json", "nested deeper than 64"});
  copy.write("config.json", "{\"vocab_size\": 7," + config.substr(1));
  copy.expect_refused({"config.json", "has the name 'vocab_size' twice"});
  copy.write("config.json", config.substr(0, config.size() / 2));
  copy.expect_refused({"config.json", "is not valid JSON: line "});
}

TEST(BadTokenizerText, IsRefusedBeforeAnythingIsBuiltOfIt) {
  const SpoiltCopy copy("llama-random");
  copy.write("tokenizer.json", "{\"model\":" + std::string(100'000, '['));
  copy.expect_refused({"tokenizer.json", "nested deeper than 64"});
  copy.write("tokenizer.json", R"({"model": {"vocab": {"a": 0, "a": 1}}})");
  copy.expect_refused({"tokenizer.json", "has the name 'a' twice"});
  copy.write("tokenizer.json", R"({"model": {"type": "WordPiece"}})");
  copy.expect_refused({"tokenizer.json", "model.type", "WordPiece"});
  copy.write("tokenizer_config.json", "{");
  copy.expect_refused({"tokenizer_config.json", "is not valid JSON"});
}

class BadConfig : public ::testing::TestWithParam<ConfigCase> {};

TEST_P(BadConfig, IsRefusedByName) {
  const SpoiltCopy copy(GetParam().model);
  copy.patch_config(GetParam().patch);
  copy.expect_refused(GetParam().parts);
}

INSTANTIATE_TEST_SUITE_P(
    Keys, BadConfig,
    ::testing::Values(
        ConfigCase{"unknown_architecture",
                   "llama-random",
                   {{"model_type", "mamba"}},
                   {"config.json", "mamba", "gpt2, llama"}},
        ConfigCase{"quantised_in_the_folder",
                   "llama-random",
                   {{"quantization_config", {{"quant_method", "gptq"}, {"bits", 4}}}},
                   {"config.json", "'quantization_config'"}},
        ConfigCase{"no_architecture",
                   "llama-random",
                   {{"model_type", nullptr}},
                   {"config.json", "model_type"}},
        ConfigCase{"missing_key",
                   "llama-random",
                   {{"hidden_size", nullptr}},
                   {"config.json", "'hidden_size'", "missing"}},
        ConfigCase{"missing_key_gpt2",
                   "gpt2-random",
                   {{"n_head", nullptr}},
                   {"config.json", "'n_head'", "missing"}},
        ConfigCase{"text_for_number",
                   "llama-random",
                   {{"num_hidden_layers", "three"}},
                   {"'num_hidden_layers'", "three"}},
        ConfigCase{"fraction",
                   "llama-random",
                   {{"num_attention_heads", 4.5}},
                   {"'num_attention_heads'", "4.5"}},
        ConfigCase{"huge_number", "gpt2-random", {{"n_embd", 99999999999}}, {"'n_embd'"}},
        ConfigCase{"large_number", "gpt2-random", {{"n_embd", 1500000001}}, {"n_embd"}},
        ConfigCase{"unsigned_beyond_64_bits",
                   "llama-random",
                   {{"vocab_size", 18446744073709551615U}},
                   {"'vocab_size'"}},
        ConfigCase{"no_layers", "llama-random", {{"num_hidden_layers", 0}}, {"number of layers"}},
        ConfigCase{"too_many_layers",
                   "llama-random",
                   {{"num_hidden_layers", 2000000000}},
                   {"number of layers"}},
        ConfigCase{"more_layers_than_tensors",
                   "llama-random",
                   {{"num_hidden_layers", 9999}},
                   {"9999 layers", "tensors in all"}},
        ConfigCase{"token_beyond_32_bits",
                   "llama-random",
                   {{"eos_token_id", {4294967297U}}},
                   {"config.json", "'eos_token_id' is 4294967297, too large"}},
        ConfigCase{"no_plain_text",
                   "gpt2-random",
                   {{"activation_function", "gelu\x1B\n"}},
                   {"'activation_function' is", "not a plain text"}},
        ConfigCase{"no_heads", "llama-random", {{"num_attention_heads", 0}}, {"number of heads"}},
        ConfigCase{"uneven_groups",
                   "llama-random",
                   {{"num_key_value_heads", 3}},
                   {"4 query heads", "3 key/value heads"}},
        ConfigCase{"uneven_heads", "gpt2-random", {{"n_head", 5}}, {"'n_embd' 36", "'n_head' 5"}},
        ConfigCase{"epsilon", "llama-random", {{"rms_norm_eps", 0}}, {"epsilon"}},
        ConfigCase{
            "flag", "llama-random", {{"tie_word_embeddings", "no"}}, {"'tie_word_embeddings'"}},
        ConfigCase{
            "activation", "llama-random", {{"hidden_act", "relu"}}, {"'hidden_act'", "relu"}},
        ConfigCase{"activation_gpt2",
                   "gpt2-random",
                   {{"activation_function", "swish"}},
                   {"'activation_function'", "swish"}},
        ConfigCase{"unknown_scaling",
                   "llama-random",
                   {{"rope_scaling", {{"rope_type", "stretched"}, {"factor", 8.0}}}},
                   {"'rope_scaling'", "'stretched'"}},
        ConfigCase{"incomplete_scaling",
                   "llama-random",
                   {{"rope_scaling", {{"rope_type", "llama3"}, {"factor", 8.0}}}},
                   {"'rope_scaling'", "'llama3'", "'low_freq_factor'"}},
        ConfigCase{"rotation_is_no_map",
                   "llama-random",
                   {{"rope_scaling", "linear"}},
                   {"'rope_scaling'", "linear"}},
        ConfigCase{"partial_rotation",
                   "llama-random",
                   {{"rope_parameters", {{"partial_rotary_factor", 0.5}}}},
                   {"'partial_rotary_factor'", "0.5"}},
        ConfigCase{"vocabulary",
                   "llama-random",
                   {{"vocab_size", 102}},
                   {"model.embed_tokens.weight", "[102, 32]"}},
        ConfigCase{"mlp_width",
                   "llama-random",
                   {{"intermediate_size", 48}},
                   {"model.layers.0.mlp.gate_proj.weight", "[48, 32]"}},
        ConfigCase{"head_size",
                   "llama-random",
                   {{"head_dim", 16}},
                   {"model.layers.0.self_attn.q_proj.weight", "[64, 32]"}},
        ConfigCase{"positions", "gpt2-random", {{"n_positions", 7}}, {"wpe.weight", "[7, 36]"}},
        ConfigCase{"layer_missing",
                   "llama-random",
                   {{"num_hidden_layers", 4}},
                   {"model.layers.3.", "missing"}},
        ConfigCase{"layer_left_over",
                   "llama-random",
                   {{"num_hidden_layers", 2}},
                   {"model.layers.2.", "no part"}},
        ConfigCase{"biases_promised",
                   "llama-random",
                   {{"attention_bias", true}},
                   {"model.layers.0.self_attn.q_proj.bias", "missing"}},
        ConfigCase{"biases_not_promised",
                   "llama-random-sharded",
                   {{"mlp_bias", false}},
                   {"mlp.", "bias", "no part"}}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(Checkpoint, GoldenFoldersOpen) {
  const Checkpoint llama = open_checkpoint(golden("checkpoints/llama-random"));
  EXPECT_EQ(llama.format, "safetensors");
  EXPECT_EQ(llama.architecture->name, "llama");
  EXPECT_EQ(llama.config.n_layers, 3);
  EXPECT_EQ(llama.config.n_kv_heads, 2);
  EXPECT_EQ(llama.config.head_size, 8);
  EXPECT_EQ(llama.config.d_mlp, 44);
  EXPECT_FALSE(llama.config.tied_embeddings);
  EXPECT_EQ(llama.tokenizer, nullptr);
  const Checkpoint sharded = open_checkpoint(golden("checkpoints/llama-random-sharded"));
  EXPECT_EQ(sharded.config.head_size, 10);
  EXPECT_TRUE(sharded.config.tied_embeddings);
  EXPECT_EQ(open_checkpoint(golden("checkpoints/gpt2-random")).config.n_heads, 3);
}

TEST(Checkpoint, MissingFoldersAndConfigsAreRefused) {
  expect_input_error([] { open_checkpoint("/no/such/model"); }, "/no/such/model");
  const TempFolder empty;
  expect_input_error([&] { open_checkpoint(empty.path()); }, "config.json");
}

TEST(Checkpoint, ConfigsThatAreNoMapsAreRefused) {
  const SpoiltCopy copy("llama-random");
  for (const char* text : {"", "{", "[1, 2]", "7", "\"llama\""}) {
    copy.write("config.json", text);
    copy.expect_refused({"config.json"});
  }
}

TEST(Checkpoint, ARenamedTensorIsMissing) {
  const SpoiltCopy copy("llama-random");
  copy.change_header([](Json& header) {
    header["model.final.weight"] = header.at("model.norm.weight");
    header.erase("model.norm.weight");
  });
  copy.expect_refused({"model.norm.weight", "final norm", "missing"});
}

TEST(Checkpoint, ATensorOfAnotherShapeIsRefused) {
  const SpoiltCopy copy("gpt2-random");
  copy.change_header([](Json& header) {
    for (auto& [name, entry] : header.items())
      if (name.ends_with("h.0.attn.c_attn.weight")) entry["shape"] = {27, 144};
  });
  copy.expect_refused({"h.0.attn.c_attn.weight", "[27, 144]", "transposed"});
}

TEST(Checkpoint, PartsOfAStoredTensorMustCoverIt) {
  // As long as three vectors of the width, and then some.
  const SpoiltCopy copy("gpt2-random");
  copy.change_header([](Json& header) {
    // Two vectors of 144 and 108 values trade places: c_fc's bias is the longer one.
    for (auto& [name, entry] : header.items())
      if (name.ends_with("h.0.mlp.c_fc.bias")) {
        const std::string other = name.substr(0, name.find("mlp.")) + "attn.c_attn.bias";
        std::swap(entry, header.at(other));
        break;
      }
  });
  copy.expect_refused({"h.0.attn.c_attn.bias", "[144]", "[108]"});
}

TEST(Checkpoint, ATokenizerLargerThanTheVocabularyIsRefused) {
  const SpoiltCopy copy("llama-random");
  copy.write("tokenizer.json", read_file(golden("tokenizers/gpt2-style/tokenizer.json")));
  copy.expect_refused({"tokenizer", "vocabulary only 101"});
}

}  // namespace
}  // namespace mechsweep
