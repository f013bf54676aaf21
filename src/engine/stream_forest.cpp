#include "engine/stream_forest.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <unordered_map>

#include "core/error.h"
#include "engine/edit_trie.h"
#include "engine/edit_values.h"

namespace mechsweep {

namespace {

/// Positions that an edit touches below a limit: rows for vectors and patterns, queries and keys
/// for edges. Largest of them, or -1.
int32_t last_position_below(const Edit& edit, int32_t limit) {
  int32_t last = -1;
  for (const int32_t position : edit.positions)
    if (position < limit) last = std::max(last, position);
  for (const auto& [query, key] : edit.edges)
    if (query < limit) last = std::max(last, query);
  return last;
}

bool acts_on_residual(Site site) {
  return site == Site::resid_pre || site == Site::resid_mid || site == Site::resid_post;
}

}  // namespace

/// Builds a StreamForest in the order of its parts.
class ForestBuilder {
 public:
  ForestBuilder(StreamForest& forest, std::span<const PromptTokens> prompts,
                std::span<const Task> tasks, const ModelConfig& config)
      : forest_(forest), prompts_(prompts), tasks_(tasks), config_(config) {
    forest.n_layers_ = config.n_layers;
  }

  void build(bool observed, std::span<TaskResult> results) {
    add_roots();
    add_branches();
    for (size_t i = 0; i < tasks_.size(); ++i) {
      add_captures(i, results[i]);
      need_readings(i, observed);
    }
    for (int s = static_cast<int>(streams().size()) - 1; s >= 0; --s) pass_needs_on(s);
    for (Stream& stream : streams()) stream.first = first_position(stream);
  }

 private:
  std::vector<Stream>& streams() { return forest_.streams_; }

  // --- whole sequences -------------------------------------------------------------------------

  void add_roots() {
    forest_.root_of_.assign(prompts_.size(), {-1, -1});
    std::vector<std::pair<int32_t, Side>> runs;
    const auto want = [&](int32_t prompt, Side side) {
      int& root = forest_.root_of_[prompt][static_cast<size_t>(side)];
      if (root < 0) runs.emplace_back(prompt, side);
      root = 0;
    };
    for (const Task& task : tasks_) {
      want(task.prompt, task.intervention.base);
      for (const Edit& edit : task.intervention.edits)
        if (edit.takes_from_donor()) {
          const auto [prompt, side] = donor_of(edit, task.prompt);
          want(prompt, side);
        }
      for (const ReadPoint& point : task.reads)
        for (const Side side : point.kl) want(task.prompt, side);
    }
    const auto tokens = [&](const std::pair<int32_t, Side>& run) {
      return prompts_[run.first].side(run.second);
    };
    // Neighbours in lexicographic order share the longest prefixes that there are.
    std::stable_sort(runs.begin(), runs.end(), [&](const auto& a, const auto& b) {
      const auto rotation_a = rotation_of(tokens(a));
      const auto rotation_b = rotation_of(tokens(b));
      if (rotation_a != rotation_b) return rotation_a < rotation_b;
      return std::ranges::lexicographical_compare(tokens(a), tokens(b));
    });
    for (const auto& run : runs)
      forest_.root_of_[run.first][static_cast<size_t>(run.second)] = add_root(tokens(run));
    forest_.roots_ = static_cast<int>(streams().size());
  }

  /// Sequences of different lengths may turn their positions otherwise; then they share nothing.
  [[nodiscard]] std::pair<int64_t, int64_t> rotation_of(std::span<const int32_t> tokens) const {
    return {config_.rope.rotation_of(std::ssize(tokens)),
            config_.local_rope.rotation_of(std::ssize(tokens))};
  }

  int add_root(std::span<const int32_t> tokens) {
    if (!streams().empty()) {
      const Stream& before = streams().back();
      const auto [a, b] = std::ranges::mismatch(tokens, before.tokens);
      if (a == tokens.end() && b == before.tokens.end())
        return static_cast<int>(streams().size()) - 1;
    }
    Stream root{.tokens = tokens};
    if (!streams().empty() && rotation_of(tokens) == rotation_of(streams().back().tokens)) {
      const auto& before = streams().back().tokens;
      const auto shared =
          static_cast<int32_t>(std::ranges::mismatch(tokens, before).in1 - tokens.begin());
      if (shared > 0) {
        root.prefix = owner_of(static_cast<int>(streams().size()) - 1, shared - 1);
        root.prefix_length = shared;
      }
    }
    streams().push_back(std::move(root));
    return static_cast<int>(streams().size()) - 1;
  }

  /// The whole sequence that owns a position of another.
  [[nodiscard]] int owner_of(int root, int32_t position) const {
    const std::vector<Stream>& all = forest_.streams_;
    while (all[root].prefix >= 0 && position < all[root].prefix_length) root = all[root].prefix;
    return root;
  }

  // --- edited sequences ------------------------------------------------------------------------

