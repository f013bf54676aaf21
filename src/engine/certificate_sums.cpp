#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "engine/certificate_checks.h"

namespace mechsweep {

namespace {

/// Of the largest logit. A logit is a sum of D products of fp32 numbers, each of which has been
/// through a sum of 2 L + 1 terms and a norm; what the arithmetic of all of tests/golden's
/// checkpoints and the fetched models leaves is below a tenth of this (docs/models.md).
constexpr double kBound = 2e-5;
constexpr int kTopTokens = 8;

/// Positions to look at: two of them, or all.
std::vector<int32_t> some_positions(int32_t length, bool all) {
  if (all) return first_numbers(length);
  return length > 1 ? std::vector<int32_t>{0, length - 1} : std::vector<int32_t>{0};
}

}  // namespace

void LogitDifference::add(double found, double expected) {
  worst.add(found, expected);
  if (std::isfinite(expected)) largest = std::max(largest, std::abs(expected));
}

double LogitDifference::share() const {
  // Of all-zero logits any difference is infinitely far, and none is no difference.
  return worst.largest() == 0.0 ? 0.0 : worst.largest() / largest;
}

// --- every head and every MLP at zero ------------------------------------------------------------

ZeroedCheck::ZeroedCheck(CertificateTasks& tasks, const Checkpoint& checkpoint, bool thorough)
    : tasks_(tasks), checkpoint_(checkpoint) {
  const ModelConfig& config = checkpoint.config;
  const auto prompts = static_cast<int32_t>(thorough ? tasks.prompts().size() : 1);
  for (int32_t prompt = 0; prompt < prompts; ++prompt) {
    const auto positions = first_numbers(tasks.length(prompt));
    std::vector<Edit> edits;
    for (int layer = 0; layer < config.n_layers; ++layer) {
      edits.push_back({.site = Site::z,
                       .layer = layer,
                       .heads = first_numbers(config.n_heads),
                       .positions = positions});
      edits.push_back({.site = Site::mlp_out, .layer = layer, .positions = positions});
    }
    std::vector<ReadPoint> reads;
    for (const int32_t position : some_positions(tasks.length(prompt), thorough))
      reads.push_back({.position = position,
                       .tracked = certificate_sample(config, thorough ? 256 : 64),
                       .top_k = std::min(kTopTokens, config.vocab_size)});
    own_.push_back(tasks.add(prompt, std::move(edits), std::move(reads)));
  }
}

CertificateCheck ZeroedCheck::check(const std::vector<TaskResult>& results, ExactEnds& ends) const {
  // Zeroing z leaves the bias of the output projection, and what a norm after it makes of that.
  std::vector<double> biases(checkpoint_.config.d_model, 0.0);
  for (const LayerTensors& layer : checkpoint_.tensors.layers)
    if (layer.o_bias.present())
      add_to(ends.norm(layer.attn_post_norm).of(ends.tensors().vector(layer.o_bias)), biases);
  LogitDifference difference;
  FrozenNorm norm = ends.final_norm();
  for (const size_t task : own_) {
    const Task& asked = tasks_.tasks()[task];
    for (size_t r = 0; r < asked.reads.size(); ++r) {
      const ReadPoint& point = asked.reads[r];
      const Reading& reading = results[task].readings[r];
      const int32_t token = tasks_.tokens(asked.prompt)[point.position];
      std::vector<double> stream = ends.embedding(token, point.position);
      add_to(biases, stream);
      const std::vector<double> normed = norm.of(stream);
      const auto compare = [&](int32_t read, float logit) {
        const double expected =
            exact_dot(normed, ends.unembedding(read)) + ends.unembedding_bias(read);
        difference.add(static_cast<double>(logit), ends.capped(expected));
      };
      for (size_t i = 0; i < point.tracked.size(); ++i)
        compare(point.tracked[i], reading.tracked_logits[i]);
      for (const auto& [read, logit] : reading.top) compare(read, logit);
    }
  }
  return judge("zeroed", difference.share(), kBound, difference.worst.non_finite(),
               "every head and every MLP at zero against embeddings, output biases, final norm and "
               "unembedding in double precision, of the largest logit");
}

// --- direct contributions ------------------------------------------------------------------------

/// At one position: what is known of it, and logits as they add up.
struct DirectCheck::Sums {
  const TaskResult* result = nullptr;
  std::vector<int32_t> tokens;
  std::vector<double> logits;    ///< of the engine
  std::vector<double> by_block;  ///< sums over whole blocks
  std::vector<double> by_head;   ///< the same with attention taken head by head
  FrozenNorm norm;

