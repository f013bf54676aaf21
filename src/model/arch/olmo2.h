#pragma once

#include "model/arch/architecture.h"

namespace mechsweep {

extern const Architecture kOlmo2;

}  // namespace mechsweep
