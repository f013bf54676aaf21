#include <algorithm>
#include <cmath>
#include <map>

#include "model/model.h"
#include "model/row_kernels.h"

namespace mechsweep {

namespace {

const float* data_or_null(const std::vector<float>& values) {
  return values.empty() ? nullptr : values.data();
}

double mean_of(const float* row, int64_t width) {
  double sum = 0.0;
  for (int64_t d = 0; d < width; ++d) sum += row[d];
  return sum / static_cast<double>(width);
}

/// Mean square of a row's distances from `centre`.
double mean_square(const float* row, int64_t width, double centre) {
  double sum = 0.0;
  for (int64_t d = 0; d < width; ++d) {
    const double distance = static_cast<double>(row[d]) - centre;
    sum += distance * distance;
  }
  return sum / static_cast<double>(width);
}

double dot(const float* a, const float* b, int64_t width) {
  double sum = 0.0;
  for (int64_t d = 0; d < width; ++d) sum += static_cast<double>(a[d]) * b[d];
  return sum;
}

}  // namespace

void Model::embed_token(int32_t token, float* out) const {
  const int64_t width = config_.d_model;
  if (embedding_ != nullptr) {
    std::copy_n(embedding_.get() + token * width, width, out);
  } else {
    unembedding_[token / kVocabTile]->copy_row(token % kVocabTile, out);
  }
  if (config_.embedding_scale != 1.0)
    for (int64_t d = 0; d < width; ++d) out[d] *= static_cast<float>(config_.embedding_scale);
}

void Model::embed_position(int32_t position, float* out) const {
  const int64_t width = config_.d_model;
  if (positions_.empty()) {
    std::fill_n(out, width, 0.0F);
  } else {
    std::copy_n(positions_.data() + position * width, width, out);
  }
}

void Model::attention_product(int layer, Rows z, float* out) const {
  multiply(*layers_[layer].out, z, out);
  group_->all_reduce_sum({out, z.size() * static_cast<size_t>(config_.d_model)});
}

const float* Model::attention_bias(int layer) const {
  return data_or_null(layers_[layer].out_bias);
}

void Model::attention_post_norm_at(int layer, const float* at, Rows rows, float* out) const {
  normalise_at(layers_[layer].attn_post_norm, at, rows, out);
}

const float* Model::attention_post_norm_bias(int layer) const {
  return data_or_null(layers_[layer].attn_post_norm.bias);
}

void Model::final_norm_at(const float* at, Rows rows, float* out) const {
  normalise_at(final_norm_, at, rows, out);
}

const float* Model::final_norm_bias() const {
  return data_or_null(final_norm_.bias);
}

void Model::normalise_at(const NormWeights& weights, const float* at, Rows rows, float* out) const {
  const int64_t width = config_.d_model;
  const bool centred = config_.norm == NormKind::layer;
  const double scale = 1.0 / std::sqrt(mean_square(at, width, centred ? mean_of(at, width) : 0.0) +
                                       config_.norm_eps);
  for (const float* row : rows) {
    if (weights.gain.empty()) {
      std::copy_n(row, width, out);
    } else {
      const double centre = centred ? mean_of(row, width) : 0.0;
      for (int64_t d = 0; d < width; ++d)
        out[d] = static_cast<float>(weights.gain[d] * (row[d] - centre) * scale);
    }
    out += width;
  }
}

void Model::token_products(std::span<const int32_t> tokens, Rows normalised, double* out) const {
  const auto count = std::ssize(tokens);
  if (keeps_rows(kernels_)) {
    std::vector<float> direction(config_.d_model);
    for (int64_t t = 0; t < count; ++t) {
      unembedding_[tokens[t] / kVocabTile]->copy_row(tokens[t] % kVocabTile, direction.data());
      for (size_t r = 0; r < normalised.size(); ++r)
        out[static_cast<int64_t>(r) * count + t] =
            dot(normalised[r], direction.data(), config_.d_model);
    }
    return;
  }
  // Libraries give whole tiles of products only: each tile that holds a token is made once.
  std::map<int64_t, std::vector<int64_t>> tokens_of_tile;
  for (int64_t t = 0; t < count; ++t) tokens_of_tile[tokens[t] / kVocabTile].push_back(t);
  std::vector<float> products;
  for (const auto& [tile, places] : tokens_of_tile) {
    const int64_t size = tile_size(tile);
    products.resize(normalised.size() * size);
    multiply(*unembedding_[tile], normalised, products.data());
    for (const int64_t t : places)
      for (int64_t r = 0; r < std::ssize(normalised); ++r)
        out[r * count + t] = products[r * size + tokens[t] % kVocabTile];
  }
}

float Model::unembedding_bias(int32_t token) const {
  return unembedding_bias_.empty() ? 0.0F : unembedding_bias_[token];
}

}  // namespace mechsweep
