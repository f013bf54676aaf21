#include "mpi/shared_file.h"

#include <unistd.h>

#include <memory>

#include "store/results_file.h"

namespace mechsweep {

void create_results_file(World& world, const std::string& path, const FileLayout& layout) {
  std::string temporary;
  world.on_root([&] { temporary = create_temporary_file(path, layout); });
  temporary = world.broadcast(temporary, 0);
  try {
    std::unique_ptr<ResultsWriter> writer;
    const auto access = world.file_access();
    world.together([&] { writer = std::make_unique<ResultsWriter>(temporary, layout, *access); });
    world.together([&] { writer->prefill(world.rank(), world.size()); });
    // Closing is collective and comes only when no rank failed; the destructor never closes.
    world.together([&] { writer->close(); });
    world.on_root([&] { publish_file(temporary, path); });
  } catch (const Error&) {
    if (world.rank() == 0) ::unlink(temporary.c_str());
    throw;
  }
}

}  // namespace mechsweep
