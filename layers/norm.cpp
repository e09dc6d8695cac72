#include "layers/norm.h"

#include <utility>

namespace shoal {

ModelParam& add_norm(ParamStore& store, const std::string& name, std::int64_t width) {
  return store.add({.name = name,
                    .shape = {width},
                    .role = ParamRole::kNorm,
                    .matrix = false,
                    .init = Init::kOnes});
}

ModelParam& add_matrix(ParamStore& store, const std::string& name, ParamRole role,
                       std::int64_t rows, std::int64_t cols, double std,
                       std::vector<std::int64_t> row_blocks) {
  return store.add({.name = name,
                    .shape = {rows, cols},
                    .role = role,
                    .std = std,
                    .row_blocks = std::move(row_blocks)});
}

}  // namespace shoal
