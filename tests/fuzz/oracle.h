#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "model/tensor_source.h"
#include "model/tokenizer.h"

// What is asked of every reader, whatever the bytes: the file is accepted and what it gives holds
// together, or it is refused by an Error that a user can act on. Everything else ends the program.

namespace mechsweep::fuzz {

/// A folder of this process for the files that readers open; removed at its end.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  [[nodiscard]] const std::string& folder() const { return folder_; }
  /// Writes a file and returns its path.
  std::string write(const std::string& name, std::string_view bytes) const;
  void remove(const std::string& name) const;

 private:
  std::string folder_;
};

/// Runs `read`, which reads the file at `path`; returns whether it was accepted. A refusal has to
/// be an Error of kind input or usage with the path in it, of one line of printable UTF-8 that is
/// not overlong; readers that tell several problems at once (`many_lines`) have such lines. The
/// outcome is counted under `what`.
bool attempt(const char* what, const std::string& path, const std::function<void()>& read,
             bool many_lines = false);

/// Ends the program unless it holds.
void require(bool holds, std::string_view what);

/// Reads every tensor, whole and by parts, and compares the two.
void use_tensors(const TensorSource& source, uint64_t file_bytes);

/// Encodes and decodes texts with a tokenizer from the file at `path`.
void use_tokenizer(const Tokenizer& tokenizer, const std::string& path);

/// The content of a file of the repository; ends the program when it cannot be read.
std::string repository_file(const std::string& path);

}  // namespace mechsweep::fuzz