  /// Adds the direct contribution of a summand of the residual stream.
  void add(std::span<const double> summand, ExactEnds& ends, std::vector<double>& sums) const {
    const std::vector<double> share = norm.share(summand);
    for (size_t i = 0; i < tokens.size(); ++i)
      sums[i] += exact_dot(share, ends.unembedding(tokens[i]));
  }
};

namespace {

/// What is read at one position: the stream's beginning, then each layer's blocks, then their z.
std::vector<ActivationPoint> points_at(int32_t position, int layers, bool with_heads) {
  std::vector<ActivationPoint> points = {{Site::resid_pre, 0, position}};
  for (int layer = 0; layer < layers; ++layer) {
    points.push_back({Site::attn_out, layer, position});
    points.push_back({Site::mlp_out, layer, position});
  }
  for (int layer = 0; with_heads && layer < layers; ++layer)
    points.push_back({Site::z, layer, position});
  return points;
}

size_t place_of_attention(int layer) {
  return 1 + 2 * static_cast<size_t>(layer);
}
size_t place_of_heads(int layer, int layers) {
  return 1 + 2 * static_cast<size_t>(layers) + static_cast<size_t>(layer);
}

}  // namespace

DirectCheck::DirectCheck(CertificateTasks& tasks, const Checkpoint& checkpoint, bool thorough)
    : checkpoint_(checkpoint), by_head_(thorough) {
  const ModelConfig& config = checkpoint.config;
  const auto prompts = static_cast<int32_t>(tasks.prompts().size());
  for (int32_t prompt = thorough ? 0 : prompts - 1; prompt < prompts; ++prompt) {
    const int32_t position = prompt % 2 == 0 ? tasks.length(prompt) - 1 : tasks.length(prompt) / 2;
    std::vector<ReadPoint> reads = {{.position = position,
                                     .tracked = certificate_sample(config, 32),
                                     .top_k = std::min(kTopTokens, config.vocab_size)}};
    own_.push_back(
        tasks.add(prompt, {}, std::move(reads), points_at(position, config.n_layers, thorough)));
  }
}

void DirectCheck::add_blocks(const TaskResult& result, ExactEnds& ends, Sums& sums) const {
  const Reading& reading = result.readings.front();
  sums.result = &result;
  sums.tokens = certificate_sample(checkpoint_.config, 32);
  for (const float logit : reading.tracked_logits)
    sums.logits.push_back(static_cast<double>(logit));
  for (const auto& [token, logit] : reading.top) {
    sums.tokens.push_back(token);
    sums.logits.push_back(static_cast<double>(logit));
  }
  std::vector<double> stream(checkpoint_.config.d_model, 0.0);
  const auto summands =
      std::span(result.activations).first(1 + 2 * static_cast<size_t>(checkpoint_.config.n_layers));
  for (const auto& summand : summands) add_to(as_doubles(summand), stream);
  sums.norm.freeze(stream);
  for (const int32_t token : sums.tokens)
    sums.by_block.push_back(
        ends.unembedding_bias(token) +
        (sums.norm.bias().empty() ? 0.0 : exact_dot(sums.norm.bias(), ends.unembedding(token))));
  for (const auto& summand : summands) sums.add(as_doubles(summand), ends, sums.by_block);
}

/// What each head of a layer, and last the bias, gives to the output projection's result [D] from
/// z [H E].
std::vector<std::vector<double>> DirectCheck::attention_parts_of(int layer,
                                                                 std::span<const double> z,
                                                                 const ExactTensors& exact) const {
  const ModelConfig& config = checkpoint_.config;
  const int64_t size = config.head_size;
  std::vector<std::vector<double>> parts(config.n_heads + 1,
                                         std::vector<double>(config.d_model, 0.0));
  const LayerTensors& tensors = checkpoint_.tensors.layers[layer];
  exact.each_row(tensors.o, [&](int64_t d, std::span<const double> row) {
    for (int head = 0; head < config.n_heads; ++head)
      parts[head][d] = exact_dot(row.subspan(head * size, size), z.subspan(head * size, size));
  });
  if (tensors.o_bias.present()) parts.back() = exact.vector(tensors.o_bias);
  return parts;
}

void DirectCheck::add_heads(ExactEnds& ends, Sums& sums) const {
  const int layers = checkpoint_.config.n_layers;
  sums.by_head = sums.by_block;
  for (int layer = 0; layer < layers; ++layer) {
    auto z = as_doubles(sums.result->activations[place_of_heads(layer, layers)]);
    for (double& value : z) value = ends.tensors().rounded(value);
    const auto parts = attention_parts_of(layer, z, ends.tensors());
    std::vector<double> whole(checkpoint_.config.d_model, 0.0);
    for (const auto& part : parts) add_to(part, whole);
    FrozenNorm post = ends.norm(checkpoint_.tensors.layers[layer].attn_post_norm);
    post.freeze(whole);
    // The parts take the place of the block.
    auto block = as_doubles(sums.result->activations[place_of_attention(layer)]);
    for (double& value : block) value = -value;
    sums.add(block, ends, sums.by_head);
    for (const auto& part : parts) sums.add(post.share(part), ends, sums.by_head);
  }
}

CertificateCheck DirectCheck::check(const std::vector<TaskResult>& results, ExactEnds& ends,
                                    const CertifyOptions& options) const {
  // Library kernels round what a product gives to a narrow type, which no sum of parts can follow.
  const bool follows = options.dtype == "float32" || options.kernels == "native";
  std::vector<Sums> sums;
  for (const size_t task : own_) {
    sums.push_back({.result = nullptr,
                    .tokens = {},
                    .logits = {},
                    .by_block = {},
                    .by_head = {},
                    .norm = ends.final_norm()});
    add_blocks(results[task], ends, sums.back());
    if (by_head_ && follows) add_heads(ends, sums.back());
  }
  LogitDifference difference;
  for (const Sums& one : sums)
    for (const auto* logits : {&one.by_block, &one.by_head})
      for (size_t i = 0; i < logits->size(); ++i)
        difference.add(one.logits[i], ends.capped((*logits)[i]));
  return judge("direct", difference.share(), kBound, difference.worst.non_finite(),
               fmt::format("direct contributions of {} added up in double precision against the "
                           "logits, of the largest logit{}",
                           by_head_ && follows ? "heads and MLPs" : "attention blocks and MLPs",
                           by_head_ && !follows ? " (these kernels round sums over heads)" : ""));
}

}  // namespace mechsweep
