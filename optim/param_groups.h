#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace shoal {

// One parameter in the flat buffers of parameters and gradients, and how it is to be trained. The
// model says so (spec 7.2); the optimizers know no names.
struct ParamSlice {
  std::string name;                   // the published one: layers.0.attn.wq_a.weight
  std::int64_t offset = 0, size = 0;  // in floats
  std::vector<std::int64_t> shape = {};
  bool matrix = false;  // Muon's, if Muon is on; else AdamW's
  bool decay = false;   // weight decay applies
  bool clipped = true;  // counts in the global norm and is scaled by the clip (not the indexer)
  // Muon's independent matrices: row-major, one behind the other, `offset` from the slice's start.
  struct Block {
    std::int64_t offset = 0, rows = 0, cols = 0;
  };
  std::vector<Block> blocks = {};  // of a matrix: they cover the slice
};

// CHECKs that slices lie in order inside `numel` floats without overlap, and that the blocks of a
// matrix cover it.
void check_slices(const std::vector<ParamSlice>& slices, std::int64_t numel);

}  // namespace shoal
