#include "model/kernel_set.h"

#include <fmt/ranges.h>

#include "core/error.h"

namespace mechsweep {

const std::vector<std::string>& kernel_set_names() {
  static const std::vector<std::string> kNames = {"native", "onednn", "aten"};
  return kNames;
}

std::string_view kernel_set_name(KernelSet kernels) {
  return kernel_set_names()[static_cast<size_t>(kernels)];
}

KernelSet parse_kernel_set(const std::string& name) {
  for (const KernelSet kernels : {KernelSet::native, KernelSet::onednn, KernelSet::aten})
    if (name == kernel_set_name(kernels)) return kernels;
  fail(ErrorKind::usage, "unknown kernel set '{}'; known: {}", name,
       fmt::join(kernel_set_names(), ", "));
}

}  // namespace mechsweep
