#include "store/results_layout.h"

#include <algorithm>
#include <chrono>

#include <H5public.h>
#include <fmt/chrono.h>

#include "core/error.h"
#include "core/hash.h"
#include "engine/site.h"
#include "model/kernel_set.h"

namespace mechsweep {

namespace {

template <typename T>
std::vector<uint8_t> content_of(const std::vector<T>& values) {
  const auto bytes = bytes_of(std::span<const T>(values));
  return {bytes.begin(), bytes.end()};
}

DatasetSpec text_dataset(const std::string& path, const std::vector<std::string>& texts,
                         const std::string& scale) {
  DatasetSpec spec{.path = path, .type = ElementType::u8};
  spec.text_size = longest_text(texts);
  spec.shape = {static_cast<int64_t>(texts.size())};
  if (!scale.empty()) spec.scales = {scale};
  spec.content = pack_texts(texts, spec.text_size);
  return spec;
}

void add_models(const Plan& plan, FileLayout& layout) {
  for (const PlannedModel& model : plan.models) {
    Json attributes = model.checkpoint.config.to_json();
    attributes["format"] = model.checkpoint.format;
    attributes["dtype"] = model.entry->dtype;
    attributes["tensor_parallel"] = model.entry->tensor_parallel;
    attributes["hash"] = model.hash;
    attributes["files"] = to_json(model.files).dump();
    layout.groups.push_back({"/models/" + model.entry->id, attributes});
  }
}

std::string prompts_group(const Plan& plan, const PlannedPrompts& prompts) {
  return "/prompts/" + prompts.set.id + "/" + plan.models[prompts.model].entry->id;
}

/// Targets of every prompt, padded with -1: [prompt, target] and [prompt, target, tracked].
struct PaddedTargets {
  int64_t targets = 0;
  int64_t tracked = 0;
  std::vector<int32_t> at;
  std::vector<int32_t> tokens;

