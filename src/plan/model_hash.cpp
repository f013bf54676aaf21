#include "plan/model_hash.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/hash.h"

namespace mechsweep {

namespace fs = std::filesystem;

namespace {

std::optional<fs::path> cache_path() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  if (cache != nullptr && *cache != '\0') return fs::path(cache) / "mechsweep" / "hashes.json";
  if (home != nullptr && *home != '\0')
    return fs::path(home) / ".cache" / "mechsweep" / "hashes.json";
  return std::nullopt;
}

/// A cache that cannot be read is an empty one: it only saves time.
Json read_cache() {
  const auto path = cache_path();
  if (!path) return Json::object();
  std::ifstream file(*path);
  Json cache = Json::parse(file, nullptr, false);
  return cache.is_object() ? cache : Json::object();
}

void write_cache(const Json& cache) {
  const auto path = cache_path();
  if (!path) return;
  std::error_code error;
  fs::create_directories(path->parent_path(), error);
  // Written aside and renamed, so that two sweeps starting together leave a whole file.
  const fs::path aside = path->string() + "." + std::to_string(::getpid());
  {
    std::ofstream file(aside);
    // A path need not be UTF-8.
    file << cache.dump(1, ' ', false, Json::error_handler_t::replace) << '\n';
    file.close();
    if (!file) {
      fs::remove(aside, error);
      return;
    }
  }
  fs::rename(aside, *path, error);
  if (error) fs::remove(aside, error);
}

std::string identity(const std::string& path, const struct stat& status) {
  return fmt::format("{}|{}|{}|{}.{:09}", fs::absolute(path).string(), status.st_ino,
                     status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

bool is_hash(const Json& value) {
  return value.is_string() && value.get_ref<const std::string&>().size() == 64;
}

std::string hash_content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  Sha256 hash;
  std::vector<char> buffer(size_t{4} << 20);
  while (file) {
    file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    hash.update(std::string_view(buffer.data(), static_cast<size_t>(file.gcount())));
  }
  if (!file.eof()) fail(ErrorKind::input, "{}: cannot be read to its end", path);
  return hash.hex_digest();
}

}  // namespace

std::vector<FileHash> hash_files(const std::vector<std::string>& paths) {
  Json cache = read_cache();
  bool changed = false;
  std::vector<FileHash> hashes;
  for (const std::string& path : paths) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0)
      fail(ErrorKind::input, "{}: cannot be read: {}", path, std::strerror(errno));
    const std::string key = identity(path, status);
    if (!is_hash(cache.value(key, Json()))) {
      cache[key] = hash_content(path);
      changed = true;
    }
    hashes.push_back(
        {fs::path(path).filename().string(), status.st_size, cache[key].get<std::string>()});
  }
  if (changed) write_cache(cache);
  return hashes;
}

std::string model_hash(const std::vector<FileHash>& files) {
  Json list = Json::array();
  for (const FileHash& file : files) list.push_back({file.name, file.sha256});
  std::sort(list.begin(), list.end());
  return sha256_hex(list.dump(-1, ' ', false, Json::error_handler_t::replace));
}

Json to_json(const std::vector<FileHash>& files) {
  Json list = Json::array();
  for (const FileHash& file : files)
    list.push_back({{"name", file.name}, {"size_bytes", file.size_bytes}, {"sha256", file.sha256}});
  return list;
}

std::vector<FileHash> file_hashes_from_json(const Json& json) {
  std::vector<FileHash> files;
  for (const Json& file : json)
    files.push_back({file.at("name"), file.at("size_bytes"), file.at("sha256")});
  return files;
}

}  // namespace mechsweep
