#pragma once

#include "model/arch/architecture.h"

namespace mechsweep {

extern const Architecture kPhi3;

}  // namespace mechsweep
