#include "plan/grid.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>

#include <fmt/ranges.h>

#include "plan/id_text.h"

namespace mechsweep {

namespace {

/// One value of an axis.
struct Choice {
  std::string label;
  const ConfigNode* value = nullptr;  ///< a scalar, or the map of fields behind a label
};

struct Axis {
  std::string name;
  std::vector<Choice> choices;

  [[nodiscard]] bool has(const std::string& label) const {
    return std::any_of(choices.begin(), choices.end(),
                       [&](const Choice& choice) { return choice.label == label; });
  }
};

using Axes = std::vector<Axis>;
/// For each axis the index of its choice.
using Combination = std::vector<size_t>;

std::vector<std::string> names_of(const Axes& axes) {
  std::vector<std::string> names;
  names.reserve(axes.size());
  for (const Axis& axis : axes) names.push_back(axis.name);
  return names;
}

std::string unknown_axis(const std::string& name, const Axes& axes) {
  return fmt::format("there is no axis '{}' in `grid.over`; there are: {}", name,
                     fmt::join(names_of(axes), ", "));
}

/// The fields of a label are a map, the items of a list are scalars.
Axis read_axis(const ConfigNode::Entry& entry, Problems& problems) {
  const ConfigNode& node = entry.value;
  Axis axis{.name = entry.key};
  const auto add = [&](const std::string& label, const ConfigNode& value) {
    if (!has_id_characters(label))
      problems.add(value, fmt::format("'{}' is no label, which is made of letters, digits, '_', "
                                      "'-' and '.'; put the value under a label of its own, as in "
                                      "`{}: {{LABEL: {{value: ...}}}}`",
                                      label, axis.name));
    if (axis.has(label)) problems.add(value, fmt::format("'{}' is given twice", label));
    axis.choices.push_back({label, &value});
  };
  for (const ConfigNode& item : node.items) {
    if (item.kind == ConfigNode::Kind::scalar) {
      add(item.scalar, item);
    } else {
      problems.add(item, "must be a number or a text; put lists and maps under labels");
    }
  }
  for (const auto& label : node.entries) {
    if (label.value.kind != ConfigNode::Kind::map)
      problems.add(label.value, "must be a map of fields, such as {path: ...}");
    add(label.key, label.value);
  }
  if (axis.choices.empty())
    problems.add(node, "must be a list of values or a map from labels to fields, and not empty");
  return axis;
}

/// Puts one combination's values into a config.
class Substitution {
 public:
  Substitution(const Axes& axes, const Combination& combination, Problems& problems)
      : axes_(axes), combination_(combination), problems_(problems) {}

  [[nodiscard]] ConfigNode apply(const ConfigNode& node) const {
    if (node.kind == ConfigNode::Kind::scalar) return apply_to_scalar(node);
    warn_of_bare_braces(node);
    ConfigNode out = node;
    for (ConfigNode& item : out.items) item = apply(item);
    for (auto& entry : out.entries) entry.value = apply(entry.value);
    return out;
  }

 private:
  /// `length: {length}` is a map to YAML.
  void warn_of_bare_braces(const ConfigNode& node) const {
    if (node.entries.size() != 1) return;
    const ConfigNode::Entry& only = node.entries.front();
    const std::string axis = only.key.substr(0, only.key.find('.'));
    if (only.value.kind == ConfigNode::Kind::null && find_axis(axis))
      problems_.add(node, fmt::format("write \"{{{}}}\" in quotes", only.key));
  }

  [[nodiscard]] std::optional<size_t> find_axis(std::string_view name) const {
    const auto found = std::find_if(axes_.begin(), axes_.end(),
                                    [&](const Axis& axis) { return axis.name == name; });
    if (found == axes_.end()) return std::nullopt;
    return static_cast<size_t>(found - axes_.begin());
  }

  [[nodiscard]] ConfigNode apply_to_scalar(const ConfigNode& node) const {
    const std::string& text = node.scalar;
    ConfigNode out = node;
    if (text.size() > 2 && text.front() == '{' && text[1] != '{' &&
        text.find('}') == text.size() - 1) {
      if (const auto value = look_up(text.substr(1, text.size() - 2), node)) {
        out = *value;
        out.position = node.position;
        out.path = node.path;
      }
      return out;
    }
    out.scalar = expand(node);
    return out;
  }

  [[nodiscard]] std::string expand(const ConfigNode& node) const {
    const std::string& text = node.scalar;
    std::string out;
    for (size_t at = 0; at < text.size(); ++at) {
      const char c = text[at];
      if ((c == '{' || c == '}') && text.substr(at + 1, 1) == std::string(1, c)) {
        out += c;
        ++at;
        continue;
      }
      if (c != '{' && c != '}') {
        out += c;
        continue;
      }
      const size_t end = text.find('}', at);
      if (c == '}' || end == std::string::npos) {
        problems_.add(node, fmt::format("has a '{}' without its partner; write two for one that is "
                                        "meant as it is",
                                        c));
        return out;
      }
      out += scalar_of(text.substr(at + 1, end - at - 1), node);
      at = end;
    }
    return out;
  }

  [[nodiscard]] std::string scalar_of(const std::string& name, const ConfigNode& node) const {
    const auto value = look_up(name, node);
    if (!value) return "";
    if (value->kind != ConfigNode::Kind::scalar)
      problems_.add(
          node, fmt::format("{{{}}} is no number or text, so it cannot be a part of one", name));
    return value->scalar;
  }

