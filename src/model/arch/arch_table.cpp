#include <array>

#include "model/arch/architecture.h"
#include "model/arch/gemma2.h"
#include "model/arch/gemma3.h"
#include "model/arch/gpt2.h"
#include "model/arch/gpt_neox.h"
#include "model/arch/gptj.h"
#include "model/arch/llama.h"
#include "model/arch/mistral.h"
#include "model/arch/olmo2.h"
#include "model/arch/opt.h"
#include "model/arch/phi3.h"
#include "model/arch/qwen2.h"
#include "model/arch/qwen3.h"

namespace mechsweep {

std::span<const Architecture> architecture_table() {
  static const std::array kTable = {kGpt2,  kLlama, kGptNeox, kGptj,   kOpt,   kMistral,
                                    kQwen2, kQwen3, kGemma2,  kGemma3, kOlmo2, kPhi3};
  return kTable;
}

}  // namespace mechsweep
