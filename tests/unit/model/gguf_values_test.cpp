// Values of whole GGUF files: the bits that the gguf package reads from them, whichever way they
// are asked for. tests/golden/golden_gguf.py makes the golden, and says how to check every tensor.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "checkpoint_files.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/thread_pool.h"
#include "gguf_spec.h"

namespace mechsweep {
namespace {

using test_files::expect_input_error;
using test_files::read_all;

const std::string kRoot = MECHSWEEP_SOURCE_DIR;
const std::string kFormats = kRoot + "/tests/golden/formats.gguf";

Json hash_golden() {
  const char* other = std::getenv("MECHSWEEP_GGUF_HASHES");
  std::ifstream file(other != nullptr ? other : kRoot + "/tests/golden/gguf_hashes.json");
  return Json::parse(file);
}

std::string hash_of_rows(const TensorSource& source, const TensorInfo& info, int64_t rows) {
  Sha256 hash;
  const int64_t step = std::max<int64_t>((int64_t{1} << 22) / info.row_size(), 1);
  std::vector<float> values;
  for (int64_t begin = 0; begin < rows; begin += step) {
    const int64_t end = std::min(begin + step, rows);
    values.resize(static_cast<size_t>((end - begin) * info.row_size()));
    source.read_rows(info.name, begin, end, values.data());
    hash.update(bytes_of(std::span<const float>(values)));
  }
  return hash.hex_digest();
}

void compare_file(const Json& golden, const std::string& path) {
  const GgufFile file = open_gguf(path);
  EXPECT_EQ(file.tensors->tensors().size(), golden["in_file"].get<size_t>());
  ASSERT_FALSE(golden["tensors"].empty());
  for (const Json& expected : golden["tensors"]) {
    const TensorInfo& info = file.tensors->require(expected["name"]);
    EXPECT_EQ(storage_type_name(info.type), expected["type"].get<std::string>()) << info.name;
    ASSERT_EQ(info.shape, expected["shape"].get<std::vector<int64_t>>()) << info.name;
    EXPECT_EQ(hash_of_rows(*file.tensors, info, expected["rows"]),
              expected["sha256"].get<std::string>())
        << info.name;
  }
}

TEST(GgufHashes, TensorsHaveTheBitsOfTheReference) {
  std::string missing;
  const Json goldens = hash_golden();
  ASSERT_FALSE(goldens.at("files").empty());
  for (const Json& golden : goldens.at("files")) {
    const auto name = golden.at("file").get<std::string>();
    const std::string path = (std::filesystem::path(kRoot) / name).string();
    SCOPED_TRACE(name);
    if (name.starts_with("models/") && !std::filesystem::exists(path)) {
      missing += (missing.empty() ? "" : ", ") + name;
      continue;
    }
    compare_file(golden, path);
  }
  if (!missing.empty())
    GTEST_SKIP() << "not compared, because not fetched (scripts/fetch_model.sh): " << missing;
}

/// The file has every type, each as a matrix of 3 rows of 512.
class GgufSlices : public ::testing::Test {
 protected:
  GgufFile file_ = open_gguf(kFormats);

  [[nodiscard]] std::vector<float> columns(const TensorInfo& info, Range rows, Range part) const {
    // One more than needed shows whether anything is written past the end.
    std::vector<float> values(static_cast<size_t>(rows.size() * part.size()) + 1, -77.0F);
    file_.tensors->read_columns(info.name, rows, part, values.data());
    EXPECT_EQ(values.back(), -77.0F) << info.name;
    values.pop_back();
    return values;
  }

