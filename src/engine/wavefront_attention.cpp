#include "engine/wavefront_attention.h"

#include <algorithm>

#include "core/error.h"
#include "model/vector_math.h"

namespace mechsweep {

namespace {

/// What a thread works in; it outlives layers, so that nothing is allocated in the inner loops.
struct ThreadRoom {
  HeadCache cache;
  AttentionScratch scratch;
  std::vector<KeySegment> keys;
  std::vector<AttentionQuery> queries;
};

ThreadRoom& thread_room() {
  static thread_local ThreadRoom room;
  return room;
}

}  // namespace

WavefrontAttention::WavefrontAttention(const ModelConfig& config, ThreadPool& pool,
                                       const StreamForest& forest, const StreamRows& rows,
                                       const RowStore& store)
    : config_(config),
      pool_(pool),
      forest_(forest),
      rows_(rows),
      store_(store),
      segments_(forest.streams().size()),
      watched_(forest.streams().size(), 0),
      shared_(forest.streams().size(), -1) {}

void WavefrontAttention::append_cut(int stream, int32_t begin, int32_t end,
                                    std::vector<Segment>& segments) const {
  for (const Segment& segment : segments_[stream]) {
    const int32_t first = std::max(begin, segment.begin);
    const int32_t last = std::min(end, segment.end);
    if (first < last)
      segments.push_back({segment.owner, segment.from + (first - segment.begin), first, last});
  }
}

void WavefrontAttention::find_segments(int stream) {
  const Stream& about = forest_[stream];
  std::vector<Segment>& segments = segments_[stream];
  const auto append_shared = [&](int32_t begin, int32_t end) {
    const int32_t split = about.prefix >= 0 ? about.prefix_length : 0;
    if (about.prefix >= 0) append_cut(about.prefix, begin, std::min(end, split), segments);
    if (about.parent >= 0) append_cut(about.parent, std::max(begin, split), end, segments);
  };
  int32_t done = 0;
  int64_t place = 0;
  rows_.each_own(stream, [&](int32_t position, int32_t) {
    if (position > done) append_shared(done, position);
    const bool follows = !segments.empty() && segments.back().owner == stream;
    if (follows && segments.back().end == position) {
      ++segments.back().end;
    } else {
      segments.push_back({stream, place, position, position + 1});
    }
    ++place;
    done = position + 1;
  });
  if (done < about.length) append_shared(done, about.length);
}

void WavefrontAttention::prepare(const std::vector<int>& querying) {
  const auto count = static_cast<int>(forest_.streams().size());
  for (int s = 0; s < count; ++s)
    if (forest_[s].length > 0 && !forest_[s].is_frozen()) find_segments(s);
  std::vector<int> owners;
  const auto share = [&](int reader) {
    for (const Segment& segment : segments_[reader])
      if ((segment.owner != reader || watched_[reader] != 0) && shared_[segment.owner] < 0) {
        shared_[segment.owner] = static_cast<int32_t>(owners.size());
        owners.push_back(segment.owner);
      }
  };
  for (const int s : querying) share(s);
  for (int s = 0; s < count; ++s)
    if (watched_[s] != 0) share(s);
  const int kv_heads = config_.n_kv_heads;
  caches_.resize(owners.size() * kv_heads);
  pool_.parallel_for(static_cast<int64_t>(caches_.size()), [&](int64_t job) {
    fill(owners[job / kv_heads], static_cast<int>(job % kv_heads), caches_[job]);
  });
}

std::vector<const float*> WavefrontAttention::own_rows(int stream) const {
  std::vector<const float*> rows;
  rows.reserve(rows_.count(stream));
  rows_.each_own(stream, [&](int32_t, int32_t row) { rows.push_back(store_.qkv(row)); });
  return rows;
}

void WavefrontAttention::fill(int stream, int kv_head, HeadCache& cache) const {
  const int64_t size = config_.head_size;
  const int64_t key = (config_.n_heads + kv_head) * size;
  cache.fill(own_rows(stream), key, key + config_.n_kv_heads * size, size);
}

void WavefrontAttention::resolve(int stream, int kv_head, HeadCache& local,
                                 std::vector<KeySegment>& keys) const {
  keys.clear();
  for (const Segment& segment : segments_[stream]) {
    const HeadCache* cache = &local;
    const int32_t shared = shared_[segment.owner];
    if (shared >= 0) {
      cache = &caches_[int64_t{shared} * config_.n_kv_heads + kv_head];
    } else {
      ensure(segment.owner == stream, "keys of another stream were not laid out");
    }
    keys.push_back({cache, segment.from, segment.begin, segment.end});
  }
}

std::vector<float> WavefrontAttention::pattern(int stream, int head, int32_t query,
                                               const AttentionChange* change) const {
  const int kv_head = head / (config_.n_heads / config_.n_kv_heads);
  ThreadRoom& room = thread_room();
  resolve(stream, kv_head, room.cache, room.keys);
  std::vector<float> ignored(config_.head_size);
  const AttentionQuery asked = {
      .query = store_.qkv(rows_.row(stream, query)) + int64_t{head} * config_.head_size,
      .change = change,
      .out = ignored.data()};
  mechsweep::attend(
      {.keys = room.keys, .position = query, .scale = static_cast<float>(config_.attention_scale)},
      {&asked, 1}, room.scratch);
  return {room.scratch.row(0), room.scratch.row(0) + query + 1};
}

void WavefrontAttention::observe(int stream, int64_t task, int layer,
                                 const AttentionChanges& changes,
                                 AttentionObserver& observer) const {
  pool_.parallel_for(config_.n_kv_heads, [&](int64_t kv_head) {
    observe_group(stream, static_cast<int>(kv_head), task, layer, changes, observer);
  });
}

void WavefrontAttention::observe_group(int stream, int kv_head, int64_t task, int layer,
                                       const AttentionChanges& changes,
                                       AttentionObserver& observer) const {
  const int64_t tokens = forest_[stream].length;
  const int64_t stride = round_up(tokens, kLanes);
  const int group = config_.n_heads / config_.n_kv_heads;
  const int64_t size = config_.head_size;
  ThreadRoom& room = thread_room();
  resolve(stream, kv_head, room.cache, room.keys);
  std::vector<float> patterns(group * tokens * stride);
  std::vector<float> ignored(group * size);
  for (int32_t q = 0; q < tokens; ++q) {
    const int32_t row = rows_.row(stream, q);
    room.queries.clear();
    for (int i = 0; i < group; ++i)
      room.queries.push_back({.query = store_.qkv(row) + (kv_head * group + i) * size,
                              .change = changes.find(row, kv_head * group + i),
                              .out = ignored.data() + i * size});
    mechsweep::attend(
        {.keys = room.keys, .position = q, .scale = static_cast<float>(config_.attention_scale)},
        room.queries, room.scratch);
    for (int i = 0; i < group; ++i)
      std::copy_n(room.scratch.row(i), q + 1, patterns.data() + (i * tokens + q) * stride);
  }
  for (int i = 0; i < group; ++i)
    observer.observe(task, layer, kv_head * group + i, patterns.data() + i * tokens * stride,
                     tokens, stride);
}

void WavefrontAttention::attend(const std::vector<int>& querying, const AttentionChanges& changes,
                                bool (*wanted)(const Stream&, int32_t)) const {
  // Streams with one row each are quick: several together make a job worth handing out.
  constexpr int64_t kRowsPerJob = 16;
  std::vector<int64_t> starts = {0};
  int64_t rows = 0;
  for (size_t i = 0; i < querying.size(); ++i) {
    rows += rows_.count(querying[i]);
    if (rows >= kRowsPerJob || i + 1 == querying.size()) {
      starts.push_back(static_cast<int64_t>(i) + 1);
      rows = 0;
    }
  }
  const int kv_heads = config_.n_kv_heads;
  pool_.parallel_for((static_cast<int64_t>(starts.size()) - 1) * kv_heads, [&](int64_t job) {
    const int64_t some = job / kv_heads;
    for (int64_t i = starts[some]; i < starts[some + 1]; ++i)
      attend_head(querying[i], static_cast<int>(job % kv_heads), changes, wanted);
  });
}

void WavefrontAttention::attend_head(int stream, int kv_head, const AttentionChanges& changes,
                                     bool (*wanted)(const Stream&, int32_t)) const {
  ThreadRoom& room = thread_room();
  if (shared_[stream] < 0) fill(stream, kv_head, room.cache);
  resolve(stream, kv_head, room.cache, room.keys);
  const int group = config_.n_heads / config_.n_kv_heads;
  const int64_t size = config_.head_size;
  rows_.each_own(stream, [&](int32_t position, int32_t row) {
    if (!wanted(forest_[stream], position)) return;
    room.queries.clear();
    for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      float* query = store_.qkv(row) + head * size;
      room.queries.push_back({.query = query, .change = changes.find(row, head), .out = query});
    }
    mechsweep::attend({.keys = room.keys,
                       .position = position,
                       .scale = static_cast<float>(config_.attention_scale)},
                      room.queries, room.scratch);
  });
}

}  // namespace mechsweep
