#include "model/packed_matrix.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "core/error.h"
#include "core/thread_pool.h"
#include "model/narrow_kernels.h"
#include "model/vector_math.h"

namespace mechsweep {

namespace {

constexpr int kVectors = static_cast<int>(PackedMatrix::kStripColumns) / kLanes;
constexpr int64_t kStrip = PackedMatrix::kStripColumns;
/// Most parts of a sum: 8, so a tree of them is four levels high.
constexpr int kTreeLevels = 4;
/// Rows that one tile works on at most: 8 rows of 3 vectors fill 24 of AVX-512's 32 registers.
constexpr int kMostRows = 8;
/// After so many steps of k a tile asks for memory that is read later.
constexpr int64_t kSteps = 4;

/// Sums of a tile: [rows, kVectors].
struct TileSums {
  float values[kMostRows][kStrip];
};

/// sums = the rows of input times those of the strip [K, kStrip] over a part of K, in the order
/// of k. On the way it asks for Lines cache lines, of a vector each, every kSteps steps: those at
/// `ahead`, which stands for k = 0.
template <int Rows, int Lines>
MECHSWEEP_INLINE void multiply_tile(const float* const* input, const float* strip,
                                    const float* ahead, Range part, TileSums& sums) {
  Float16 total[Rows][kVectors] = {};
  const float* x[Rows];
  for (int r = 0; r < Rows; ++r) x[r] = input[r];
  const auto step = [&](int64_t k) __attribute__((always_inline)) {
    Float16 w[kVectors];
    for (int v = 0; v < kVectors; ++v) w[v] = load(strip + k * kStrip + v * kLanes);
    for (int r = 0; r < Rows; ++r)
      for (int v = 0; v < kVectors; ++v) total[r][v] += x[r][k] * w[v];
  };
  int64_t k = part.begin;
  for (; k + kSteps <= part.end; k += kSteps) {
    for (int64_t i = 0; i < Lines; ++i)
      __builtin_prefetch(ahead + (k / kSteps * Lines + i) * kLanes, 0, 2);
    for (int64_t i = 0; i < kSteps; ++i) step(k + i);
  }
  for (; k < part.end; ++k) step(k);
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < kVectors; ++v) store(sums.values[r] + v * kLanes, total[r][v]);
}

template <int Rows>
MECHSWEEP_INLINE void add_tile(const TileSums& from, TileSums& to) {
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < kVectors; ++v)
      store(to.values[r] + v * kLanes,
            load(to.values[r] + v * kLanes) + load(from.values[r] + v * kLanes));
}

/// The additions of the tree over parts, flattened: after part i, how many of the sums that wait
/// are joined with it.
std::vector<int> joins_after(size_t parts) {
  std::vector<int> joins(parts, 0);
  const auto walk = [&joins](const auto& self, size_t begin, size_t end) -> void {
    if (end - begin == 1) return;
    const size_t middle = begin + (end - begin) / 2;
    self(self, begin, middle);
    self(self, middle, end);
    ++joins[end - 1];
  };
  walk(walk, 0, parts);
  return joins;
}

/// Rows times one strip.
struct StripProduct {
  const float* const* input = nullptr;
  int64_t rows = 0;
  const float* strip = nullptr;  ///< [K, kStrip]
  int64_t column = 0;            ///< the strip's first
  int64_t n = 0;
  std::span<const Range> parts;
  std::span<const int> joins;
  float* out = nullptr;
  /// What is read next, [ahead, ahead_end): asked for by all tiles, each a piece of it.
  const float* ahead = nullptr;
  const float* ahead_end = nullptr;
};

