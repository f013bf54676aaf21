#include "model/kernel_set.h"

#include "core/error.h"

namespace mechsweep {

std::string_view kernel_set_name(KernelSet kernels) {
  return kernels == KernelSet::onednn ? "onednn" : "aten";
}

KernelSet parse_kernel_set(const std::string& name) {
  if (name == "onednn") return KernelSet::onednn;
  if (name == "aten") return KernelSet::aten;
  fail(ErrorKind::usage, "unknown kernel set '{}'; known: onednn, aten", name);
}

}  // namespace mechsweep
