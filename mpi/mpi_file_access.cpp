#include "mpi/mpi_file_access.h"

#include <cstdlib>

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

bool MpiFileAccess::all_agree(bool mine) const {
  int agreed = mine ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &agreed, 1, MPI_INT, MPI_LAND, comm_);
  return agreed != 0;
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
