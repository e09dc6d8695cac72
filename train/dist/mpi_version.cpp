#include "train/dist/mpi_version.h"

#ifdef SHOAL_HAVE_MPI
#define OMPI_SKIP_MPICXX 1  // the C++ bindings that MPI dropped in 2012
#include <mpi.h>
#endif

namespace shoal {

std::string mpi_version() {
#ifdef SHOAL_HAVE_MPI
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string version(text, static_cast<std::size_t>(length));
  return version.substr(0, version.find(','));
#else
  return "none";
#endif
}

}  // namespace shoal
