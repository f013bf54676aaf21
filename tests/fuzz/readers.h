#pragma once

#include <span>
#include <string_view>

namespace mechsweep::fuzz {

/// How the bytes of a reader's files hang together, for whoever changes them.
enum class Format {
  json,         ///< JSON documents, a NUL byte between them
  json_lines,   ///< a JSON document on every line
  safetensors,  ///< a length, a JSON document of that length, data
  gguf,
  bytes,  ///< nothing known
};

/// Reads the bytes as a file of its kind, as a user's file would be read, and uses what it was
/// given as far as that goes without a model's arithmetic. Aborts when the file is refused in any
/// other way than the one that oracle.h describes, or when what was accepted does not hold
/// together.
using ReadBytes = bool (*)(std::string_view bytes);

struct Reader {
  std::string_view name;
  Format format;
  ReadBytes read;
};

bool read_safetensors(std::string_view bytes);  ///< model.safetensors
bool read_index(std::string_view bytes);        ///< model.safetensors.index.json beside two shards
bool read_gguf(std::string_view bytes);         ///< header, values, model and tokenizer
bool read_config(std::string_view bytes);       ///< config.json
bool read_tokenizer_json(std::string_view bytes);  ///< tokenizer.json [NUL tokenizer_config.json]
bool read_prompts(std::string_view bytes);         ///< a prompt file
bool read_interventions(std::string_view bytes);   ///< an interventions file
bool read_run_config(std::string_view bytes);      ///< YAML

/// Every reader there is.
std::span<const Reader> readers();

/// Null pointer when there is none of this name.
const Reader* find_reader(std::string_view name);

}  // namespace mechsweep::fuzz
