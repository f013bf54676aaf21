#include "engine/unembed.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <ATen/core/grad_mode.h>

#include "core/error.h"
#include "model/vector_math.h"

namespace mechsweep {

namespace {

/// The logits of one tile, reduced.
struct TileSummary {
  float largest = -std::numeric_limits<float>::infinity();
  int32_t argmax = -1;
  double exp_sum = 0.0;  ///< of exp(logit - largest)
  double sum = 0.0;
};

MECHSWEEP_MULTIVERSION
double sum_of_exp(const float* values, int64_t count, float largest) {
  // fp32 exponentials, added in fp64 sixteen at a time: the order depends on the index only.
  double total = 0.0;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    total += static_cast<double>(sum_lanes(exp_nonpositive(load(values + i) - largest)));
  if (i < count) {
    float tail[kLanes];
    std::fill_n(tail, kLanes, -std::numeric_limits<float>::infinity());
    std::copy(values + i, values + count, tail);
    total += static_cast<double>(sum_lanes(exp_nonpositive(load(tail) - largest)));
  }
  return total;
}

TileSummary summarise(const float* logits, int64_t count, int64_t first_token) {
  TileSummary summary;
  const float* best = std::max_element(logits, logits + count);
  summary.largest = *best;
  summary.argmax = static_cast<int32_t>(first_token + (best - logits));
  for (int64_t i = 0; i < count; ++i) summary.sum += static_cast<double>(logits[i]);
  summary.exp_sum = sum_of_exp(logits, count, summary.largest);
  return summary;
}

/// Joins the tiles of one row, in the order of the vocabulary.
void combine(std::span<const TileSummary> tiles, int64_t vocab, Reading& reading) {
  float largest = -std::numeric_limits<float>::infinity();
  double sum = 0.0;
  for (const auto& tile : tiles) {
    if (tile.largest > largest || reading.top1 < 0) {
      largest = tile.largest;
      reading.top1 = tile.argmax;
    }
    sum += tile.sum;
  }
  double exp_sum = 0.0;
  for (const auto& tile : tiles)
    exp_sum +=
        tile.exp_sum * std::exp(static_cast<double>(tile.largest) - static_cast<double>(largest));
  reading.logit_mean = sum / static_cast<double>(vocab);
  reading.logsumexp = static_cast<double>(largest) + std::log(exp_sum);
}

at::Tensor gather_panel(const Model& model, std::span<const UnembedRow> rows) {
  const int64_t width = model.config().d_model;
  at::Tensor panel = at::zeros({kPanelRows, width}, at::kFloat);
  float* data = panel.mutable_data_ptr<float>();
  for (size_t i = 0; i < rows.size(); ++i)
    std::memcpy(data + static_cast<int64_t>(i) * width, rows[i].resid, width * sizeof(float));
  return model.final_norm(panel);
}

}  // namespace

std::vector<Reading> unembed(const Model& model, ThreadPool& pool,
                             std::span<const UnembedRow> rows) {
  const auto n = static_cast<int64_t>(rows.size());
  const int64_t vocab = model.config().vocab_size;
  const int64_t tiles = model.vocab_tiles();
  const int64_t panels = (n + kPanelRows - 1) / kPanelRows;
  std::vector<Reading> readings(rows.size());
  for (size_t i = 0; i < rows.size(); ++i)
    readings[i].tracked_logits.resize(rows[i].tracked.size());
  std::vector<at::Tensor> normalised(panels);
  pool.parallel_for(panels, [&](int64_t panel) {
    const at::NoGradGuard no_grad;
    const int64_t begin = panel * kPanelRows;
    normalised[panel] = gather_panel(model, rows.subspan(begin, std::min(kPanelRows, n - begin)));
  });
  std::vector<TileSummary> summaries(n * tiles);
  pool.parallel_for(panels * tiles, [&](int64_t job) {
    const at::NoGradGuard no_grad;
    const int64_t panel = job / tiles;
    const int64_t tile = job % tiles;
    const int64_t first_token = tile * Model::kVocabTile;
    const at::Tensor logits = model.logits(tile, normalised[panel]);
    const int64_t count = logits.size(1);
    const float* data = logits.const_data_ptr<float>();
    for (int64_t r = panel * kPanelRows; r < std::min(n, (panel + 1) * kPanelRows); ++r) {
      const float* row = data + (r - panel * kPanelRows) * count;
      summaries[r * tiles + tile] = summarise(row, count, first_token);
      for (size_t t = 0; t < rows[r].tracked.size(); ++t) {
        const int64_t token = rows[r].tracked[t] - first_token;
        if (token >= 0 && token < count) readings[r].tracked_logits[t] = row[token];
      }
    }
  });
  for (int64_t r = 0; r < n; ++r)
    combine({summaries.data() + r * tiles, static_cast<size_t>(tiles)}, vocab, readings[r]);
  return readings;
}

}  // namespace mechsweep
