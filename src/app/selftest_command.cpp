#include "app/commands.h"
namespace mechsweep { int selftest_command(const SelftestOptions&) { return 70; } }
