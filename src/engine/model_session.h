#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/group.h"
#include "engine/certificate.h"
#include "engine/executor.h"
#include "model/checkpoint.h"

namespace mechsweep {

/// A loaded model with its threads and executor: the only door through which the program computes,
/// so that nothing above this folder needs the tensor library.
class ModelSession {
 public:
  virtual ~ModelSession() = default;
  virtual Executor& executor() = 0;
  /// The battery of certify() on this model, which was loaded from `checkpoint`, as it is held
  /// here: its own executor is vouched for, the other kind is made for it and let go. `reference`
  /// may be null.
  virtual Certificate certify(const Checkpoint& checkpoint, bool thorough,
                              const Reference* reference) = 0;
  [[nodiscard]] virtual int64_t weight_bytes() const = 0;
  /// Floating-point operations of all matrix products so far.
  [[nodiscard]] virtual double product_flops() const = 0;
};

struct SessionOptions {
  std::string executor = "wavefront";  ///< or naive
  std::string kernels = "native";
  std::string dtype = "float32";
  int threads = 1;
  int64_t memory_bytes = int64_t{2} << 30;
};

/// Collective over `group`. Loads the weights. Throws Error{usage} on unknown names, Error{input}
/// on damaged files, Error{resource} when memory runs out.
std::unique_ptr<ModelSession> open_model(const Checkpoint& checkpoint, Group& group,
                                         const SessionOptions& options);

}  // namespace mechsweep
