#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "model/tokenizer.h"

namespace mechsweep {

/// What is scored at one position: the answer token and, for the margin, wrong ones.
struct Target {
  int32_t at = 0;  ///< position whose logits are read, counted from 0, prefix included
  int32_t answer = 0;
  std::vector<int32_t> wrong;
  bool operator==(const Target&) const = default;
};

/// [query, key] pairs of positions, for attention scores and attention edges.
using PositionPairs = std::vector<std::pair<int32_t, int32_t>>;

/// One prompt: token ids plus what is asked about them. Positions count stored tokens from 0,
/// prefix included.
struct Prompt {
  std::string id;
  std::vector<int32_t> tokens;
  std::vector<int32_t> corrupt_tokens;  ///< empty, or of the same length as tokens
  std::vector<Target> targets;          ///< in ascending order of `at`
  std::vector<Target> corrupt_targets;
  std::map<std::string, Span> spans;
  std::map<std::string, PositionPairs> pairs;
  std::string template_label;  ///< empty: its own cluster
  std::string text;            ///< when the prompt came from text
  std::string corrupt_text;
  int32_t prefix_length = 0;  ///< leading tokens that were put there by `prefix`
};

/// The prompts of one entry of `prompts:`, for one model (ids depend on its tokenizer).
struct PromptSet {
  std::string id;
  std::string kind;
  Json parameters;  ///< every parameter, defaults filled in; part of the file's key
  std::vector<Prompt> prompts;
};

/// One line of the prompt-file format (docs/prompt-files.md), `tokens` always present.
Json prompt_to_json(const Prompt& prompt);

/// Hexadecimal SHA-256 over the canonical JSON of the prompts, in order.
std::string prompt_set_hash(const PromptSet& set);

/// Throws Error{input} naming the prompt when it is empty, longer than `max_positions`, has an id
/// outside [0, vocab_size), a corrupt partner of another length, a target, span or pair outside
/// the prompt, a pair whose key is after its query, or two equal tracked tokens in one target.
void check_prompt(const Prompt& prompt, int vocab_size, int max_positions);

}  // namespace mechsweep
