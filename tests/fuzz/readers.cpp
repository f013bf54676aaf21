#include "readers.h"

#include <array>

namespace mechsweep::fuzz {

std::span<const Reader> readers() {
  static constexpr std::array<Reader, 8> kReaders = {{
      {"safetensors", Format::safetensors, read_safetensors},
      {"index", Format::json, read_index},
      {"gguf", Format::gguf, read_gguf},
      {"config", Format::json, read_config},
      {"tokenizer", Format::json, read_tokenizer_json},
      {"prompts", Format::json_lines, read_prompts},
      {"interventions", Format::json_lines, read_interventions},
      {"yaml", Format::bytes, read_run_config},
  }};
  return kReaders;
}

const Reader* find_reader(std::string_view name) {
  for (const Reader& reader : readers()) {
    if (reader.name == name) return &reader;
  }
  return nullptr;
}

}  // namespace mechsweep::fuzz
