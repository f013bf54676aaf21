#include <array>

#include "model/arch/architecture.h"
#include "model/arch/gpt2.h"
#include "model/arch/llama.h"

namespace mechsweep {

std::span<const Architecture> architecture_table() {
  static const std::array kTable = {kGpt2, kLlama};
  return kTable;
}

}  // namespace mechsweep
