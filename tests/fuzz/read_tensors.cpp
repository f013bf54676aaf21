#include "core/error.h"
#include "model/checkpoint.h"
#include "model/tensor_source.h"
#include "oracle.h"
#include "readers.h"

namespace mechsweep::fuzz {

bool read_safetensors(std::string_view bytes) {
  static const Scratch scratch;
  const std::string path = scratch.write("model.safetensors", bytes);
  return attempt("safetensors", path, [&] {
    const auto source = open_safetensors(scratch.folder());
    use_tensors(*source, bytes.size());
    attempt("  missing tensor", path, [&] { (void)source->require("no.such.tensor"); });
  });
}

bool read_index(std::string_view bytes) {
  static const Scratch scratch;
  static const uint64_t shard_bytes = [] {
    const std::string folder = "tests/golden/checkpoints/llama-random-sharded/";
    uint64_t total = 0;
    for (const char* name :
         {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}) {
      const std::string shard = repository_file(folder + name);
      scratch.write(name, shard);
      total += shard.size();
    }
    scratch.write("short.safetensors", std::string_view("\x10\0\0\0\0\0\0\0{}", 10));
    return total;
  }();
  scratch.write("model.safetensors.index.json", bytes);
  // What is wrong may be in the index or in a shard that it names.
  return attempt("index", scratch.folder(), [&] {
    const auto source = open_safetensors(scratch.folder());
    use_tensors(*source, shard_bytes);
  });
}

bool read_gguf(std::string_view bytes) {
  static const Scratch scratch;
  const std::string path = scratch.write("model.gguf", bytes);
  const bool good = attempt("gguf", path, [&] {
    const GgufFile file = open_gguf(path);
    use_tensors(*file.tensors, bytes.size());
  });
  if (!good) return false;
  attempt("gguf tokenizer", path, [&] {
    try {
      const GgufFile file = open_gguf(path);
      use_tokenizer(*tokenizer_from_gguf(file.metadata), path);
    } catch (const Error& error) {
      throw error.within(path);  // as open_checkpoint does
    }
  });
  attempt("gguf model", path, [&] {
    const Checkpoint checkpoint = open_checkpoint(path);
    (void)checkpoint.config.to_json().dump();
  });
  return true;
}

}  // namespace mechsweep::fuzz
