#pragma once

#include <string>
#include <string_view>

namespace mechsweep {

/// Which library multiplies matrices. Part of the results file's key: kernels change the last bits.
enum class KernelSet {
  onednn,  ///< oneDNN's prepacked linear
  aten,    ///< at::linear (MKL where LibTorch has it)
};
std::string_view kernel_set_name(KernelSet kernels);
/// Throws Error{usage} on an unknown name.
KernelSet parse_kernel_set(const std::string& name);

/// Name and version of the library that computes, such as "libtorch 2.11.0".
std::string tensor_library_version();

}  // namespace mechsweep