  void add_branches() {
    std::vector<EditTrie> tries(forest_.roots_);
    std::vector<int> node_of(tasks_.size(), -1);
    forest_.task_streams_.resize(tasks_.size());
    for (size_t i = 0; i < tasks_.size(); ++i) {
      const Task& task = tasks_[i];
      const int root = forest_.root_of(task.prompt, task.intervention.base);
      forest_.task_streams_[i] = root;
      if (task.intervention.edits.empty()) continue;
      if (task.intervention.downstream == Downstream::freeze) continue;
      node_of[i] = tries[root].insert(stream_edits(task));
    }
    std::vector<std::vector<int>> streams_of(forest_.roots_);
    for (int root = 0; root < forest_.roots_; ++root) add_trie(root, tries[root], streams_of);
    for (size_t i = 0; i < tasks_.size(); ++i) {
      const int root = forest_.task_streams_[i];
      if (node_of[i] >= 0) {
        forest_.task_streams_[i] = streams_of[root][node_of[i]];
      } else if (!tasks_[i].intervention.edits.empty()) {
        forest_.task_streams_[i] = add_frozen(tasks_[i], root);
      }
    }
  }

  std::vector<StreamEdit> stream_edits(const Task& task) const {
    std::vector<StreamEdit> edits;
    for (const Edit* edit : in_compute_order(task.intervention)) {
      StreamEdit own{.edit = edit, .layer = edit->layer, .site = edit->site};
      if (own.site == Site::resid_post && own.layer + 1 < config_.n_layers) {
        own.site = Site::resid_pre;
        ++own.layer;
      }
      if (edit->takes_from_donor()) {
        const auto [prompt, side] = donor_of(*edit, task.prompt);
        own.donor = forest_.root_of(prompt, side);
      }
      edits.push_back(own);
    }
    // A resid_post that became the next layer's resid_pre comes before that layer's own edits.
    std::stable_sort(edits.begin(), edits.end(), [](const StreamEdit& a, const StreamEdit& b) {
      return std::pair(a.layer, a.site) < std::pair(b.layer, b.site);
    });
    return edits;
  }

  /// One stream for each node of a trie where tasks end or ways part.
  void add_trie(int root, const EditTrie& trie, std::vector<std::vector<int>>& streams_of) {
    std::vector<int>& of_node = streams_of[root];
    of_node.assign(trie.size(), root);
    PrefixMatches matches(*this, root);
    for (int node = 1; node < trie.size(); ++node) {
      if (!trie.is_needed(node)) continue;
      Stream branch{.tokens = streams()[root].tokens};
      int above = node;
      for (; above != 0 && (above == node || !trie.is_needed(above)); above = trie.parent(above))
        branch.edits.insert(branch.edits.begin(), trie.edits(above).begin(),
                            trie.edits(above).end());
      branch.parent = of_node[above];
      matches.find(branch);
      of_node[node] = static_cast<int>(streams().size());
      streams().push_back(std::move(branch));
    }
    branches_of_.resize(std::max<size_t>(branches_of_.size(), root + 1));
    for (const int stream : of_node)
      if (stream != root) branches_of_[root].push_back(stream);
  }

  /// Finds, for branches of a sequence, branches of the sequence that it shares its first tokens
  /// with which have the same edits there.
  class PrefixMatches {
   public:
    PrefixMatches(ForestBuilder& builder, int root)
        : builder_(builder), limit_(builder.streams()[root].prefix_length) {
      other_ = builder.streams()[root].prefix;
      if (other_ < 0) return;
      for (const int stream : builder.branches_of_[other_])
        found_.try_emplace(builder.edits_below(builder.streams()[stream], limit_), stream);
    }

    void find(Stream& branch) const {
      if (other_ < 0) return;
      const bool reaches = std::any_of(
          branch.edits.begin(), branch.edits.end(),
          [&](const StreamEdit& edit) { return last_position_below(*edit.edit, limit_) >= 0; });
      if (!reaches) return;
      const auto match = found_.find(builder_.edits_below(branch, limit_));
      if (match == found_.end()) return;
      branch.prefix = match->second;
      branch.prefix_length = limit_;
    }

   private:
    ForestBuilder& builder_;
    int other_ = -1;
    int32_t limit_ = 0;
    std::unordered_map<std::string, int> found_;
  };

  /// What all edits of a stream and its parents do below a position, as bytes that are equal when
  /// the effects are.
  std::string edits_below(const Stream& stream, int32_t limit) const {
    std::string key;
    if (stream.parent >= 0) key = edits_below(forest_.streams_[stream.parent], limit);
    for (const StreamEdit& own : stream.edits) {
      const Edit& edit = *own.edit;
      const int32_t last = last_position_below(edit, limit);
      if (last < 0) continue;
      const int donor = own.donor >= 0 ? owner_of(own.donor, last) : -1;
      // The mean at a position depends on how far the end is.
      const size_t length = edit.operation == Operation::mean ? stream.tokens.size() : 0;
      key += fmt::format("|{} {} {} {} {} {} {} {} {}:", edit.layer, static_cast<int>(edit.site),
                         static_cast<int>(edit.operation), donor,
                         static_cast<const void*>(edit.vector.get()), edit.scale,
                         static_cast<const void*>(edit.sums.get()), length, edit.edges.size());
      for (const int32_t head : edit.heads) key += fmt::format("{},", head);
      key += ':';
      for (const int32_t position : edit.positions)
        if (position < limit) key += fmt::format("{},", position);
      for (const auto& [query, other] : edit.edges)
        if (query < limit) key += fmt::format("{}-{},", query, other);
    }
    return key;
  }

