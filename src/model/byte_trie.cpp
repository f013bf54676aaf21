#include "model/byte_trie.h"

#include <algorithm>

#include "core/error.h"

namespace mechsweep {

ByteTrie::ByteTrie(std::vector<std::pair<std::string, int32_t>> entries) {
  std::sort(entries.begin(), entries.end());
  first_child_.clear();
  struct Range {  // entries that share the first `depth` bytes
    size_t begin;
    size_t end;
    size_t depth;
  };
  // Nodes in order of depth: those that wait in `open` follow the ones that are done.
  std::vector<Range> open{{0, entries.size(), 0}};
  for (size_t node = 0; node < open.size(); ++node) {
    Range range = open[node];
    first_child_.push_back(static_cast<uint32_t>(open.size()));
    if (range.begin < range.end && entries[range.begin].first.size() == range.depth) {
      ensure(range.depth > 0 && entries[range.begin].second >= 0, "entries of a trie are valid");
      values_[node] = entries[range.begin++].second;
    }
    while (range.begin < range.end) {
      const char byte = entries[range.begin].first[range.depth];
      size_t end = range.begin;
      while (end < range.end && entries[end].first[range.depth] == byte) ++end;
      open.push_back({range.begin, end, range.depth + 1});
      bytes_.push_back(static_cast<uint8_t>(byte));
      values_.push_back(-1);
      range.begin = end;
    }
  }
  first_child_.push_back(static_cast<uint32_t>(open.size()));
}

size_t ByteTrie::child(size_t node, uint8_t byte) const {
  const auto begin = bytes_.begin() + first_child_[node];
  const auto end = bytes_.begin() + first_child_[node + 1];
  // std::string compares bytes without a sign, as here.
  const auto found = std::lower_bound(begin, end, byte);
  return found == end || *found != byte ? 0 : static_cast<size_t>(found - bytes_.begin());
}

}  // namespace mechsweep
