#include "experiments/bound_interventions.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace mechsweep {

namespace {

/// A position counted from 0. Throws Error{input} when the prompt has no such.
int32_t absolute(int64_t given, const Prompt& prompt) {
  const int64_t length = std::ssize(prompt.tokens);
  const int64_t position = given < 0 ? given + length : given;
  if (position < 0 || position >= length)
    fail(ErrorKind::input, "prompt '{}' has {} tokens and no position {}", prompt.id, length,
         given);
  return static_cast<int32_t>(position);
}

/// The attention edges of an edit on one prompt, sorted, without repeats.
std::vector<std::array<int32_t, 2>> edges_on(const Prompt& prompt, const ListedEdit& listed) {
  std::vector<std::array<int32_t, 2>> edges;
  if (!listed.pairs.empty()) {
    const auto found = prompt.pairs.find(listed.pairs);
    if (found == prompt.pairs.end())
      fail(ErrorKind::input,
           "prompt '{}' has no `pairs` called '{}'; add them to the prompt file, or list [query, "
           "key] pairs",
           prompt.id, listed.pairs);
    for (const auto& [query, key] : found->second) edges.push_back({query, key});
  }
  for (const auto& [query, key] : listed.edges) {
    edges.push_back({absolute(query, prompt), absolute(key, prompt)});
    if (edges.back()[1] > edges.back()[0])
      fail(ErrorKind::input, "on prompt '{}' of {} tokens the key of [{}, {}] is after its query",
           prompt.id, prompt.tokens.size(), query, key);
  }
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  return edges;
}

}  // namespace

BoundInterventions::BoundInterventions(const RunContext& context, Side base, std::string path,
                                       std::vector<ListedIntervention> listed)
    : model_(context.model),
      prompts_(context.prompts),
      base_(base),
      path_(std::move(path)),
      listed_(std::move(listed)),
      means_(context, base),
      donors_(context) {
  Problems problems;
  for (const ListedIntervention& line : listed_) bind_to_model(line, problems);
  throw_problems_of_file(problems);
  for (int64_t i = 0; i < std::ssize(listed_); ++i) check_on_prompts(i, problems);
  throw_problems_of_file(problems);
}

void BoundInterventions::add_problem(Problems& problems, const ListedIntervention& line,
                                     const ListedEdit& listed, const char* key,
                                     const std::string& message) const {
  problems.add({path_, line.line, 0}, fmt::format("{}.{}", listed.path, key), message);
}

void BoundInterventions::bind_to_model(const ListedIntervention& line, Problems& problems) {
  auto& edits = edits_.emplace_back();
  for (const ListedEdit& listed : line.edits) {
    edits.push_back(bound_edit(line, listed, problems));
    if (listed.operation == Operation::mean)
      means_.need(listed.mean_over, listed.site, edits.back().layer);
  }
}

Edit BoundInterventions::bound_edit(const ListedIntervention& line, const ListedEdit& listed,
                                    Problems& problems) const {
  Edit edit{.site = listed.site, .operation = listed.operation};
  const int64_t layer = listed.layer < 0 ? listed.layer + model_->n_layers : listed.layer;
  if (layer < 0 || layer >= model_->n_layers)
    add_problem(problems, line, listed, "layer",
                fmt::format("there is no layer {}: the model has layers 0..{} (-1 is the last)",
                            listed.layer, model_->n_layers - 1));
  if (!site_exists(listed.site, *model_))
    add_problem(
        problems, line, listed, "site",
        fmt::format("'{}' does not exist in architecture '{}': attention and MLP of a layer "
                    "read the same residual stream there",
                    site_info(listed.site).name, model_->architecture));
  edit.layer = static_cast<int>(layer);
  edit.heads = bound_heads(line, listed, problems);
  edit.vector = listed.vector;
  edit.scale = listed.scale;
  const int64_t width = site_part_width(listed.site, *model_);
  if (edit.vector && std::ssize(*edit.vector) != width)
    add_problem(problems, line, listed,
                listed.operation == Operation::replace ? "value" : "direction",
                fmt::format("has {} numbers, but {}'{}' of this model has {}", edit.vector->size(),
                            edit.heads.empty() ? "site " : "one head of site ",
                            site_info(listed.site).name, width));
  bind_donor(line, listed, edit, problems);
  return edit;
}

