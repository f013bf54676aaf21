#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "engine/edit_values.h"
#include "engine/executor.h"
#include "engine/stream_forest.h"
#include "engine/stream_rows.h"
#include "model/attention.h"
#include "model/model_config.h"

namespace mechsweep {

/// Attention of one layer over the rows that streams own, against keys and values that they own or
/// share. Made anew for each layer, after the last row that takes part has got its queries, keys
/// and values.
class WavefrontAttention {
 public:
  WavefrontAttention(const ModelConfig& config, ThreadPool& pool, const StreamForest& forest,
                     const StreamRows& rows, const RowStore& store);

  /// Tells that the patterns of a stream will be asked for. Before prepare.
  void want_patterns(int stream) { watched_[stream] = 1; }
  /// Finds where each stream's keys are, and lays out those that more than one stream reads.
  /// `querying` streams are the ones that attend will be called for.
  void prepare(const std::vector<int>& querying);

  /// Probabilities of keys 0..query of a head, from the query of the stream's row as it is now.
  [[nodiscard]] std::vector<float> pattern(int stream, int head, int32_t query,
                                           const AttentionChange* change) const;
  /// Shows an observer the patterns of a stream under a task's number.
  void observe(int stream, int64_t task, int layer, const AttentionChanges& changes,
               AttentionObserver& observer) const;

  /// z of all rows that the streams own and `wanted(stream, position)` accepts, in place of their
  /// queries.
  void attend(const std::vector<int>& querying, const AttentionChanges& changes,
              bool (*wanted)(const Stream&, int32_t position)) const;

 private:
  /// Positions [begin, end) are the rows from, from + 1, ... of those that `owner` owns.
  struct Segment {
    int owner = -1;
    int64_t from = 0;
    int32_t begin = 0;
    int32_t end = 0;
  };
  void find_segments(int stream);
  void append_cut(int stream, int32_t begin, int32_t end, std::vector<Segment>& segments) const;
  [[nodiscard]] std::vector<const float*> own_rows(int stream) const;
  void fill(int stream, int kv_head, HeadCache& cache) const;
  void resolve(int stream, int kv_head, HeadCache& local, std::vector<KeySegment>& keys) const;
  void observe_group(int stream, int kv_head, int64_t task, int layer,
                     const AttentionChanges& changes, AttentionObserver& observer) const;
  void attend_head(int stream, int kv_head, const AttentionChanges& changes,
                   bool (*wanted)(const Stream&, int32_t)) const;

  const ModelConfig& config_;
  ThreadPool& pool_;
  const StreamForest& forest_;
  const StreamRows& rows_;
  const RowStore& store_;
  std::vector<std::vector<Segment>> segments_;  ///< by stream
  std::vector<uint8_t> watched_;                ///< by stream
  std::vector<int32_t> shared_;                 ///< by stream: number among the caches, or -1
  std::vector<HeadCache> caches_;               ///< [shared streams, K]
};

}  // namespace mechsweep
