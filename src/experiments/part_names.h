#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "core/config_node.h"

namespace mechsweep {

/// A whole non-negative number and nothing else.
inline std::optional<int32_t> parse_number(std::string_view text) {
  int32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.starts_with('-'))
    return std::nullopt;
  return value;
}

/// A part of a layer by its name, such as L9H5 with the letter H: a Name of layer and number.
template <typename Name>
std::optional<Name> parse_part_name(std::string_view text, char letter) {
  const size_t at = text.find(letter);
  if (!text.starts_with('L') || at == std::string_view::npos) return std::nullopt;
  const auto layer = parse_number(text.substr(1, at - 1));
  const auto part = parse_number(text.substr(at + 1));
  if (!layer || !part) return std::nullopt;
  return Name{*layer, *part};
}

/// A list of such names without repeats; otherwise what it must be is added to the problems.
template <typename Name>
std::vector<Name> parse_part_list(const ConfigNode& node, char letter, std::string_view wanted_list,
                                  std::string_view wanted_name, Problems& problems) {
  std::vector<Name> parts;
  if (node.kind != ConfigNode::Kind::list || node.items.empty()) {
    problems.add(node, std::string(wanted_list));
    return parts;
  }
  for (const ConfigNode& item : node.items) {
    const auto name = item.kind == ConfigNode::Kind::scalar
                          ? parse_part_name<Name>(item.scalar, letter)
                          : std::optional<Name>();
    if (!name) {
      problems.add(item, std::string(wanted_name));
    } else if (std::find(parts.begin(), parts.end(), *name) != parts.end()) {
      problems.add(item, fmt::format("{} is named twice", name->text()));
    } else {
      parts.push_back(*name);
    }
  }
  return parts;
}

}  // namespace mechsweep
