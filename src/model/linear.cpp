#include "model/linear.h"

#include <algorithm>
#include <bit>
#include <limits>

#include <fmt/ranges.h>

#include "core/error.h"
#include "model/library_linear.h"
#include "model/narrow_kernels.h"
#include "model/packed_matrix.h"
#include "model/vector_math.h"

namespace mechsweep {

namespace {

class NativeLinear final : public Linear {
 public:
  NativeLinear(const LinearWeight& weight, ComputeType type) : matrix_(weight, type) {}

  void forward(Rows input, float* out) const override {
    ensure(static_cast<int64_t>(input.size()) <= kPanelRows, "a product was given too many rows");
    matrix_.multiply(input, out);
  }
  [[nodiscard]] int64_t out_features() const override { return matrix_.out_features(); }
  [[nodiscard]] int64_t multiply_adds_per_row() const override {
    return matrix_.out_features() * matrix_.in_features();
  }
  [[nodiscard]] int64_t bytes() const override { return matrix_.bytes(); }
  void copy_row(int64_t row, float* out) const override { matrix_.copy_row(row, out); }

 private:
  PackedMatrix matrix_;
};

}  // namespace

const std::vector<std::string>& compute_type_names() {
  static const std::vector<std::string> kNames = {"float32", "bfloat16", "float16"};
  return kNames;
}

std::string_view compute_type_name(ComputeType type) {
  return compute_type_names()[static_cast<size_t>(type)];
}

ComputeType parse_compute_type(const std::string& name) {
  for (const ComputeType type : {ComputeType::float32, ComputeType::bfloat16, ComputeType::float16})
    if (name == compute_type_name(type)) return type;
  fail(ErrorKind::usage, "unknown dtype '{}'; known: {}", name,
       fmt::join(compute_type_names(), ", "));
}

int64_t compute_type_bytes(ComputeType type) {
  return type == ComputeType::float32 ? 4 : 2;
}

void round_to(ComputeType type, float* values, int64_t count) {
  if (type == ComputeType::float32) return;
  const NarrowKernels& kernels = narrow_kernels(type).front();
  constexpr int64_t kPiece = 1024;
  uint16_t narrow[kPiece];
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t size = std::min(kPiece, count - begin);
    kernels.narrow(values + begin, size, narrow);
    kernels.widen(narrow, size, values + begin);
  }
}

float largest_number(ComputeType type) {
  switch (type) {
    case ComputeType::bfloat16:
      return std::bit_cast<float>(0x7f7f0000U);
    case ComputeType::float16:
      return 65504.0F;
    case ComputeType::float32:
      break;
  }
  return std::numeric_limits<float>::max();
}

int64_t first_overflow(ComputeType type, const float* values, int64_t count) {
  if (type == ComputeType::float32) return -1;
  // Half of its last place above the largest number, a tie, goes to infinity.
  const int last_place = type == ComputeType::bfloat16 ? 16 : 13;
  const uint32_t first =
      std::bit_cast<uint32_t>(largest_number(type)) + (uint32_t{1} << (last_place - 1));
  const auto overflows = [first](float value) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(value) & 0x7fffffffU;
    return magnitude >= first && magnitude < 0x7f800000U;
  };
  constexpr int64_t kPiece = 4096;  // looked at without a branch
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t end = std::min(count, begin + kPiece);
    bool any = false;
    for (int64_t i = begin; i < end; ++i) any |= overflows(values[i]);
    for (int64_t i = begin; any && i < end; ++i)
      if (overflows(values[i])) return i;
  }
  return -1;
}

void require_kernels(KernelSet kernels, ComputeType type) {
  if (kernels != KernelSet::native) require_library_type(kernels, type);
}

int64_t packed_bytes(KernelSet kernels, ComputeType type, int64_t out_features,
                     int64_t in_features) {
  const int64_t rows = kernels == KernelSet::native
                           ? round_up(out_features, PackedMatrix::kStripColumns)
                           : out_features;
  return rows * in_features * compute_type_bytes(type);
}

bool keeps_rows(KernelSet kernels) {
  return kernels == KernelSet::native;
}

std::unique_ptr<Linear> make_linear(const LinearWeight& weight, KernelSet kernels,
                                    ComputeType type) {
  if (kernels == KernelSet::native) return std::make_unique<NativeLinear>(weight, type);
  return make_library_linear(weight, kernels, type);
}

}  // namespace mechsweep
