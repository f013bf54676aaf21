#include "model/tokenizer_folder.h"

#include <filesystem>
#include <system_error>

#include "core/error.h"
#include "model/json_file.h"

namespace mechsweep {

namespace fs = std::filesystem;

std::unique_ptr<Tokenizer> open_tokenizer(const std::string& folder,
                                          std::vector<std::string>* files) {
  const fs::path path = fs::path(folder) / "tokenizer.json";
  const fs::path settings_path = fs::path(folder) / "tokenizer_config.json";
  std::error_code ignored;  // opening a file that cannot be looked at says why
  if (fs::symlink_status(path, ignored).type() == fs::file_type::not_found) return nullptr;
  const bool has_settings =
      fs::symlink_status(settings_path, ignored).type() != fs::file_type::not_found;
  const Json tokenizer = read_json_file(path.string());
  const Json settings = has_settings ? read_json_file(settings_path.string()) : Json();
  if (files != nullptr) {
    files->push_back(path.string());
    if (has_settings) files->push_back(settings_path.string());
  }
  try {
    return tokenizer_from_json(tokenizer, settings);
  } catch (const Error& error) {
    throw error.within(path.string());
  }
}

}  // namespace mechsweep
