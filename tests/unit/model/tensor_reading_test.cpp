#include "model/tensor_reading.h"

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "counting_source.h"
#include "gguf_spec.h"
#include "model/storage_format.h"

// Tensors as TensorRefs name them, whole and in slices, of every storage type, against the same
// rows and columns picked one by one from what read_rows gives of the whole stored tensor.

namespace mechsweep {
namespace {

using namespace test_files;

constexpr int64_t kRows = 24;
constexpr int64_t kColumns = 512;
constexpr StorageType kLastType = StorageType::iq4_nl;

struct Kind {
  const char* name;
  TensorRef ref;
};

/// Refs of a matrix of kRows.
std::vector<Kind> kinds() {
  std::vector<Kind> all = {
      {"whole", {}},
      {"rows", {.rows = {5, 19}}},
      {"pieces", {.pieces = {.count = 3, .offset = 2, .size = 2, .stride = 8}}},
      {"pairs", {.interleaved_heads = 3}},
      {"pairs in some rows", {.rows = {4, 20}, .interleaved_heads = 2}},
      {"pairs in pieces",
       {.pieces = {.count = 2, .offset = 1, .size = 8, .stride = 12}, .interleaved_heads = 2}},
      {"differences from one", {.rows = {3, 9}, .add_one = true}},
      {"transposed", {.transposed = true}},
      {"some rows transposed", {.transposed = true, .rows = {256, 512}}},
  };
  return all;
}

/// Bytes that are small finite numbers in every format: no half of them has a high byte above 0x3b.
std::string tame_bytes(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(static_cast<size_t>(count), '\0');
  for (char& byte : bytes) byte = static_cast<char>(random() & 0x3bU);
  return bytes;
}

/// A file with a matrix [kRows, kColumns] of every type, a vector, and a matrix of several parts.
GgufSpec file_of_all_types() {
  GgufSpec spec;
  const auto add = [&](std::string name, std::vector<uint64_t> dimensions, StorageType type) {
    uint64_t values = 1;
    for (const uint64_t one : dimensions) values *= one;
    spec.tensors.push_back({std::move(name), std::move(dimensions),
                            storage_format(type).gguf_number, spec.data.size()});
    spec.data += tame_bytes(storage_bytes(type, static_cast<int64_t>(values)),
                            static_cast<uint32_t>(spec.tensors.size()));
    spec.data.resize((spec.data.size() + 31) / 32 * 32, '\0');
  };
  for (int i = 0; i <= static_cast<int>(kLastType); ++i) {
    const auto type = static_cast<StorageType>(i);
    add(std::string(storage_type_name(type)), {kColumns, kRows}, type);
  }
  add("vector", {kRows}, StorageType::f32);
  add("large", {1000, 600}, StorageType::f16);
  return spec;
}

using Matrix = std::vector<std::vector<float>>;

/// What a ref stands for, step by step.
Matrix resolve(const TensorSource& source, const TensorRef& ref) {
  const TensorInfo& info = source.require(ref.name);
  const std::vector<float> values = read_all(source, ref.name);
  const auto width = static_cast<size_t>(info.row_size());
  Matrix stored(static_cast<size_t>(info.rows()), std::vector<float>(width));
  for (size_t i = 0; i < values.size(); ++i) stored[i / width][i % width] = values[i];
  if (ref.transposed) {
    Matrix turned(width, std::vector<float>(stored.size()));
    for (size_t i = 0; i < stored.size(); ++i)
      for (size_t j = 0; j < width; ++j) turned[j][i] = stored[i][j];
    stored = turned;
  }
  Matrix chosen;
  if (ref.pieces.count > 0) {
    for (int64_t piece = 0; piece < ref.pieces.count; ++piece)
      for (int64_t i = 0; i < ref.pieces.size; ++i)
        chosen.push_back(
            stored.at(static_cast<size_t>(ref.pieces.offset + piece * ref.pieces.stride + i)));
  } else if (ref.rows.size() > 0) {
    chosen.assign(stored.begin() + ref.rows.begin, stored.begin() + ref.rows.end);
  } else {
    chosen = stored;
  }
  Matrix result = chosen;
  if (ref.interleaved_heads > 0) {
    const size_t size = chosen.size() / static_cast<size_t>(ref.interleaved_heads);
    for (size_t row = 0; row < chosen.size(); ++row) {
      const size_t place = row % size;
      const size_t half = place % 2 == 0 ? 0 : size / 2;
      result[row - place + half + place / 2] = chosen[row];
    }
  }
  for (auto& row : result)
    for (float& value : row) value += ref.add_one ? 1.0F : 0.0F;
  return result;
}

std::vector<float> cut(const Matrix& matrix, Range rows, Range columns) {
  std::vector<float> values;
  for (int64_t r = rows.begin; r < rows.end; ++r)
    values.insert(values.end(), matrix[static_cast<size_t>(r)].begin() + columns.begin,
                  matrix[static_cast<size_t>(r)].begin() + columns.end);
  return values;
}

class TensorReading : public Gguf {
 protected:
  TensorReading() : source_(open(file_of_all_types()).tensors) {}