std::vector<int32_t> BoundInterventions::bound_heads(const ListedIntervention& line,
                                                     const ListedEdit& listed,
                                                     Problems& problems) const {
  // Attention edges are a query head's, whatever site they change.
  const int count = listed.on_edges ? model_->n_heads : site_head_count(listed.site, *model_);
  if (listed.all_heads) {
    std::vector<int32_t> all(count);
    std::iota(all.begin(), all.end(), 0);
    return all;
  }
  if (!listed.heads.empty() && listed.heads.back() >= count)
    add_problem(problems, line, listed, "heads",
                fmt::format("there is no head {}: site '{}' of this model has {}heads 0..{}",
                            listed.heads.back(), site_info(listed.site).name,
                            count < model_->n_heads ? "key/value " : "", count - 1));
  return listed.heads;
}

void BoundInterventions::bind_donor(const ListedIntervention& line, const ListedEdit& listed,
                                    Edit& edit, Problems& problems) const {
  if (listed.operation == Operation::mean) {
    edit.leave_out = true;
    edit.donor.side = base_;
  }
  if (listed.resample) edit.donor.side = base_;
  if (!listed.donor) return;
  edit.donor.side = listed.donor->side;
  if (listed.donor->own()) return;
  const auto& prompts = prompts_->prompts;
  auto found = prompts.end();
  if (listed.donor->prompt_id)
    found = std::find_if(prompts.begin(), prompts.end(),
                         [&](const Prompt& one) { return one.id == *listed.donor->prompt_id; });
  else if (*listed.donor->prompt_index < std::ssize(prompts))
    found = prompts.begin() + *listed.donor->prompt_index;
  if (found == prompts.end()) {
    add_problem(
        problems, line, listed, "donor.prompt",
        listed.donor->prompt_id
            ? fmt::format("no prompt of set '{}' has the id '{}'", prompts_->id,
                          *listed.donor->prompt_id)
            : fmt::format("there is no prompt {}: set '{}' has prompts 0..{}",
                          *listed.donor->prompt_index, prompts_->id, std::ssize(prompts) - 1));
    return;
  }
  if (edit.donor.side == Side::corrupt && found->corrupt_tokens.empty())
    add_problem(problems, line, listed, "donor.side",
                fmt::format("prompt '{}' has no corrupt partner; take its clean run, or give it "
                            "`corrupt_tokens`",
                            found->id));
  edit.donor.prompt = static_cast<int32_t>(found - prompts.begin());
}

void BoundInterventions::place(const Prompt& prompt, const ListedEdit& listed, Edit& edit) const {
  if (listed.on_edges)
    edit.edges = edges_on(prompt, listed);
  else
    edit.positions = listed.positions.resolve(prompt);
}

void BoundInterventions::check_sources(int64_t prompt, const ListedEdit& listed,
                                       const Edit& edit) const {
  if (listed.resample) (void)donors_.donor(prompt, listed.draw);
  if (listed.operation == Operation::mean)
    means_.check(listed.mean_over, prompt, edit.positions, "per");
  if (edit.donor.prompt < 0) return;
  const Prompt& own = prompts_->prompts[prompt];
  const Prompt& donor = prompts_->prompts[edit.donor.prompt];
  if (donor.tokens.size() != own.tokens.size())
    fail(ErrorKind::input,
         "donor prompt '{}' has {} tokens and prompt '{}' has {}; a donor must be as long as every "
         "prompt of the run",
         donor.id, donor.tokens.size(), own.id, own.tokens.size());
}

void BoundInterventions::check_on_prompts(int64_t index, Problems& problems) const {
  const ListedIntervention& line = listed_[index];
  for (size_t e = 0; e < line.edits.size(); ++e) {
    const ListedEdit& listed = line.edits[e];
    const char* key = listed.on_edges ? "edges" : "positions";
    try {
      for (size_t p = 0; p < prompts_->prompts.size(); ++p) {
        Edit edit = edits_[index][e];
        key = listed.on_edges ? "edges" : "positions";
        place(prompts_->prompts[p], listed, edit);
        key = listed.donor ? "donor" : "operation";
        check_sources(static_cast<int64_t>(p), listed, edit);
      }
    } catch (const Error& error) {
      add_problem(problems, line, listed, key, error.what());  // one prompt's is enough
    }
  }
}

Intervention BoundInterventions::on_prompt(int64_t prompt, int64_t index,
                                           Executor* executor) const {
  const ListedIntervention& line = listed_[index];
  Intervention intervention{base_, edits_[index], line.downstream};
  for (size_t e = 0; e < line.edits.size(); ++e) {
    const ListedEdit& listed = line.edits[e];
    Edit& edit = intervention.edits[e];
    place(prompts_->prompts[prompt], listed, edit);
    if (listed.resample) edit.donor.prompt = donors_.donor(prompt, listed.draw);
    if (listed.operation == Operation::mean && executor != nullptr)
      edit.sums = means_.sums(listed.mean_over, listed.site, prompt, *executor);
  }
  return intervention;
}

}  // namespace mechsweep
