#include "train/step/param_slices.h"

namespace shoal {

std::vector<ParamSlice> slices_of(const ParamStore& store) {
  std::vector<ParamSlice> slices;
  for (const ModelParam& p : store.params()) {
    for (const ParamPiece& piece : p.pieces) {
      ParamSlice slice;
      slice.name = piece.name;
      slice.offset = p.offset + piece.offset;
      slice.size = piece.shape.numel();
      for (int i = 0; i < piece.shape.rank; ++i) slice.shape.push_back(piece.shape[i]);
      slice.matrix = p.spec.matrix;
      slice.decay = p.spec.decay;
      slice.clipped = p.group != ParamGroup::kIndexer;
      if (slice.matrix) {
        std::int64_t row = 0;
        const std::int64_t cols = piece.shape.cols();
        for (const std::int64_t rows : piece.row_blocks) {
          slice.blocks.push_back({row * cols, rows, cols});
          row += rows;
        }
      }
      slices.push_back(std::move(slice));
    }
  }
  return slices;
}

}  // namespace shoal
