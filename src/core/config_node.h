#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"

namespace mechsweep {

/// Where a value stands in a config file; line and column count from 1, 0 means unknown.
struct SourcePosition {
  std::string file;
  int line = 0;
  int column = 0;
  [[nodiscard]] std::string text() const;  ///< "sweep.yaml:12:5"
};

/// A parsed config value with its place. plan/yaml_reader makes these from YAML; prompts and
/// experiments read their own parameters from them without knowing YAML.
struct ConfigNode {
  enum class Kind { null, scalar, list, map };
  struct Entry;

  Kind kind = Kind::null;
  std::string scalar;   ///< text of a scalar
  bool quoted = false;  ///< a quoted scalar is a string, never a number or null
  std::vector<ConfigNode> items;
  std::vector<Entry> entries;  ///< of a map, in file order; keys are unique
  SourcePosition position;
  std::string path;  ///< "experiments[2].heads"

  /// The value of a key of a map, or null pointer.
  [[nodiscard]] const ConfigNode* find(std::string_view key) const;
};

struct ConfigNode::Entry {
  std::string key;
  SourcePosition key_position;
  ConfigNode value;
};

/// Everything that is wrong with a config, gathered so that a user sees it all at once.
class Problems {
 public:
  void add(const SourcePosition& position, const std::string& path, const std::string& message);
  void add(const ConfigNode& node, const std::string& message);
  [[nodiscard]] bool empty() const { return lines_.empty(); }
  [[nodiscard]] const std::vector<std::string>& lines() const { return lines_; }
  /// Throws one usage Error with every problem, a line each, if there is any.
  void throw_if_any() const;

 private:
  std::vector<std::string> lines_;
};

/// Conversions of one node; each records a problem and returns nothing when it does not fit.
std::optional<int64_t> node_integer(const ConfigNode& node, Problems& problems,
                                    int64_t minimum = std::numeric_limits<int64_t>::min(),
                                    int64_t maximum = std::numeric_limits<int64_t>::max());
std::optional<double> node_number(const ConfigNode& node, Problems& problems, double minimum,
                                  double maximum);
std::optional<bool> node_bool(const ConfigNode& node, Problems& problems);
std::optional<std::string> node_text(const ConfigNode& node, Problems& problems);
/// One of `choices`; otherwise a problem that names the nearest one.
std::optional<std::string> node_choice(const ConfigNode& node, Problems& problems,
                                       const std::vector<std::string>& choices);
/// A list of texts; a single scalar counts as a list of one.
std::optional<std::vector<std::string>> node_texts(const ConfigNode& node, Problems& problems);

/// Reads one map strictly: finish() makes every key that was never asked for a problem, with the
/// nearest key that was. Getters record problems and return a fallback, so that reading goes on
/// and all problems are found; nothing may be used before Problems::throw_if_any.
class MapReader {
 public:
  /// A node that is not a map is itself a problem (then every getter returns its fallback
  /// silently).
  MapReader(const ConfigNode& node, Problems& problems);

  [[nodiscard]] const ConfigNode& node() const { return *node_; }
  [[nodiscard]] Problems& problems() const { return *problems_; }

  bool has(const std::string& key);
  /// The raw node of an optional key, or null pointer.
  const ConfigNode* get(const std::string& key);
  /// The raw node of a key that must be there; its absence is a problem (null pointer then).
  const ConfigNode* require(const std::string& key);

  std::string text(const std::string& key);
  std::string text_or(const std::string& key, std::string fallback);
  int64_t integer(const std::string& key, int64_t minimum, int64_t maximum);
  int64_t integer_or(const std::string& key, int64_t fallback, int64_t minimum, int64_t maximum);
  double number_or(const std::string& key, double fallback, double minimum, double maximum);
  bool bool_or(const std::string& key, bool fallback);
  std::string choice(const std::string& key, const std::vector<std::string>& choices);
  std::string choice_or(const std::string& key, std::string fallback,
                        const std::vector<std::string>& choices);

  void finish();

 private:
  const ConfigNode* node_;
  Problems* problems_;
  bool is_map_;
  std::vector<std::string> known_;
};

}  // namespace mechsweep
