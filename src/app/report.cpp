#include <cstdio>
#include <new>

#include "app/commands.h"
#include "core/error.h"

namespace mechsweep {

int report(const std::exception& error) {
  if (const auto* known = dynamic_cast<const Error*>(&error)) {
    std::fprintf(stderr, "mechsweep: %s\n", known->what());
    return exit_status(known->kind());
  }
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    std::fprintf(stderr, "mechsweep: not enough memory\n");
    return exit_status(ErrorKind::resource);
  }
  std::fprintf(stderr, "mechsweep: internal error: %s. Please report it.\n", error.what());
  return exit_status(ErrorKind::internal);
}

}  // namespace mechsweep
