// Tokenises lines for compare_tokenizers.py: reads one JSON string a line, writes for each one line
// of JSON with the ids, their byte ranges and the text that they decode to, or with the error.
//
// Usage: tokenize_lines FILE.gguf|TOKENIZER.json < lines > encodings
#include <chrono>
#include <fstream>
#include <iostream>
#include <string>

#include "core/error.h"
#include "core/json.h"
#include "model/tensor_source.h"
#include "model/tokenizer.h"

namespace {

using mechsweep::Json;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::unique_ptr<mechsweep::Tokenizer> open(const std::string& path) {
  auto start = std::chrono::steady_clock::now();
  Json json;
  const bool gguf = path.ends_with(".gguf");
  if (gguf) {
    json = mechsweep::open_gguf(path).metadata;
  } else {
    std::ifstream file(path);
    json = Json::parse(file);
  }
  std::cerr << "file read in " << seconds_since(start) << " s\n";
  start = std::chrono::steady_clock::now();
  auto tokenizer =
      gguf ? mechsweep::tokenizer_from_gguf(json) : mechsweep::tokenizer_from_json(json, nullptr);
  std::cerr << "tokenizer made in " << seconds_since(start) << " s\n";
  return tokenizer;
}

Json encode(const mechsweep::Tokenizer& tokenizer, const std::string& text, double& seconds) {
  const auto start = std::chrono::steady_clock::now();
  try {
    const mechsweep::Encoding encoding = tokenizer.encode(text);
    seconds += seconds_since(start);
    Json bytes = Json::array();
    for (const mechsweep::Span& span : encoding.bytes) bytes.push_back({span.begin, span.end});
    return {{"ids", encoding.ids}, {"bytes", bytes}, {"text", tokenizer.decode(encoding.ids)}};
  } catch (const mechsweep::Error& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: tokenize_lines FILE.gguf|TOKENIZER.json < lines\n";
    return 2;
  }
  try {
    const auto tokenizer = open(argv[1]);
    std::string line;
    double seconds = 0;
    double bytes = 0;
    while (std::getline(std::cin, line)) {
      const auto text = Json::parse(line).get<std::string>();
      bytes += static_cast<double>(text.size());
      const Json result = encode(*tokenizer, text, seconds);
      std::cout << result.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
    }
    std::cerr << bytes / 1e6 << " MB encoded in " << seconds << " s\n";
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
