#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

// Config files for the tests of plans, in a folder of their own.

namespace mechsweep::test_plan {

/// A folder of its own that is removed with everything in it.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "mechsweep-plan-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(file(name), std::ios::binary) << text;
    return file(name);
  }

 private:
  std::string path_;
};

inline std::string checkpoint(const std::string& name) {
  return std::string(MECHSWEEP_SOURCE_DIR) + "/tests/golden/checkpoints/" + name;
}

/// The text with every occurrence of `from` replaced.
inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

/// A small sweep on the random Llama.
inline std::string good_config() {
  return "name: small\n"
         "seed: 5\n"
         "models:\n"
         "  - {id: llama, path: " +
         checkpoint("llama-random") +
         "}\n"
         "prompts:\n"
         "  - {id: rep, kind: repeated_random, count: 3, period: 4, repeats: 2, prefix: none}\n"
         "experiments:\n"
         "  - {id: scores, kind: attention_scores, scores: [induction]}\n"
         "  - {id: heads, kind: head_ablation, operation: zero, positions: all}\n"
         "execution: {kernels: onednn}\n"
         "output: {file: out.h5}\n";
}

}  // namespace mechsweep::test_plan
