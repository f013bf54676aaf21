#pragma once

#include "model/arch/architecture.h"

namespace mechsweep {

extern const Architecture kQwen2;

}  // namespace mechsweep
