#include "plan/sweep.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <span>

#include "core/error.h"
#include "core/text_file.h"
#include "model/kernel_set.h"
#include "model/linear.h"
#include "plan/id_text.h"
#include "plan/yaml_reader.h"

namespace mechsweep {

namespace {

bool is_id(const std::string& text) {
  return has_id_characters(text) && text.size() <= 100 && text.front() != '.';
}

class SweepReader {
 public:
  SweepReader(Sweep& sweep, const ConfigNode& root, Problems& problems)
      : sweep_(sweep), problems_(problems), reader_(root, problems) {}

  void read() {
    if (const ConfigNode* grid = reader_.get("grid")) {
      problems_.add(*grid,
                    "a config with `grid:` stands for several; expand it first: mechsweep grid "
                    "CONFIG --out FOLDER");
      return;
    }
    if (reader_.has("relative_to"))
      sweep_.folder = resolve_path(sweep_.folder, reader_.text("relative_to"));
    sweep_.name = reader_.text("name");
    sweep_.seed = static_cast<uint64_t>(reader_.integer_or("seed", 0, 0, INT64_MAX));
    each_entry("models", [this](MapReader& entry) { read_model(entry); });
    each_entry("prompts", [this](MapReader& entry) { read_prompts(entry); });
    each_entry("experiments", [this](MapReader& entry) { read_experiment(entry); });
    read_execution();
    if (const ConfigNode* output = reader_.get("output")) {
      MapReader map(*output, problems_);
      sweep_.output_file = map.text("file");
      map.finish();
    }
    reader_.finish();
  }

 private:
  void each_entry(const std::string& key, const std::function<void(MapReader&)>& read_one) {
    const ConfigNode* list = reader_.require(key);
    if (list == nullptr) return;
    if (list->kind != ConfigNode::Kind::list || list->items.empty()) {
      problems_.add(*list, "must be a list with at least one entry");
      return;
    }
    ids_.clear();
    for (const ConfigNode& item : list->items) {
      MapReader entry(item, problems_);
      read_one(entry);
      entry.finish();
    }
  }

  std::string read_id(MapReader& entry) {
    const std::string id = entry.text("id");
    const ConfigNode* node = entry.get("id");
    if (node == nullptr) return id;
    if (!is_id(id))
      problems_.add(*node,
                    "must be made of at most 100 letters, digits, '_', '-' and '.', and not begin "
                    "with '.'");
    if (std::find(ids_.begin(), ids_.end(), id) != ids_.end())
      problems_.add(*node, fmt::format("the id '{}' is given twice", id));
    ids_.push_back(id);
    return id;
  }

  void read_model(MapReader& entry) {
    ModelEntry model{.id = read_id(entry), .path = entry.text("path")};
    model.resolved = resolve_path(sweep_.folder, model.path);
    model.dtype = entry.choice_or("dtype", compute_type_names().front(), compute_type_names());
    if (const ConfigNode* degree = entry.get("tensor_parallel"))
      if (degree->scalar != "1" && degree->scalar != "auto")
        problems_.add(*degree, "tensor parallelism is not supported by this version; use 1");
    if (entry.has("reference"))
      model.reference = resolve_path(sweep_.folder, entry.text("reference"));
    sweep_.models.push_back(std::move(model));
  }

  void read_prompts(MapReader& entry) {
    PromptEntry prompts{.id = read_id(entry)};
    prompts.kind = read_kind(entry, prompt_table());
    for (const PromptKind& kind : prompt_table())
      if (kind.name == prompts.kind) prompts.source = kind.parse(prompts.id, entry);
    // Without a kind nothing is known of the other keys.
    if (!prompts.source) forgive_keys(entry);
    sweep_.prompts.push_back(std::move(prompts));
  }

  void read_experiment(MapReader& entry) {
    ExperimentEntry experiment{.id = read_id(entry)};
    experiment.kind = read_kind(entry, experiment_table());
    for (const ExperimentKind& kind : experiment_table())
      if (kind.name == experiment.kind) experiment.experiment = kind.parse(entry);
    experiment.models = read_references(entry, "models", sweep_.models);
    experiment.prompts = read_references(entry, "prompts", sweep_.prompts);
    experiment.statistics = parse_statistics(entry);
    check_correct_in(entry);
    if (!experiment.experiment) forgive_keys(entry);
    sweep_.experiments.push_back(std::move(experiment));
  }

  /// Models whose answers `statistics.correct_in` asks for.
  void check_correct_in(MapReader& entry) {
    const ConfigNode* statistics = entry.get("statistics");
    if (statistics == nullptr || statistics->kind != ConfigNode::Kind::map) return;
    const ConfigNode* asked = statistics->find("correct_in");
    if (asked == nullptr || asked->kind != ConfigNode::Kind::list) return;
    std::vector<std::string> known;
    known.reserve(sweep_.models.size());
    for (const ModelEntry& model : sweep_.models) known.push_back(model.id);
    for (const ConfigNode& item : asked->items) (void)node_choice(item, problems_, known);
  }

