#include <array>
#include <string>

#include "core/config_node.h"
#include "core/error.h"
#include "experiments/intervention_file.h"
#include "model/checkpoint.h"
#include "model/json_file.h"
#include "model/tokenizer_folder.h"
#include "oracle.h"
#include "plan/yaml_reader.h"
#include "prompts/prompt_table.h"
#include "readers.h"

namespace mechsweep::fuzz {

namespace {

/// Says of every name that there is such a tensor, or that there is none, so that what depends on
/// a checkpoint's spelling takes either way.
class AnyTensors final : public TensorSource {
 public:
  explicit AnyTensors(bool all) : all_(all) {}
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const override { return none_; }
  [[nodiscard]] const TensorInfo* find(const std::string& /*name*/) const override {
    return all_ ? &any_ : nullptr;
  }
  void read_rows(const std::string& /*name*/, int64_t /*begin*/, int64_t /*end*/,
                 float* /*out*/) const override {}
  [[nodiscard]] std::vector<std::string> files() const override { return {}; }

 private:
  bool all_;
  TensorInfo any_;
  std::vector<TensorInfo> none_;
};

const Architecture* architecture_of(const Json& config) {
  for (const Architecture& one : architecture_table()) {
    if (config.is_object() && config.contains("model_type") &&
        config.at("model_type") == one.hf_model_type) {
      return &one;
    }
  }
  return nullptr;
}

void check_config(const Architecture& architecture, const Json& json) {
  const ModelConfig config = architecture.config_from_hf(json);
  config.check();
  (void)config.to_json().dump();
  constexpr int kEnoughLayers = 200;  // deeper ones only take longer
  if (config.n_layers > kEnoughLayers) return;
  for (const bool all : {false, true}) {
    const ModelTensors tensors = architecture.tensors_of_hf(config, AnyTensors(all));
    require(std::ssize(tensors.layers) == config.n_layers, "every layer has its tensors");
    for (const ExpectedTensor& one : expected_tensors(config, tensors)) {
      require(!one.shape.empty() && one.shape[0] > 0 && one.stored_rows >= 0,
              "expected tensors have a size");
    }
  }
}

/// The small tokenizer that texts of prompts are read with.
const Tokenizer& small_tokenizer() {
  static const std::unique_ptr<Tokenizer> instance =
      open_tokenizer(MECHSWEEP_SOURCE_DIR "/tests/golden/tokenizers/gpt2-style");
  return *instance;
}

ConfigNode scalar(const std::string& text) {
  ConfigNode node;
  node.kind = ConfigNode::Kind::scalar;
  node.scalar = text;
  return node;
}

/// A prompt set of a run's config that reads one file.
std::unique_ptr<PromptSource> prompt_source(const std::string& name) {
  ConfigNode node;
  node.kind = ConfigNode::Kind::map;
  node.entries.push_back({"path", {}, scalar(name)});
  Problems problems;
  MapReader map(node, problems);
  std::unique_ptr<PromptSource> source;
  for (const PromptKind& kind : prompt_table()) {
    if (kind.name == "file") source = kind.parse("p", map);
  }
  problems.throw_if_any();
  return source;
}

}  // namespace

bool read_config(std::string_view bytes) {
  static const Scratch scratch;
  static const bool once = [] {
    scratch.write("model.safetensors", std::string_view("\x02\0\0\0\0\0\0\0{}", 10));
    return true;
  }();
  require(once, "the folder is there");
  const std::string path = scratch.write("config.json", bytes);
  attempt("  folder", scratch.folder(), [&] { (void)open_checkpoint(scratch.folder()); });
  // The folder above has no tensors, so the rest is reached by another way.
  return attempt("config", path, [&] {
    const Json json = read_json_file(path);
    const Architecture* architecture = architecture_of(json);
    try {
      if (architecture == nullptr) fail(ErrorKind::input, "is of an unknown architecture");
      check_config(*architecture, json);
    } catch (const Error& error) {
      throw error.within(path);  // as open_checkpoint does
    }
  });
}

bool read_tokenizer_json(std::string_view bytes) {
  static const Scratch scratch;
  const size_t end = bytes.find('\0');
  const std::string path = scratch.write("tokenizer.json", bytes.substr(0, end));
  if (end == std::string_view::npos) {
    scratch.remove("tokenizer_config.json");
  } else {
    scratch.write("tokenizer_config.json", bytes.substr(end + 1));
  }
  return attempt("tokenizer", scratch.folder(), [&] {
    const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(scratch.folder());
    use_tokenizer(*tokenizer, path);
  });
}

bool read_prompts(std::string_view bytes) {
  static const Scratch scratch;
  static const std::unique_ptr<PromptSource> source = prompt_source("prompts.jsonl");
  const std::string path = scratch.write("prompts.jsonl", bytes);
  const Tokenizer& tokenizer = small_tokenizer();
  const PromptContext context{&tokenizer, tokenizer.vocab_size(), 64, -1, 1, scratch.folder()};
  return attempt("prompts", path, [&] {
    for (const Prompt& prompt : source->make(context)) {
      (void)prompt_to_json(prompt).dump();
      check_prompt(prompt, context.vocab_size, context.max_positions);
    }
  });
}

bool read_interventions(std::string_view bytes) {
  static const Scratch scratch;
  static const std::string vectors = [] {
    return scratch.write("vectors.safetensors",
                         repository_file("tests/golden/edits/vectors.safetensors"));
  }();
  const std::string path = scratch.write("edits.jsonl", bytes);
  return attempt(
      "interventions", path,
      [&] {
        for (const ListedIntervention& one : read_intervention_file(path)) {
          (void)one.to_json().dump();
        }
      },
      true);
}

bool read_run_config(std::string_view bytes) {
  static const Scratch scratch;
  const std::string path = scratch.write("run.yaml", bytes);
  return attempt("yaml", path, [&] { (void)read_yaml(path); });
}

}  // namespace mechsweep::fuzz
