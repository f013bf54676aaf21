#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/model_config.h"

namespace mechsweep {

/// A file of the model that a reference was made from.
struct ReferenceFile {
  std::string name;  ///< without its folder
  std::string sha256;
};

/// What another program says of one prompt.
struct ReferencePrompt {
  std::vector<int32_t> tokens;                               ///< [T]
  std::vector<double> loss;                                  ///< [T - 1]: of the next token, nats
  std::vector<double> logsumexp;                             ///< [T]
  std::vector<std::vector<double>> logits;                   ///< [T][sample]
  std::vector<std::vector<std::pair<int32_t, double>>> top;  ///< [T][...]: token and logit
};

/// One head's z at zero at all positions of a prompt.
struct ReferenceHead {
  int prompt = 0;
  int layer = 0;
  int head = 0;
  std::vector<double> delta_loss;  ///< [T - 1], nats
};

/// How far the reference itself moves when it computes in a narrower type.
struct ReferenceSpread {
  double logits = 0.0;      ///< of the largest logit
  double loss = 0.0;        ///< nats
  double delta_loss = 0.0;  ///< nats
};

/// Numbers of another program for one model: what scripts/make_reference.py writes.
struct Reference {
  std::string path;
  std::string made_by;  ///< "transformers 5.23.0, torch 2.11.0"
  std::string dtype;    ///< that the reference computed in
  std::vector<ReferenceFile> files;
  std::vector<int32_t> sample;  ///< tokens whose logits are stored at every position
  std::vector<ReferencePrompt> prompts;
  std::vector<ReferenceHead> heads;
  std::map<std::string, ReferenceSpread> spread;  ///< by dtype
};

/// Reads and checks a reference for a model of this config: every size, ids within the vocabulary,
/// places within the model, finite numbers. Throws Error{input} naming file and field.
Reference read_reference(const std::string& path, const ModelConfig& config);
/// The same of a text; `path` is for messages.
Reference parse_reference(std::string_view text, const std::string& path,
                          const ModelConfig& config);

/// Throws Error{input} unless the reference was made from these very files: each of the model's
/// that decides a logit (not the tokenizer's) must be in the reference with its hash.
void check_reference_files(const Reference& reference, const std::vector<ReferenceFile>& model);

}  // namespace mechsweep