/// Some of the rows, the parts joined as a tree.
template <int Rows, int Lines>
MECHSWEEP_INLINE void multiply_rows(const StripProduct& product, int64_t row, const float* ahead) {
  TileSums waiting[kTreeLevels];
  int level = 0;
  for (size_t part = 0; part < product.parts.size(); ++part) {
    multiply_tile<Rows, Lines>(product.input + row, product.strip, ahead, product.parts[part],
                               waiting[level++]);
    for (int join = 0; join < product.joins[part]; ++join, --level)
      add_tile<Rows>(waiting[level - 1], waiting[level - 2]);
  }
  const int64_t columns = std::min(kStrip, product.n - product.column);
  for (int r = 0; r < Rows; ++r)
    std::memcpy(product.out + (row + r) * product.n + product.column, waiting[0].values[r],
                columns * sizeof(float));
}

/// Rows beyond the last whole tile go through smaller ones: a sum is the same in any tile.
template <int Rows, int Lines>
MECHSWEEP_INLINE void multiply_strip(const StripProduct& product) {
  const int64_t piece = product.parts.back().end / kSteps * Lines * kLanes;
  const float* last_piece = product.ahead_end - piece;
  const float* ahead = product.ahead;
  const auto rows_here = [&]<int Some>(int64_t row) __attribute__((always_inline)) {
    multiply_rows<Some, Lines>(product, row, ahead);
    ahead = std::min(ahead + piece, last_piece);
  };
  int64_t row = 0;
  for (; row + Rows <= product.rows; row += Rows) rows_here.template operator()<Rows>(row);
  if constexpr (Rows > 4)
    for (; row + 4 <= product.rows; row += 4) rows_here.template operator()<4>(row);
  if constexpr (Rows > 2)
    for (; row + 2 <= product.rows; row += 2) rows_here.template operator()<2>(row);
  for (; row < product.rows; ++row) rows_here.template operator()<1>(row);
}

// Tiles as large as the registers of each instruction set allow.
__attribute__((target("arch=x86-64-v4"))) void multiply_v4(const StripProduct& product) {
  // Few tiles have to ask for more at a time, so that all of the strip is asked for.
  if (product.rows < 6 * kMostRows) return multiply_strip<kMostRows, 4>(product);
  if (product.rows < 12 * kMostRows) return multiply_strip<kMostRows, 2>(product);
  multiply_strip<kMostRows, 1>(product);
}
__attribute__((target("arch=x86-64-v3"))) void multiply_v3(const StripProduct& product) {
  multiply_strip<2, 1>(product);
}
void multiply_plain(const StripProduct& product) {
  multiply_strip<1, 1>(product);
}

void multiply_here(const StripProduct& product) {
  static const auto kernel = __builtin_cpu_supports("x86-64-v4")   ? multiply_v4
                             : __builtin_cpu_supports("x86-64-v3") ? multiply_v3
                                                                   : multiply_plain;
  kernel(product);
}

/// Rows [columns, K] of a weight side by side: [K, kStrip], in the order in which they are written.
void pack_strip(const float* rows, int64_t columns, int64_t k, float* to) {
  for (int64_t i = 0; i < k; ++i, to += kStrip)
    for (int64_t j = 0; j < columns; ++j) to[j] = rows[j * k + i];
}

/// The same in 16 bits, a piece of the strip at a time.
void pack_strip(const float* rows, int64_t columns, int64_t k, const NarrowKernels& narrow,
                uint16_t* to) {
  constexpr int64_t kPiece = 16;
  float piece[kPiece * kStrip] = {};
  for (int64_t begin = 0; begin < k; begin += kPiece) {
    const int64_t size = std::min(kPiece, k - begin);
    for (int64_t i = 0; i < size; ++i)
      for (int64_t j = 0; j < columns; ++j) piece[i * kStrip + j] = rows[j * k + begin + i];
    narrow.narrow(piece, size * kStrip, to + begin * kStrip);
  }
}

}  // namespace

void PackedMatrix::FreeAligned::operator()(void* memory) const {
  std::free(memory);
}

