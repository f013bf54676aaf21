#include "experiments/flops.h"

#include <algorithm>
#include <set>
#include <vector>

namespace mechsweep {

namespace {

/// Costs of the parts of a layer, by row or by (query, key).
struct LayerCosts {
  explicit LayerCosts(const ModelConfig& model) {
    const double width = model.d_model;
    const double heads = static_cast<double>(model.n_heads) * model.head_size;
    projections = 2.0 * width * (heads + 2.0 * model.n_kv_heads * model.head_size);
    pair = 2.0 * 2.0 * heads;
    output = 2.0 * heads * width;
    mlp = 2.0 * width * model.d_mlp * (model.gated_mlp ? 3.0 : 2.0);
    unembedding = 2.0 * width * model.vocab_size;
  }
  double projections, pair, output, mlp, unembedding;
};

/// How many rows there are, and how many keys their queries see in all.
struct RowCount {
  double rows = 0.0;
  double keys = 0.0;

  void add(int64_t position) {
    rows += 1.0;
    keys += static_cast<double>(position) + 1.0;
  }
};

/// The positions [first, end).
RowCount count_range(int64_t first, int64_t end) {
  const auto f = static_cast<double>(first);
  const auto e = static_cast<double>(end);
  return {e - f, (e * (e + 1.0) - f * (f + 1.0)) / 2.0};
}

double whole_layer(const LayerCosts& costs, const RowCount& count) {
  return (costs.projections + costs.output + costs.mlp) * count.rows + costs.pair * count.keys;
}

std::set<int64_t> read_positions(std::span<const ReadPoint> reads) {
  std::set<int64_t> positions;
  for (const ReadPoint& read : reads) positions.insert(read.position);
  return positions;
}

/// Positions past the last that is read matter to nobody.
int64_t needed_length(const std::set<int64_t>& read, int64_t tokens) {
  return read.empty() ? 0 : std::min(tokens, *read.rbegin() + 1);
}

/// The positions of which an intervention has rows of its own: some, and all from one on.
class OwnRows {
 public:
  explicit OwnRows(int64_t length) : length_(length), all_from_(length) {}

  void add(std::span<const int32_t> positions) {
    for (const int32_t position : positions)
      if (position < all_from_) some_.insert(position);
  }
  /// Every row after the lowest becomes an own one.
  void spread() {
    if (!some_.empty()) all_from_ = *some_.begin();
    some_.clear();
  }
  [[nodiscard]] bool empty() const { return some_.empty() && all_from_ == length_; }
  [[nodiscard]] bool is_spread() const { return some_.empty(); }
  [[nodiscard]] RowCount count() const {
    RowCount count = count_range(all_from_, length_);
    for (const int64_t position : some_) count.add(position);
    return count;
  }
  /// Only of these positions.
  [[nodiscard]] RowCount count(const std::set<int64_t>& positions) const {
    RowCount count;
    for (const int64_t position : positions)
      if (position < length_ && (position >= all_from_ || some_.contains(position)))
        count.add(position);
    return count;
  }

 private:
  int64_t length_;
  int64_t all_from_;
  std::set<int64_t> some_;
};

/// Adds up the layers of one intervention.
class InterventionCost {
 public:
  InterventionCost(const ModelConfig& model, int64_t tokens, const Intervention& intervention,
                   std::span<const ReadPoint> reads)
      : costs_(model),
        last_(model.n_layers - 1),
        intervention_(intervention),
        read_(read_positions(reads)),
        length_(needed_length(read_, tokens)),
        changed_(length_) {
    for (const Edit& edit : intervention.edits) {
      const bool next = is_of_next_layer(edit);
      layers_.insert(edit.layer + (next ? 1 : 0));
      changed_.add(rows_of(edit));
    }
    changed_.spread();
  }

  [[nodiscard]] double total() {
    const double read_rows = changed_.count(read_).rows;
    if (read_rows == 0.0) return 0.0;
    const double blocks = intervention_.downstream == Downstream::freeze ? frozen() : recomputed();
    return blocks + costs_.unembedding * read_rows;
  }

