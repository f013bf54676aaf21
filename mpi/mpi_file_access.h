#pragma once

#include <mpi.h>

#include <string>

#include "store/results_file.h"

namespace mechsweep {

/// Before MPI_Init: chooses the MPI-IO component (romio321, unless the user chose one: ompio 4.1
/// hangs on Lustre and trips over another user's left-over semaphore) and keeps ompio from reading
/// before it writes. A value that the user set wins.
void prepare_mpi_io();
/// The component that was asked for: "romio321", "ompio".
std::string mpi_io_component();

/// Opens a file with all ranks of a communicator through MPI-IO. Ranks only ever write whole
/// segments independently, so data sieving and collective buffering, which read and rewrite
/// neighbours' bytes, are off.
class MpiFileAccess final : public FileAccess {
 public:
  /// `comm` must outlive this.
  explicit MpiFileAccess(MPI_Comm comm) : comm_(comm) {}
  [[nodiscard]] bool is_collective() const override { return true; }
  [[nodiscard]] std::string first_failure(const std::string& mine) const override;
  [[nodiscard]] int64_t make_access_list() const override;
  [[nodiscard]] std::string component() const override { return mpi_io_component(); }

 private:
  MPI_Comm comm_;
};

}  // namespace mechsweep
