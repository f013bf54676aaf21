#include "engine/edit_values.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/group.h"

namespace mechsweep {

namespace {

/// Sum of products in double precision, in the order of the index.
double dot(const float* a, const float* b, int64_t count) {
  double total = 0.0;
  for (int64_t i = 0; i < count; ++i)
    total += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return total;
}

void add_scaled(double factor, const float* direction, int64_t count, float* part) {
  for (int64_t i = 0; i < count; ++i)
    part[i] = static_cast<float>(static_cast<double>(part[i]) +
                                 factor * static_cast<double>(direction[i]));
}

/// mean: the sums less the own run's share, over the number of the others.
void write_mean(const Edit& edit, int64_t from_end, int64_t column, const float* own, int64_t count,
                float* part) {
  const ActivationSums& sums = *edit.sums;
  const double* total = sums.at(edit.layer, from_end) + column;
  const auto others = static_cast<double>(sums.counts[from_end] - (own != nullptr ? 1 : 0));
  for (int64_t i = 0; i < count; ++i)
    part[i] = static_cast<float>((total[i] - (own != nullptr ? static_cast<double>(own[i]) : 0.0)) /
                                 others);
}

/// One head, or the whole site: `count` floats that begin at `column` of the row.
void apply_to_part(const Model& model, const EditPlace& place, int head, int64_t column,
                   int64_t count, float* part) {
  const Edit& edit = *place.edit;
  const float* donor = place.donor != nullptr ? place.donor + column : nullptr;
  const float* given = edit.vector != nullptr ? edit.vector->data() : nullptr;
  switch (edit.operation) {
    case Operation::zero:
      std::fill_n(part, count, 0.0F);
      return;
    case Operation::value_bias: {
      const int group = model.config().n_heads / model.config().n_kv_heads;
      const float* bias = model.value_bias(edit.layer, head / group);
      if (bias != nullptr) {
        std::copy_n(bias, count, part);
      } else {
        std::fill_n(part, count, 0.0F);
      }
      return;
    }
    case Operation::mean:
      return write_mean(edit, place.from_end, column, donor, count, part);
    case Operation::replace:
      std::copy_n(given != nullptr ? given : donor, count, part);
      return;
    case Operation::add:
      return add_scaled(static_cast<double>(edit.scale), given, count, part);
    case Operation::remove:
      return add_scaled(-dot(part, given, count), given, count, part);
    case Operation::transplant:
      return add_scaled(dot(donor, given, count) - dot(part, given, count), given, count, part);
    case Operation::cut:
      break;
  }
  ensure(false, "an operation met a site that it does not fit");
}

/// The kind of an edge's vector that an edit asks for; `donor` gives the values of a replacement.
EdgeVector edge_vector(const Edit& edit, const float* donor, int64_t size) {
  if (edit.operation == Operation::zero) return {.kind = EdgeVector::Kind::zero, .values = {}};
  return {.kind = EdgeVector::Kind::given, .values = {donor, donor + size}};
}

void change_edge(const Model& model, const Edit& edit, const DonorSource& donors, TokenPlace query,
                 int32_t key, int head, AttentionChange& change) {
  EdgeChange& edge = change.edge(key);
  if (edit.operation == Operation::cut) {
    edge.cut = true;
    return;
  }
  const ModelConfig& config = model.config();
  const int64_t size = config.head_size;
  const int kv_head = head / (config.n_heads / config.n_kv_heads);
  const bool from_donor = edit.operation == Operation::replace;
  if (edit.site == Site::q) {
    const float* row =
        from_donor ? donors.row(edit, Site::q, query.position) + head * size : nullptr;
    edge.query_vector = edge_vector(edit, row, size);
    if (from_donor) model.rotate(edit.layer, edge.query_vector.values.data(), 1, query);
  } else if (edit.site == Site::k) {
    const float* row = from_donor ? donors.row(edit, Site::k, key) + kv_head * size : nullptr;
    edge.key_vector = edge_vector(edit, row, size);
    if (from_donor) model.rotate(edit.layer, edge.key_vector.values.data(), 1, {key, query.tokens});
  } else {
    const float* row = from_donor ? donors.row(edit, Site::v, key) + kv_head * size : nullptr;
    edge.value_vector = edge_vector(edit, row, size);
  }
}

bool all_below(std::span<const int32_t> numbers, int64_t bound) {
  return std::all_of(numbers.begin(), numbers.end(),
                     [&](int32_t number) { return number >= 0 && number < bound; });
}

void check_edit(std::span<const PromptTokens> prompts, const Task& task, const Edit& edit,
                const ModelConfig& config, int64_t length) {
  const bool edges = !edit.edges.empty();
  ensure(edit.layer >= 0 && edit.layer < config.n_layers, "an edit is outside the layers");
  ensure(site_exists(edit.site, config), "an edit is at a site that the model lacks");
  ensure(operation_fits(edit.operation, edit.site, edges), "an operation does not fit its site");
  ensure(all_below(edit.positions, length) && edit.positions.empty() == edges,
         "an edit is outside its prompt");
  for (const auto& [query, key] : edit.edges)
    ensure(key >= 0 && key <= query && query < length, "an attention edge is outside its prompt");
  const int heads = edges ? config.n_heads : site_head_count(edit.site, config);
  ensure(edit.heads.empty() == (heads == 0) && all_below(edit.heads, heads),
         "an edit's heads do not fit its site");
  if (edit.takes_from_donor()) {
    const auto [prompt, side] = donor_of(edit, task.prompt);
    ensure(prompt < static_cast<int64_t>(prompts.size()) &&
               static_cast<int64_t>(prompts[prompt].side(side).size()) == length,
           "an edit's donor run is missing or has another length");
  }
  const bool directed = edit.operation == Operation::add || edit.operation == Operation::remove ||
                        edit.operation == Operation::transplant;
  ensure(edit.vector == nullptr
             ? !directed
             : static_cast<int64_t>(edit.vector->size()) == site_part_width(edit.site, config),
         "an edit's vector has the wrong width");
  ensure(edit.operation != Operation::mean ||
             (edit.sums != nullptr && edit.sums->width == site_width(edit.site, config)),
         "a mean has no sums of its site");
}

}  // namespace

void apply_edit(const Model& model, const EditPlace& place, float* row) {
  const Edit& edit = *place.edit;
  const int64_t width = site_part_width(edit.site, model.config());
  if (edit.heads.empty()) return apply_to_part(model, place, -1, 0, width, row);
  for (const int32_t head : edit.heads)
    apply_to_part(model, place, head, head * width, width, row + head * width);
}

std::vector<int32_t> queries_of(const Edit& edit) {
  std::vector<int32_t> queries = edit.positions;
  for (const auto& edge : edit.edges) queries.push_back(edge[0]);
  std::sort(queries.begin(), queries.end());
  queries.erase(std::unique(queries.begin(), queries.end()), queries.end());
  return queries;
}

int32_t first_row_of(const Edit& edit) {
  int32_t first = std::numeric_limits<int32_t>::max();
  for (const int32_t position : edit.positions) first = std::min(first, position);
  for (const auto& [query, key] : edit.edges) first = std::min(first, query);
  return first;
}

void change_attention(const Model& model, const Edit& edit, const DonorSource& donors,
                      TokenPlace query, int head, AttentionChange& change) {
  for (const auto& edge : edit.edges)
    if (edge[0] == query.position) change_edge(model, edit, donors, query, edge[1], head, change);
  if (edit.site != Site::pattern) return;
  if (edit.operation == Operation::zero) {
    change.pattern = AttentionChange::Pattern::zero;
  } else {
    const float* row = donors.pattern(edit, head, query.position);
    change.pattern = AttentionChange::Pattern::replace;
    change.probabilities.assign(row, row + query.position + 1);
  }
}

const AttentionChange* AttentionChanges::find(int64_t row, int head) const {
  if (changes_.empty()) return nullptr;
  const auto found = changes_.find({row, head});
  return found != changes_.end() ? &found->second : nullptr;
}

void SiteHooks::edit(int64_t row, const EditPlace& place) {
  hooks_.push_back({.row = row, .place = place});
}

void SiteHooks::capture(int64_t row, float* destination) {
  hooks_.push_back({.row = row, .place = {}, .destination = destination});
}

void SiteHooks::finish() {
  std::stable_sort(hooks_.begin(), hooks_.end(), [](const Hook& a, const Hook& b) {
    return std::pair(a.row, a.destination != nullptr) < std::pair(b.row, b.destination != nullptr);
  });
}

std::vector<SiteHooks::Hook>::const_iterator SiteHooks::first(int64_t row) const {
  return std::lower_bound(hooks_.begin(), hooks_.end(), row,
                          [](const Hook& hook, int64_t wanted) { return hook.row < wanted; });
}

bool SiteHooks::touches(int64_t row) const {
  if (hooks_.empty()) return false;
  const auto hook = first(row);
  return hook != hooks_.end() && hook->row == row;
}

void SiteHooks::apply(const Model& model, int64_t row, float* values, int64_t width) const {
  if (hooks_.empty()) return;
  for (auto hook = first(row); hook != hooks_.end() && hook->row == row; ++hook) {
    if (hook->destination != nullptr) {
      std::copy_n(values, width, hook->destination);
    } else {
      apply_edit(model, hook->place, values);
    }
  }
}

void check_task(std::span<const PromptTokens> prompts, const Task& task,
                const ModelConfig& config) {
  ensure(task.prompt >= 0 && task.prompt < static_cast<int64_t>(prompts.size()),
         "a task names a prompt that was not given");
  const PromptTokens& prompt = prompts[task.prompt];
  const auto length = static_cast<int64_t>(prompt.side(task.intervention.base).size());
  ensure(length > 0, "a task runs a side that its prompt does not have");
  for (const ReadPoint& point : task.reads) {
    ensure(all_below({&point.position, 1}, length), "a task reads outside its prompt");
    ensure(all_below(point.tracked, config.vocab_size), "a task tracks an unknown token");
    ensure(!point.rank || !point.tracked.empty(), "a task ranks no token");
    for (const Side side : point.kl)
      ensure(static_cast<int64_t>(prompt.side(side).size()) == length,
             "a task compares with a run of another length");
  }
  for (const ActivationPoint& point : task.activations)
    ensure(point.site != Site::pattern && point.layer >= 0 && point.layer < config.n_layers &&
               all_below({&point.position, 1}, length),
           "a task keeps an activation that there is not");
  for (const Edit& edit : task.intervention.edits) check_edit(prompts, task, edit, config, length);
}

std::vector<const Edit*> in_compute_order(const Intervention& intervention) {
  std::vector<const Edit*> edits;
  for (const Edit& edit : intervention.edits) edits.push_back(&edit);
  std::stable_sort(edits.begin(), edits.end(), [](const Edit* a, const Edit* b) {
    return std::pair(a->layer, a->site) < std::pair(b->layer, b->site);
  });
  return edits;
}

}  // namespace mechsweep
