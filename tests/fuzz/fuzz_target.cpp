// The program that libFuzzer drives: fuzz_readers --reader=NAME [libFuzzer's options and folders].
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "mutators.h"
#include "readers.h"

namespace {

const mechsweep::fuzz::Reader* reader = nullptr;

/// Some of the files that were accepted. Most of what covers something new is broken, and changes
/// of broken files reach the first check only: every second change is therefore of one of these.
class Accepted {
 public:
  void add(std::string_view bytes) {
    constexpr size_t kMost = 256;
    if (bytes.empty()) return;
    if (files_.size() < kMost) files_.emplace_back();
    files_[count_++ % kMost] = bytes;
  }
  [[nodiscard]] std::string_view choose(mechsweep::fuzz::Random& random,
                                        std::string_view otherwise) const {
    if (files_.empty() || random.one_in(2)) return otherwise;
    return files_[random.below(files_.size())];
  }

 private:
  std::vector<std::string> files_;
  size_t count_ = 0;
};

Accepted& accepted() {
  static Accepted files;
  return files;
}

}  // namespace

extern "C" {

size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

int LLVMFuzzerInitialize(int* argc, char*** argv) {
  static constexpr std::string_view kOption = "--reader=";
  for (int i = 1; i < *argc; ++i) {
    const std::string_view argument = (*argv)[i];
    if (!argument.starts_with(kOption)) continue;
    // libFuzzer passes over what starts so, and hands it on to the processes that it starts.
    reader = mechsweep::fuzz::find_reader(argument.substr(kOption.size()));
  }
  if (reader == nullptr) {
    std::fputs("give one of these as --reader=NAME:", stderr);
    for (const auto& one : mechsweep::fuzz::readers()) {
      std::fprintf(stderr, " %.*s", static_cast<int>(one.name.size()), one.name.data());
    }
    std::fputs("\n", stderr);
    std::exit(2);
  }
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (reader->read(bytes)) accepted().add(bytes);
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  using mechsweep::fuzz::Random;
  Random random(seed);
  // Some plain changes of bytes keep the checks of the syntax itself in play.
  constexpr int kOneInSo = 6;
  const std::string_view given(reinterpret_cast<const char*>(data), size);
  const std::string_view bytes = accepted().choose(random, given);
  if (!random.one_in(kOneInSo)) {
    const auto changed = mechsweep::fuzz::mutate(reader->format, bytes, random);
    if (changed && changed->size() <= max_size) {
      std::memcpy(data, changed->data(), changed->size());
      return changed->size();
    }
  }
  return LLVMFuzzerMutate(data, size, max_size);
}

}  // extern "C"
