#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mpi/world.h"
#include "store/file_layout.h"
#include "store/file_system.h"
#include "store/unit_sink.h"
#include "store/unit_source.h"

namespace mechsweep {

/// Collective: how this launch stores its units at `path`, from all ranks' views of the folder. All
/// ranks throw the same Error{usage} when `choice` cannot be had there (decide_store).
StoreDecision decide_store_together(World& world, const std::string& path, StoreChoice choice);

/// Collective: makes a results file: rank 0 lays it out, every rank prefills its share (in log mode
/// rank 0 does it all), rank 0 puts it in place. Rank 0 holds STEM.lock. All ranks throw the same
/// Error when any step fails, and only STEM.lock is left then.
void create_results_file(World& world, const std::string& path, const FileLayout& layout,
                         StoreMode mode = StoreMode::shared);

/// How a launch stores units: opened and closed together, written to independently.
class UnitStore {
 public:
  /// Collective; rank 0 holds STEM.lock and has folded the log of earlier launches (fold_log). All
  /// ranks throw the same Error when one of them cannot open its part. With `is_read_back` ranks
  /// read in this launch what others have stored in it.
  UnitStore(World& world, const std::string& path, const FileLayout& layout, StoreMode mode,
            uint32_t attempt, bool is_read_back = false);
  [[nodiscard]] UnitSink& sink() { return *sink_; }
  [[nodiscard]] const UnitSource& source() const { return *source_; }
  /// How units are stored: "pwrite", or "append" in log mode.
  [[nodiscard]] const std::string& component() const { return component_; }
  /// Collective: closes; in log mode rank 0 then folds the segments of all nodes into the file.
  /// Throws Error{resource} on all ranks when that fails, or when records that ranks have written
  /// did not come back; what is in the log stays there.
  void close();

 private:
  void fold(const std::vector<std::string>& written);

  World& world_;
  std::string path_;
  StoreMode mode_;
  std::string component_;
  std::unique_ptr<UnitSink> sink_;
  const UnitSource* source_ = nullptr;  ///< the same object
};

}  // namespace mechsweep
