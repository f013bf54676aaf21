#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "engine/executor.h"
#include "engine/readout.h"

namespace mechsweep {

/// Direct logit attribution (Elhage et al. 2021, "A Mathematical Framework for Transformer
/// Circuits", and nostalgebraist's logit lens): the residual stream is a sum over components, and
/// with the final norm's scale taken from the run itself a logit is a linear function of it, so it
/// is a sum over components, too. Here for one read point, [tracked] tokens, before a soft cap, in
/// double precision. What attention adds after a norm of its own (Gemma 2 and 3, OLMo 2) goes
/// through that norm with the scale that it has for the whole of what attention gives in this run.
struct DirectLogits {
  Reading reading;                         ///< of the run itself
  std::vector<double> token_embedding;     ///< [tracked]
  std::vector<double> position_embedding;  ///< [tracked], zeros without learned positions
  std::vector<double> heads;               ///< [L, H, tracked], z W_O of each head
  std::vector<double> attention_biases;    ///< [L, tracked], output bias and the post-norm's
  std::vector<double> mlps;                ///< [L, tracked], biases and post-norm included
  std::vector<double> final_norm_bias;     ///< [tracked]
  std::vector<double> unembedding_bias;    ///< [tracked]
  std::vector<double> uncapped;            ///< [tracked], the logit that all of these add up to

  /// uncapped minus the sum of all components: rounding, [tracked].
  [[nodiscard]] std::vector<double> remainder() const;
};

/// What executors offer that hold the weights that they run with.
class DirectLogitSource {
 public:
  virtual ~DirectLogitSource() = default;
  /// What every component of unedited runs adds to the logits that the tasks read: one entry for
  /// each task and read point, task by task. An entry does not depend on the others. Throws
  /// Error{resource} like Executor::run.
  virtual std::vector<DirectLogits> direct_logits(std::span<const PromptTokens> prompts,
                                                  std::span<const Task> tasks) = 0;
};

/// The same of any executor; Error{usage} where it is no such source.
std::vector<DirectLogits> direct_logits(Executor& executor, std::span<const PromptTokens> prompts,
                                        std::span<const Task> tasks);

/// How a source answers: runs the tasks with `executor`, keeping z,
/// mlp_out and the final residual of the rows that are read, then multiplies each head's z by W_O
/// alone. At most kHeldComponentBytes of activations are kept at once (at least one task's).
/// Collective where the model's methods are.
std::vector<DirectLogits> attribute_logits(const Model& model, ThreadPool& pool, Executor& executor,
                                           std::span<const PromptTokens> prompts,
                                           std::span<const Task> tasks);

/// What to keep of a run for a read point: z and mlp_out of every layer, then the final residual.
std::vector<ActivationPoint> direct_activations(const ReadPoint& point, const ModelConfig& config);

/// Entries of the right shapes, all zero, for a read point: what a forecast answers.
DirectLogits empty_direct_logits(const ReadPoint& point, const ModelConfig& config);

inline constexpr int64_t kHeldComponentBytes = int64_t{256} << 20;

}  // namespace mechsweep
