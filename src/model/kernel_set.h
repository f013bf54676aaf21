#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mechsweep {

/// Which kernels multiply matrices. Part of the results file's key: they change the last bits.
enum class KernelSet {
  native,  ///< our own: rows where they lie, sums in a fixed order, no padding
  onednn,  ///< oneDNN's prepacked linear
  aten,    ///< at::linear (MKL where LibTorch has it)
};
std::string_view kernel_set_name(KernelSet kernels);
/// Throws Error{usage} on an unknown name.
KernelSet parse_kernel_set(const std::string& name);
/// The names there are, the default first.
const std::vector<std::string>& kernel_set_names();

/// Name and version of the library that computes, such as "libtorch 2.11.0".
std::string tensor_library_version();

}  // namespace mechsweep
