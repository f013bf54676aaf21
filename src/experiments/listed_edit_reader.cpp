#include "experiments/listed_edit_reader.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/ranges.h>

#include "core/error.h"
#include "core/text_file.h"

namespace mechsweep {

namespace {

/// No model is that deep or wide; keeps typing errors from overflowing.
constexpr int64_t kMost = 1'000'000;

const std::vector<std::string>& operation_names() {
  static const std::vector<std::string> kNames = {
      "zero", "value_bias", "mean", "resample", "replace", "add", "remove", "transplant", "cut"};
  return kNames;
}

Operation operation_of(const std::string& name) {
  for (const Operation operation :
       {Operation::zero, Operation::value_bias, Operation::mean, Operation::replace, Operation::add,
        Operation::remove, Operation::transplant, Operation::cut})
    if (operation_name(operation) == name) return operation;
  return Operation::replace;  // resample
}

/// Reads one edit; a member function for every group of keys.
class EditReader {
 public:
  EditReader(const ConfigNode& node, VectorFiles& vectors, Problems& problems)
      : reader_(node, problems), vectors_(vectors) {}

  ListedEdit read() {
    edit_.path = reader_.node().path;
    if (reader_.node().kind != ConfigNode::Kind::map) return std::move(edit_);
    read_site_and_operation();
    edit_.layer = reader_.integer("layer", -kMost, kMost);
    read_heads();
    read_place();
    read_vectors();
    read_donor();
    edit_.scale = static_cast<float>(reader_.number_or(
        "scale", 1.0, std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max()));
    edit_.mean_over = mean_over_of(reader_.choice_or("per", "template", {"template", "all"}));
    edit_.draw = reader_.integer_or("draw", 0, 0, kMost);
    refuse_unless(is("add"), "scale", "add");
    refuse_unless(is("mean"), "per", "mean");
    refuse_unless(is("resample"), "draw", "resample");
    reader_.finish();
    return std::move(edit_);
  }

 private:
  void add(const std::string& key, const std::string& message) {
    const ConfigNode* node = reader_.get(key);
    reader_.problems().add(node != nullptr ? *node : reader_.node(), message);
  }
  [[nodiscard]] bool is(std::string_view operation) const { return operation_ == operation; }

  /// A key that goes with some operations only. Without a known operation nothing is said.
  void refuse_unless(bool fits, const std::string& key, const char* operations) {
    if (!fits && !operation_.empty() && reader_.has(key))
      add(key, fmt::format("goes with operation {} only; leave it out", operations));
  }

  void read_site_and_operation() {
    std::vector<std::string> sites;
    for (const SiteInfo& info : site_table()) sites.emplace_back(info.name);
    const ConfigNode* site = reader_.require("site");
    const auto name =
        site != nullptr ? node_choice(*site, reader_.problems(), sites) : std::nullopt;
    if (name) edit_.site = *find_site(*name);
    has_site_ = name.has_value();
    edit_.on_edges = reader_.has("edges");
    const ConfigNode* operation = reader_.require("operation");
    if (operation == nullptr) return;
    operation_ = node_choice(*operation, reader_.problems(), operation_names()).value_or("");
    edit_.operation = operation_of(operation_);
    edit_.resample = is("resample");
    if (has_site_ && !operation_.empty()) check_fit();
  }

  [[nodiscard]] bool fits(const std::string& operation) const {
    if (operation == "resample" && (edit_.on_edges || edit_.site == Site::pattern)) return false;
    return operation_fits(operation_of(operation), edit_.site, edit_.on_edges);
  }

  void check_fit() {
    if (fits(operation_)) return;
    const std::string_view site = site_info(edit_.site).name;
    std::vector<std::string> possible;
    for (const std::string& name : operation_names())
      if (fits(name)) possible.push_back(name);
    if (possible.empty()) {
      add("edges", fmt::format("site '{}' has no attention edges; they go with q, k and v", site));
      return;
    }
    add("operation",
        fmt::format("'{}' does not go with {}site '{}' (possible: {})", operation_,
                    edit_.on_edges ? "edges of " : "", site, fmt::join(possible, ", ")));
  }

