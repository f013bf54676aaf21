#pragma once

#include <span>
#include <utility>
#include <vector>

#include "engine/certificate.h"
#include "engine/certificate_exact.h"
#include "engine/certificate_work.h"

// The checks of a certificate one by one. Each adds its tasks to a list that runs as a whole, so
// that the weights are read as seldom as possible, and then judges the results of all tasks.

namespace mechsweep {

/// What to ask of a prompt's whole result: logits of some tokens and what is summed over all of
/// them, at two positions, and the end of the residual stream.
std::pair<std::vector<ReadPoint>, std::vector<ActivationPoint>> whole_result(
    const ModelConfig& config, int32_t length);

/// Edits that change nothing.
class NoOpCheck {
 public:
  /// `bases[p]` is the unedited task of prompt p, with whole_result.
  NoOpCheck(CertificateTasks& tasks, const ModelConfig& config, std::vector<size_t> bases,
            bool thorough);
  /// Of each executor's results of all tasks.
  [[nodiscard]] CertificateCheck check(
      std::span<const std::vector<TaskResult>* const> results) const;

 private:
  std::vector<std::pair<size_t, size_t>> pairs_;  ///< edited task, unedited task
};

/// Every head's z and every MLP at zero: embeddings, output biases, final norm and unembedding.
class ZeroedCheck {
 public:
  ZeroedCheck(CertificateTasks& tasks, const Checkpoint& checkpoint, bool thorough);
  [[nodiscard]] CertificateCheck check(const std::vector<TaskResult>& results,
                                       ExactEnds& ends) const;

 private:
  const CertificateTasks& tasks_;
  const Checkpoint& checkpoint_;
  std::vector<size_t> own_;
};

/// The direct contributions of all components, added up.
class DirectCheck {
 public:
  DirectCheck(CertificateTasks& tasks, const Checkpoint& checkpoint, bool thorough);
  [[nodiscard]] CertificateCheck check(const std::vector<TaskResult>& results, ExactEnds& ends,
                                       const CertifyOptions& options) const;

 private:
  struct Sums;
  void add_blocks(const TaskResult& result, ExactEnds& ends, Sums& sums) const;
  void add_heads(ExactEnds& ends, Sums& sums) const;
  [[nodiscard]] std::vector<std::vector<double>> attention_parts_of(
      int layer, std::span<const double> z, const ExactTensors& exact) const;

  const Checkpoint& checkpoint_;
  bool by_head_;
  std::vector<size_t> own_;
};

/// Numbers of another program. Runs tasks of its own.
CertificateCheck check_reference(const Reference& reference, Executor& executor,
                                 const std::string& dtype);

/// A logit in units of the largest one that it stands beside.
struct LogitDifference {
  WorstDifference worst;
  double largest = 0.0;

  void add(double found, double expected);
  [[nodiscard]] double share() const;
};

/// passed or failed by worst and bound; NaN and infinity fail it and are named.
CertificateCheck judge(std::string name, double worst, double bound, bool non_finite,
                       std::string detail);
/// The same of results that differ in some bit among those compared.
CertificateCheck judge_bits(std::string name, int64_t differing, int64_t compared, bool non_finite,
                            const std::string& what);

}  // namespace mechsweep