PackedMatrix::PackedMatrix(const LinearWeight& weight, ComputeType type)
    : n_(weight.out_features), k_(weight.in_features), parts_(weight.parts), type_(type) {
  if (parts_.empty()) parts_.push_back({0, k_});
  ensure(parts_.size() <= size_t{1} << (kTreeLevels - 1), "a sum has more parts than planned for");
  joins_ = joins_after(parts_.size());
  const auto bytes = static_cast<size_t>(round_up(this->bytes(), 64));
  values_.reset(std::aligned_alloc(64, std::max<size_t>(64, bytes)));
  if (values_ == nullptr) throw std::bad_alloc();
  const int64_t strips = (n_ + kStrip - 1) / kStrip;
  const auto fill = [&](int64_t strip) { fill_strip(strip, weight.values + strip * kStrip * k_); };
  if (weight.threads != nullptr) {
    weight.threads->parallel_for(strips, fill);
  } else {
    for (int64_t strip = 0; strip < strips; ++strip) fill(strip);
  }
}

void PackedMatrix::fill_strip(int64_t strip, const float* first) {
  const int64_t column = strip * kStrip;
  const int64_t columns = std::min(kStrip, n_ - column);
  if (type_ == ComputeType::float32) {
    float* to = static_cast<float*>(values_.get()) + column * k_;
    if (columns < kStrip) std::fill_n(to, k_ * kStrip, 0.0F);
    pack_strip(first, columns, k_, to);
  } else {
    pack_strip(first, columns, k_, narrow_kernels(type_).front(),
               static_cast<uint16_t*>(values_.get()) + column * k_);
  }
}

void PackedMatrix::copy_row(int64_t row, float* out) const {
  const int64_t first = row / kStrip * kStrip * k_ + row % kStrip;
  if (type_ == ComputeType::float32) {
    const float* values = static_cast<const float*>(values_.get()) + first;
    for (int64_t i = 0; i < k_; ++i) out[i] = values[i * kStrip];
    return;
  }
  const uint16_t* values = static_cast<const uint16_t*>(values_.get()) + first;
  std::vector<uint16_t> narrow(static_cast<size_t>(k_));
  for (int64_t i = 0; i < k_; ++i) narrow[static_cast<size_t>(i)] = values[i * kStrip];
  narrow_kernels(type_).front().widen(narrow.data(), k_, out);
}

int64_t PackedMatrix::bytes() const {
  return packed_bytes(KernelSet::native, type_, n_, k_);
}

void PackedMatrix::multiply(Rows input, float* out) const {
  static thread_local std::vector<float> rounded;
  static thread_local std::vector<float> strip;
  std::vector<const float*> rows(input.begin(), input.end());
  const bool narrow = type_ != ComputeType::float32;
  if (narrow) {
    rounded.resize(std::max<size_t>(rounded.size(), input.size() * k_));
    strip.resize(std::max<size_t>(strip.size(), k_ * kStrip));
    for (size_t i = 0; i < rows.size(); ++i) {
      float* row = rounded.data() + static_cast<int64_t>(i) * k_;
      std::copy_n(input[i], k_, row);
      round_to(type_, row, k_);
      rows[i] = row;
    }
  }
  const auto* values = static_cast<const float*>(values_.get());
  const int64_t strips = (n_ + kStrip - 1) / kStrip;
  const int64_t strip_floats = k_ * kStrip / (narrow ? 2 : 1);
  for (int64_t column = 0; column < n_; column += kStrip) {
    const int64_t next = std::min(column / kStrip + 1, strips - 1);
    // A strip is widened once for all rows of the panel.
    if (narrow)
      narrow_kernels(type_).front().widen(static_cast<const uint16_t*>(values_.get()) + column * k_,
                                          k_ * kStrip, strip.data());
    multiply_here({.input = rows.data(),
                   .rows = static_cast<int64_t>(rows.size()),
                   .strip = narrow ? strip.data() : values + column * k_,
                   .column = column,
                   .n = n_,
                   .parts = parts_,
                   .joins = joins_,
                   .out = out,
                   .ahead = values + next * strip_floats,
                   .ahead_end = values + (next + 1) * strip_floats});
  }
}

}  // namespace mechsweep
