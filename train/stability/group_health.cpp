#include "train/stability/group_health.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/trace.h"
#include "autograd/kernels/gemm.h"

namespace shoal {
namespace {

constexpr std::int64_t kPieceFloats = 65536;  // summed as one

struct PieceSums {
  ParamRole role;
  std::int64_t offset, size;
  double grads = 0.0, before = 0.0, after = 0.0, update = 0.0;  // of squares
};

struct MomentumMatrix {
  ParamRole role;
  const float* data;
  std::int64_t rows, cols;
  double rank = 0.0;  // 0: it has none
};

void sum_piece(PieceSums& piece, const float* grads, const float* before, const float* after) {
  double g2 = 0.0, b2 = 0.0, a2 = 0.0, u2 = 0.0;
#pragma omp simd reduction(+ : g2, b2, a2, u2)
  for (std::int64_t i = piece.offset; i < piece.offset + piece.size; ++i) {
    const double g = static_cast<double>(grads[i]), b = static_cast<double>(before[i]),
                 a = static_cast<double>(after[i]);
    g2 += g * g;
    b2 += b * b;
    a2 += a * a;
    u2 += (a - b) * (a - b);
  }
  piece.grads = g2;
  piece.before = b2;
  piece.after = a2;
  piece.update = u2;
}

// |M|_F^2 is the trace of the short side's Gram matrix.
double effective_rank(const MomentumMatrix& m) {
  const bool wide = m.rows <= m.cols;
  const std::int64_t n = std::min(m.rows, m.cols), k = std::max(m.rows, m.cols);
  auto* gram =
      static_cast<float*>(thread_scratch(1, static_cast<std::size_t>(n * n) * sizeof(float)));
  gemm_on_this_thread(wide ? gemm_forward(n, n, k, m.data, m.data, gram)
                           : gemm_weight_grad(k, n, n, m.data, m.data, gram, false));
  double trace = 0.0, squares = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    trace += static_cast<double>(gram[i * n + i]);
    for (std::int64_t j = 0; j < n; ++j) {
      squares += static_cast<double>(gram[i * n + j]) * static_cast<double>(gram[i * n + j]);
    }
  }
  return squares > 0.0 ? trace * trace / squares : 0.0;
}

}  // namespace

const char* group_name(ParamRole role) {
  switch (role) {
    case ParamRole::kEmbedding:
      return "embed";
    case ParamRole::kAttention:
      return "attention";
    case ParamRole::kCompressor:
      return "compressor";
    case ParamRole::kIndexer:
      return "indexer";
    case ParamRole::kRouter:
      return "router";
    case ParamRole::kExperts:
      return "experts";
    case ParamRole::kSharedExperts:
      return "shared_experts";
    case ParamRole::kMixing:
      return "mixing";
    case ParamRole::kNorm:
      return "norms";
    case ParamRole::kHead:
      return "head";
    case ParamRole::kMtp:
      return "mtp";
  }
  return "";
}

std::vector<GroupRecord> group_records(StepRunner& runner, const ParamStore& store,
                                       std::int64_t step) {
  const TraceSpan span("group_health");
  const std::vector<ParamSlice>& slices = runner.optimizer().slices();
  const std::vector<OptimizerState> state = runner.optimizer().state();
  std::vector<PieceSums> pieces;
  std::vector<MomentumMatrix> matrices;
  // Pieces, slices and moments lie in one order; Muon has one moment, AdamW two.
  auto slice = slices.begin();
  auto moment = state.begin();
  for (const ModelParam& p : store.params()) {
    for (std::size_t piece = 0; piece < p.pieces.size(); ++piece, ++slice) {
      for (std::int64_t at = 0; at < slice->size; at += kPieceFloats) {
        pieces.push_back({p.role, slice->offset + at, std::min(kPieceFloats, slice->size - at)});
      }
      const bool muon = moment->field == "momentum";
      for (const ParamSlice::Block& b : slice->blocks) {
        if (!muon) break;
        matrices.push_back({p.role, moment->data.data() + b.offset, b.rows, b.cols});
      }
      moment += muon ? 1 : 2;
    }
  }
  const float *grads = runner.flat_gradients().data(), *before = runner.weights_before().data(),
              *after = store.values().data();
  for_tasks(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t i) {
    sum_piece(pieces[static_cast<std::size_t>(i)], grads, before, after);
  });
  for_tasks(static_cast<std::int64_t>(matrices.size()), [&](std::int64_t i) {
    MomentumMatrix& m = matrices[static_cast<std::size_t>(i)];
    m.rank = effective_rank(m);
  });
  std::vector<GroupRecord> records;
  for (int r = 0; r <= static_cast<int>(ParamRole::kMtp); ++r) {
    const auto role = static_cast<ParamRole>(r);
    PieceSums sum{role, 0, 0};
    for (const PieceSums& piece : pieces) {
      if (piece.role != role) continue;
      sum.size += piece.size;
      sum.grads += piece.grads;
      sum.before += piece.before;
      sum.after += piece.after;
      sum.update += piece.update;
    }
    if (sum.size == 0) continue;
    double ranks = 0.0;
    std::int64_t count = 0;
    for (const MomentumMatrix& m : matrices) {
      if (m.role != role || m.rank == 0.0) continue;
      ranks += m.rank;
      ++count;
    }
    GroupRecord record;
    record.step = step;
    record.group = group_name(role);
    record.grad_norm = std::sqrt(sum.grads);
    record.weight_rms = std::sqrt(sum.after / static_cast<double>(sum.size));
    record.update_ratio = sum.before > 0.0 ? std::sqrt(sum.update / sum.before) : 0.0;
    if (count > 0) record.momentum_rank = ranks / static_cast<double>(count);
    records.push_back(std::move(record));
  }
  return records;
}

}  // namespace shoal
