#include "model/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "core/error.h"
#include "model/json_file.h"
#include "model/tensor_files.h"
#include "model/tokenizer_folder.h"

namespace mechsweep {

namespace fs = std::filesystem;

namespace {

/// The architectures that have a name of this kind.
std::string known_names(std::string_view Architecture::*member) {
  std::string names;
  for (const auto& architecture : architecture_table())
    if (!(architecture.*member).empty())
      names += (names.empty() ? "" : ", ") + std::string(architecture.*member);
  return names;
}

const Architecture& find_architecture(const std::string& name,
                                      std::string_view Architecture::*member) {
  for (const auto& architecture : architecture_table())
    if (!(architecture.*member).empty() && architecture.*member == name) return architecture;
  fail(ErrorKind::input,
       "architecture {} is not supported by this version in this format (it knows: {})",
       printable(name), known_names(member));
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

std::string quoted_key(const Json& object, const char* key) {
  if (!object.is_object() || !object.contains(key) || !object.at(key).is_string())
    fail(ErrorKind::input, "has no text '{}', so its architecture is unknown", key);
  return object.at(key).get<std::string>();
}

void check_one(const Checkpoint& checkpoint, const ExpectedTensor& expected) {
  const TensorRef& ref = *expected.ref;
  const TensorInfo* info = checkpoint.source->find(ref.name);
  if (info == nullptr)
    fail(ErrorKind::input, "tensor '{}' ({}) is missing: the checkpoint is incomplete", ref.name,
         expected.role);
  std::vector<int64_t> stored = info->shape;
  if (ref.transposed && stored.size() == 2) std::swap(stored[0], stored[1]);
  std::vector<int64_t> wanted = expected.shape;
  if (ref.rows.size() > 0 || ref.pieces.count > 0) wanted[0] = expected.stored_rows;
  if (stored != wanted)
    fail(ErrorKind::input, "tensor '{}' ({}) has shape {}, but the config implies {}{}", ref.name,
         expected.role, shape_text(info->shape), shape_text(wanted),
         ref.transposed ? " transposed" : "");
}

void check_tensors(const Checkpoint& checkpoint) {
  std::set<std::string> used;
  for (const auto& expected : expected_tensors(checkpoint.config, checkpoint.tensors)) {
    check_one(checkpoint, expected);
    used.insert(expected.ref->name);
  }
  for (const auto& info : checkpoint.source->tensors()) {
    if (!used.contains(info.name) && !checkpoint.architecture->is_ignored(info.name))
      fail(ErrorKind::input,
           "tensor {} is no part of architecture '{}' as this version computes it, so the "
           "results would not be the model's; refusing",
           printable(info.name), checkpoint.architecture->name);
  }
}

/// A folder whose config ties the embeddings and that stores an unembedding all the same.
/// transformers ties them only if the two are equal, and else goes by what is stored: taking what
/// is stored gives its numbers either way.
void use_stored_unembedding(Checkpoint& checkpoint) {
  if (!checkpoint.config.tied_embeddings) return;
  for (const char* name : {"lm_head.weight", "embed_out.weight"}) {
    if (checkpoint.source->find(name) == nullptr) continue;
    checkpoint.tensors.unembedding = {.name = name};
    checkpoint.config.tied_embeddings = false;
    return;
  }
}

/// What a tensor says of the rotation, which no key does.
void read_rope_factors(Checkpoint& checkpoint) {
  const std::string& name = checkpoint.tensors.rope_factors.name;
  if (name.empty()) return;
  RopeConfig& rope = checkpoint.config.rope;
  if (rope.scaling != RopeScaling::none)
    fail(ErrorKind::input,
         "tensor '{}' scales the rotation, and so do the file's keys: which of the two counts is "
         "not certain; use the Hugging Face folder instead",
         name);
  std::vector<float> factors(static_cast<size_t>(rope.dimensions / 2));
  checkpoint.source->read_rows(name, 0, rope.dimensions / 2, factors.data());
  for (const float factor : factors)
    if (!(std::isfinite(factor) && factor > 0.0F))
      fail(ErrorKind::input, "tensor '{}' has {} as a factor, not a number above 0", name, factor);
  rope.scaling = RopeScaling::factors;
  rope.frequency_factors.assign(factors.begin(), factors.end());
}

/// Every layer has tensors of its own. Said before lists of all that they need are made.
void check_layer_count(const Checkpoint& checkpoint) {
  const size_t tensors = checkpoint.source->tensors().size();
  if (static_cast<size_t>(checkpoint.config.n_layers) > tensors)
    fail(ErrorKind::input,
         "the config promises {} layers, but the checkpoint has {} tensors in all: it is "
         "incomplete, or the config is damaged",
         checkpoint.config.n_layers, tensors);
}

void open_folder(const fs::path& folder, Checkpoint& checkpoint) {
  const fs::path config_path = folder / "config.json";
  if (!fs::exists(config_path))
    fail(ErrorKind::input, "has no config.json; give a Hugging Face model folder or a .gguf file");
  const Json config = read_json_file(config_path.string());
  checkpoint.format = "safetensors";
  try {
    // The tensors of such a folder are not what the layers multiply with.
    if (config.is_object() && config.contains("quantization_config") &&
        !config.at("quantization_config").is_null())
      fail(ErrorKind::input,
           "'quantization_config' asks for weights that are quantised inside the folder, which "
           "this version does not read; save the model without it, or use GGUF");
    checkpoint.architecture =
        &find_architecture(quoted_key(config, "model_type"), &Architecture::hf_model_type);
    checkpoint.config = checkpoint.architecture->config_from_hf(config);
    checkpoint.config.check();
  } catch (const Error& error) {
    throw error.within("config.json");
  }
  checkpoint.source = open_safetensors(folder.string());
  check_layer_count(checkpoint);
  checkpoint.tensors =
      checkpoint.architecture->tensors_of_hf(checkpoint.config, *checkpoint.source);
  use_stored_unembedding(checkpoint);
  checkpoint.files = checkpoint.source->files();
  checkpoint.files.push_back(config_path.string());
  checkpoint.tokenizer = open_tokenizer(folder.string(), &checkpoint.files);
}

void open_gguf_file(const fs::path& path, Checkpoint& checkpoint) {
  GgufFile file = open_gguf(path.string());
  checkpoint.format = "gguf";
  checkpoint.architecture = &find_architecture(quoted_key(file.metadata, "general.architecture"),
                                               &Architecture::gguf_name);
  checkpoint.config = checkpoint.architecture->config_from_gguf(file.metadata);
  checkpoint.config.check();
  checkpoint.source = std::move(file.tensors);
  check_layer_count(checkpoint);
  checkpoint.tensors =
      checkpoint.architecture->tensors_of_gguf(checkpoint.config, *checkpoint.source);
  checkpoint.config.tied_embeddings = !checkpoint.tensors.unembedding.present();
  if (file.metadata.contains("tokenizer.ggml.model"))
    checkpoint.tokenizer = tokenizer_from_gguf(file.metadata);
  checkpoint.files = {path.string()};
}

}  // namespace

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config,
                                             const ModelTensors& tensors) {
  const int64_t width = config.d_model;
  const int64_t q_rows = int64_t{config.n_heads} * config.head_size;
  const int64_t kv_rows = int64_t{config.n_kv_heads} * config.head_size;
  const int64_t hidden = config.d_mlp;
  std::vector<ExpectedTensor> all;
  const auto add = [&](const TensorRef& ref, std::vector<int64_t> shape, const std::string& role) {
    if (ref.present()) all.push_back({&ref, std::move(shape), role});
  };
  add(tensors.embedding, {config.vocab_size, width}, "token embedding");
  add(tensors.positions, {config.max_positions, width}, "position embedding");
  for (size_t l = 0; l < tensors.layers.size(); ++l) {
    const LayerTensors& layer = tensors.layers[l];
    const std::string at = fmt::format("layer {} ", l);
    add(layer.attn_norm, {width}, at + "attention norm");
    add(layer.attn_norm_bias, {width}, at + "attention norm bias");
    add(layer.q, {q_rows, width}, at + "query projection");
    add(layer.k, {kv_rows, width}, at + "key projection");
    add(layer.v, {kv_rows, width}, at + "value projection");
    const bool per_head = config.qk_norm == QkNormKind::per_head;
    add(layer.q_norm, {per_head ? config.head_size : q_rows}, at + "query norm");
    add(layer.k_norm, {per_head ? config.head_size : kv_rows}, at + "key norm");
    add(layer.attn_post_norm, {width}, at + "norm after attention");
    add(layer.mlp_post_norm, {width}, at + "norm after the MLP");
    add(layer.q_bias, {q_rows}, at + "query bias");
    add(layer.k_bias, {kv_rows}, at + "key bias");
    add(layer.v_bias, {kv_rows}, at + "value bias");
    add(layer.o, {width, q_rows}, at + "output projection");
    add(layer.o_bias, {width}, at + "output bias");
    add(layer.mlp_norm, {width}, at + "MLP norm");
    add(layer.mlp_norm_bias, {width}, at + "MLP norm bias");
    add(layer.gate, {hidden, width}, at + "MLP gate");
    add(layer.gate_bias, {hidden}, at + "MLP gate bias");
    add(layer.up, {hidden, width}, at + "MLP up projection");
    add(layer.up_bias, {hidden}, at + "MLP up bias");
    add(layer.down, {width, hidden}, at + "MLP down projection");
    add(layer.down_bias, {width}, at + "MLP down bias");
  }
  add(tensors.final_norm, {width}, "final norm");
  add(tensors.final_norm_bias, {width}, "final norm bias");
  add(tensors.unembedding, {config.vocab_size, width}, "unembedding");
  add(tensors.unembedding_bias, {config.vocab_size}, "unembedding bias");
  add(tensors.rope_factors, {config.rope.dimensions / 2}, "rotary frequency factors");
  // Where several parts share a stored tensor, they must cover it.
  std::map<std::string, int64_t> ends;
  for (const auto& one : all) {
    const RowPieces& pieces = one.ref->pieces;
    ends[one.ref->name] =
        std::max({ends[one.ref->name], one.ref->rows.end, pieces.count * pieces.stride});
  }
  for (auto& one : all) one.stored_rows = ends.at(one.ref->name);
  return all;
}

Checkpoint open_checkpoint(const std::string& path) {
  Checkpoint checkpoint;
  checkpoint.path = path;
  try {
    if (!fs::exists(path))
      fail(ErrorKind::input,
           "does not exist; give a model folder or a .gguf file (scripts/fetch_model.sh fetches "
           "models)");
    if (fs::is_directory(path)) {
      open_folder(path, checkpoint);
    } else {
      open_gguf_file(path, checkpoint);
    }
    check_tensors(checkpoint);
    read_rope_factors(checkpoint);
    if (checkpoint.tokenizer && checkpoint.tokenizer->vocab_size() > checkpoint.config.vocab_size)
      fail(ErrorKind::input, "the tokenizer has {} ids but the model's vocabulary only {}",
           checkpoint.tokenizer->vocab_size(), checkpoint.config.vocab_size);
  } catch (const Error& error) {
    // Readers of single files name them in full already.
    if (std::string_view(error.what()).starts_with(path)) throw;
    throw error.within(path);
  }
  return checkpoint;
}

}  // namespace mechsweep
