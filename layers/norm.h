#pragma once
#include "layers/params.h"

namespace shoal {

// The weight of an RMSNorm: ones, AdamW's, decayed as in V3 (spec 13.2).
ModelParam& add_norm(ParamStore& store, const std::string& name, std::int64_t width);

// A matrix [rows, cols] with normal entries, Muon's.
ModelParam& add_matrix(ParamStore& store, const std::string& name, ParamRole role,
                       std::int64_t rows, std::int64_t cols, double std,
                       std::vector<std::int64_t> row_blocks = {});

}  // namespace shoal