  /// The value of "axis" or "axis.field".
  [[nodiscard]] std::optional<ConfigNode> look_up(const std::string& name,
                                                  const ConfigNode& node) const {
    const size_t dot = name.find('.');
    const std::string axis_name = name.substr(0, dot);
    const auto axis = find_axis(axis_name);
    if (!axis) {
      problems_.add(node, unknown_axis(axis_name, axes_));
      return std::nullopt;
    }
    const Choice& choice = axes_[*axis].choices[combination_[*axis]];
    if (dot == std::string::npos) {
      if (choice.value->kind == ConfigNode::Kind::scalar) return *choice.value;
      ConfigNode label;
      label.kind = ConfigNode::Kind::scalar;
      label.scalar = choice.label;
      return label;
    }
    const ConfigNode* field = choice.value->find(name.substr(dot + 1));
    if (field == nullptr) {
      problems_.add(node, fmt::format("'{}' of `grid.over.{}` has no field '{}'", choice.label,
                                      axis_name, name.substr(dot + 1)));
      return std::nullopt;
    }
    return *field;
  }

  const Axes& axes_;
  const Combination& combination_;
  Problems& problems_;
};

class Grid {
 public:
  explicit Grid(const ConfigNode& root) : root_(root) {
    const ConfigNode* grid = root.find("grid");
    if (grid == nullptr)
      fail(ErrorKind::usage, "{}: has no `grid:`, so there is nothing to expand; run it as it is",
           root.position.file);
    MapReader reader(*grid, problems_);
    if (const ConfigNode* over = reader.require("over")) read_axes(*over);
    if (const ConfigNode* without = reader.get("without")) read_without(*without);
    reader.finish();
    if (root.find("name") == nullptr)
      problems_.add(root,
                    "needs the key `name`, the template of the configs' names, such as "
                    "\"{model}_{length}\"");
    problems_.throw_if_any();
  }

  [[nodiscard]] std::vector<GridConfig> expand() {
    std::vector<GridConfig> configs;
    std::map<std::string, std::string> seen;
    Combination combination(axes_.size(), 0);
    do {
      if (is_left_out(combination)) continue;
      configs.push_back(make_config(combination));
      // The others would have the same.
      problems_.throw_if_any();
      check_name(configs.back(), seen);
    } while (advance(combination));
    if (configs.empty())
      fail(ErrorKind::usage, "{}: `grid.without` leaves nothing of the grid", root_.position.file);
    return configs;
  }

 private:
  void read_axes(const ConfigNode& over) {
    if (over.kind != ConfigNode::Kind::map || over.entries.empty()) {
      problems_.add(over, "must be a map from the names of axes to their values");
      return;
    }
    size_t configs = 1;
    for (const auto& entry : over.entries) {
      axes_.push_back(read_axis(entry, problems_));
      configs *= std::max<size_t>(1, axes_.back().choices.size());
      if (configs > kMaxGridConfigs) {
        problems_.add(over, fmt::format("the grid has more than {} configs", kMaxGridConfigs));
        return;
      }
    }
  }

  void read_without(const ConfigNode& without) {
    if (without.kind != ConfigNode::Kind::list)
      problems_.add(without, "must be a list of maps from axes to labels");
    for (const ConfigNode& item : without.items) {
      if (item.entries.empty()) problems_.add(item, "must be a map from axes to labels");
      for (const auto& entry : item.entries) {
        const auto axis = std::find_if(axes_.begin(), axes_.end(),
                                       [&](const Axis& a) { return a.name == entry.key; });
        if (axis == axes_.end()) {
          problems_.add(entry.value, unknown_axis(entry.key, axes_));
        } else if (!axis->has(entry.value.scalar)) {
          problems_.add(entry.value,
                        fmt::format("the axis '{}' has no '{}'", entry.key, entry.value.scalar));
        }
      }
      left_out_.push_back(&item);
    }
  }

  [[nodiscard]] bool is_left_out(const Combination& combination) const {
    const auto fits = [&](const ConfigNode* item) {
      for (size_t a = 0; a < axes_.size(); ++a) {
        const ConfigNode* label = item->find(axes_[a].name);
        if (label != nullptr && label->scalar != axes_[a].choices[combination[a]].label)
          return false;
      }
      return true;
    };
    return std::any_of(left_out_.begin(), left_out_.end(), fits);
  }

  GridConfig make_config(const Combination& combination) {
    GridConfig made;
    for (size_t a = 0; a < axes_.size(); ++a)
      made.choices += fmt::format("{}{}={}", a == 0 ? "" : ", ", axes_[a].name,
                                  axes_[a].choices[combination[a]].label);
    made.config = root_;
    std::erase_if(made.config.entries, [](const auto& entry) { return entry.key == "grid"; });
    made.config = Substitution(axes_, combination, problems_).apply(made.config);
    made.name = made.config.find("name")->scalar;
    return made;
  }

  void check_name(const GridConfig& made, std::map<std::string, std::string>& seen) const {
    const ConfigNode& name = *root_.find("name");
    const auto refuse = [&](const std::string& message) {
      fail(ErrorKind::usage, "{}: name: {}", name.position.text(), message);
    };
    if (!has_id_characters(made.name) || made.name.front() == '.')
      refuse(
          fmt::format("'{}' is no file name made of letters, digits, '_', '-' and '.'", made.name));
    const auto [other, is_new] = seen.emplace(made.name, made.choices);
    if (!is_new)
      refuse(fmt::format("two configs would be called '{}' ({}; {}): put every axis into the name",
                         made.name, other->second, made.choices));
  }

  bool advance(Combination& combination) const {
    for (size_t a = combination.size(); a-- > 0;) {
      if (++combination[a] < axes_[a].choices.size()) return true;
      combination[a] = 0;
    }
    return false;
  }

  const ConfigNode& root_;
  Problems problems_;
  Axes axes_;
  std::vector<const ConfigNode*> left_out_;
};

}  // namespace

std::vector<GridConfig> expand_grid(const ConfigNode& root) {
  return Grid(root).expand();
}

}  // namespace mechsweep
