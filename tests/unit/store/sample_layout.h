#pragma once

#include <openssl/evp.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "store/results_file.h"

namespace mechsweep::sample {

/// A folder of its own that is removed with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "mechsweep-test-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::vector<uint8_t> read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void overwrite(const std::string& path, int64_t offset, uint8_t byte) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(offset);
  file.put(static_cast<char>(byte));
}

template <typename T>
std::vector<uint8_t> as_bytes(const std::vector<T>& values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

inline DatasetSpec numbers(std::string path, ElementType type, std::vector<int64_t> shape,
                           std::vector<std::string> scales = {}) {
  DatasetSpec spec;
  spec.path = std::move(path);
  spec.type = type;
  spec.shape = std::move(shape);
  spec.scales = std::move(scales);
  return spec;
}

inline DatasetSpec scale(std::string path, const std::vector<int32_t>& values) {
  DatasetSpec spec = numbers(std::move(path), ElementType::i32, {std::ssize(values)});
  spec.content = as_bytes(values);
  return spec;
}

inline DatasetSpec texts(std::string path, const std::vector<std::string>& values) {
  DatasetSpec spec = numbers(std::move(path), ElementType::u8, {std::ssize(values)});
  spec.text_size = longest_text(values);
  spec.content = pack_texts(values, spec.text_size);
  return spec;
}

inline constexpr int64_t kPrompts = 5;
inline constexpr int64_t kLayers = 3;
inline constexpr int64_t kHeads = 4;

inline void add_run(FileLayout& layout, const std::string& id, int run_index) {
  layout.groups.push_back({"/runs/" + id,
                           {{"kind", id.substr(0, id.find('/'))},
                            {"run_index", run_index},
                            {"prompts_group", "/prompts/ab"},
                            {"vocab_size", 99},
                            {"positions", {1, 2}},
                            {"frozen", false}}});
  layout.datasets.push_back(scale("/runs/" + id + "/prompt", {0, 1, 2, 3, 4}));
  layout.datasets.push_back(scale("/runs/" + id + "/layer", {7, 8, 9}));
  layout.datasets.push_back(texts("/runs/" + id + "/head", {"a", "bb", "\xC3\xA9", "d"}));
}

inline void add_unit(FileLayout& layout, int run, int stage, Range prompts, Range first) {
  UnitSpec unit;
  for (size_t i = 0; i < unit.id.size(); ++i) {
    unit.id[i] = static_cast<uint8_t>(31 * layout.units.size() + 7 * i + 1);
  }
  unit.run = run;
  unit.stage = stage;
  unit.prompts = prompts;
  unit.first = first;
  unit.flops = 1e9 + static_cast<double>(layout.units.size());
  layout.units.push_back(unit);
}

/// Two runs on five prompts: one cut along its layers with a second stage, one with rows in whole,
/// of which one dataset is larger than the alignment unless it is asked to be small.
inline FileLayout layout(int64_t logits_per_row = 30000) {
  FileLayout out;
  out.attributes = {{"key", "k1"}, {"config", "seed: 1\n"}, {"nested", {{"a", 1}}}};
  out.groups.push_back({"/prompts/ab", {{"count", 5}}});
  out.datasets.push_back(scale("/prompts/ab/lengths", {5, 6, 7, 8, 9}));
  out.datasets.push_back(texts("/prompts/ab/template", {"t", "", "t", "u", "u"}));
  out.datasets.push_back(texts("/prompts/ab/id", {"p0", "p1", "p2", "p3", "p4"}));
  add_run(out, "heads/tiny/ab", 0);
  add_run(out, "scores/tiny/ab", 1);
  const std::string a = "/runs/heads/tiny/ab/";
  const std::string b = "/runs/scores/tiny/ab/";
  const auto target = [&](int run, int stage, bool split, DatasetSpec spec) {
    out.datasets.push_back(std::move(spec));
    out.targets.push_back({run, stage, static_cast<int32_t>(out.datasets.size() - 1), split});
  };
  const std::vector<int64_t> shape{kPrompts, kLayers, kHeads};
  target(0, 0, true,
         numbers(a + "loss", ElementType::f64, shape, {a + "prompt", a + "layer", a + "head"}));
  target(0, 0, true,
         numbers(a + "top1", ElementType::i32, shape, {a + "prompt", a + "layer", a + "head"}));
  target(0, 1, false, numbers(a + "base/loss", ElementType::f64, {kPrompts}, {a + "prompt"}));
  target(1, 0, false,
         numbers(b + "score", ElementType::f64, shape, {b + "prompt", b + "layer", b + "head"}));
  target(1, 0, false,
         numbers(b + "logits", ElementType::f32, {kPrompts, kLayers, logits_per_row},
                 {b + "prompt", b + "layer", b + "token"}));
  target(1, 0, false, numbers(b + "flags", ElementType::u8, {kPrompts, 3}));
  std::vector<int32_t> tokens(static_cast<size_t>(logits_per_row));
  std::iota(tokens.begin(), tokens.end(), 0);
  out.datasets.push_back(scale(b + "token", tokens));
  for (const Range prompts : {Range{0, 3}, Range{3, 5}}) {
    for (const Range layers : {Range{0, 2}, Range{2, 3}}) add_unit(out, 0, 0, prompts, layers);
  }
  add_unit(out, 0, 1, {0, 5}, {0, 0});
  add_unit(out, 1, 0, {0, 2}, {0, 0});
  add_unit(out, 1, 0, {2, 5}, {0, 0});
  return out;
}

/// What unit `unit` computes: numbers that depend only on the unit, the array and the place.
inline UnitResult result(const FileLayout& layout, int unit) {
  const UnitSpec& spec = layout.units[static_cast<size_t>(unit)];
  UnitResult out;
  int array = 0;
  for (const auto& target : layout.targets) {
    if (target.run != spec.run || target.stage != spec.stage) continue;
    const auto& dataset = layout.datasets[static_cast<size_t>(target.dataset)];
    int64_t count = spec.prompts.size();
    for (size_t axis = 1; axis < dataset.shape.size(); ++axis) {
      count *= axis == 1 && target.split_by_first ? spec.first.size() : dataset.shape[axis];
    }
    const auto fill = [&](auto example) {
      std::vector<decltype(example)> values(static_cast<size_t>(count));
      for (size_t i = 0; i < values.size(); ++i) {
        values[i] = static_cast<decltype(example)>(
            (unit * 37 + array * 11 + static_cast<int>(i % 1000)) % 251);
      }
      return as_bytes(values);
    };
    ArrayBlock block;
    block.array = array;
    switch (dataset.type) {
      case ElementType::f64:
        block.bytes = fill(double{});
        break;
      case ElementType::f32:
        block.bytes = fill(float{});
        break;
      case ElementType::i32:
        block.bytes = fill(int32_t{});
        break;
      case ElementType::u8:
        block.bytes = fill(uint8_t{});
        break;
    }
    out.blocks.push_back(std::move(block));
    ++array;
  }
  return out;
}

inline std::vector<uint8_t> payload(const FileLayout& layout, int unit) {
  std::vector<uint8_t> bytes;
  for (const auto& block : result(layout, unit).blocks) {
    bytes.insert(bytes.end(), block.bytes.begin(), block.bytes.end());
  }
  return bytes;
}

/// The digest of these units by its definition, with OpenSSL and nothing of the store.
inline std::string digest(const FileLayout& layout, const std::vector<int>& done) {
  std::vector<uint8_t> all;
  for (const int unit : done) {
    const auto& id = layout.units[static_cast<size_t>(unit)].id;
    all.insert(all.end(), id.begin(), id.end());
    const auto bytes = payload(layout, unit);
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  uint8_t hash[32];
  unsigned length = 0;
  EVP_Digest(all.data(), all.size(), hash, &length, EVP_sha256(), nullptr);
  std::string hex;
  for (const uint8_t byte : hash) hex += fmt::format("{:02x}", byte);
  return hex;
}

inline JournalEntry entry(UnitState state = UnitState::done) {
  JournalEntry out;
  out.state = state;
  out.attempt = 1;
  out.rank = 3;
  out.seconds = 0.25;
  out.finished_unix_s = 1700000000;
  return out;
}

/// Creates the file alone and writes the units in the given order.
inline void write_file(const std::string& path, const FileLayout& layout,
                       const std::vector<int>& order) {
  create_file_alone(path, layout);
  ResultsWriter writer(path, layout);
  for (const int unit : order) writer.write_unit(unit, result(layout, unit), entry());
  writer.close();
}

inline std::vector<int> all_units(const FileLayout& layout) {
  std::vector<int> units(layout.units.size());
  std::iota(units.begin(), units.end(), 0);
  return units;
}

}  // namespace mechsweep::sample