  void read_heads() {
    const ConfigNode* node = reader_.get("heads");
    const bool wanted = edit_.on_edges || site_info(edit_.site).heads != SiteHeads::none;
    if (has_site_ && wanted && node == nullptr)
      reader_.problems().add(reader_.node(),
                             "the key 'heads' is missing: a list of numbers, or \"all\"");
    if (node == nullptr) return;
    if (has_site_ && !wanted) {
      add("heads", fmt::format("site '{}' has no heads; leave it out", site_info(edit_.site).name));
      return;
    }
    if (node->kind == ConfigNode::Kind::scalar && node->scalar == "all") {
      edit_.all_heads = true;
      return;
    }
    if (node->kind != ConfigNode::Kind::list || node->items.empty()) {
      add("heads", "must be a list of heads' numbers, or \"all\"");
      return;
    }
    for (const ConfigNode& item : node->items)
      if (const auto head = node_integer(item, reader_.problems(), 0, kMost))
        edit_.heads.push_back(static_cast<int32_t>(*head));
    std::sort(edit_.heads.begin(), edit_.heads.end());
    if (std::adjacent_find(edit_.heads.begin(), edit_.heads.end()) != edit_.heads.end())
      add("heads", "names a head twice");
  }

  void read_place() {
    if (!edit_.on_edges) {
      if (!reader_.has("positions")) {
        reader_.problems().add(reader_.node(), "needs `positions` (or `edges`)");
        return;
      }
      edit_.positions = parse_positions(reader_);
      if (edit_.positions.kind == PositionSelection::Kind::each)
        add("positions", "`each` stands for several interventions; write a line for each position");
      return;
    }
    if (reader_.has("positions"))
      add("positions", "goes not with `edges`, which say the positions; leave one of them out");
    const ConfigNode& node = *reader_.get("edges");
    if (node.kind == ConfigNode::Kind::scalar && node.quoted && !node.scalar.empty()) {
      edit_.pairs = node.scalar;
      return;
    }
    if (node.kind != ConfigNode::Kind::list || node.items.empty()) {
      add("edges", "must be a list of [query, key] pairs, or the name of the prompts' `pairs`");
      return;
    }
    for (const ConfigNode& item : node.items) read_edge(item);
  }

  void read_edge(const ConfigNode& item) {
    Problems& problems = reader_.problems();
    if (item.kind != ConfigNode::Kind::list || item.items.size() != 2) {
      problems.add(item, "must be a pair of positions, [query, key]");
      return;
    }
    const auto query = node_integer(item.items[0], problems, -kMost, kMost);
    const auto key = node_integer(item.items[1], problems, -kMost, kMost);
    if (!query || !key) return;
    if ((*query < 0) == (*key < 0) && *key > *query) {
      problems.add(item, fmt::format("the key {} is after its query {}", *key, *query));
      return;
    }
    edit_.edges.push_back({*query, *key});
  }

  /// `value` or `direction`.
  void read_vectors() {
    const bool directed = is("add") || is("remove") || is("transplant");
    const bool may_have_value = is("replace") && !edit_.on_edges && edit_.site != Site::pattern;
    if (is("replace") && !may_have_value && reader_.has("value"))
      add("value", "goes not with patterns or edges, which take a donor run's; give `donor`");
    refuse_unless(is("replace"), "value", "replace");
    refuse_unless(directed, "direction", "add, remove and transplant");
    if (directed && !reader_.has("direction"))
      reader_.problems().add(reader_.node(), fmt::format("the key 'direction' is missing, which "
                                                         "operation {} needs",
                                                         operation_));
    if (may_have_value && reader_.has("value")) read_vector("value");
    if (directed && reader_.has("direction")) {
      read_vector("direction");
      if (!is("add") && edit_.vector) normalise();
    }
  }

