#include "engine/edit_trie.h"

#include <algorithm>

namespace mechsweep {

namespace {

class Hash {
 public:
  void mix(int64_t value) {
    value_ = (value_ ^ static_cast<uint64_t>(value)) * 1099511628211ULL;
    value_ ^= value_ >> 29;
  }
  void mix(const StreamEdit& own) {
    const Edit& edit = *own.edit;
    mix(own.layer);
    mix(static_cast<int64_t>(own.site));
    mix(static_cast<int64_t>(edit.operation));
    for (const int32_t head : edit.heads) mix(head);
    mix(-1);
    for (const int32_t position : edit.positions) mix(position);
    for (const auto& [query, key] : edit.edges) mix((int64_t{query} << 32) | key);
  }
  [[nodiscard]] uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 14695981039346656037ULL;
};

bool same(const StreamEdit& a, const StreamEdit& b) {
  if (a.donor != b.donor) return false;
  // The donor's stream says more than the prompt number that names it. resid_post of a layer and
  // resid_pre of the next are two things here: what a task keeps between them differs.
  Edit left = *a.edit;
  left.donor = b.edit->donor;
  return left == *b.edit;
}

}  // namespace

int EditTrie::insert(const std::vector<StreamEdit>& edits) {
  int node = 0;
  for (size_t begin = 0; begin < edits.size();) {
    size_t end = begin;
    while (end < edits.size() && edits[end].layer == edits[begin].layer) ++end;
    node = step(node, std::span(edits).subspan(begin, end - begin));
    begin = end;
  }
  nodes_[node].ends = true;
  return node;
}

int EditTrie::step(int node, std::span<const StreamEdit> edits) {
  Hash hash;
  hash.mix(node);
  for (const StreamEdit& edit : edits) hash.mix(edit);
  const auto [begin, end] = by_hash_.equal_range(hash.value());
  for (auto entry = begin; entry != end; ++entry) {
    const Node& other = nodes_[entry->second];
    if (other.parent == node && std::ranges::equal(other.edits, edits, same)) return entry->second;
  }
  const int next = size();
  nodes_.push_back({.parent = node, .edits = {edits.begin(), edits.end()}});
  ++nodes_[node].children;
  by_hash_.emplace(hash.value(), next);
  return next;
}

}  // namespace mechsweep
