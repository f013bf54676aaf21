// GFLOP/s of matrix products as the program makes them: every kernel set and type, the shapes of
// SmolLM2-135M. benchmarks/kernels.py runs it and benchmarks/README.md explains it.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include <benchmark/benchmark.h>

#include "core/error.h"
#include "core/random.h"
#include "core/thread_pool.h"
#include "model/kernel_set.h"
#include "model/linear.h"

namespace {

using mechsweep::ComputeType;
using mechsweep::KernelSet;
using mechsweep::Linear;

struct Shape {
  int64_t in_features;   ///< K
  int64_t out_features;  ///< N
};

/// docs/decisions/0009-native-kernels.md: a head's part of attention's output, a part of the down
/// projection, attention's output, q with k and v, gate with up, all of these together, down.
constexpr Shape kShapes[] = {{64, 576},   {192, 576},  {576, 576}, {576, 960},
                             {576, 3072}, {576, 4032}, {1536, 576}};
constexpr int64_t kFewRows[] = {1, 8, 32};
constexpr KernelSet kKernelSets[] = {KernelSet::native, KernelSet::onednn, KernelSet::aten};
constexpr ComputeType kTypes[] = {ComputeType::float32, ComputeType::bfloat16,
                                  ComputeType::float16};

/// A model's layers take turns, so a layer's weights have left the caches near the core when it is
/// needed again. Copies of a weight that together fill this much stand for the other layers.
constexpr int64_t kWeightBytes = int64_t{16} << 20;

std::vector<float> random_values(int64_t count, const char* name) {
  mechsweep::RandomStream random(1, name);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.uniform() * 2.0 - 1.0);
  return values;
}

/// Copies of one weight, packed. Made at the first use and kept: a benchmark function is called
/// again for every repetition.
struct Weights {
  std::vector<float> plain;
  std::vector<std::unique_ptr<Linear>> packed;
};

const Weights& weights(const Shape& shape, KernelSet kernels, ComputeType type) {
  static std::map<std::tuple<int64_t, int64_t, KernelSet, ComputeType>, Weights> all;
  Weights& found = all[{shape.in_features, shape.out_features, kernels, type}];
  if (!found.packed.empty()) return found;
  found.plain = random_values(shape.in_features * shape.out_features, "kernels/weight");
  do {
    found.packed.push_back(mechsweep::make_linear({.values = found.plain.data(),
                                                   .out_features = shape.out_features,
                                                   .in_features = shape.in_features,
                                                   .parts = {}},
                                                  kernels, type));
  } while (static_cast<int64_t>(found.packed.size()) * found.packed[0]->bytes() < kWeightBytes);
  return found;
}

/// Whether some of the products are those that double precision gives, up to rounding: the speed of
/// a wrong product means nothing.
bool is_right(const Shape& shape, ComputeType type, const std::vector<float>& weight,
              const std::vector<float>& input, const std::vector<float>& out) {
  const auto rows = static_cast<int64_t>(input.size()) / shape.in_features;
  // Of rounded weights, inputs and results, relative to the sum of the absolute products.
  const double allowed = type == ComputeType::float32 ? 1e-6 : 0.01;
  for (const int64_t row : {int64_t{0}, rows - 1})
    for (int64_t column = 0; column < shape.out_features; column += 47) {
      double sum = 0.0;
      double size = 0.0;
      for (int64_t k = 0; k < shape.in_features; ++k) {
        const double product = static_cast<double>(input[row * shape.in_features + k]) *
                               weight[column * shape.in_features + k];
        sum += product;
        size += std::abs(product);
      }
      if (!(std::abs(out[row * shape.out_features + column] - sum) <= allowed * size)) return false;
    }
  return true;
}

void multiply(benchmark::State& state, Shape shape, int64_t row_count, KernelSet kernels,
              ComputeType type) {
  const Weights& copies = weights(shape, kernels, type);
  const std::vector<float> input = random_values(row_count * shape.in_features, "kernels/input");
  std::vector<const float*> rows;
  for (int64_t i = 0; i < row_count; ++i) rows.push_back(input.data() + i * shape.in_features);
  std::vector<float> out(row_count * shape.out_features);
  copies.packed[0]->forward(rows, out.data());
  if (!is_right(shape, type, copies.plain, input, out)) {
    state.SkipWithError("the product is wrong");
    return;
  }
  size_t next = 0;
  for (auto _ : state) {
    copies.packed[next]->forward(rows, out.data());
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
    next = next + 1 == copies.packed.size() ? 0 : next + 1;
  }
  const auto flops = 2.0 * static_cast<double>(row_count * shape.in_features * shape.out_features);
  state.counters["flops"] =
      benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

/// Whether this processor can: the libraries do not take every type everywhere.
bool multiplies(KernelSet kernels, ComputeType type) {
  try {
    mechsweep::require_kernels(kernels, type);
  } catch (const mechsweep::Error&) {
    return false;
  }
  return true;
}

/// Named KERNELS/TYPE/ROWS/K/N.
void add(const Shape& shape, int64_t rows, KernelSet kernels, ComputeType type) {
  if (!multiplies(kernels, type)) return;
  std::string name(mechsweep::kernel_set_name(kernels));
  name += "/" + std::string(mechsweep::compute_type_name(type));
  for (const int64_t number : {rows, shape.in_features, shape.out_features})
    name += "/" + std::to_string(number);
  benchmark::RegisterBenchmark(
      name.c_str(), [=](benchmark::State& state) { multiply(state, shape, rows, kernels, type); });
}

}  // namespace

int main(int argc, char** argv) {
  const mechsweep::ThreadPool limit(1);  // the libraries keep to one thread
  for (const Shape& shape : kShapes)
    for (const ComputeType type : kTypes) {
      for (const KernelSet kernels : kKernelSets) add(shape, mechsweep::kPanelRows, kernels, type);
      for (const int64_t rows : kFewRows) add(shape, rows, KernelSet::native, type);
    }
  benchmark::AddCustomContext("mechsweep", MECHSWEEP_VERSION);
  benchmark::AddCustomContext("tensor_library", mechsweep::tensor_library_version());
  benchmark::AddCustomContext("google_benchmark", GOOGLE_BENCHMARK_VERSION);
  benchmark::AddCustomContext("compiler", MECHSWEEP_COMPILER);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
