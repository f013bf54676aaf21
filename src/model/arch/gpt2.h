#pragma once

#include "model/arch/architecture.h"

namespace mechsweep {

extern const Architecture kGpt2;

}  // namespace mechsweep
