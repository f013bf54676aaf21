#include "engine/stream_rows.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace mechsweep {

RowStore::RowStore(const ModelConfig& config)
    : d_model_(config.d_model),
      z_width_(int64_t{config.n_heads} * config.head_size),
      qkv_width_(z_width_ + int64_t{2 * config.n_kv_heads} * config.head_size) {}

void RowStore::reset(int64_t rows) {
  if (rows > capacity_) {
    resid_.reset();
    qkv_.reset();
    // Not initialised: every row is written when it is made.
    resid_ = std::make_unique_for_overwrite<float[]>(rows * d_model_);
    qkv_ = std::make_unique_for_overwrite<float[]>(rows * qkv_width_);
    places_.resize(rows);
    capacity_ = rows;
  }
  used_ = 0;
  free_.clear();
}

int32_t RowStore::allocate(TokenPlace place) {
  int64_t row = used_;
  if (!free_.empty()) {
    row = free_.back();
    free_.pop_back();
  } else {
    ensure(used_ < capacity_, "streams own more rows than was reckoned");
    ++used_;
  }
  places_[row] = place;
  return static_cast<int32_t>(row);
}

void RowStore::copy_resid(int32_t from, int32_t to) const {
  std::memcpy(resid(to), resid(from), d_model_ * sizeof(float));
}

void RowStore::copy_qkv(int32_t from, int32_t to) const {
  std::memcpy(qkv(to), qkv(from), qkv_width_ * sizeof(float));
}

void RowStore::copy_z(int32_t from, int32_t to) const {
  std::memcpy(z(to), z(from), z_width_ * sizeof(float));
}

int64_t RowStore::bytes_per_row(const ModelConfig& config) {
  const RowStore widths(config);
  return static_cast<int64_t>(sizeof(float)) * (widths.d_model_ + widths.qkv_width_) +
         static_cast<int64_t>(sizeof(TokenPlace) + sizeof(int32_t));
}

StreamRows::StreamRows(const StreamForest& forest, RowStore& store)
    : forest_(forest), store_(store), owned_(forest.streams().size()) {
  for (size_t s = 0; s < owned_.size(); ++s) owned_[s].first = forest.streams()[s].first;
}

int32_t StreamRows::row(int stream, int32_t position) const {
  for (;;) {
    const int32_t mine = own(stream, position);
    if (mine >= 0) return mine;
    const Stream& about = forest_[stream];
    const bool in_prefix = about.prefix >= 0 && position < about.prefix_length;
    stream = in_prefix ? about.prefix : about.parent;
    ensure(stream >= 0, "a position belongs to no stream");
  }
}

int32_t StreamRows::add(int stream, int32_t position) {
  Owned& owned = owned_[stream];
  if (owned.rows.empty()) owned.rows.assign(forest_[stream].own_positions(), -1);
  const int32_t row =
      store_.allocate({position, static_cast<int32_t>(forest_[stream].tokens.size())});
  owned.rows.at(position - owned.first) = row;
  ++owned.count;
  return row;
}

void StreamRows::drop(int stream) {
  Owned& owned = owned_[stream];
  for (const int32_t row : owned.rows)
    if (row >= 0) store_.release(row);
  owned.rows.clear();
  owned.count = 0;
}

int32_t StreamRows::lowest(int stream) const {
  const Owned& owned = owned_[stream];
  for (size_t i = 0; owned.count > 0 && i < owned.rows.size(); ++i)
    if (owned.rows[i] >= 0) return owned.first + static_cast<int32_t>(i);
  return forest_[stream].length;
}

}  // namespace mechsweep
