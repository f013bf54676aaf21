#include "core/config_node.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/text_file.h"

namespace mechsweep {

namespace {

/// Text of a config between quotation marks, cut where it is long.
std::string shown_text(const std::string& text) {
  constexpr size_t kShown = 60;
  return fmt::format("'{}'", fit_for_message(text, kShown));
}

/// What a node is, for "..., not X".
std::string description(const ConfigNode& node) {
  switch (node.kind) {
    case ConfigNode::Kind::null:
      return "an empty value";
    case ConfigNode::Kind::list:
      return "a list";
    case ConfigNode::Kind::map:
      return "a map";
    case ConfigNode::Kind::scalar:
      break;
  }
  return (node.quoted ? "the quoted text " : "") + shown_text(node.scalar);
}

bool is_plain_scalar(const ConfigNode& node) {
  return node.kind == ConfigNode::Kind::scalar && !node.quoted;
}

/// " from 1 to 9", " of at least 1", " of at most 9" or nothing.
template <typename T>
std::string bounds_text(T minimum, T maximum) {
  const bool below = minimum > std::numeric_limits<T>::lowest();
  const bool above = maximum < std::numeric_limits<T>::max();
  if (below && above) return fmt::format(" from {} to {}", minimum, maximum);
  if (below) return fmt::format(" of at least {}", minimum);
  if (above) return fmt::format(" of at most {}", maximum);
  return "";
}

/// "007" means 7 to some and octal to others; it is taken for a slip.
bool has_leading_zero(std::string_view digits) {
  if (digits.starts_with('-')) digits.remove_prefix(1);
  return digits.size() > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9';
}

std::string known_names(const std::vector<std::string>& names) {
  std::vector<std::string> shown;
  for (const auto& name : names)
    shown.push_back(name.find(' ') == std::string::npos ? name : fmt::format("'{}'", name));
  return fmt::format("{}", fmt::join(shown, ", "));
}

std::string suggestion(const std::string& word, const std::vector<std::string>& known) {
  const std::string nearest = nearest_name(word, known);
  const std::string hint = nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest);
  return fmt::format("{} (known: {})", hint, known_names(known));
}

}  // namespace

std::string SourcePosition::text() const {
  if (line == 0) return file;
  if (column == 0) return fmt::format("{}:{}", file, line);
  return fmt::format("{}:{}:{}", file, line, column);
}

const ConfigNode* ConfigNode::find(std::string_view key) const {
  for (const Entry& entry : entries)
    if (entry.key == key) return &entry.value;
  return nullptr;
}

void Problems::add(const SourcePosition& position, const std::string& path,
                   const std::string& message) {
  std::string line = position.text();
  if (!path.empty()) line += (line.empty() ? "" : ": ") + path;
  line += (line.empty() ? "" : ": ") + message;
  lines_.push_back(std::move(line));
}

void Problems::add(const ConfigNode& node, const std::string& message) {
  add(node.position, node.path, message);
}

void Problems::throw_if_any() const {
  if (!lines_.empty()) throw Error(ErrorKind::usage, fmt::format("{}", fmt::join(lines_, "\n")));
}

std::optional<int64_t> node_integer(const ConfigNode& node, Problems& problems, int64_t minimum,
                                    int64_t maximum) {
  const auto refuse = [&] {
    problems.add(node, fmt::format("must be a whole number{}, not {}",
                                   bounds_text(minimum, maximum), description(node)));
    return std::nullopt;
  };
  if (!is_plain_scalar(node) || has_leading_zero(node.scalar)) return refuse();
  int64_t value = 0;
  const char* end = node.scalar.data() + node.scalar.size();
  const auto result = std::from_chars(node.scalar.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end) return refuse();
  if (value < minimum || value > maximum) return refuse();
  return value;
}

std::optional<double> node_number(const ConfigNode& node, Problems& problems, double minimum,
                                  double maximum) {
  const auto refuse = [&] {
    problems.add(node, fmt::format("must be a number{}, not {}", bounds_text(minimum, maximum),
                                   description(node)));
    return std::nullopt;
  };
  if (!is_plain_scalar(node) || has_leading_zero(node.scalar)) return refuse();
  double value = 0;
  const char* end = node.scalar.data() + node.scalar.size();
  const auto result = std::from_chars(node.scalar.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end || !std::isfinite(value)) return refuse();
  if (value < minimum || value > maximum) return refuse();
  return value;
}