  /// The name of a known kind; empty when there is none, which is a problem by then.
  template <typename Kind>
  std::string read_kind(MapReader& entry, std::span<const Kind> table) {
    std::vector<std::string> names;
    for (const Kind& kind : table) names.emplace_back(kind.name);
    const ConfigNode* node = entry.require("kind");
    return node == nullptr ? "" : node_choice(*node, problems_, names).value_or("");
  }

  static void forgive_keys(MapReader& entry) {
    for (const auto& item : entry.node().entries) (void)entry.get(item.key);
  }

  template <typename Entry>
  std::vector<std::string> read_references(MapReader& entry, const std::string& key,
                                           const std::vector<Entry>& known) {
    std::vector<std::string> all;
    for (const Entry& one : known) all.push_back(one.id);
    const ConfigNode* node = entry.get(key);
    if (node == nullptr) return all;
    const auto texts = node_texts(*node, problems_);
    if (!texts) return {};
    if (texts->empty()) problems_.add(*node, "is empty; leave it out for all");
    std::vector<std::string> chosen;
    for (size_t i = 0; i < texts->size(); ++i) {
      const std::string& id = (*texts)[i];
      const ConfigNode& place = node->kind == ConfigNode::Kind::list ? node->items[i] : *node;
      if (std::find(all.begin(), all.end(), id) == all.end()) {
        const std::string near = nearest_name(id, all);
        problems_.add(place, fmt::format("no entry of `{}` has the id '{}'{}", key, id,
                                         near.empty() ? "" : "; did you mean '" + near + "'?"));
      }
      if (std::find(chosen.begin(), chosen.end(), id) != chosen.end())
        problems_.add(place, fmt::format("names '{}' twice", id));
      chosen.push_back(id);
    }
    return chosen;
  }

  void read_execution() {
    ExecutionConfig& execution = sweep_.execution;
    const ConfigNode* node = reader_.get("execution");
    if (node == nullptr) return;
    MapReader map(*node, problems_);
    execution.executor = map.choice_or("executor", execution.executor, {"naive", "wavefront"});
    execution.kernels = map.choice_or("kernels", execution.kernels, kernel_set_names());
    execution.memory_gib = map.number_or("memory_gib", execution.memory_gib, 0.01, 1e6);
    execution.threads_per_rank = static_cast<int>(map.integer_or("threads_per_rank", 0, 1, 4096));
    execution.sync_interval_s =
        map.number_or("sync_interval_s", execution.sync_interval_s, 0.1, 86'400.0);
    execution.store =
        map.choice_or("store", execution.store, {"auto", "shared", "force_shared", "log"});
    if (const ConfigNode* watchdog = map.get("watchdog"))
      read_watchdog(*watchdog, execution.watchdog);
    map.finish();
  }

  void read_watchdog(const ConfigNode& node, WatchdogLimits& limits) {
    MapReader map(node, problems_);
    constexpr double kLeast_s = 0.5, kMost_s = 1e7;
    limits.collective_s = map.number_or("collective_s", limits.collective_s, kLeast_s, kMost_s);
    limits.io_s = map.number_or("io_s", limits.io_s, kLeast_s, kMost_s);
    limits.loading_s = map.number_or("loading_s", limits.loading_s, kLeast_s, kMost_s);
    map.finish();
  }

  Sweep& sweep_;
  Problems& problems_;
  MapReader reader_;
  std::vector<std::string> ids_;
};

template <typename Entry>
const Entry& find_entry(const std::vector<Entry>& entries, const std::string& id) {
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.id == id; });
  ensure(found != entries.end(), "a reference that was checked leads nowhere");
  return *found;
}

}  // namespace

const ModelEntry& Sweep::model(const std::string& id) const {
  return find_entry(models, id);
}

const PromptEntry& Sweep::prompt_set(const std::string& id) const {
  return find_entry(prompts, id);
}

Sweep read_sweep(const std::string& path) {
  Sweep sweep;
  sweep.path = path;
  sweep.folder = std::filesystem::path(path).parent_path().string();
  sweep.text = read_text_file(path, ErrorKind::usage);
  Problems problems;
  const ConfigNode root = parse_yaml(sweep.text, path);
  SweepReader(sweep, root, problems).read();
  problems.throw_if_any();
  return sweep;
}

void check_sweep(const ConfigNode& root) {
  Sweep sweep;
  Problems problems;
  SweepReader(sweep, root, problems).read();
  problems.throw_if_any();
}

}  // namespace mechsweep