  std::vector<float> read(const TensorRef& ref, Range rows, Range columns, int threads) {
    std::unique_ptr<ThreadPool>& pool = pools_[threads];
    if (!pool) pool = std::make_unique<ThreadPool>(threads);
    // One more than needed shows whether anything is written past the end.
    std::vector<float> values(static_cast<size_t>(rows.size() * columns.size()) + 1, -77.0F);
    source_.forget();
    read_tensor(source_, ref, rows, columns, *pool, values.data());
    EXPECT_EQ(values.back(), -77.0F);
    values.pop_back();
    return values;
  }

  /// Whole and in slices that cut no block.
  void check(const TensorRef& ref, int threads) {
    const Matrix expected = resolve(source_, ref);
    const TensorExtent extent = tensor_extent(source_, ref);
    ASSERT_EQ(extent.rows, std::ssize(expected));
    ASSERT_EQ(extent.columns, std::ssize(expected[0]));
    const int64_t block = storage_block_size(source_.require(ref.name).type);
    const auto steps = [&](int64_t size, bool blocks) {
      if (blocks) return std::vector<int64_t>{0, size / 2, size};
      return std::vector<int64_t>{0, 1, size / 3, size - 1, size};
    };
    // A block's values lie side by side in a stored row.
    const std::vector<int64_t> rows = steps(extent.rows, block > 1 && ref.transposed);
    const std::vector<int64_t> columns = steps(extent.columns, block > 1 && !ref.transposed);
    for (const int64_t r0 : rows)
      for (const int64_t r1 : rows)
        for (const int64_t c0 : columns)
          for (const int64_t c1 : columns) {
            if (r1 < r0 || c1 < c0) continue;
            if (block == 256 && (ref.transposed ? r0 % 256 + r1 % 256 : c0 % 256 + c1 % 256) != 0)
              continue;
            ASSERT_EQ(read(ref, {r0, r1}, {c0, c1}, threads), cut(expected, {r0, r1}, {c0, c1}))
                << r0 << ".." << r1 << ", " << c0 << ".." << c1;
            ASSERT_EQ(source_.values_read(), (r1 - r0) * (c1 - c0));
            ++slices_;
          }
  }

