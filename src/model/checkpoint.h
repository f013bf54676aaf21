#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model/arch/architecture.h"
#include "model/model_config.h"
#include "model/tensor_source.h"
#include "model/tokenizer.h"

namespace mechsweep {

/// A model on disk, opened and checked but not loaded: a Hugging Face folder or a GGUF file.
struct Checkpoint {
  std::string path;
  std::string format;  ///< "safetensors" or "gguf"
  const Architecture* architecture = nullptr;
  ModelConfig config;
  std::unique_ptr<TensorSource> source;
  ModelTensors tensors;
  std::unique_ptr<Tokenizer> tokenizer;  ///< null where the folder has no tokenizer.json
  std::vector<std::string> files;        ///< every file that decides a number or a token id
};

/// Opens a folder (config.json, *.safetensors, tokenizer.json) or a .gguf file. Checks that the
/// architecture is known, that every tensor it needs is there with the shape that the config
/// implies, and that no tensor is left over that we would silently not use. Throws Error{input}
/// naming the file and key or tensor. Reads headers only (and rotary factors, where there are
/// some).
Checkpoint open_checkpoint(const std::string& path);

/// The shape [out, in], or [out], that a tensor must have, by its place in the model.
struct ExpectedTensor {
  const TensorRef* ref = nullptr;
  std::vector<int64_t> shape;
  std::string role;         ///< "layer 3 query projection", for messages
  int64_t stored_rows = 0;  ///< rows of the stored tensor where `ref` takes a range of them
};
std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config,
                                             const ModelTensors& tensors);

}  // namespace mechsweep
