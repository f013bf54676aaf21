#include "engine/certificate_exact.h"

#include <cmath>
#include <limits>

#include "core/error.h"

namespace mechsweep {

namespace {

/// The stored row of a tensor that is row `row` of the one that the model uses.
int64_t stored_row(const TensorRef& ref, int64_t row, int64_t rows) {
  if (ref.interleaved_heads > 0) {
    const int64_t size = rows / ref.interleaved_heads;
    const int64_t within = row % size;
    row += 2 * (within % (size / 2)) + within / (size / 2) - within;
  }
  if (ref.pieces.count > 0)
    return ref.pieces.offset + row / ref.pieces.size * ref.pieces.stride + row % ref.pieces.size;
  return ref.rows.begin + row;
}

int64_t rows_of(const TensorRef& ref, const TensorInfo& info) {
  if (ref.pieces.count > 0) return ref.pieces.count * ref.pieces.size;
  if (ref.rows.size() > 0) return ref.rows.size();
  return ref.transposed ? info.row_size() : info.rows();
}

}  // namespace

double nearest_in(const std::string& dtype, double value) {
  const bool bfloat16 = dtype == "bfloat16";
  if ((!bfloat16 && dtype != "float16") || !std::isfinite(value) || value == 0.0) return value;
  const int digits = bfloat16 ? 8 : 11;  // of the significand
  const int least = bfloat16 ? -125 : -13;
  const double largest = bfloat16 ? 0x1.fep127 : 65504.0;
  int exponent = 0;
  std::frexp(value, &exponent);
  const double unit = std::ldexp(1.0, std::max(exponent, least) - digits);
  const double nearest = std::nearbyint(value / unit) * unit;
  if (std::abs(nearest) <= largest) return nearest;
  return std::copysign(std::numeric_limits<double>::infinity(), value);
}

std::vector<double> ExactTensors::as_loaded(const TensorRef& ref,
                                            std::span<const float> values) const {
  std::vector<double> loaded;
  // The 1 is added in float32: that is what the checkpoint's own program does.
  for (const float value : values)
    loaded.push_back(rounded(static_cast<double>(ref.add_one ? value + 1.0F : value)));
  return loaded;
}

void ExactTensors::each_row(
    const TensorRef& ref, const std::function<void(int64_t, std::span<const double>)>& use) const {
  const TensorInfo& info = checkpoint_.source->require(ref.name);
  const int64_t rows = rows_of(ref, info);
  if (!ref.transposed) {
    for (int64_t r = 0; r < rows; ++r) use(r, row(ref, r));
    return;
  }
  const int64_t width = info.rows();
  std::vector<float> stored(width * info.row_size());
  checkpoint_.source->read_rows(ref.name, 0, width, stored.data());
  std::vector<float> column(width);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t place = stored_row(ref, r, rows);
    for (int64_t i = 0; i < width; ++i) column[i] = stored[i * info.row_size() + place];
    use(r, as_loaded(ref, column));
  }
}

std::vector<double> ExactTensors::vector(const TensorRef& ref) const {
  const TensorInfo& info = checkpoint_.source->require(ref.name);
  std::vector<float> stored(info.rows());
  checkpoint_.source->read_rows(ref.name, 0, info.rows(), stored.data());
  const int64_t rows = rows_of(ref, info);
  std::vector<float> values(rows);
  for (int64_t r = 0; r < rows; ++r) values[r] = stored[stored_row(ref, r, rows)];
  return as_loaded(ref, values);
}

std::vector<double> ExactTensors::row(const TensorRef& ref, int64_t row) const {
  ensure(!ref.transposed, "a single row of a transposed tensor");
  const TensorInfo& info = checkpoint_.source->require(ref.name);
  const int64_t place = stored_row(ref, row, rows_of(ref, info));
  std::vector<float> stored(info.row_size());
  checkpoint_.source->read_rows(ref.name, place, place + 1, stored.data());
  return as_loaded(ref, stored);
}

