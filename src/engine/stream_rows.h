#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/stream_forest.h"
#include "model/model_config.h"
#include "model/rotary.h"

namespace mechsweep {

/// The activations of rows: of each its residual stream and its queries, keys and values. The place
/// of the queries takes the heads' outputs z once attention has read them.
class RowStore {
 public:
  explicit RowStore(const ModelConfig& config);

  /// Room for so many rows; forgets all rows that there were.
  void reset(int64_t rows);
  /// A free row for a token at this place.
  int32_t allocate(TokenPlace place);
  void release(int32_t row) { free_.push_back(row); }

  [[nodiscard]] float* resid(int32_t row) const { return resid_.get() + row * d_model_; }
  /// Queries [H E], keys [K E], values [K E].
  [[nodiscard]] float* qkv(int32_t row) const { return qkv_.get() + row * qkv_width_; }
  [[nodiscard]] float* z(int32_t row) const { return qkv(row); }
  [[nodiscard]] TokenPlace place(int32_t row) const { return places_[row]; }
  [[nodiscard]] int64_t d_model() const { return d_model_; }
  [[nodiscard]] int64_t z_width() const { return z_width_; }
  [[nodiscard]] int64_t qkv_width() const { return qkv_width_; }

  void copy_resid(int32_t from, int32_t to) const;
  void copy_qkv(int32_t from, int32_t to) const;
  void copy_z(int32_t from, int32_t to) const;

  static int64_t bytes_per_row(const ModelConfig& config);

 private:
  int64_t d_model_;
  int64_t z_width_;
  int64_t qkv_width_;
  int64_t capacity_ = 0;
  int64_t used_ = 0;
  std::unique_ptr<float[]> resid_;
  std::unique_ptr<float[]> qkv_;
  std::vector<TokenPlace> places_;
  std::vector<int32_t> free_;
};

/// Which rows the streams of a forest own, and where they find the others.
class StreamRows {
 public:
  StreamRows(const StreamForest& forest, RowStore& store);

  /// The row that a stream owns at a position, or -1.
  [[nodiscard]] int32_t own(int stream, int32_t position) const {
    const Owned& owned = owned_[stream];
    const int32_t place = position - owned.first;
    return place < 0 || place >= static_cast<int32_t>(owned.rows.size()) ? -1 : owned.rows[place];
  }
  /// The row that stands for a stream at a position: its own or the one that it shares.
  [[nodiscard]] int32_t row(int stream, int32_t position) const;
  /// Gives a stream a row of its own, with nothing in it yet.
  int32_t add(int stream, int32_t position);
  /// Takes all rows of a stream away.
  void drop(int stream);

  /// Calls visit(position, row) for every row that a stream owns, in ascending order.
  template <typename Visit>
  void each_own(int stream, const Visit& visit) const {
    const Owned& owned = owned_[stream];
    if (owned.count == 0) return;
    for (size_t i = 0; i < owned.rows.size(); ++i)
      if (owned.rows[i] >= 0) visit(owned.first + static_cast<int32_t>(i), owned.rows[i]);
  }
  [[nodiscard]] int32_t count(int stream) const { return owned_[stream].count; }
  /// The lowest position that a stream owns; its length when it owns none.
  [[nodiscard]] int32_t lowest(int stream) const;

 private:
  struct Owned {
    int32_t first = 0;
    int32_t count = 0;
    std::vector<int32_t> rows;  ///< by position from `first` on, -1 where shared
  };
  const StreamForest& forest_;
  RowStore& store_;
  std::vector<Owned> owned_;
};

}  // namespace mechsweep
