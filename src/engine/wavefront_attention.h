#pragma once

#include <cstdint>
#include <map>
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
  WavefrontAttention(const Model& model, int layer, ThreadPool& pool, const StreamForest& forest,
                     const StreamRows& rows, const RowStore& store);

  /// Tells that `pattern` will be asked for a stream. Before prepare.
  void want_patterns(int stream) { donates_[stream] = 1; }
  /// Has attend show all patterns of a stream to the observer under a task's number. Before
  /// prepare.
  void watch(int stream, int64_t task) { watchers_[stream].push_back(task); }
  /// Finds where each stream's keys are, and lays out those that more than one stream reads.
  /// `querying` streams are the ones whose rows attend will compute, in ascending order.
  void prepare(const std::vector<int>& querying);

  /// Probabilities of keys 0..query of a head, from the query of the stream's row as it is now.
  [[nodiscard]] std::vector<float> pattern(int stream, int head, int32_t query,
                                           const AttentionChange* change) const;

  /// What attend is told about a layer.
  struct LayerCall {
    const AttentionChanges& changes;
    /// Which of the rows that streams own get a z.
    bool (*wanted)(const Stream&, int32_t position);
    AttentionObserver* observer = nullptr;  ///< may be null where nothing is watched
  };
  /// z of the wanted rows that the querying streams own, in place of their queries; watched streams
  /// show the patterns of all their positions on the way.
  void attend(const LayerCall& call) const;

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
  [[nodiscard]] std::vector<std::vector<int>> turns() const;
  void attend_streams(const std::vector<int>& streams, const LayerCall& call) const;
  void attend_head(int stream, int kv_head, const LayerCall& call) const;
  void attend_watched(int stream, int kv_head, const std::vector<int64_t>& tasks,
                      const LayerCall& call) const;
  void queue_queries(int kv_head, int32_t row, bool wants_z, const AttentionChanges& changes) const;
  void attend_queued(int32_t position) const;

  const Model& model_;
  const ModelConfig& config_;
  int layer_;
  ThreadPool& pool_;
  const StreamForest& forest_;
  const StreamRows& rows_;
  const RowStore& store_;
  std::vector<std::vector<Segment>> segments_;    ///< by stream
  std::vector<uint8_t> donates_;                  ///< by stream
  std::map<int, std::vector<int64_t>> watchers_;  ///< by stream: the tasks that it is watched for
  std::vector<int> attending_;                    ///< querying or watched, ascending
  std::vector<int32_t> shared_;                   ///< by stream: number among the caches, or -1
  std::vector<HeadCache> caches_;                 ///< [shared streams, K]
};

}  // namespace mechsweep