std::optional<bool> node_bool(const ConfigNode& node, Problems& problems) {
  if (is_plain_scalar(node) && node.scalar == "true") return true;
  if (is_plain_scalar(node) && node.scalar == "false") return false;
  problems.add(node, fmt::format("must be true or false, not {}", description(node)));
  return std::nullopt;
}

std::optional<std::string> node_text(const ConfigNode& node, Problems& problems) {
  if (node.kind == ConfigNode::Kind::scalar) return node.scalar;
  problems.add(node, fmt::format("must be text, not {}", description(node)));
  return std::nullopt;
}

std::optional<std::string> node_choice(const ConfigNode& node, Problems& problems,
                                       const std::vector<std::string>& choices) {
  if (node.kind != ConfigNode::Kind::scalar) {
    problems.add(node,
                 fmt::format("must be one of {}, not {}", known_names(choices), description(node)));
    return std::nullopt;
  }
  if (std::find(choices.begin(), choices.end(), node.scalar) != choices.end()) return node.scalar;
  problems.add(node, fmt::format("unknown value {}{}", shown_text(node.scalar),
                                 suggestion(node.scalar, choices)));
  return std::nullopt;
}

std::optional<std::vector<std::string>> node_texts(const ConfigNode& node, Problems& problems) {
  if (node.kind == ConfigNode::Kind::scalar) return std::vector{node.scalar};
  if (node.kind != ConfigNode::Kind::list) {
    problems.add(node, fmt::format("must be a list of texts, not {}", description(node)));
    return std::nullopt;
  }
  std::vector<std::string> texts;
  bool complete = true;
  for (const ConfigNode& item : node.items) {
    const auto text = node_text(item, problems);
    if (text) texts.push_back(*text);
    complete = complete && text.has_value();
  }
  if (!complete) return std::nullopt;
  return texts;
}

MapReader::MapReader(const ConfigNode& node, Problems& problems)
    : node_(&node), problems_(&problems), is_map_(node.kind == ConfigNode::Kind::map) {
  if (!is_map_)
    problems.add(node, fmt::format("must be a map of keys and values, not {}", description(node)));
}

bool MapReader::has(const std::string& key) {
  return get(key) != nullptr;
}

const ConfigNode* MapReader::get(const std::string& key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.push_back(key);
  return is_map_ ? node_->find(key) : nullptr;
}

const ConfigNode* MapReader::require(const std::string& key) {
  const ConfigNode* found = get(key);
  if (!found && is_map_) problems_->add(*node_, fmt::format("the key '{}' is missing", key));
  return found;
}

std::string MapReader::text(const std::string& key) {
  const ConfigNode* found = require(key);
  return found ? node_text(*found, *problems_).value_or("") : "";
}

std::string MapReader::text_or(const std::string& key, std::string fallback) {
  const ConfigNode* found = get(key);
  return found ? node_text(*found, *problems_).value_or(fallback) : fallback;
}

int64_t MapReader::integer(const std::string& key, int64_t minimum, int64_t maximum) {
  const ConfigNode* found = require(key);
  return found ? node_integer(*found, *problems_, minimum, maximum).value_or(minimum) : minimum;
}

int64_t MapReader::integer_or(const std::string& key, int64_t fallback, int64_t minimum,
                              int64_t maximum) {
  const ConfigNode* found = get(key);
  return found ? node_integer(*found, *problems_, minimum, maximum).value_or(fallback) : fallback;
}

double MapReader::number_or(const std::string& key, double fallback, double minimum,
                            double maximum) {
  const ConfigNode* found = get(key);
  return found ? node_number(*found, *problems_, minimum, maximum).value_or(fallback) : fallback;
}

bool MapReader::bool_or(const std::string& key, bool fallback) {
  const ConfigNode* found = get(key);
  return found ? node_bool(*found, *problems_).value_or(fallback) : fallback;
}

std::string MapReader::choice(const std::string& key, const std::vector<std::string>& choices) {
  ensure(!choices.empty(), "a choice needs something to choose from");
  const ConfigNode* found = require(key);
  return found ? node_choice(*found, *problems_, choices).value_or(choices.front())
               : choices.front();
}

std::string MapReader::choice_or(const std::string& key, std::string fallback,
                                 const std::vector<std::string>& choices) {
  const ConfigNode* found = get(key);
  return found ? node_choice(*found, *problems_, choices).value_or(fallback) : fallback;
}

void MapReader::finish() {
  for (const ConfigNode::Entry& entry : node_->entries) {
    if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
    problems_->add(entry.key_position, entry.value.path,
                   "unknown key" + suggestion(entry.key, known_));
  }
}

}  // namespace mechsweep
