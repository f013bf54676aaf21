#include "engine/unembed.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "engine/logit_sums.h"

namespace mechsweep {

namespace {

/// Some rows together: those that were asked for, then the distinct references of these.
class UnembedBlock {
 public:
  UnembedBlock(const Model& model, ThreadPool& pool, std::span<const UnembedRow> rows,
               std::span<Reading> readings)
      : model_(model), pool_(pool), rows_(rows), readings_(readings) {
    const auto hold = [this] { return held_++; };
    for (const UnembedRow& row : rows) {
      resids_.push_back(row.resid);
      held_place_.push_back(needs_all_logits(*row.point) ? hold() : -1);
    }
    for (const UnembedRow& row : rows)
      for (const float* reference : row.references)
        if (places_.try_emplace(reference, held_).second) {
          resids_.push_back(reference);
          held_place_.push_back(hold());
        }
    vocab_ = model.config().vocab_size;
    tiles_ = model.vocab_tiles();
    panels_ = (static_cast<int64_t>(resids_.size()) + kPanelRows - 1) / kPanelRows;
    logits_.resize(held_ * vocab_);
    sums_.resize(rows.size() * tiles_);
  }

  void run() {
    for (size_t r = 0; r < rows_.size(); ++r)
      readings_[r].tracked_logits.resize(rows_[r].point->tracked.size());
    const int64_t width = model_.config().d_model;
    std::vector<float> normalised(resids_.size() * width);
    const auto row_at = [&](int64_t row) { return normalised.data() + row * width; };
    pool_.parallel_for(panels_, [&](int64_t panel) {
      const int64_t first = panel * kPanelRows;
      model_.final_norm(Rows(resids_).subspan(first, rows_in(panel)), row_at(first));
    });
    pool_.parallel_for(panels_ * tiles_, [&](int64_t job) {
      // Tile by tile: panels that share a tile of the weights follow one another.
      const int64_t first = job % panels_ * kPanelRows;
      const int64_t tile = job / panels_;
      const int64_t count = model_.tile_size(tile);
      std::vector<const float*> rows;
      for (int64_t i = 0; i < rows_in(job % panels_); ++i) rows.push_back(row_at(first + i));
      static thread_local std::vector<float> logits;
      logits.resize(kPanelRows * Model::kVocabTile);
      model_.logits(tile, rows, logits.data());
      for (size_t i = 0; i < rows.size(); ++i)
        take(first + static_cast<int64_t>(i), tile, logits.data() + static_cast<int64_t>(i) * count,
             count);
    });
    pool_.parallel_for(static_cast<int64_t>(rows_.size()), [this](int64_t row) { finish(row); });
  }

 private:
  [[nodiscard]] int64_t rows_in(int64_t panel) const {
    return std::min(kPanelRows, static_cast<int64_t>(resids_.size()) - panel * kPanelRows);
  }

  void take(int64_t row, int64_t tile, const float* logits, int64_t count) {
    const int64_t first_token = tile * Model::kVocabTile;
    if (held_place_[row] >= 0)
      std::memcpy(logits_.data() + held_place_[row] * vocab_ + first_token, logits,
                  count * sizeof(float));
    if (row >= static_cast<int64_t>(rows_.size())) return;
    sums_[row * tiles_ + tile] = sum_logits(logits, count, first_token);
    const auto& tracked = rows_[row].point->tracked;
    for (size_t t = 0; t < tracked.size(); ++t) {
      const int64_t token = tracked[t] - first_token;
      if (token >= 0 && token < count) readings_[row].tracked_logits[t] = logits[token];
    }
  }

  void finish(int64_t row) {
    Reading& reading = readings_[row];
    const ReadPoint& point = *rows_[row].point;
    const VocabularySums joined =
        join_logits({sums_.data() + row * tiles_, static_cast<size_t>(tiles_)}, vocab_);
    reading.logsumexp = joined.logsumexp;
    reading.logit_mean = joined.mean;
    reading.top1 = joined.argmax;
    if (held_place_[row] < 0) return;
    const float* logits = logits_.data() + held_place_[row] * vocab_;
    if (point.rank) reading.answer_rank = count_larger(logits, vocab_, reading.tracked_logits[0]);
    if (point.top_k > 0) reading.top = largest_logits(logits, vocab_, point.top_k);
    for (const float* reference : rows_[row].references)
      reading.kl.push_back(
          kl_divergence(logits_.data() + places_.at(reference) * vocab_, logits, vocab_));
    if (point.full_logits) reading.logits.assign(logits, logits + vocab_);
  }

  const Model& model_;
  ThreadPool& pool_;
  std::span<const UnembedRow> rows_;
  std::span<Reading> readings_;
  int64_t vocab_ = 0;
  int64_t tiles_ = 0;
  int64_t panels_ = 0;
  int64_t held_ = 0;
  std::vector<const float*> resids_;
  std::vector<int64_t> held_place_;         ///< by row: place among the held logits, or -1
  std::map<const float*, int64_t> places_;  ///< of references among the held logits
  std::vector<float> logits_;               ///< [held, V]
  std::vector<LogitSums> sums_;             ///< [rows, tiles]
};

}  // namespace

bool needs_all_logits(const ReadPoint& point) {
  return point.rank || point.top_k > 0 || !point.kl.empty() || point.full_logits;
}

std::vector<Reading> unembed(const Model& model, ThreadPool& pool,
                             std::span<const UnembedRow> rows) {
  std::vector<Reading> readings(rows.size());
  const int64_t row_bytes = int64_t{4} * model.config().vocab_size;
  for (size_t begin = 0; begin < rows.size();) {
    size_t end = begin;
    for (int64_t bytes = 0; end < rows.size(); ++end) {
      if (needs_all_logits(*rows[end].point))
        bytes += row_bytes * static_cast<int64_t>(1 + rows[end].references.size());
      if (end > begin && bytes > kHeldLogitBytes) break;
    }
    UnembedBlock(model, pool, rows.subspan(begin, end - begin),
                 std::span(readings).subspan(begin, end - begin))
        .run();
    begin = end;
  }
  return readings;
}

}  // namespace mechsweep