  void read_vector(const std::string& key) {
    const ConfigNode& node = *reader_.get(key);
    if (node.kind == ConfigNode::Kind::map) {
      MapReader source(node, reader_.problems());
      const std::string file = source.text("file");
      const std::string tensor = source.text("tensor");
      source.finish();
      if (file.empty() || tensor.empty()) return;
      constexpr size_t kLongestPath = 1000;
      if (fit_for_message(file, kLongestPath) != file) {
        reader_.problems().add(
            node,
            fmt::format("'file' must be a path of at most {} bytes without control characters",
                        kLongestPath));
        return;
      }
      try {
        edit_.vector = vectors_.load(file, tensor);
      } catch (const Error& error) {
        reader_.problems().add(node, error.what());
      }
      return;
    }
    if (node.kind != ConfigNode::Kind::list || node.items.empty()) {
      add(key, "must be a list of numbers, or {\"file\": a safetensors file, \"tensor\": a name}");
      return;
    }
    std::vector<float> values;
    for (const ConfigNode& item : node.items)
      values.push_back(static_cast<float>(node_number(item, reader_.problems(),
                                                      std::numeric_limits<float>::lowest(),
                                                      std::numeric_limits<float>::max())
                                              .value_or(0.0)));
    edit_.vector = std::make_shared<const std::vector<float>>(std::move(values));
  }

  void normalise() {
    double squares = 0.0;
    for (const float value : *edit_.vector)
      squares += static_cast<double>(value) * static_cast<double>(value);
    const double length = std::sqrt(squares);
    if (!(length > 0.0)) {
      add("direction", "has length 0 and so no direction");
      return;
    }
    std::vector<float> unit;
    for (const float value : *edit_.vector)
      unit.push_back(static_cast<float>(static_cast<double>(value) / length));
    edit_.vector = std::make_shared<const std::vector<float>>(std::move(unit));
  }

  void read_donor() {
    const ConfigNode* node = reader_.get("donor");
    refuse_unless(is("replace") || is("transplant"), "donor", "replace and transplant");
    const bool has_value = is("replace") && reader_.has("value");
    if (has_value && node != nullptr) {
      add("donor", "goes not with `value`; leave one of them out");
    } else if (node == nullptr && !has_value && (is("replace") || is("transplant"))) {
      reader_.problems().add(reader_.node(),
                             fmt::format("the key 'donor' is missing: clean, corrupt, or "
                                         "{{\"prompt\": id or number, \"side\": ...}}{}",
                                         is("replace") ? "; or give a `value`" : ""));
    }
    if (node == nullptr) return;
    const std::vector<std::string> sides = {"clean", "corrupt"};
    ListedDonor donor;
    if (node->kind != ConfigNode::Kind::map) {
      donor.side =
          node_choice(*node, reader_.problems(), sides) == "corrupt" ? Side::corrupt : Side::clean;
    } else {
      MapReader map(*node, reader_.problems());
      if (const ConfigNode* prompt = map.require("prompt")) {
        if (prompt->quoted) donor.prompt_id = prompt->scalar;
        if (!prompt->quoted)
          donor.prompt_index = node_integer(*prompt, reader_.problems(), 0, INT32_MAX);
      }
      donor.side = map.choice_or("side", "clean", sides) == "corrupt" ? Side::corrupt : Side::clean;
      map.finish();
    }
    edit_.donor = donor;
  }

  MapReader reader_;
  VectorFiles& vectors_;
  ListedEdit edit_;
  std::string operation_;  ///< empty: not known
  bool has_site_ = false;
};

}  // namespace

ListedEdit read_listed_edit(const ConfigNode& node, VectorFiles& vectors, Problems& problems) {
  return EditReader(node, vectors, problems).read();
}

}  // namespace mechsweep
