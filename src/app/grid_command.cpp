#include <cstdio>
#include <filesystem>
#include <span>
#include <system_error>

#include "app/commands.h"
#include "core/text_file.h"
#include "plan/grid.h"
#include "plan/sweep.h"
#include "plan/yaml_reader.h"
#include "plan/yaml_writer.h"
#include "store/posix_file.h"

namespace mechsweep {

namespace {

namespace fs = std::filesystem;

constexpr const char* kListName = "all_configs.list";
constexpr const char* kMark = "# Made by `mechsweep grid";

void write_text(const std::string& path, const std::string& text) {
  write_whole_file(path, std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

/// What relative paths of the source are relative to, seen from `folder`.
std::string relative_to(const ConfigNode& source, const std::string& config,
                        const std::string& folder) {
  const ConfigNode* given = source.find("relative_to");
  const std::string own = fs::path(config).parent_path().string();
  const fs::path base(given == nullptr ? own : resolve_path(own, given->scalar));
  std::error_code error;
  const fs::path found = fs::relative(fs::weakly_canonical(base.empty() ? "." : base, error),
                                      fs::weakly_canonical(folder, error), error);
  return error || found.empty() ? fs::absolute(base).string() : found.string();
}

ConfigNode with_base(ConfigNode config, const std::string& base) {
  std::erase_if(config.entries, [](const auto& entry) { return entry.key == "relative_to"; });
  ConfigNode value;
  value.kind = ConfigNode::Kind::scalar;
  value.scalar = base;
  value.quoted = true;
  config.entries.insert(config.entries.begin(), {"relative_to", config.position, value});
  return config;
}

/// Files that somebody else wrote are not replaced.
void check_replaceable(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return;
  if (!read_text_file(path, ErrorKind::resource).starts_with(kMark))
    fail(ErrorKind::resource,
         "{}: is there and was not made by `mechsweep grid`; choose another folder or remove it",
         path);
}

}  // namespace

int grid_command(const std::string& config, const std::string& folder) {
  const ConfigNode source = read_yaml(config);
  const std::vector<GridConfig> configs = expand_grid(source);
  for (const GridConfig& one : configs) {
    try {
      check_sweep(one.config);
    } catch (const Error& error) {
      throw error.within(fmt::format("config '{}' ({})", one.name, one.choices));
    }
    check_replaceable(fmt::format("{}/{}.yaml", folder, one.name));
  }
  const std::string list = fmt::format("{}/{}", folder, kListName);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(ErrorKind::resource, "{}: cannot be made: {}", folder, error.message());
  const std::string base = relative_to(source, config, folder);
  std::string names;  // line I is for job I of an array, so that there is no comment
  for (const GridConfig& one : configs) {
    write_text(fmt::format("{}/{}.yaml", folder, one.name),
               fmt::format("{} {}`: {}\n{}", kMark, config, one.choices,
                           write_yaml(with_base(one.config, base))));
    names += one.name + ".yaml\n";
  }
  write_text(list, names);
  std::printf("%zu configs in %s\n", configs.size(), list.c_str());
  return kExitDone;
}

}  // namespace mechsweep
