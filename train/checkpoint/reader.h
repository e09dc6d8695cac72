#pragma once
#include <string>

#include "train/checkpoint/io.h"
#include "train/checkpoint/manifest.h"
#include "train/checkpoint/state.h"

namespace shoal {

struct Checkpoint {
  Manifest manifest;
  LoadedState state;
};

// The manifest of a checkpoint folder, and the promise that every file it lists has its size and
// its SHA-256. Error(kData) for damage, Error(kDisk) for what cannot be read; both name the file.
// With `state_image`, the bytes of state.h5 that were hashed.
Manifest check_files(Io& io, const std::string& folder, std::string* state_image = nullptr);

// The same, and then the state: HDF5 sees no byte before its hash was compared, and parses the very
// bytes that were hashed. Manifest and state must agree on step, tokens and config.
Checkpoint read_checkpoint(Io& io, const std::string& folder);

}  // namespace shoal
