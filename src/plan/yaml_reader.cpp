#include "plan/yaml_reader.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <sstream>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include "core/text_file.h"

namespace mechsweep {

namespace {

[[noreturn]] void refuse(const SourcePosition& position, const std::string& message) {
  throw Error(ErrorKind::usage, fmt::format("{}: {}", position.text(), message));
}

/// Text of the file for a message.
std::string shown(std::string_view text) {
  constexpr size_t kLongest = 200;
  return fit_for_message(text, kLongest);
}

/// The text, with yaml-cpp's byte columns turned into character columns.
class SourceText {
 public:
  SourceText(std::string_view text, std::string file)
      : text_(text), file_(std::move(file)), extra_bytes_(text.size() + 1) {
    for (size_t i = 0; i < text.size(); ++i)
      extra_bytes_[i + 1] =
          extra_bytes_[i] + ((static_cast<uint8_t>(text[i]) & 0xC0) == 0x80 ? 1 : 0);
  }

  [[nodiscard]] std::string_view text() const { return text_; }

  [[nodiscard]] SourcePosition place(const YAML::Mark& mark) const {
    if (mark.is_null()) return {file_, 0, 0};
    const auto last = static_cast<int>(text_.size());
    const int at = std::clamp(mark.pos, 0, last);
    const int line_start = std::clamp(at - mark.column, 0, last);
    return {file_, mark.line + 1, mark.column + 1 - (extra_bytes_[at] - extra_bytes_[line_start])};
  }

  [[nodiscard]] SourcePosition place(size_t offset) const {
    const LineColumn at = line_column(text_, offset);
    return {file_, at.line, at.column};
  }

 private:
  std::string_view text_;
  std::string file_;
  std::vector<int> extra_bytes_;  ///< UTF-8 continuation bytes before each offset
};

/// yaml-cpp takes a byte 4 for the end of the file and drops a lone carriage return: what it
/// would misread is refused before it sees it.
void check_bytes(const SourceText& source) {
  const std::string_view text = source.text();
  const size_t invalid = find_invalid_utf8(text);
  if (invalid != std::string_view::npos)
    refuse(source.place(invalid), "is not UTF-8 text; save the file as UTF-8");
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    if (byte == '\r' && text.substr(i, 2) == "\r\n") continue;
    if (byte == '\t' || byte == '\n' || (byte >= 0x20 && byte != 0x7F)) continue;
    refuse(source.place(i),
           byte == '\r' ? "has a carriage return without a line feed; use Unix line ends"
                        : fmt::format("has a control character (byte {}); remove it", byte));
  }
}

/// At the end of the file yaml-cpp takes a quoted text for closed.
void check_quote_closed(const SourceText& source, const YAML::Mark& mark) {
  const std::string_view text = source.text();
  auto at = static_cast<size_t>(mark.pos);
  if (at < text.size() && text[at] == '&') {  // the mark of an anchored node is its anchor's
    at = std::min(text.find_first_of(" \t\r\n", at), text.size());
    at = std::min(text.find_first_not_of(" \t\r\n", at), text.size());
  }
  if (at >= text.size() || (text[at] != '"' && text[at] != '\'')) return;  // a block scalar
  const char quote = text[at];
  for (size_t i = at + 1; i < text.size(); ++i) {
    if (quote == '"' && text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      if (quote == '"' || text.substr(i, 2) != "''") return;
      ++i;
    }
  }
  refuse(source.place(at), fmt::format("the text that starts with {} here is never closed", quote));
}

int height(const ConfigNode& node) {
  int below = 0;
  for (const auto& item : node.items) below = std::max(below, height(item));
  for (const auto& entry : node.entries) below = std::max(below, height(entry.value));
  return below + 1;
}

int node_count(const ConfigNode& node) {
  int count = 1;
  for (const auto& item : node.items) count += node_count(item);
  for (const auto& entry : node.entries) count += node_count(entry.value);
  return count;
}

/// Builds the tree from yaml-cpp's events rather than from its YAML::Node, which accepts a key
/// given twice and a merge key without a word.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const SourceText& source) : source_(&source) {}

