#pragma once

#include "model/arch/architecture.h"

namespace mechsweep {

extern const Architecture kGemma2;

}  // namespace mechsweep