  int add_frozen(const Task& task, int root) {
    Stream frozen{.tokens = streams()[root].tokens, .parent = root};
    Stream component{.tokens = frozen.tokens, .parent = root, .is_component = true};
    for (const StreamEdit& edit : stream_edits(task))
      (acts_on_residual(edit.site) ? frozen : component).edits.push_back(edit);
    streams().push_back(std::move(component));
    frozen.component = static_cast<int>(streams().size()) - 1;
    streams().push_back(std::move(frozen));
    return static_cast<int>(streams().size()) - 1;
  }

  // --- what is needed --------------------------------------------------------------------------

  void need(Stream& stream, int32_t positions, int layer) {
    stream.length = std::max(stream.length, positions);
    stream.last_layer = std::max(stream.last_layer, layer);
    stream.queried.resize(stream.length, 0);
  }

  void add_captures(size_t task, TaskResult& result) {
    for (const ActivationPoint& point : tasks_[task].activations) {
      result.activations.emplace_back(site_width(point.site, config_));
      const int last = config_.n_layers - 1;
      const bool next_layer = point.site == Site::resid_post && point.layer < last;
      const StreamCapture capture{.stream = forest_.task_streams_[task],
                                  .point = point,
                                  .layer = point.layer + (next_layer ? 1 : 0),
                                  .destination = result.activations.back().data()};
      Stream& stream = streams()[capture.stream];
      need(stream, point.position + 1, capture.layer);
      if (point.layer == last) stream.queried[point.position] = 1;
      forest_.captures_.push_back(capture);
    }
  }

  void need_readings(size_t task, bool observed) {
    const int last = config_.n_layers - 1;
    Stream& stream = streams()[forest_.task_streams_[task]];
    if (observed) {
      need(stream, static_cast<int32_t>(stream.tokens.size()), last);
      // Edits of the last layer's attention show at every query.
      if (!tasks_[task].intervention.edits.empty()) std::ranges::fill(stream.queried, uint8_t{1});
    }
    for (const ReadPoint& point : tasks_[task].reads) {
      need(stream, point.position + 1, last);
      stream.queried[point.position] = 1;
      for (const Side side : point.kl) {
        Stream& reference = streams()[forest_.root_of(tasks_[task].prompt, side)];
        need(reference, point.position + 1, last);
        reference.queried[point.position] = 1;
      }
    }
  }

  /// A stream needs its parent's, prefix's and donors' rows as far as its own are needed.
  void pass_needs_on(int index) {
    const Stream stream = streams()[index];
    if (stream.length == 0) return;
    for (const int other : {stream.parent, stream.prefix, stream.component}) {
      if (other < 0) continue;
      const int32_t length =
          other == stream.prefix ? std::min(stream.length, stream.prefix_length) : stream.length;
      need(streams()[other], length, stream.last_layer);
      for (int32_t t = 0; t < length; ++t) streams()[other].queried[t] |= stream.queried[t];
    }
    for (const StreamEdit& edit : stream.edits) {
      if (edit.donor < 0) continue;
      const int32_t last = last_position_below(*edit.edit, stream.length);
      if (last < 0) continue;
      Stream& donor = streams()[edit.donor];
      need(donor, last + 1, edit.layer);
      if (edit.layer < config_.n_layers - 1) continue;
      for (const int32_t position : edit.edit->positions)
        if (position < donor.length) donor.queried[position] = 1;
    }
  }

  [[nodiscard]] int32_t first_position(const Stream& stream) const {
    if (stream.prefix >= 0) return stream.prefix_length;
    if (stream.is_root()) return 0;
    // A frozen stream changes where its component does.
    int32_t first = stream.is_frozen() ? forest_.streams_[stream.component].first : stream.length;
    for (const StreamEdit& edit : stream.edits) first = std::min(first, first_row_of(*edit.edit));
    return first;
  }

  StreamForest& forest_;
  std::span<const PromptTokens> prompts_;
  std::span<const Task> tasks_;
  const ModelConfig& config_;
  std::vector<std::vector<int>> branches_of_;  ///< by whole sequence
};

StreamForest::StreamForest(std::span<const PromptTokens> prompts, std::span<const Task> tasks,
                           const ModelConfig& config, bool observed,
                           std::span<TaskResult> results) {
  ForestBuilder(*this, prompts, tasks, config).build(observed, results);
}

int StreamForest::root_of(int32_t prompt, Side side) const {
  const int root = root_of_[prompt][static_cast<size_t>(side)];
  ensure(root >= 0, "a run was asked for that no task needs");
  return root;
}

int64_t StreamForest::rows() const {
  int64_t rows = 0;
  for (const Stream& stream : streams_) rows += stream.own_positions();
  return rows;
}

}  // namespace mechsweep
