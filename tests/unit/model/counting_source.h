#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "model/tensor_source.h"

namespace mechsweep::test_files {

/// Passes everything on and remembers how often each value was asked for.
class CountingSource final : public TensorSource {
 public:
  struct Read {
    std::string name;
    Range rows;
    Range columns;
  };

  explicit CountingSource(std::unique_ptr<TensorSource> source) : source_(std::move(source)) {}

  [[nodiscard]] const std::vector<TensorInfo>& tensors() const override {
    return source_->tensors();
  }
  [[nodiscard]] const TensorInfo* find(const std::string& name) const override {
    return source_->find(name);
  }
  [[nodiscard]] std::vector<std::string> files() const override { return source_->files(); }
  void read_rows(const std::string& name, int64_t begin, int64_t end, float* out) const override {
    note({name, {begin, end}, {0, source_->require(name).row_size()}});
    source_->read_rows(name, begin, end, out);
  }
  void read_columns(const std::string& name, Range rows, Range columns, float* out) const override {
    note({name, rows, columns});
    source_->read_columns(name, rows, columns, out);
  }

  /// In the order in which they were asked for.
  [[nodiscard]] const std::vector<Read>& reads() const { return reads_; }
  [[nodiscard]] int64_t values_read() const {
    int64_t values = 0;
    for (const Read& read : reads_) values += read.rows.size() * read.columns.size();
    return values;
  }
  void forget() { reads_.clear(); }

  /// How often each value of a tensor was read: the least and the most.
  [[nodiscard]] std::pair<int, int> times_read(const std::string& name) const {
    const TensorInfo& info = source_->require(name);
    const int64_t width = info.row_size();
    std::vector<int> times(static_cast<size_t>(info.rows() * width), 0);
    for (const Read& read : reads_) {
      if (read.name != name) continue;
      for (int64_t r = read.rows.begin; r < read.rows.end; ++r)
        for (int64_t c = read.columns.begin; c < read.columns.end; ++c)
          ++times[static_cast<size_t>(r * width + c)];
    }
    const auto [least, most] = std::minmax_element(times.begin(), times.end());
    return {*least, *most};
  }

 private:
  void note(Read read) const {
    const std::lock_guard lock(mutex_);
    reads_.push_back(std::move(read));
  }

  std::unique_ptr<TensorSource> source_;
  mutable std::mutex mutex_;
  mutable std::vector<Read> reads_;
};

}  // namespace mechsweep::test_files