  explicit PaddedTargets(const std::vector<Prompt>& prompts) {
    for (const Prompt& prompt : prompts) {
      targets = std::max(targets, static_cast<int64_t>(prompt.targets.size()));
      for (const Target& target : prompt.targets)
        tracked = std::max(tracked, static_cast<int64_t>(target.wrong.size()) + 1);
    }
    const auto count = static_cast<int64_t>(prompts.size());
    at.assign(count * targets, -1);
    tokens.assign(count * targets * tracked, -1);
    for (int64_t p = 0; p < count; ++p)
      for (size_t t = 0; t < prompts[p].targets.size(); ++t) {
        const Target& target = prompts[p].targets[t];
        const int64_t place = p * targets + static_cast<int64_t>(t);
        at[place] = target.at;
        tokens[place * tracked] = target.answer;
        std::copy(target.wrong.begin(), target.wrong.end(), tokens.begin() + place * tracked + 1);
      }
  }
};

void add_token_table(FileLayout& layout, const std::string& group, const char* name,
                     const std::vector<Prompt>& prompts, std::vector<int32_t> Prompt::*tokens,
                     int64_t longest) {
  std::vector<int32_t> table(prompts.size() * longest, -1);
  for (size_t p = 0; p < prompts.size(); ++p)
    std::copy((prompts[p].*tokens).begin(), (prompts[p].*tokens).end(),
              table.begin() + static_cast<int64_t>(p) * longest);
  layout.datasets.push_back({.path = group + "/" + name,
                             .type = ElementType::i32,
                             .shape = {static_cast<int64_t>(prompts.size()), longest},
                             .scales = {group + "/prompt", group + "/token"},
                             .content = content_of(table)});
}

void add_prompt_texts(FileLayout& layout, const std::string& group,
                      const std::vector<Prompt>& prompts) {
  std::vector<std::string> ids, templates, texts, spans, pairs;
  for (const Prompt& prompt : prompts) {
    const Json json = prompt_to_json(prompt);
    ids.push_back(prompt.id);
    templates.push_back(prompt.template_label);
    texts.push_back(prompt.text);
    spans.push_back(json.contains("spans") ? json["spans"].dump() : "{}");
    pairs.push_back(json.contains("pairs") ? json["pairs"].dump() : "{}");
  }
  const std::string scale = group + "/prompt";
  layout.datasets.push_back(text_dataset(group + "/id", ids, scale));
  layout.datasets.push_back(text_dataset(group + "/template", templates, scale));
  layout.datasets.push_back(text_dataset(group + "/text", texts, scale));
  layout.datasets.push_back(text_dataset(group + "/spans", spans, scale));
  layout.datasets.push_back(text_dataset(group + "/pairs", pairs, scale));
}

void add_prompts(const Plan& plan, const PlannedPrompts& planned, FileLayout& layout) {
  const std::string group = prompts_group(plan, planned);
  const auto& prompts = planned.set.prompts;
  const auto count = static_cast<int64_t>(prompts.size());
  layout.groups.push_back({group,
                           {{"kind", planned.set.kind},
                            {"parameters", planned.set.parameters.dump()},
                            {"hash", planned.hash}}});
  int64_t longest = 0;
  bool has_corrupt = false;
  std::vector<int32_t> lengths, prefixes;
  for (const Prompt& prompt : prompts) {
    longest = std::max(longest, static_cast<int64_t>(prompt.tokens.size()));
    has_corrupt = has_corrupt || !prompt.corrupt_tokens.empty();
    lengths.push_back(static_cast<int32_t>(prompt.tokens.size()));
    prefixes.push_back(prompt.prefix_length);
  }
  const PaddedTargets targets(prompts);
  std::vector<Axis> axes = {{.name = "prompt", .size = count}, {.name = "token", .size = longest}};
  if (targets.targets > 0) {
    axes.push_back({.name = "target", .size = targets.targets});
    axes.push_back({.name = "tracked", .size = targets.tracked});
  }
  add_scales(layout, group, axes);
  const auto per_prompt = [&](const char* name, const std::vector<int32_t>& values) {
    layout.datasets.push_back({.path = group + "/" + name,
                               .type = ElementType::i32,
                               .shape = {count},
                               .scales = {group + "/prompt"},
                               .content = content_of(values)});
  };
  per_prompt("lengths", lengths);
  per_prompt("prefix_length", prefixes);
  add_token_table(layout, group, "tokens", prompts, &Prompt::tokens, longest);
  if (has_corrupt)
    add_token_table(layout, group, "corrupt_tokens", prompts, &Prompt::corrupt_tokens, longest);
  if (targets.targets > 0) {
    layout.datasets.push_back({.path = group + "/target_at",
                               .type = ElementType::i32,
                               .shape = {count, targets.targets},
                               .scales = {group + "/prompt", group + "/target"},
                               .content = content_of(targets.at)});
    layout.datasets.push_back({.path = group + "/tracked_tokens",
                               .type = ElementType::i32,
                               .shape = {count, targets.targets, targets.tracked},
                               .scales = {group + "/prompt", group + "/target", group + "/tracked"},
                               .content = content_of(targets.tokens)});
  }
  add_prompt_texts(layout, group, prompts);
}

/// What the numbers were made with.
Json library_versions() {
  return {{"mechsweep", software_version()},
          {"tensor_library", tensor_library_version()},
          {"hdf5", H5_VERS_INFO},
          {"compiler", __VERSION__}};
}

Json run_attributes(const Plan& plan, const PlannedRun& run, int index) {
  Json attributes = run.run->attributes();
  const PlannedModel& model = plan.models[run.model];
  const PlannedPrompts& prompts = *plan.prompts[run.prompts];
  attributes["kind"] = run.entry->kind;
  attributes["run_index"] = index;
  attributes["run_id"] = run.id;
  attributes["prompts_group"] = prompts_group(plan, prompts);
  attributes["vocab_size"] = model.checkpoint.config.vocab_size;
  attributes["parameters"] = run.entry->experiment->parameters(plan.sweep.folder).dump();
  attributes["statistics"] = run.entry->statistics.to_json().dump();
  attributes["prefix"] =
      prompts.set.parameters.contains("prefix") ? prompts.set.parameters["prefix"].dump() : "none";
  attributes["dtype"] = model.entry->dtype;
  attributes["kernels"] = plan.sweep.execution.kernels;
  attributes["seed"] = plan.sweep.seed;
  attributes["model_hash"] = model.hash;
  attributes["prompts_hash"] = prompts.hash;
  Json stages = Json::array();
  for (const StageSpec& stage : run.stages) stages.push_back(stage.name);
  attributes["stages"] = stages;
  const std::string site = attributes.value("site", "");
  // "{layer}" stays in these names: a run covers several layers.
  attributes["transformers_path"] = model.checkpoint.architecture->transformers_path(site);
  attributes["transformer_lens_hook"] = site == "pattern" ? "blocks.{layer}.attn.hook_pattern" : "";
  for (const SiteInfo& info : site_table())
    if (info.name == site) attributes["transformer_lens_hook"] = info.transformer_lens_hook;
  return attributes;
}

void add_run(const Plan& plan, int index, FileLayout& layout) {
  const PlannedRun& run = plan.runs[index];
  const std::string group = run_group(run.id);
  layout.groups.push_back({group, run_attributes(plan, run, index)});
  for (const ArraySpec& array : run.arrays) {
    DatasetSpec dataset{.path = group + "/" + array.name, .type = array.type};
    for (const Axis& axis : array.axes) dataset.shape.push_back(axis.size);
    dataset.scales = add_scales(layout, group, array.axes);
    dataset.attributes = array.attributes;
    layout.targets.push_back({.run = index,
                              .stage = array.stage,
                              .dataset = static_cast<int32_t>(layout.datasets.size()),
                              .split_by_first = array.split_by_first});
    layout.datasets.push_back(std::move(dataset));
  }
}

}  // namespace

std::string now_text() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::now()));
}

