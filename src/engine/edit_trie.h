#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/stream_forest.h"

namespace mechsweep {

/// Lists of edits that begin alike, as a tree: node 0 stands for no edit, every other node for its
/// parent's edits and those of one later layer. Edits of one layer stay together: they meet in
/// values that exist only while the layer is computed. A node comes after its parent.
class EditTrie {
 public:
  EditTrie() : nodes_(1) {}

  /// The node of a list of edits in the order of computation, made where it is missing; a task ends
  /// there.
  int insert(const std::vector<StreamEdit>& edits);

  [[nodiscard]] int size() const { return static_cast<int>(nodes_.size()); }
  [[nodiscard]] int parent(int node) const { return nodes_[node].parent; }
  /// Those of the node's layer, in the order of computation.
  [[nodiscard]] const std::vector<StreamEdit>& edits(int node) const { return nodes_[node].edits; }
  /// Whether a task ends at the node or ways part there.
  [[nodiscard]] bool is_needed(int node) const {
    return nodes_[node].ends || nodes_[node].children > 1;
  }

 private:
  struct Node {
    int parent = -1;
    std::vector<StreamEdit> edits;
    int children = 0;
    bool ends = false;
  };
  int step(int node, std::span<const StreamEdit> edits);

  std::vector<Node> nodes_;
  std::unordered_multimap<uint64_t, int> by_hash_;  ///< of the parent and the edits
};

}  // namespace mechsweep
