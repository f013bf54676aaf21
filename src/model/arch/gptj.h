#pragma once

#include "model/arch/architecture.h"

namespace mechsweep {

extern const Architecture kGptj;

}  // namespace mechsweep