 private:
  static bool within(const Edit& edit, Site first, Site last) {
    return edit.site >= first && edit.site <= last;
  }
  /// resid_post is where the next layer starts, if there is one.
  [[nodiscard]] bool is_of_next_layer(const Edit& edit) const {
    return edit.site == Site::resid_post && edit.layer < last_;
  }
  static std::vector<int32_t> rows_of(const Edit& edit) {
    std::vector<int32_t> rows = edit.positions;
    for (const auto& [query, key] : edit.edges) rows.push_back(query);
    return rows;
  }

  template <typename Fits>
  void own(OwnRows& rows, int layer, Fits fits) const {
    for (const Edit& edit : intervention_.edits)
      if (edit.layer + (is_of_next_layer(edit) ? 1 : 0) == layer && fits(edit))
        rows.add(rows_of(edit));
  }

  [[nodiscard]] RowCount needed(const OwnRows& rows, int layer) const {
    return layer == last_ ? rows.count(read_) : rows.count();
  }

  /// The attention block, from the projections to the output; more rows may become own ones.
  [[nodiscard]] double attention_block(OwnRows& rows, int layer) const {
    own(rows, layer,
        [](const Edit& edit) { return edit.edges.empty() && within(edit, Site::q, Site::v); });
    double cost = costs_.projections * rows.count().rows;
    rows.spread();
    own(rows, layer,
        [](const Edit& edit) { return edit.site == Site::pattern || !edit.edges.empty(); });
    cost += costs_.pair * needed(rows, layer).keys;
    own(rows, layer, [](const Edit& edit) { return edit.site == Site::z; });
    return cost;
  }

  [[nodiscard]] double recomputed() const {
    double cost = 0.0;
    OwnRows rows(length_);
    for (int layer = *layers_.begin(); layer <= last_; ++layer) {
      const bool no_more_edits = layer > *layers_.rbegin();
      if (no_more_edits && rows.is_spread() && layer < last_) {
        cost += (last_ - layer) * whole_layer(costs_, rows.count());  // these are all alike
        layer = last_;
      }
      own(rows, layer,
          [&](const Edit& edit) { return edit.site == Site::resid_pre || is_of_next_layer(edit); });
      cost += attention_block(rows, layer);
      own(rows, layer,
          [](const Edit& edit) { return within(edit, Site::attn_out, Site::resid_mid); });
      cost += costs_.output * needed(rows, layer).rows;
      own(rows, layer, [&](const Edit& edit) {
        return within(edit, Site::mlp_in, Site::mlp_out);  // the last resid_post: no layer at all
      });
      cost += costs_.mlp * needed(rows, layer).rows;
    }
    return cost;
  }

  [[nodiscard]] double frozen() const {
    double cost = 0.0;
    for (const int layer : layers_) {
      OwnRows attention(length_);
      cost += attention_block(attention, layer);
      cost += costs_.output * needed(attention, layer).rows;
      OwnRows mlp(length_);
      own(mlp, layer,
          [](const Edit& edit) { return within(edit, Site::mlp_in, Site::mlp_hidden); });
      cost += costs_.mlp * needed(mlp, layer).rows;
    }
    return cost;
  }

  LayerCosts costs_;
  int last_;
  const Intervention& intervention_;
  std::set<int64_t> read_;
  int64_t length_;
  OwnRows changed_;       ///< in the end
  std::set<int> layers_;  ///< with edits
};

}  // namespace

double forward_flops(const ModelConfig& model, int64_t tokens, int64_t read_rows) {
  const LayerCosts costs(model);
  return model.n_layers * whole_layer(costs, count_range(0, tokens)) +
         costs.unembedding * static_cast<double>(read_rows);
}

double base_flops(const ModelConfig& model, int64_t tokens, std::span<const ReadPoint> reads,
                  bool unembedded) {
  const LayerCosts costs(model);
  const std::set<int64_t> positions = read_positions(reads);
  const RowCount all = count_range(0, needed_length(positions, tokens));
  RowCount read;
  for (const int64_t position : positions) read.add(position);
  return (model.n_layers - 1) * whole_layer(costs, all) + costs.projections * all.rows +
         costs.pair * read.keys + (costs.output + costs.mlp) * read.rows +
         (unembedded ? costs.unembedding * read.rows : 0.0);
}

double intervention_flops(const ModelConfig& model, int64_t tokens,
                          const Intervention& intervention, std::span<const ReadPoint> reads) {
  return InterventionCost(model, tokens, intervention, reads).total();
}

}  // namespace mechsweep
