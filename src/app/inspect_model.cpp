#include "app/inspect_model.h"

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/site.h"
#include "model/checkpoint.h"
#include "model/linear.h"
#include "model/unused_keys.h"
#include "model/weight_shapes.h"

namespace mechsweep {

namespace {

constexpr double kMiB = 1048576.0;

/// Text that may hold any bytes is printed as JSON does, bad ones replaced.
std::string json_text(const Json& value) {
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Small models have small numbers.
std::string short_number(double value) {
  return value >= 100.0 ? fmt::format("{:.1f}", value) : fmt::format("{:.3g}", value);
}

void print_config(const Checkpoint& checkpoint) {
  const ModelConfig& config = checkpoint.config;
  const Json json = config.to_json();
  print_line("architecture",
             fmt::format("{} ({})", config.architecture, checkpoint.architecture->summary));
  for (const auto& [name, value] : json.items())
    if (name != "architecture" && name != "max_positions")
      print_line(name, name.ends_with("_token") && value == -1 ? "none" : json_text(value));
  const std::string sharing = shared_heads_text(Site::k, config);
  if (!sharing.empty()) print_line("shared heads", sharing);
  print_line("context", fmt::format("{} tokens", config.max_positions));
}

std::string memory_text(const Checkpoint& checkpoint, ComputeType type) {
  const int64_t bytes = resident_weight_bytes(checkpoint, KernelSet::native, type);
  return fmt::format("{} MiB of weights", short_number(static_cast<double>(bytes) / kMiB));
}

void print_tensors(const Checkpoint& checkpoint) {
  std::map<std::string_view, int64_t> by_type;
  double parameters = 0.0;
  for (const TensorInfo& tensor : checkpoint.source->tensors()) {
    ++by_type[storage_type_name(tensor.type)];
    parameters += static_cast<double>(tensor.rows()) * static_cast<double>(tensor.row_size());
  }
  print_line("parameters",
             fmt::format("{:.0f} ({} million)", parameters, short_number(parameters / 1e6)));
  std::vector<std::string> types;
  for (const auto& [type, count] : by_type) types.push_back(fmt::format("{} {}", count, type));
  print_line("tensors", fmt::format("{}", fmt::join(types, ", ")));
  for (const std::string& name : compute_type_names())
    print_line("memory " + name, memory_text(checkpoint, parse_compute_type(name)));
}

void print_tokenizer(const Tokenizer* tokenizer) {
  if (tokenizer == nullptr) return print_line("tokenizer", "none: prompts must be given as ids");
  std::vector<std::string> first;
  for (const int32_t id : tokenizer->prefix())
    first.push_back(fmt::format("{} ({})", tokenizer->decode({id}), id));
  print_line("tokenizer", fmt::format("{}; {} ids, {} special; {}", tokenizer->kind(),
                                      tokenizer->vocab_size(), tokenizer->special_tokens().size(),
                                      first.empty() ? std::string("puts nothing before a text")
                                                    : fmt::format("puts {} before a text",
                                                                  fmt::join(first, ", "))));
}

void print_unused(const Checkpoint& checkpoint) {
  const std::vector<std::string> keys = unused_config_keys(checkpoint);
  print_line("ignored keys", keys.empty() ? "none" : fmt::format("{}", fmt::join(keys, ", ")));
  const std::vector<std::string> tensors = unused_tensors(checkpoint);
  print_line("ignored tensors",
             tensors.empty() ? "none" : fmt::format("{}", fmt::join(tensors, ", ")));
}

}  // namespace

void print_line(const std::string& name, const std::string& value) {
  std::printf("%-18s %s\n", name.c_str(), value.c_str());
}

void inspect_model(const std::string& path) {
  const Checkpoint checkpoint = open_checkpoint(path);
  print_line("path", path);
  print_line("format", checkpoint.format);
  print_config(checkpoint);
  print_tensors(checkpoint);
  print_tokenizer(checkpoint.tokenizer.get());
  print_unused(checkpoint);
  for (const std::string& file : checkpoint.files)
    print_line(
        "file",
        fmt::format("{} ({} MB)", file,
                    short_number(static_cast<double>(std::filesystem::file_size(file)) / 1e6)));
}

}  // namespace mechsweep
