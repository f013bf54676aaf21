#include "engine/random_tasks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/edit_values.h"

namespace mechsweep {

RandomTasks::RandomTasks(const ModelConfig& config, uint64_t seed, const Options& options)
    : config_(config), random_(seed, "random tasks"), longest_(options.longest) {
  add_prompts(options);
  for (int i = 0; i < options.tasks; ++i) add_task(options);
}

void RandomTasks::add_prompts(const Options& options) {
  const int alphabet = std::min(options.alphabet, config_.vocab_size);
  const auto token = [&] { return below(alphabet); };
  for (int p = 0; p < options.prompts; ++p) {
    std::vector<int32_t> clean(1 + below(options.longest));
    for (int32_t& t : clean) t = token();
    // Half of the prompts begin like another one.
    if (p > 0 && below(2) == 0) {
      const std::vector<int32_t>& other = tokens_[2 * below(p)];
      const auto shared = static_cast<int32_t>(std::min(clean.size(), other.size()));
      std::copy_n(other.begin(), 1 + below(shared), clean.begin());
    }
    std::vector<int32_t> corrupt = clean;
    for (int changes = 1 + below(3); changes > 0; --changes)
      corrupt[below(static_cast<int32_t>(corrupt.size()))] = token();
    tokens_.push_back(std::move(clean));
    tokens_.push_back(std::move(corrupt));
  }
  for (int p = 0; p < options.prompts; ++p)
    prompts_.push_back({tokens_[2 * p], tokens_[2 * p + 1]});
}

std::vector<int32_t> RandomTasks::some_of(int32_t population) {
  if (below(3) == 0) {
    std::vector<int32_t> all(population);
    for (int32_t i = 0; i < population; ++i) all[i] = i;
    return all;
  }
  const auto drawn = random_.sample_without_replacement(
      static_cast<uint32_t>(population),
      static_cast<uint32_t>(1 + below(std::min<int32_t>(population, 3))));
  std::vector<int32_t> some(drawn.begin(), drawn.end());
  std::sort(some.begin(), some.end());
  return some;
}

std::vector<int32_t> RandomTasks::some_positions(int32_t length) {
  switch (below(4)) {
    case 0:
      return {length - 1};
    case 1:
      return {below(length)};
    default:
      return some_of(length);
  }
}

std::shared_ptr<const std::vector<float>> RandomTasks::some_vector(int64_t width) {
  auto& vector = vectors_[{width, below(2)}];
  if (vector != nullptr) return vector;
  std::vector<float> values(width);
  double square = 0.0;
  for (float& value : values) {
    value = static_cast<float>(2.0 * random_.uniform() - 1.0);
    square += static_cast<double>(value) * static_cast<double>(value);
  }
  for (float& value : values)
    value = static_cast<float>(static_cast<double>(value) / std::sqrt(square));
  vector = std::make_shared<const std::vector<float>>(std::move(values));
  return vector;
}

std::shared_ptr<const ActivationSums> RandomTasks::sums_of(Site site) {
  auto& sums = sums_[site];
  if (sums != nullptr) return sums;
  ActivationSums made{.site = site,
                      .layers = config_.n_layers,
                      .width = site_width(site, config_),
                      .counts = std::vector<int64_t>(longest_, 3),
                      .sums = {}};
  made.sums.resize(config_.n_layers * longest_ * made.width);
  for (double& value : made.sums) value = 6.0 * random_.uniform() - 3.0;
  sums = std::make_shared<const ActivationSums>(std::move(made));
  return sums;
}

Site RandomTasks::some_site() {
  for (;;) {
    const auto site = static_cast<Site>(below(kSiteCount));
    if (site_exists(site, config_)) return site;
  }
}

void RandomTasks::choose_places(Edit& edit, int32_t length) {
  const bool attention = edit.site == Site::q || edit.site == Site::k || edit.site == Site::v;
  if (attention && below(2) == 0) {
    for (int edges = 1 + below(3); edges > 0; --edges) {
      const int32_t query = below(length);
      edit.edges.push_back({query, below(query + 1)});
    }
    edit.heads = some_of(config_.n_heads);
    return;
  }
  edit.positions = some_positions(length);
  const int heads = site_head_count(edit.site, config_);
  if (heads > 0) edit.heads = some_of(heads);
}

void RandomTasks::choose_values(Edit& edit, int32_t prompt) {
  if (below(4) == 0) {
    std::vector<int32_t> alike;
    for (int32_t p = 0; p < static_cast<int32_t>(prompts_.size()); ++p)
      if (prompts_[p].clean.size() == prompts_[prompt].clean.size()) alike.push_back(p);
    edit.donor.prompt = alike[below(static_cast<int32_t>(alike.size()))];
  }
  edit.donor.side = below(2) == 0 ? Side::clean : Side::corrupt;
  const int64_t width = site_part_width(edit.site, config_);
  switch (edit.operation) {
    case Operation::replace:
      if (edit.edges.empty() && edit.site != Site::pattern && below(3) == 0)
        edit.vector = some_vector(width);
      break;
    case Operation::add:
      edit.vector = some_vector(width);
      edit.scale = static_cast<float>(1 + below(2));
      break;
    case Operation::remove:
    case Operation::transplant:
      edit.vector = some_vector(width);
      break;
    case Operation::mean:
      edit.sums = sums_of(edit.site);
      edit.leave_out = below(2) == 0;
      break;
    default:
      break;
  }
}

Edit RandomTasks::random_edit(int32_t prompt) {
  constexpr int kOperations = static_cast<int>(Operation::cut) + 1;
  Edit edit{.site = some_site(), .layer = below(config_.n_layers)};
  choose_places(edit, static_cast<int32_t>(prompts_[prompt].clean.size()));
  do {
    edit.operation = static_cast<Operation>(below(kOperations));
  } while (!operation_fits(edit.operation, edit.site, !edit.edges.empty()));
  choose_values(edit, prompt);
  return edit;
}

void RandomTasks::add_task(const Options& options) {
  const int32_t prompt = below(static_cast<int32_t>(prompts_.size()));
  const auto length = static_cast<int32_t>(prompts_[prompt].clean.size());
  Task task{.prompt = prompt};
  // On the prompt of the earlier one or on another as long.
  if (!tasks_.empty() && below(2) == 0) {
    const Task& earlier = tasks_[below(static_cast<int32_t>(tasks_.size()))];
    task.prompt = earlier.prompt;
    for (int32_t p = 0; p < static_cast<int32_t>(prompts_.size()); ++p)
      if (below(2) == 0 && prompts_[p].clean.size() == prompts_[earlier.prompt].clean.size())
        task.prompt = p;
    task.intervention = earlier.intervention;
    auto& edits = task.intervention.edits;
    if (!edits.empty() && below(4) == 0)
      edits.erase(edits.begin() + below(static_cast<int32_t>(edits.size())));
  } else {
    task.intervention.base = below(2) == 0 ? Side::clean : Side::corrupt;
    task.intervention.downstream = below(4) == 0 ? Downstream::freeze : Downstream::recompute;
  }
  for (int edits = below(4); edits > 0; --edits)
    task.intervention.edits.push_back(random_edit(task.prompt));
  const auto tokens = static_cast<int32_t>(prompts_[task.prompt].clean.size());
  auto reads = std::make_unique<std::vector<ReadPoint>>();
  for (int points = below(3); points > 0; --points) {
    ReadPoint point{.position = below(tokens), .tracked = {below(config_.vocab_size)}};
    if (options.all_readouts) {
      point.rank = below(4) == 0;
      point.top_k = below(4) == 0 ? 3 : 0;
      if (below(4) == 0) point.kl.push_back(below(2) == 0 ? Side::clean : Side::corrupt);
      point.full_logits = below(8) == 0;
    }
    reads->push_back(std::move(point));
  }
  if (reads->empty()) reads->push_back({.position = length - 1, .tracked = {0}});
  if (reads->front().position >= tokens) reads->front().position = tokens - 1;
  auto activations = std::make_unique<std::vector<ActivationPoint>>();
  if (options.all_readouts && below(3) == 0) {
    const Site site = some_site();
    if (site != Site::pattern)
      activations->push_back({site, below(config_.n_layers), below(tokens)});
  }
  task.reads = *reads;
  task.activations = *activations;
  reads_.push_back(std::move(reads));
  activations_.push_back(std::move(activations));
  tasks_.push_back(std::move(task));
}

namespace {

template <typename T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

bool same_bits(const Reading& a, const Reading& b) {
  const auto same = [](double x, double y) { return std::memcmp(&x, &y, sizeof x) == 0; };
  if (a.top.size() != b.top.size()) return false;
  for (size_t i = 0; i < a.top.size(); ++i)
    if (a.top[i].first != b.top[i].first ||
        std::memcmp(&a.top[i].second, &b.top[i].second, sizeof(float)) != 0)
      return false;
  return same_bytes(a.tracked_logits, b.tracked_logits) && same(a.logsumexp, b.logsumexp) &&
         same(a.logit_mean, b.logit_mean) && a.top1 == b.top1 && a.answer_rank == b.answer_rank &&
         same_bytes(a.kl, b.kl) && same_bytes(a.logits, b.logits);
}

}  // namespace

bool same_bits(const TaskResult& a, const TaskResult& b) {
  return std::equal(a.readings.begin(), a.readings.end(), b.readings.begin(), b.readings.end(),
                    [](const Reading& x, const Reading& y) { return same_bits(x, y); }) &&
         std::equal(a.activations.begin(), a.activations.end(), b.activations.begin(),
                    b.activations.end(),
                    [](const auto& x, const auto& y) { return same_bytes(x, y); });
}

double largest_difference(const std::vector<TaskResult>& a, const std::vector<TaskResult>& b) {
  double largest = 0.0;
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t r = 0; r < a[i].readings.size(); ++r)
      largest = std::max(largest, std::abs(a[i].readings[r].loss() - b[i].readings[r].loss()));
  return largest;
}

}  // namespace mechsweep
