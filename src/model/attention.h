#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mechsweep {

/// Keys and values of one key/value head of neighbouring positions, laid out for attend: keys
/// transposed [E, T padded to 16], values [T, E padded to 16]; padding is zero.
struct HeadCache {
  int64_t length = 0;        ///< T
  int64_t head_size = 0;     ///< E
  int64_t key_stride = 0;    ///< T rounded up to 16
  int64_t value_stride = 0;  ///< E rounded up to 16
  std::vector<float> keys;
  std::vector<float> values;

  /// Fills the cache: the key of place t is the E floats at rows[t] + key_offset, its value those
  /// at rows[t] + value_offset.
  void fill(std::span<const float* const> rows, int64_t key_offset, int64_t value_offset,
            int64_t size);
};

/// Positions [begin, end) of a sequence: the places from, from + 1, ... of a cache.
struct KeySegment {
  const HeadCache* cache = nullptr;
  int64_t from = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

/// What an attention edge (query, key) has instead of its own query, key or value vector.
struct EdgeVector {
  enum class Kind { own, zero, given };
  Kind kind = Kind::own;
  std::vector<float> values;  ///< given: E floats, rotated as its position wants it
};

/// Changes of one query's attention to one key.
struct EdgeChange {
  int32_t key = 0;
  EdgeVector query_vector;  ///< zero: the score becomes 0
  EdgeVector key_vector;
  EdgeVector value_vector;  ///< zero: the weighted value is dropped, without renormalising
  bool cut = false;         ///< the score becomes -infinity
};

/// Changes of one head's attention at one query position.
struct AttentionChange {
  enum class Pattern { keep, zero, replace };
  std::vector<EdgeChange> edges;  ///< at most one a key
  Pattern pattern = Pattern::keep;
  std::vector<float> probabilities;  ///< replace: of keys 0..position

  /// The change of this key, made when there is none yet.
  EdgeChange& edge(int32_t key);
};

/// One head's query at the position that all queries of a call share.
struct AttentionQuery {
  const float* query = nullptr;             ///< E floats, rotated
  const AttentionChange* change = nullptr;  ///< may be null
  float* out = nullptr;                     ///< E floats; may be `query` itself; null: not wanted
  /// Where the probabilities go, pattern_row_room(position) floats; null: into the scratch.
  float* pattern = nullptr;
};

/// Floats that attend writes to at most when it makes a row of probabilities: scores of a segment
/// are stored in whole vectors from wherever it begins, so the last ones reach past the row.
int64_t pattern_row_room(int64_t position);

/// What all queries of a call have in common.
struct AttentionPlace {
  std::span<const KeySegment> keys;  ///< one after another, from position 0 on
  int64_t position = 0;
  int64_t first_key = 0;  ///< keys before it are outside the sliding window
  float scale = 1.0F;
  float cap = 0.0F;  ///< > 0: scaled scores s become cap tanh(s / cap)
};

/// Room for attend to work in, to be used again and again; one a thread.
struct AttentionScratch {
  std::vector<float> probabilities;  ///< after a call: row i belongs to query i without `pattern`
  int64_t row_stride = 0;
  std::vector<float> sums;

  [[nodiscard]] const float* row(size_t query) const {
    return probabilities.data() + static_cast<int64_t>(query) * row_stride;
  }
};

/// Causal attention of queries that share a position and a key/value head: softmax(scale * q . k)
/// over keys first_key..position, then the weighted sum of values, all in fp32. The order of every
/// sum is fixed by the absolute key index, so a result depends on the query and those keys only:
/// not on how keys are cut into segments, on later keys, or on the other queries. A query whose
/// keys are all cut attends to nothing. Probabilities outside the visible keys are zero, up to the
/// next multiple of 16; beyond it the room of a row holds anything.
void attend(const AttentionPlace& place, std::span<const AttentionQuery> queries,
            AttentionScratch& scratch);

}  // namespace mechsweep
