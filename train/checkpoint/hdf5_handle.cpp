#include "train/checkpoint/hdf5_handle.h"

namespace shoal {

std::string hdf5_reason() {
  std::string reason = "no reason given";
  // Upward starts at the place of the failure.
  const H5E_walk2_t first = [](unsigned n, const H5E_error2_t* error, void* out) -> herr_t {
    if (n == 0 && error->desc != nullptr) *static_cast<std::string*>(out) = error->desc;
    return 0;
  };
  (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first, &reason);
  (void)H5Eclear2(H5E_DEFAULT);
  return reason;
}

void silence_hdf5() {
  (void)H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  (void)H5PLset_loading_state(0);  // a file must not make us load filter plugins
}

}  // namespace shoal
