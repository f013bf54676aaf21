// fuzz_replay FOLDER...: gives every file of FOLDER/READER/ to its reader, for compilers without
// libFuzzer. Ends like the fuzz program where one of them finds something.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "readers.h"

namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  if (!fs::is_directory(folder)) return files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

int main(int count, char** arguments) {
  size_t done = 0;
  for (int i = 1; i < count; ++i) {
    for (const auto& reader : mechsweep::fuzz::readers()) {
      for (const fs::path& path : files_of(fs::path(arguments[i]) / reader.name)) {
        std::printf("%s\n", path.c_str());
        std::fflush(stdout);  // the last one names what ended the program
        std::ifstream file(path, std::ios::binary);
        std::ostringstream content;
        content << file.rdbuf();
        reader.read(content.str());
        ++done;
      }
    }
  }
  std::printf("%zu files\n", done);
  return done > 0 ? 0 : 1;
}
