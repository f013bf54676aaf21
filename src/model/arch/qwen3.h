#pragma once

#include "model/arch/architecture.h"

namespace mechsweep {

extern const Architecture kQwen3;

}  // namespace mechsweep