  std::optional<ConfigNode> root;

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (root)
      refuse(source_->place(mark),
             "more text follows the end of the config; a config is one YAML document (check the "
             "indentation, or a second '---')");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(new_node(ConfigNode::Kind::null, mark), anchor);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_tag(tag, mark);
    ConfigNode node = new_node(ConfigNode::Kind::scalar, mark);
    node.scalar = value;
    node.quoted = tag == "!";
    if (node.quoted) check_quote_closed(*source_, mark);
    add(std::move(node), anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    open(ConfigNode::Kind::list, mark, tag, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    open(ConfigNode::Kind::map, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchored_.find(anchor);
    if (found == anchored_.end())
      refuse(source_->place(mark), "this alias stands inside the value it refers to");
    if (static_cast<int>(open_.size()) + height(found->second) > kMaxConfigDepth)
      refuse_depth(source_->place(mark));
    count(node_count(found->second), source_->place(mark));
    add(found->second, 0);
  }

 private:
  struct Open {
    ConfigNode node;
    YAML::anchor_t anchor = 0;
    std::optional<ConfigNode> key;  ///< of a map: read, its value not yet
    std::unordered_map<std::string, int> key_lines;
  };

  ConfigNode new_node(ConfigNode::Kind kind, const YAML::Mark& mark) {
    ConfigNode node;
    node.kind = kind;
    node.position = source_->place(mark);
    count(1, node.position);
    if (static_cast<int>(open_.size()) >= kMaxConfigDepth) refuse_depth(node.position);
    return node;
  }

  static void refuse_depth(const SourcePosition& position) {
    refuse(position, fmt::format("lists and maps are nested more than {} deep", kMaxConfigDepth));
  }

  void count(int nodes, const SourcePosition& position) {
    nodes_ += nodes;
    if (nodes_ > kMaxConfigNodes)
      refuse(position, fmt::format("the config has more than {} values, aliases included; put long "
                                   "lists into files",
                                   kMaxConfigNodes));
  }

  /// "?" and "!" are what yaml-cpp reports for plain and for quoted values without a tag.
  void check_tag(const std::string& tag, const YAML::Mark& mark) const {
    if (!tag.empty() && tag != "?" && tag != "!")
      refuse(source_->place(mark),
             fmt::format("the tag {} is not supported; remove it", shown(tag)));
  }

  void open(ConfigNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    check_tag(tag, mark);
    Open opened;
    opened.node = new_node(kind, mark);
    opened.anchor = anchor;
    open_.push_back(std::move(opened));
  }

  void close() {
    Open closed = std::move(open_.back());
    open_.pop_back();
    add(std::move(closed.node), closed.anchor);
  }

  void add(ConfigNode node, YAML::anchor_t anchor) {
    if (anchor != 0) {
      count(node_count(node), node.position);  // the copy kept for aliases
      anchored_.insert_or_assign(anchor, node);
    }
    if (open_.empty()) {
      root = std::move(node);
    } else if (open_.back().node.kind == ConfigNode::Kind::list) {
      open_.back().node.items.push_back(std::move(node));
    } else if (!open_.back().key) {
      set_key(std::move(node));
    } else {
      Open& map = open_.back();
      // yaml-cpp puts a value that is left out where the next thing stands, lines further down.
      if (node.kind == ConfigNode::Kind::null && node.position.line != map.key->position.line)
        node.position = map.key->position;
      map.node.entries.push_back({map.key->scalar, map.key->position, std::move(node)});
      map.key.reset();
    }
  }

  void set_key(ConfigNode key) {
    if (key.kind != ConfigNode::Kind::scalar || key.scalar.empty())
      refuse(key.position, "a key must be text");
    if (key.scalar == "<<" && !key.quoted)
      refuse(key.position, "the merge key '<<' is not supported; write the keys out");
    Open& map = open_.back();
    const auto [earlier, is_new] = map.key_lines.emplace(key.scalar, key.position.line);
    if (!is_new)
      refuse(key.position, fmt::format("the key '{}' is given twice, first in line {}; remove one",
                                       shown(key.scalar), earlier->second));
    map.key = std::move(key);
  }

  const SourceText* source_;
  std::vector<Open> open_;
  std::unordered_map<YAML::anchor_t, ConfigNode> anchored_;
  int nodes_ = 0;
};

void set_paths(ConfigNode& node, const std::string& path) {
  node.path = path;
  for (size_t i = 0; i < node.items.size(); ++i)
    set_paths(node.items[i], fmt::format("{}[{}]", path, i));
  for (auto& entry : node.entries)
    set_paths(entry.value, path.empty() ? shown(entry.key) : path + "." + shown(entry.key));
}

}  // namespace

ConfigNode read_yaml(const std::string& path) {
  return parse_yaml(read_text_file(path, ErrorKind::usage), path);
}

ConfigNode parse_yaml(const std::string& text, const std::string& file_name) {
  const std::string content(without_byte_order_mark(text));
  const SourceText source(content, file_name);
  check_bytes(source);
  TreeBuilder builder(source);
  try {
    std::istringstream stream(content);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    // The library puts bytes of the file into its messages.
    refuse(source.place(error.mark), "is not valid YAML: " + shown(error.msg));
  }
  if (!builder.root || builder.root->kind == ConfigNode::Kind::null)
    fail(ErrorKind::usage, "{}: is empty; a config needs at least models and experiments",
         file_name);
  set_paths(*builder.root, "");
  return std::move(*builder.root);
}

}  // namespace mechsweep