FrozenNorm::FrozenNorm(NormKind kind, double eps, std::vector<double> gain,
                       std::vector<double> bias)
    : kind_(kind), eps_(eps), gain_(std::move(gain)), bias_(std::move(bias)) {}

void FrozenNorm::freeze(std::span<const double> row) {
  if (gain_.empty()) return;
  const auto width = static_cast<double>(row.size());
  double mean = 0.0;
  if (kind_ == NormKind::layer)
    for (const double value : row) mean += value / width;
  double square = 0.0;
  for (const double value : row) square += (value - mean) * (value - mean) / width;
  scale_ = 1.0 / std::sqrt(square + eps_);
}

std::vector<double> FrozenNorm::share(std::span<const double> summand) const {
  std::vector<double> result(summand.begin(), summand.end());
  if (gain_.empty()) return result;
  double mean = 0.0;
  if (kind_ == NormKind::layer)
    for (const double value : summand) mean += value / static_cast<double>(summand.size());
  for (size_t d = 0; d < result.size(); ++d) result[d] = (result[d] - mean) * scale_ * gain_[d];
  return result;
}

std::vector<double> FrozenNorm::of(std::span<const double> row) {
  freeze(row);
  std::vector<double> result = share(row);
  if (!bias_.empty()) add_to(bias_, result);
  return result;
}

ExactEnds::ExactEnds(const Checkpoint& checkpoint, const std::string& dtype)
    : checkpoint_(checkpoint), tensors_(checkpoint, dtype) {
  const ModelTensors& all = checkpoint.tensors;
  if (all.final_norm.present()) gain_ = tensors_.vector(all.final_norm);
  if (all.final_norm_bias.present()) bias_ = tensors_.vector(all.final_norm_bias);
}

std::vector<double> ExactEnds::embedding(int32_t token, int32_t position) const {
  std::vector<double> row = tensors_.row(checkpoint_.tensors.embedding, token);
  for (double& value : row) value *= checkpoint_.config.embedding_scale;
  if (checkpoint_.tensors.positions.present())
    add_to(tensors_.row(checkpoint_.tensors.positions, position), row);
  return row;
}

FrozenNorm ExactEnds::final_norm() const {
  return {checkpoint_.config.norm, checkpoint_.config.norm_eps, gain_, bias_};
}

FrozenNorm ExactEnds::norm(const TensorRef& gain) const {
  return {checkpoint_.config.norm,
          checkpoint_.config.norm_eps,
          gain.present() ? tensors_.vector(gain) : std::vector<double>(),
          {}};
}

const std::vector<double>& ExactEnds::unembedding(int32_t token) {
  const ModelTensors& all = checkpoint_.tensors;
  auto& row = rows_[token];
  if (row.empty())
    row = tensors_.row(all.unembedding.present() ? all.unembedding : all.embedding, token);
  return row;
}

double ExactEnds::unembedding_bias(int32_t token) const {
  const TensorRef& ref = checkpoint_.tensors.unembedding_bias;
  return ref.present() ? tensors_.row(ref, token).front() : 0.0;
}

double ExactEnds::capped(double logit) const {
  const double cap = checkpoint_.config.logit_cap;
  return cap > 0.0 ? cap * std::tanh(logit / cap) : logit;
}

double exact_dot(std::span<const double> a, std::span<const double> b) {
  ensure(a.size() == b.size(), "a product of rows of unlike widths");
  double total = 0.0;
  for (size_t i = 0; i < a.size(); ++i) total += a[i] * b[i];
  return total;
}

void add_to(std::span<const double> values, std::vector<double>& sum) {
  ensure(values.size() == sum.size(), "a sum of rows of unlike widths");
  for (size_t i = 0; i < values.size(); ++i) sum[i] += values[i];
}

std::vector<double> as_doubles(std::span<const float> values) {
  return {values.begin(), values.end()};
}

}  // namespace mechsweep
