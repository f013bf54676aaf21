#include "oracle.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text_file.h"

namespace mechsweep::fuzz {

namespace fs = std::filesystem;

namespace {

/// Longer than any sensible sentence with a path in it.
constexpr size_t kLongestLine = 2000;

/// Accepted and refused files by what read them; told when the program ends.
struct Counts {
  std::map<std::string, std::pair<uint64_t, uint64_t>> of;
  ~Counts() { print(); }
  void print() const {
    for (const auto& [what, count] : of) {
      fmt::print(stderr, "outcome: {}: {} accepted, {} refused\n", what, count.first, count.second);
    }
  }
};

Counts& counts() {
  static Counts instance;
  return instance;
}

[[noreturn]] void end_with(std::string_view finding) {
  fmt::print(stderr, "FINDING: {}\n", finding);
  counts().print();
  std::abort();
}

void check_line(std::string_view line, const std::string& path) {
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (line.empty()) end_with("an error has an empty line");
  if (line.size() > kLongestLine) {
    end_with(
        fmt::format("an error has a line of {} bytes: {}...", line.size(), line.substr(0, 500)));
  }
  if (std::any_of(line.begin(), line.end(), control)) {
    end_with(fmt::format("an error has control characters: {}", line));
  }
  if (find_invalid_utf8(line) != std::string_view::npos) {
    end_with(fmt::format("an error is not UTF-8: {}", line));
  }
  if (line.find(path) == std::string_view::npos && !line.starts_with("... and ")) {
    end_with(fmt::format("an error does not name {}: {}", path, line));
  }
}

void check_error(const Error& error, const std::string& path, bool many_lines) {
  const std::string_view what = error.what();
  if (error.kind() != ErrorKind::input && error.kind() != ErrorKind::usage) {
    end_with(fmt::format("an error is of kind {}: {}", static_cast<int>(error.kind()), what));
  }
  if (error.message().empty()) end_with("an error says nothing");
  if (!many_lines) return check_line(what, path);
  for (size_t begin = 0; begin <= what.size();) {
    const size_t end = std::min(what.find('\n', begin), what.size());
    check_line(what.substr(begin, end - begin), path);
    begin = end + 1;
  }
}

/// Texts of every kind that a tokenizer treats specially.
const std::vector<std::string>& texts() {
  static const std::vector<std::string> all = {
      "Hello world",
      " two  spaces\n\nand lines\t\ttabs ",
      "12345 3.14 don't we'll",
      "na\u00efve \u4f60\u597d \u3053\u3093\u306b\u3061\u306f \u0928\u092e\u0938\u094d\u0924\u0947",
      "\U0001f468\u200d\U0001f469\u200d\U0001f467 e\u0301 \ufb01 \u00a0\u2581x",
      "<s>[INST] <|endoftext|> <unk></s><0x0A>",
      std::string(300, 'a') + " " + std::string(70, '\n'),
      "",
  };
  return all;
}

void check_encoding(const Tokenizer& tokenizer, const std::string& text) {
  const Encoding encoding = tokenizer.encode(text);
  require(encoding.ids.size() == encoding.bytes.size(), "every id has its bytes");
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    const Span& span = encoding.bytes[i];
    require(encoding.ids[i] >= 0 && encoding.ids[i] < tokenizer.vocab_size(),
            "ids are in the vocabulary");
    require(
        0 <= span.begin && span.begin <= span.end && span.end <= static_cast<int32_t>(text.size()),
        "spans are inside of the text");
  }
  (void)tokenizer.decode(encoding.ids);
}

}  // namespace

Scratch::Scratch() {
  std::string name = (fs::temp_directory_path() / "mechsweep-fuzz-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) end_with("no scratch folder can be made in " + name);
  folder_ = name;
}

Scratch::~Scratch() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

std::string Scratch::write(const std::string& name, std::string_view bytes) const {
  const std::string path = folder_ + "/" + name;
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) end_with("cannot write " + path);
  const bool good = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  if (std::fclose(file) != 0 || !good) end_with("cannot write " + path);
  return path;
}

void Scratch::remove(const std::string& name) const {
  std::error_code ignored;
  fs::remove(folder_ + "/" + name, ignored);
}

bool attempt(const char* what, const std::string& path, const std::function<void()>& read,
             bool many_lines) {
  auto& [accepted, refused] = counts().of[what];
  try {
    read();
    ++accepted;
    return true;
  } catch (const Error& error) {
    static const bool shown = std::getenv("MECHSWEEP_FUZZ_SHOW") != nullptr;
    if (shown) fmt::print(stderr, "refused: {}\n", error.what());
    check_error(error, path, many_lines);
    ++refused;
    return false;
  }
}

void require(bool holds, std::string_view what) {
  if (!holds) end_with(fmt::format("what was accepted does not hold together: {}", what));
}

void use_tensors(const TensorSource& source, uint64_t file_bytes) {
  uint64_t stored = 0;
  for (const TensorInfo& info : source.tensors()) {
    require(source.find(info.name) == &info, "a tensor is found by its name");
    const int64_t values = info.rows() * info.row_size();
    stored += static_cast<uint64_t>(storage_bytes(info.type, values));
    require(values >= 0 && stored <= file_bytes, "tensors are inside of the file");
    std::vector<float> whole(static_cast<size_t>(values));
    source.read_rows(info.name, 0, info.rows(), whole.data());
    const int64_t row = info.rows() / 2;
    const int64_t end = std::min(row + 3, info.rows());
    std::vector<float> part(static_cast<size_t>((end - row) * info.row_size()));
    source.read_rows(info.name, row, end, part.data());
    const float* same = whole.data() + row * info.row_size();
    require(part.empty() || std::memcmp(part.data(), same, part.size() * sizeof(float)) == 0,
            "rows read alone are those read together");
    const int64_t block = storage_block_size(info.type);
    const int64_t columns = info.row_size() / (2 * block) * block;
    std::vector<float> left(static_cast<size_t>((end - row) * columns));
    source.read_columns(info.name, {row, end}, {0, columns}, left.data());
    for (int64_t r = 0; r < end - row && columns > 0; ++r) {
      require(std::memcmp(left.data() + r * columns, same + r * info.row_size(),
                          static_cast<size_t>(columns) * sizeof(float)) == 0,
              "columns read alone are those read together");
    }
  }
}

void use_tokenizer(const Tokenizer& tokenizer, const std::string& path) {
  for (const std::string& text : texts()) {
    attempt("  texts", path, [&] {
      try {
        check_encoding(tokenizer, text);
      } catch (const Error& error) {
        throw error.within(path);  // of the tokenizer's callers, who know the text's place
      }
    });
  }
  const auto& special = tokenizer.special_tokens();
  require(std::is_sorted(special.begin(), special.end()), "special tokens are sorted");
  require(tokenizer.bos_token() < tokenizer.vocab_size(), "the first token is in the vocabulary");
  std::vector<int32_t> ids = tokenizer.prefix();
  for (int32_t id = 0; id < std::min(tokenizer.vocab_size(), 300); ++id) ids.push_back(id);
  attempt("  ids", path, [&] {
    try {
      (void)tokenizer.decode(ids);
    } catch (const Error& error) {
      throw error.within(path);
    }
  });
}

std::string repository_file(const std::string& path) {
  std::ifstream file(std::string(MECHSWEEP_SOURCE_DIR "/") + path, std::ios::binary);
  if (!file) end_with(path + " cannot be read");
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

}  // namespace mechsweep::fuzz
