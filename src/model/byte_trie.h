#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mechsweep {

/// Finds which of many texts a text starts with, byte by byte.
class ByteTrie {
 public:
  ByteTrie() = default;
  /// From texts, none empty and none twice, each with a value >= 0.
  explicit ByteTrie(std::vector<std::pair<std::string, int32_t>> entries);

  /// Calls visit(length, value) for every entry that `text` starts with, the shortest first.
  template <typename Visit>
  void visit_prefixes(std::string_view text, Visit visit) const {
    size_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      node = child(node, static_cast<uint8_t>(text[i]));
      if (node == 0) return;
      if (values_[node] >= 0) visit(i + 1, values_[node]);
    }
  }

 private:
  /// The node that a byte leads to, or 0, which is the root and nobody's child.
  [[nodiscard]] size_t child(size_t node, uint8_t byte) const;

  /// The children of a node stand together, in order of their bytes.
  std::vector<uint32_t> first_child_{0, 0};  ///< of every node, and the end of the last one's
  std::vector<uint8_t> bytes_{0};            ///< that lead to a node
  std::vector<int32_t> values_{-1};          ///< -1: no entry ends here
};

}  // namespace mechsweep
