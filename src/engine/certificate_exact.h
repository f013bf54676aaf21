#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "model/checkpoint.h"

// The slow second path of a certificate: tensors straight from the checkpoint, sums and products in
// double precision, one number after another, nothing shared with the model's kernels.

namespace mechsweep {

/// The nearest number of a type ("float32", "bfloat16", "float16") to one that float32 holds, ties
/// to even; beyond the largest one, infinity.
double nearest_in(const std::string& dtype, double value);

/// Tensors of a checkpoint as a run of one dtype has them.
class ExactTensors {
 public:
  ExactTensors(const Checkpoint& checkpoint, std::string dtype)
      : checkpoint_(checkpoint), dtype_(std::move(dtype)) {}

  /// Calls `use(row, values)` for each row of a tensor [out, in], in order: one row is held at a
  /// time, or the whole tensor where it is stored the other way round.
  void each_row(const TensorRef& ref,
                const std::function<void(int64_t, std::span<const double>)>& use) const;
  /// A vector [out].
  [[nodiscard]] std::vector<double> vector(const TensorRef& ref) const;
  /// Row `row` of [out, in], or one number of a vector; of tensors that are not transposed. Reads
  /// no other bytes.
  [[nodiscard]] std::vector<double> row(const TensorRef& ref, int64_t row) const;
  [[nodiscard]] double rounded(double value) const { return nearest_in(dtype_, value); }

 private:
  [[nodiscard]] std::vector<double> as_loaded(const TensorRef& ref,
                                              std::span<const float> values) const;

  const Checkpoint& checkpoint_;
  std::string dtype_;
};

/// A norm whose scale has been measured on one row, and is now held fast: a linear map.
class FrozenNorm {
 public:
  /// `gain` empty: no norm at all. Layer norms centre rows, and add `bias` (may be empty).
  FrozenNorm(NormKind kind, double eps, std::vector<double> gain, std::vector<double> bias);

  /// Measures the scale on this row [D].
  void freeze(std::span<const double> row);
  /// The normalised share of one summand of that row: without the bias.
  [[nodiscard]] std::vector<double> share(std::span<const double> summand) const;
  /// freeze, then the whole: share plus bias.
  [[nodiscard]] std::vector<double> of(std::span<const double> row);
  [[nodiscard]] const std::vector<double>& bias() const { return bias_; }

 private:
  NormKind kind_;
  double eps_;
  std::vector<double> gain_;
  std::vector<double> bias_;
  double scale_ = 1.0;
};

/// What comes before and after the layers of a model.
class ExactEnds {
 public:
  ExactEnds(const Checkpoint& checkpoint, const std::string& dtype);

  [[nodiscard]] const ExactTensors& tensors() const { return tensors_; }
  /// Token (and position) embedding [D] as the first layer reads it.
  [[nodiscard]] std::vector<double> embedding(int32_t token, int32_t position) const;
  /// The final norm, not frozen yet.
  [[nodiscard]] FrozenNorm final_norm() const;
  /// A norm over D numbers with this gain, after a block; no norm where the model has none.
  [[nodiscard]] FrozenNorm norm(const TensorRef& gain) const;
  /// A token's row of the unembedding [D]; remembered.
  const std::vector<double>& unembedding(int32_t token);
  [[nodiscard]] double unembedding_bias(int32_t token) const;
  /// A logit as it comes out of the product, bent by the model's cap.
  [[nodiscard]] double capped(double logit) const;

 private:
  const Checkpoint& checkpoint_;
  ExactTensors tensors_;
  std::vector<double> gain_;
  std::vector<double> bias_;
  std::map<int32_t, std::vector<double>> rows_;
};

double exact_dot(std::span<const double> a, std::span<const double> b);
/// sum += values
void add_to(std::span<const double> values, std::vector<double>& sum);
std::vector<double> as_doubles(std::span<const float> values);

}  // namespace mechsweep
