#pragma once

#include <memory>

#include "model/linear.h"

namespace mechsweep {

/// Throws Error{resource} where this processor cannot make the libraries' products of a type.
void require_library_type(KernelSet kernels, ComputeType type);

/// A Linear by oneDNN or ATen, on whole panels. Library errors become Error{resource}.
std::unique_ptr<Linear> make_library_linear(const LinearWeight& weight, KernelSet kernels,
                                            ComputeType type);

}  // namespace mechsweep
