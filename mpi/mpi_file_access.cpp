#include "mpi/mpi_file_access.h"

#include <cstdlib>
#include <limits>

#include "store/hdf5_handle.h"

namespace mechsweep {

void prepare_mpi_io() {
  ::setenv("OMPI_MCA_io", "romio321", /*overwrite=*/0);
  ::setenv("OMPI_MCA_fbtl_posix_write_datasieving", "0", /*overwrite=*/0);
}

std::string mpi_io_component() {
  const char* chosen = std::getenv("OMPI_MCA_io");
  return chosen == nullptr ? "unknown" : chosen;
}

std::string MpiFileAccess::first_failure(const std::string& mine) const {
  int rank = 0;
  MPI_Comm_rank(comm_, &rank);
  constexpr int kNone = std::numeric_limits<int>::max();
  int first = mine.empty() ? kNone : rank;
  MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, comm_);
  if (first == kNone) return "";
  auto length = static_cast<int>(mine.size());
  MPI_Bcast(&length, 1, MPI_INT, first, comm_);
  std::string text = rank == first ? mine : std::string(static_cast<size_t>(length), ' ');
  MPI_Bcast(text.data(), length, MPI_CHAR, first, comm_);
  return text;
}

int64_t MpiFileAccess::make_access_list() const {
  Hdf5Handle access(SoloFileAccess().make_access_list(), H5Pclose);
  MPI_Info hints = MPI_INFO_NULL;
  MPI_Info_create(&hints);
  MPI_Info_set(hints, "romio_ds_write", "disable");
  MPI_Info_set(hints, "romio_cb_write", "disable");
  const herr_t status = H5Pset_fapl_mpio(access.get(), comm_, hints);
  MPI_Info_free(&hints);
  check_hdf5(status, ErrorKind::resource, "HDF5 cannot use MPI-IO");
  return access.release();
}

}  // namespace mechsweep
