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
  std::vector<float> patterns;  ///< [heads of a group, T, T padded]
};

ThreadRoom& thread_room() {
  static thread_local ThreadRoom room;
  return room;
}

}  // namespace

WavefrontAttention::WavefrontAttention(const Model& model, int layer, ThreadPool& pool,
                                       const StreamForest& forest, const StreamRows& rows,
                                       const RowStore& store)
    : model_(model),
      config_(model.config()),
      layer_(layer),
      pool_(pool),
      forest_(forest),
      rows_(rows),
      store_(store),
      segments_(forest.streams().size()),
      donates_(forest.streams().size(), 0),
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
  attending_ = querying;
  for (const auto& [stream, tasks] : watchers_) attending_.push_back(stream);
  std::ranges::sort(attending_);
  attending_.erase(std::ranges::unique(attending_).begin(), attending_.end());
  std::vector<int> owners;
  const auto share = [&](int reader) {
    for (const Segment& segment : segments_[reader])
      if ((segment.owner != reader || donates_[reader] != 0) && shared_[segment.owner] < 0) {
        shared_[segment.owner] = static_cast<int32_t>(owners.size());
        owners.push_back(segment.owner);
      }
  };
  for (const int s : attending_) share(s);
  for (int s = 0; s < count; ++s)
    if (donates_[s] != 0) share(s);
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
  std::vector<float> probabilities(pattern_row_room(query));
  const float* from = store_.qkv(rows_.row(stream, query)) + int64_t{head} * config_.head_size;
  room.queries = {{.query = from, .change = change, .pattern = probabilities.data()}};
  attend_queued(query);
  probabilities.resize(query + 1);
  return probabilities;
}

void WavefrontAttention::attend(const LayerCall& call) const {
  for (const std::vector<int>& streams : turns()) attend_streams(streams, call);
}

/// Streams that can attend at the same time, turn after turn. A row's queries become its z, so a
/// stream comes after the watched ones that share its rows and have to see its queries.
std::vector<std::vector<int>> WavefrontAttention::turns() const {
  if (watchers_.empty()) return {attending_};
  std::vector<size_t> turn(forest_.streams().size(), 0);
  std::vector<std::vector<int>> turns;
  // A stream comes after those whose rows it shares.
  for (auto stream = attending_.rbegin(); stream != attending_.rend(); ++stream) {
    turns.resize(std::max(turns.size(), turn[*stream] + 1));
    turns[turn[*stream]].push_back(*stream);
    if (!watchers_.contains(*stream)) continue;
    for (const Segment& segment : segments_[*stream])
      if (segment.owner != *stream)
        turn[segment.owner] = std::max(turn[segment.owner], turn[*stream] + 1);
  }
  return turns;
}

void WavefrontAttention::attend_streams(const std::vector<int>& streams,
                                        const LayerCall& call) const {
  // Streams with one row each are quick: several together make a job worth handing out.
  constexpr int64_t kRowsPerJob = 16;
  std::vector<int64_t> starts = {0};
  int64_t rows = 0;
  for (size_t i = 0; i < streams.size(); ++i) {
    rows += watchers_.contains(streams[i]) ? forest_[streams[i]].length : rows_.count(streams[i]);
    if (rows >= kRowsPerJob || i + 1 == streams.size()) {
      starts.push_back(static_cast<int64_t>(i) + 1);
      rows = 0;
    }
  }
  const int kv_heads = config_.n_kv_heads;
  pool_.parallel_for((static_cast<int64_t>(starts.size()) - 1) * kv_heads, [&](int64_t job) {
    const int64_t some = job / kv_heads;
    for (int64_t i = starts[some]; i < starts[some + 1]; ++i)
      attend_head(streams[i], static_cast<int>(job % kv_heads), call);
  });
}

void WavefrontAttention::attend_head(int stream, int kv_head, const LayerCall& call) const {
  ThreadRoom& room = thread_room();
  if (shared_[stream] < 0) fill(stream, kv_head, room.cache);
  resolve(stream, kv_head, room.cache, room.keys);
  const auto watchers = watchers_.find(stream);
  if (watchers != watchers_.end()) return attend_watched(stream, kv_head, watchers->second, call);
  rows_.each_own(stream, [&](int32_t position, int32_t row) {
    if (!call.wanted(forest_[stream], position)) return;
    queue_queries(kv_head, row, true, call.changes);
    attend_queued(position);
  });
}

/// The same with the patterns of all positions, also of rows that the stream shares.
void WavefrontAttention::attend_watched(int stream, int kv_head, const std::vector<int64_t>& tasks,
                                        const LayerCall& call) const {
  const int64_t tokens = forest_[stream].length;
  const int64_t stride = pattern_row_room(tokens - 1);
  const int group = config_.n_heads / config_.n_kv_heads;
  ThreadRoom& room = thread_room();
  if (static_cast<int64_t>(room.patterns.size()) < group * tokens * stride)
    room.patterns.resize(group * tokens * stride);
  for (int32_t q = 0; q < tokens; ++q) {
    const int32_t row = rows_.row(stream, q);
    const bool is_own = rows_.own(stream, q) >= 0;
    queue_queries(kv_head, row, is_own && call.wanted(forest_[stream], q), call.changes);
    for (int i = 0; i < group; ++i)
      room.queries[i].pattern = room.patterns.data() + (i * tokens + q) * stride;
    attend_queued(q);
    // Past the last vector of a row is what an earlier pattern or a segment left.
    const int64_t done = round_up(q + 1, kLanes);
    for (const AttentionQuery& query : room.queries)
      std::fill(query.pattern + done, query.pattern + stride, 0.0F);
  }
  for (const int64_t task : tasks)
    for (int i = 0; i < group; ++i)
      call.observer->observe(task, layer_, kv_head * group + i,
                             room.patterns.data() + i * tokens * stride, tokens, stride);
}

/// The queries of a row for the heads that have these keys.
void WavefrontAttention::queue_queries(int kv_head, int32_t row, bool wants_z,
                                       const AttentionChanges& changes) const {
  const int group = config_.n_heads / config_.n_kv_heads;
  std::vector<AttentionQuery>& queries = thread_room().queries;
  queries.clear();
  for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    float* query = store_.qkv(row) + int64_t{head} * config_.head_size;
    queries.push_back({.query = query,
                       .change = changes.find(row, head),
                       .out = wants_z ? query : nullptr,
                       .pattern = nullptr});
  }
}

void WavefrontAttention::attend_queued(int32_t position) const {
  ThreadRoom& room = thread_room();
  AttentionPlace place = model_.attention_place(layer_, position);
  place.keys = room.keys;
  mechsweep::attend(place, room.queries, room.scratch);
}

}  // namespace mechsweep
