#include "stats/matched_antecedents.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "core/random.h"

namespace mechsweep {
namespace {

/// How often a lag can still be taken.
struct LagStock {
  int32_t lag = 0;
  int64_t left = 0;
};

std::vector<LagStock> stock_of(std::span<const int64_t> counts) {
  std::vector<LagStock> stock;
  for (int32_t lag = 0; lag < std::ssize(counts); ++lag)
    if (counts[lag] > 0) stock.push_back({lag, counts[lag]});
  return stock;
}

/// The prompt, and what of it is possible.
class Antecedents {
 public:
  Antecedents(std::span<const int32_t> tokens, std::span<const CopyOperation> operations,
              const AntecedentRules& rules)
      : tokens_(tokens), operations_(operations), rules_(rules), sources_(operations.size(), -1) {
    for (const CopyOperation& operation : operations) {
      const int64_t key = int64_t{operation.source} + rules.key_offset;
      ensure(rules.prefix_length <= operation.source && operation.source < operation.query &&
                 operation.query < std::ssize(tokens),
             "a copy goes from a source behind the prefix to a later query in the prompt");
      ensure(rules.prefix_length <= key && key < operation.query,
             "the key of a copy lies behind the prefix and before the query");
      ensure(tokens[operation.source] == tokens[operation.query], "a copy repeats its source");
    }
  }

  [[nodiscard]] bool is_possible(size_t index, int64_t lag) const {
    const CopyOperation& operation = operations_[index];
    const int64_t source = operation.query - lag;
    const int64_t key = source + rules_.key_offset;
    if (lag < 1 || std::min(source, key) < rules_.prefix_length || key >= operation.query)
      return false;
    if (tokens_[source] == tokens_[operation.query]) return false;
    if (tokens_[key] == tokens_[operation.source + rules_.key_offset]) return false;
    const int64_t next = int64_t{operation.query} + 1;
    if (next < std::ssize(tokens_) && tokens_[key] == tokens_[next]) return false;
    return !is_taken(operation.query, source);
  }

  [[nodiscard]] bool key_repeats_query(size_t index, int64_t lag) const {
    const int32_t query = operations_[index].query;
    return tokens_[query - lag + rules_.key_offset] == tokens_[query];
  }

  void take(size_t index, int64_t lag) {
    sources_[index] = static_cast<int32_t>(operations_[index].query - lag);
    taken_.push_back(index);
  }

  [[nodiscard]] const std::vector<int32_t>& sources() const { return sources_; }

 private:
  [[nodiscard]] bool is_taken(int32_t query, int64_t source) const {
    // Operations come in order of their query, so that those of one query are the last ones.
    for (auto it = taken_.rbegin(); it != taken_.rend() && operations_[*it].query == query; ++it)
      if (sources_[*it] == source) return true;
    return false;
  }

  std::span<const int32_t> tokens_;
  std::span<const CopyOperation> operations_;
  AntecedentRules rules_;
  std::vector<int32_t> sources_;
  std::vector<size_t> taken_;
};

/// A lag of the stock that is possible for the operation, in proportion to what is left of each;
/// null when there is none.
LagStock* draw_lag(std::vector<LagStock>& stock, const Antecedents& antecedents, size_t index,
                   RandomStream& stream) {
  int64_t total = 0;
  for (const LagStock& entry : stock)
    if (entry.left > 0 && antecedents.is_possible(index, entry.lag)) total += entry.left;
  if (total == 0) return nullptr;
  ensure(total <= std::numeric_limits<uint32_t>::max(), "lags are counted in 32 bits");
  int64_t at = stream.below(static_cast<uint32_t>(total));
  for (LagStock& entry : stock) {
    if (entry.left == 0 || !antecedents.is_possible(index, entry.lag)) continue;
    if (at < entry.left) return &entry;
    at -= entry.left;
  }
  return nullptr;
}

/// The operation's own lag moved by as little as possible; 0 when nothing within max_shift fits.
int64_t shifted_lag(const Antecedents& antecedents, size_t index, int64_t own, int64_t max_shift,
                    RandomStream& stream) {
  const auto fits = [&](int64_t lag) {
    return antecedents.is_possible(index, lag) && !antecedents.key_repeats_query(index, lag);
  };
  for (int64_t shift = 1; shift <= max_shift; ++shift) {
    const bool shorter = fits(own - shift), longer = fits(own + shift);
    if (shorter && longer) return stream.below(2) == 0 ? own - shift : own + shift;
    if (shorter) return own - shift;
    if (longer) return own + shift;
  }
  return 0;
}

}  // namespace

void count_lags(std::span<const CopyOperation> operations, std::vector<int64_t>& counts) {
  for (const CopyOperation& operation : operations) {
    const int64_t lag = int64_t{operation.query} - operation.source;
    ensure(lag >= 1, "a source lies before its query");
    if (lag >= std::ssize(counts)) counts.resize(lag + 1, 0);
    ++counts[lag];
  }
}

int64_t MatchedAntecedents::count(LagOrigin origin) const {
  return std::count(origins.begin(), origins.end(), origin);
}

MatchedAntecedents match_antecedents(std::span<const int32_t> tokens,
                                     std::span<const CopyOperation> operations,
                                     std::span<const int64_t> set_lags,
                                     const AntecedentRules& rules, const AntecedentDraw& draw) {
  Antecedents antecedents(tokens, operations, rules);
  std::vector<int64_t> own_lags;
  count_lags(operations, own_lags);
  std::vector<LagStock> own = stock_of(own_lags), set = stock_of(set_lags);
  std::vector<size_t> order(operations.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [operations](size_t a, size_t b) {
    return operations[a].query < operations[b].query;
  });

  // Draws come first in the index: more draws leave the earlier ones as they were.
  RandomStream stream(draw.seed, draw.purpose, uint64_t{draw.draw} << 32 | draw.prompt);
  MatchedAntecedents result;
  result.origins.assign(operations.size(), LagOrigin::none);
  for (const size_t index : order) {
    if (LagStock* entry = draw_lag(own, antecedents, index, stream)) {
      antecedents.take(index, entry->lag);
      --entry->left;
      result.origins[index] = LagOrigin::shuffled;
    } else if (LagStock* drawn = draw_lag(set, antecedents, index, stream)) {
      antecedents.take(index, drawn->lag);
      result.origins[index] = LagOrigin::drawn;
    } else {
      const int64_t lag =
          shifted_lag(antecedents, index, operations[index].query - operations[index].source,
                      rules.max_shift, stream);
      if (lag == 0) continue;
      antecedents.take(index, lag);
      result.origins[index] = LagOrigin::shifted;
    }
  }
  result.sources = antecedents.sources();
  return result;
}

}  // namespace mechsweep