std::string_view software_version() {
  return MECHSWEEP_VERSION;
}

std::string run_group(const std::string& run_id) {
  return "/runs/" + run_id;
}

/// Whether the group has the dataset. Datasets of a group and below it are added one after the
/// other, so the search ends where they begin: sweeps of a thousand runs have too many for a whole
/// one.
static bool has_dataset(const FileLayout& layout, const std::string& group_prefix,
                        const std::string& path) {
  for (auto dataset = layout.datasets.rbegin(); dataset != layout.datasets.rend(); ++dataset) {
    if (dataset->path == path) return true;
    if (!dataset->path.starts_with(group_prefix)) return false;
  }
  return false;
}

std::vector<std::string> add_scales(FileLayout& layout, const std::string& folder,
                                    const std::vector<Axis>& axes) {
  std::vector<std::string> paths;
  for (const Axis& axis : axes) {
    const std::string path = folder + "/" + axis.name;
    paths.push_back(path);
    if (has_dataset(layout, folder + "/", path)) continue;
    if (!axis.labels.empty()) {
      layout.datasets.push_back(text_dataset(path, axis.labels, ""));
      continue;
    }
    std::vector<int32_t> numbers = axis.coordinates;
    for (int64_t i = static_cast<int64_t>(numbers.size()); i < axis.size; ++i)
      numbers.push_back(static_cast<int32_t>(i));
    layout.datasets.push_back({.path = path,
                               .type = ElementType::i32,
                               .shape = {axis.size},
                               .content = content_of(numbers)});
  }
  return paths;
}

FileLayout results_layout(const Plan& plan) {
  FileLayout layout;
  layout.attributes = {{"format", kResultsFormat},
                       {"format_version", kFormatVersion},
                       {"name", plan.sweep.name},
                       {"config", plan.sweep.text},
                       {"identity", plan.identity.dump()},
                       {"key", plan.key},
                       {"seed", plan.sweep.seed},
                       {"kernels", plan.sweep.execution.kernels},
                       {"software_version", software_version()},
                       {"versions", library_versions().dump()},
                       {"created", now_text()}};
  add_models(plan, layout);
  for (const auto& prompts : plan.prompts) add_prompts(plan, *prompts, layout);
  for (size_t run = 0; run < plan.runs.size(); ++run) add_run(plan, static_cast<int>(run), layout);
  for (const Unit& unit : plan.units) {
    UnitSpec spec{.run = unit.run,
                  .stage = unit.stage,
                  .prompts = unit.prompts,
                  .first = unit.first,
                  .flops = unit.flops};
    for (size_t i = 0; i < spec.id.size(); ++i)
      spec.id[i] = static_cast<uint8_t>(std::stoi(unit.id.substr(2 * i, 2), nullptr, 16));
    layout.units.push_back(spec);
  }
  return layout;
}

}  // namespace mechsweep
