#pragma once
#include <string>
#include <string_view>

#include "train/checkpoint/state.h"

namespace shoal {

// An HDF5 file as bytes in memory. HDF5 never touches the disk here: on a full disk its own
// writing can report success, and at exit it may crash. Groups mirror the arrays' paths; step,
// tokens and config are attributes of the root. Equal states give equal bytes.
//
// HDF5 is not thread-safe: call both from one thread of the process only.

// CHECKs the paths. Error(kInternal) if HDF5 fails, with its own words.
std::string build_image(const StateView& state);

// Believes nothing: only groups and datasets of the five types, no links out of the file, no
// external or virtual storage, no filter but the checksum, and no array larger than the image.
// Error(kData), opening with `where`, if anything is off.
LoadedState parse_image(std::string_view image, const std::string& where);

std::string hdf5_version();  // "1.10.8"

}  // namespace shoal