  CountingSource source_;
  std::map<int, std::unique_ptr<ThreadPool>> pools_;  // by threads
  int slices_ = 0;
};

TEST_F(TensorReading, EveryKindOfRefAndTypeWholeAndInSlices) {
  for (int i = 0; i <= static_cast<int>(kLastType); ++i) {
    for (Kind& kind : kinds()) {
      kind.ref.name = storage_type_name(static_cast<StorageType>(i));
      SCOPED_TRACE(kind.ref.name + ", " + kind.name);
      for (const int threads : {1, 3}) ASSERT_NO_FATAL_FAILURE(check(kind.ref, threads));
    }
  }
  EXPECT_GT(slices_, 10'000);
}

TEST_F(TensorReading, Vectors) {
  for (Kind& kind : kinds()) {
    if (kind.ref.transposed) continue;
    kind.ref.name = "vector";
    SCOPED_TRACE(kind.name);
    ASSERT_NO_FATAL_FAILURE(check(kind.ref, 2));
  }
}

TEST_F(TensorReading, TensorsOfManyParts) {
  const std::vector<TensorRef> refs = {
      {.name = "large", .interleaved_heads = 3},
      {.name = "large", .interleaved_heads = 1},
      {.name = "large", .pieces = {.count = 2, .offset = 7, .size = 290, .stride = 300}},
      {.name = "large", .transposed = true},
      {.name = "large", .transposed = true, .rows = {11, 987}},
  };
  for (const TensorRef& ref : refs)
    for (const int threads : {1, 4}) ASSERT_NO_FATAL_FAILURE(check(ref, threads));
}

TEST_F(TensorReading, PairsAreReadTogetherAndInTheOrderOfTheFile) {
  const TensorRef ref = {.name = "F32", .interleaved_heads = 3};
  (void)read(ref, {0, kRows}, {0, kColumns}, 1);
  EXPECT_EQ(source_.reads().size(), 1U);
  (void)read({.name = "large", .interleaved_heads = 3}, {0, 600}, {0, 1000}, 1);
  int64_t next = 0;
  for (const CountingSource::Read& one : source_.reads()) {
    EXPECT_EQ(one.rows.begin, next);
    next = one.rows.end;
  }
  EXPECT_EQ(next, 600);
  EXPECT_LE(source_.reads().size(), 3U);
}

TEST_F(TensorReading, CutsThroughBlocksAreRefused) {
  const TensorRef ref = {.name = "Q4_K"};
  expect_input_error([&] { (void)read(ref, {0, 4}, {0, 128}, 1); }, "tensor 'Q4_K'");
  const TensorRef turned = {.name = "Q8_0", .transposed = true};
  expect_input_error([&] { (void)read(turned, {0, 40}, {0, 24}, 2); }, "tensor 'Q8_0'");
  expect_input_error([&] { (void)read({.name = "absent"}, {0, 1}, {0, 1}, 1); }, "absent");
}

TEST_F(TensorReading, AllValuesOfARef) {
  ThreadPool pool(2);
  const TensorRef ref = {.name = "Q6_K", .rows = {2, 6}};
  EXPECT_EQ(tensor_values(source_, ref, pool), cut(resolve(source_, ref), {0, 4}, {0, kColumns}));
}

TEST(JoinedRefs, NeighboursOfOneTensorBecomeOne) {
  const auto part = [](const char* name, int64_t begin, int64_t end) {
    return TensorRef{.name = name, .rows = {begin, end}};
  };
  const auto joined = joined_refs({part("a", 0, 3), part("a", 3, 4), part("a", 4, 9)});
  ASSERT_EQ(joined.size(), 1U);
  EXPECT_EQ(joined[0].name, "a");
  EXPECT_EQ(joined[0].rows, (Range{0, 9}));
  EXPECT_EQ(joined_refs({part("a", 0, 3), part("b", 3, 4)}).size(), 2U);
  EXPECT_EQ(joined_refs({part("a", 3, 4), part("a", 0, 3)}).size(), 2U);
  EXPECT_EQ(joined_refs({{.name = "a"}, {.name = "a"}}).size(), 2U);
  TensorRef pairs = part("a", 3, 5);
  pairs.interleaved_heads = 1;
  EXPECT_EQ(joined_refs({part("a", 0, 3), pairs}).size(), 2U);
}

}  // namespace
}  // namespace mechsweep
