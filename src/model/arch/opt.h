#pragma once

#include "model/arch/architecture.h"

namespace mechsweep {

extern const Architecture kOpt;

}  // namespace mechsweep