  static std::vector<float> cut(const std::vector<float>& all, int64_t row_size, Range rows,
                                Range part) {
    std::vector<float> values;
    for (int64_t r = rows.begin; r < rows.end; ++r)
      values.insert(values.end(), all.begin() + r * row_size + part.begin,
                    all.begin() + r * row_size + part.end);
    return values;
  }
};

TEST_F(GgufSlices, RowsAreThoseOfTheWholeTensor) {
  for (const TensorInfo& info : file_.tensors->tensors()) {
    const std::vector<float> all = read_all(*file_.tensors, info.name);
    const int64_t row_size = info.row_size();
    for (int64_t begin = 0; begin < info.rows(); ++begin) {
      for (int64_t end = begin; end <= info.rows(); ++end) {
        std::vector<float> rows(static_cast<size_t>((end - begin) * row_size));
        file_.tensors->read_rows(info.name, begin, end, rows.data());
        ASSERT_EQ(rows, cut(all, row_size, {begin, end}, {0, row_size})) << info.name;
      }
    }
  }
}

TEST_F(GgufSlices, ColumnsAreThoseOfTheWholeTensor) {
  size_t slices = 0;
  for (const TensorInfo& info : file_.tensors->tensors()) {
    const std::vector<float> all = read_all(*file_.tensors, info.name);
    const int64_t row_size = info.row_size();
    const int64_t step = row_size < 32 ? 1 : std::max<int64_t>(storage_block_size(info.type), 32);
    for (const Range rows : {Range{0, info.rows()}, Range{1, 2}, Range{1, 1}}) {
      for (int64_t begin = 0; begin <= row_size; begin += step) {
        for (int64_t end = begin; end <= row_size; end += step) {
          ASSERT_EQ(columns(info, rows, {begin, end}), cut(all, row_size, rows, {begin, end}))
              << info.name << " columns " << begin << " to " << end;
          ++slices;
        }
      }
    }
  }
  EXPECT_GT(slices, 1000U);
}

TEST_F(GgufSlices, CutThroughABlockIsRefused) {
  std::vector<float> values(3 * 512);
  for (const TensorInfo& info : file_.tensors->tensors()) {
    const int64_t block = storage_block_size(info.type);
    if (block == 1 || info.row_size() == 1) continue;
    for (const Range part : {Range{0, 16}, Range{block - 1, 512}, Range{1, block}}) {
      const auto slice = [&] {
        file_.tensors->read_columns(info.name, {0, 3}, part, values.data());
      };
      expect_input_error(slice, fmt::format("tensor '{}' is stored as {} in blocks of {} values",
                                            info.name, storage_type_name(info.type), block));
      expect_input_error(slice, kFormats);
    }
  }
}

TEST(GgufReading, NothingBesideTheSliceIsRead) {
  // The last row loses its end; what lies before stays readable.
  test_files::GgufSpec spec;
  spec.tensors = {{"a", {64, 3}, test_files::kTypeQ8_0, 0}};
  test_files::Bytes data;
  for (int block = 0; block < 6; ++block) {
    data.put<uint16_t>(0x3c00);
    for (int i = 0; i < 32; ++i) data.put(static_cast<int8_t>(block));
  }
  spec.data = data.data();
  const test_files::TempFolder folder;
  const std::string path = folder.write("x.gguf", spec.bytes());
  const GgufFile file = open_gguf(path);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 34);
  std::vector<float> values(3 * 32);
  file.tensors->read_columns("a", {0, 3}, {0, 32}, values.data());
  for (size_t i = 0; i < values.size(); ++i)
    ASSERT_EQ(values[i], 2.0F * static_cast<float>(i / 32));
  expect_input_error(
      [&] {
        file.tensors->read_columns("a", {0, 3}, {32, 64}, values.data());
      },
      "tensor 'a'");
}

TEST(TensorSource, SourcesInMemoryHaveColumnsToo) {
  /// Value r * 10 + c at row r, column c.
  class Numbers final : public TensorSource {
   public:
    [[nodiscard]] const std::vector<TensorInfo>& tensors() const override { return infos_; }
    [[nodiscard]] std::vector<std::string> files() const override { return {}; }
    void read_rows(const std::string& /*name*/, int64_t begin, int64_t end,
                   float* out) const override {
      for (int64_t i = begin * 4; i < end * 4; ++i) *out++ = static_cast<float>(i / 4 * 10 + i % 4);
    }

   private:
    std::vector<TensorInfo> infos_ = {{"n", {5, 2, 2}, StorageType::f32}};
  };
  std::vector<float> values(4);
  Numbers().read_columns("n", {2, 4}, {1, 3}, values.data());
  EXPECT_EQ(values, (std::vector<float>{21, 22, 31, 32}));
}

/// A matrix of half-precision numbers that tell their places: bits i mod 30011, all finite.
GgufFile large_file(const test_files::TempFolder& folder, uint64_t rows, uint64_t columns) {
  test_files::GgufSpec spec;
  spec.tensors = {{"large", {columns, rows}, test_files::kTypeF16, 0}};
  test_files::Bytes data;
  for (uint64_t i = 0; i < rows * columns; ++i) data.put(static_cast<uint16_t>(i % 30011));
  spec.data = data.data();
  return open_gguf(folder.write("large.gguf", spec.bytes()));
}

TEST(TensorThreads, ReadTheSameRows) {
  const test_files::TempFolder folder;
  constexpr int64_t kRows = 1701;
  constexpr int64_t kColumns = 1000;
  const GgufFile file = large_file(folder, kRows, kColumns);
  const std::vector<float> all = read_all(*file.tensors, "large");
  EXPECT_EQ(all[12345], std::ldexp(12345.0F - 12288.0F + 1024.0F, 12 - 25));
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    std::vector<float> values(all.size(), -1.0F);
    read_rows(*file.tensors, "large", {0, kRows}, pool, values.data());
    EXPECT_EQ(values, all) << threads;
    std::vector<float> some(static_cast<size_t>(900 * kColumns));
    read_rows(*file.tensors, "large", {700, 1600}, pool, some.data());
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin() + 700 * kColumns)) << threads;
    read_rows(*file.tensors, "large", {5, 5}, pool, nullptr);
  }
}

TEST(TensorThreads, AnErrorOfOnePartIsThrown) {
  const test_files::TempFolder folder;
  const GgufFile file = large_file(folder, 1701, 1000);
  std::filesystem::resize_file(folder.path() + "/large.gguf", 2'000'000);
  ThreadPool pool(3);
  std::vector<float> values(1'701'000);
  expect_input_error(
      [&] {
        read_rows(*file.tensors, "large", {0, 1701}, pool, values.data());
      },
      "tensor 'large'");
}

TEST(TensorThreads, MayReadOneSourceAtOnce) {
  const GgufFile file = open_gguf(kFormats);
  const auto& tensors = file.tensors->tensors();
  std::vector<std::vector<float>> expected;
  for (const TensorInfo& info : tensors) expected.push_back(read_all(*file.tensors, info.name));
  std::atomic<int> different = 0;
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 20 * tensors.size(); ++i) {
        const size_t which = (i + 3 * t) % tensors.size();
        different += read_all(*file.tensors, tensors[which].name) != expected[which];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(different, 0);
}

}  // namespace
}  // namespace mechsweep
