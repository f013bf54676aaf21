#include "model/linear.h"

#include "core/error.h"
#include "model/library_linear.h"
#include "model/packed_matrix.h"

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

 private:
  PackedMatrix matrix_;
};

}  // namespace

std::string_view compute_type_name(ComputeType type) {
  return type == ComputeType::float32 ? "float32" : "bfloat16";
}

ComputeType parse_compute_type(const std::string& name) {
  for (const ComputeType type : {ComputeType::float32, ComputeType::bfloat16})
    if (name == compute_type_name(type)) return type;
  fail(ErrorKind::usage, "unknown dtype '{}'; known: float32, bfloat16", name);
}

std::unique_ptr<Linear> make_linear(const LinearWeight& weight, KernelSet kernels,
                                    ComputeType type) {
  if (kernels == KernelSet::native) return std::make_unique<NativeLinear>(weight, type);
  return make_library_linear(weight, kernels, type);
}

}  // namespace mechsweep
