#pragma once

#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"
#include "model/bpe.h"
#include "model/tokenizer.h"
#include "model/unicode_text.h"

namespace mechsweep {

/// A JSON file of tests/golden/.
inline Json golden_json(const std::string& name) {
  const std::string path = std::string(MECHSWEEP_SOURCE_DIR "/tests/golden/") + name;
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot open " + path);
  return Json::parse(file);
}

/// The spans of an encoding as the reference writes them: code points instead of bytes, and a part
/// of a character stands for all of it.
inline std::vector<std::vector<int>> code_point_spans(const std::string& text,
                                                      const Encoding& encoding) {
  std::vector<int> point_of_byte;
  int point = -1;
  for (char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) ++point;
    point_of_byte.push_back(point);
  }
  std::vector<std::vector<int>> spans;
  point_of_byte.push_back(point + 1);
  for (const Span& span : encoding.bytes) {
    const int begin = point_of_byte.at(static_cast<size_t>(span.begin));
    if (span.begin == span.end) {
      spans.push_back({begin, begin});
      continue;
    }
    spans.push_back({begin, point_of_byte.at(static_cast<size_t>(span.end) - 1) + 1});
  }
  return spans;
}

/// A tokenizer.json with all 256 byte symbols as ids 0 to 255 (in byte order), the merges
/// a+b -> "ab" (256) and ab+c -> "abc" (257), ByteLevel with GPT-2's pattern, and added_tokens
/// "<s>" (258, special) and "<t>" (259).
inline Json small_tokenizer_json() {
  Json vocab = Json::object();
  for (int byte = 0; byte < 256; ++byte) vocab[byte_symbol(static_cast<uint8_t>(byte))] = byte;
  vocab["ab"] = 256;
  vocab["abc"] = 257;
  return {
      {"version", "1.0"},
      {"added_tokens",
       {{{"id", 258}, {"content", "<s>"}, {"special", true}, {"normalized", false}},
        {{"id", 259}, {"content", "<t>"}, {"special", false}, {"normalized", false}}}},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
      {"post_processor", nullptr},
      {"model",
       {{"type", "BPE"},
        {"vocab", vocab},
        {"merges", Json::array({Json::array({"a", "b"}), Json::array({"ab", "c"})})}}}};
}

/// The message of the Error{input} that `action` throws; empty, with a failure, if it throws none.
template <typename Action>
std::string input_error(Action action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

}  // namespace mechsweep
