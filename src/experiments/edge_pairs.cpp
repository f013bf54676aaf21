#include "experiments/edge_pairs.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "core/error.h"
#include "core/random.h"

namespace mechsweep {

namespace {

const std::string kRandom = "random";
const std::string kRandomOf = "random.";
const std::string kOwn = "pairs.";
const std::vector<std::string> kBuiltIn = {"previous_token", "duplicate_token", "induction",
                                           "anti_induction"};

bool is_built_in(const std::string& name) {
  return std::find(kBuiltIn.begin(), kBuiltIn.end(), name) != kBuiltIn.end();
}

/// The name without `random.`.
std::string true_name(const std::string& name) {
  return EdgePairs::is_random(name) ? name.substr(kRandomOf.size()) : name;
}

/// The prompts' pairs that a name which is not built in means.
std::string own_name(const std::string& name) {
  return name.starts_with(kOwn) ? name.substr(kOwn.size()) : name;
}

ScoreKeys keys_of(const Prompt& prompt, const std::string& name, Occurrence occurrence) {
  if (name == "previous_token") return previous_token_keys(prompt);
  if (name == "duplicate_token") return occurrence_keys(prompt, occurrence, 0);
  if (name == "induction") return occurrence_keys(prompt, occurrence, 1);
  if (name == "anti_induction") return occurrence_keys(prompt, occurrence, -1);
  return pair_keys(prompt, own_name(name));
}

EdgePairs::Edges edges_of(const ScoreKeys& score) {
  EdgePairs::Edges edges;
  for (const ScoreKeys::Query& query : score.queries)
    for (const int32_t key : query.keys) edges.push_back({query.query, key});
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  return edges;
}

/// The first entry after `at` with another query.
size_t end_of_query(const EdgePairs::Edges& edges, size_t at) {
  size_t end = at;
  while (end < edges.size() && edges[end][0] == edges[at][0]) ++end;
  return end;
}

}  // namespace

bool EdgePairs::is_random(const std::string& name) {
  return name.starts_with(kRandomOf);
}

std::string EdgePairs::problem_of(const std::string& name) {
  if (name == kRandom)
    return "'random' has to say like which pairs, such as random.induction: as many, of the same "
           "queries";
  const std::string like = true_name(name);
  if (like.empty() || own_name(like).empty() || is_random(like))
    return fmt::format("'{}' names no pairs", name);
  return "";
}

EdgePairs::EdgePairs(const RunContext& context, std::vector<std::string> names,
                     Occurrence occurrence)
    : prompts_(context.prompts),
      seed_(context.seed),
      run_id_(context.run_id),
      names_(std::move(names)) {
  for (const std::string& name : names_) add(name, occurrence);
}

void EdgePairs::add(const std::string& name, Occurrence occurrence) {
  const std::string like = true_name(name);
  const auto& prompts = prompts_->prompts;
  const bool known =
      is_built_in(like) || std::any_of(prompts.begin(), prompts.end(), [&](const Prompt& prompt) {
        return prompt.pairs.contains(own_name(like));
      });
  if (!known)
    fail(ErrorKind::usage,
         "pairs '{}' are neither built in ({}) nor a name in the `pairs` of any prompt of set '{}'",
         like, fmt::join(kBuiltIn, ", "), prompts_->id);
  std::vector<Edges> all;
  for (const Prompt& prompt : prompts) {
    all.push_back(edges_of(keys_of(prompt, like, occurrence)));
    if (all.back().empty())
      fail(ErrorKind::input,
           "prompt '{}' of set '{}' has no pair of '{}'; leave the prompt or the name out",
           prompt.id, prompts_->id, like);
    if (is_random(name))
      (void)random_like(all.back(), std::ssize(all) - 1, name, 0);  // are there enough keys?
  }
  edges_.push_back(std::move(all));
}

EdgePairs::Edges EdgePairs::on(int64_t prompt, int64_t name, int64_t draw) const {
  const Edges& edges = edges_[name][prompt];
  return is_random(names_[name]) ? random_like(edges, prompt, names_[name], draw) : edges;
}

EdgePairs::Edges EdgePairs::random_like(const Edges& edges, int64_t prompt, const std::string& name,
                                        int64_t draw) const {
  const Prompt& about = prompts_->prompts[prompt];
  RandomStream random(seed_, fmt::format("edge_pairs/{}/{}/{}", run_id_, name, prompt),
                      static_cast<uint64_t>(draw));
  Edges drawn;
  for (size_t begin = 0; begin < edges.size();) {
    const size_t end = end_of_query(edges, begin);
    const int32_t query = edges[begin][0];
    std::vector<int32_t> others;
    for (int32_t key = about.prefix_length; key < query; ++key)
      if (std::find(edges.begin() + static_cast<int64_t>(begin),
                    edges.begin() + static_cast<int64_t>(end),
                    std::array<int32_t, 2>{query, key}) ==
          edges.begin() + static_cast<int64_t>(end))
        others.push_back(key);
    if (others.size() < end - begin)
      fail(ErrorKind::input,
           "prompt '{}' of set '{}' has {} other content positions before its query {}, too few to "
           "draw the {} keys of '{}'; use longer prompts, or pairs of later queries",
           about.id, prompts_->id, others.size(), query, end - begin, name);
    for (const uint32_t at : random.sample_without_replacement(static_cast<uint32_t>(others.size()),
                                                               static_cast<uint32_t>(end - begin)))
      drawn.push_back({query, others[at]});
    begin = end;
  }
  std::sort(drawn.begin(), drawn.end());
  return drawn;
}

std::vector<std::string> EdgePairs::queries_of_prompts() const {
  std::vector<std::string> texts(prompts_->prompts.size());
  for (const auto& of_name : edges_)
    for (size_t p = 0; p < texts.size(); ++p) {
      texts[p] += ';';
      for (const auto& [query, key] : of_name[p]) texts[p] += fmt::format("{},", query);
    }
  return texts;
}

std::string EdgePairs::describe_counts() const {
  std::string text;
  for (size_t name = 0; name < names_.size(); ++name) {
    const auto [least, most] =
        std::minmax_element(edges_[name].begin(), edges_[name].end(),
                            [](const Edges& a, const Edges& b) { return a.size() < b.size(); });
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", names_[name], least->size());
    if (most->size() != least->size()) text += fmt::format(" to {}", most->size());
    text += " a prompt";
  }
  return text;
}

}  // namespace mechsweep
