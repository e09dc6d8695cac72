#include "autograd/ops/embedding.h"

#include <algorithm>

namespace shoal {
namespace {

struct Embedding {
  static constexpr std::string_view kName = "embedding";
  struct Saved {
    Tensor table, tokens;
    std::int64_t streams;
  };

  static void forward(Tape&, const Saved& s, Outputs y) {
    const std::int64_t C = s.table.shape.cols();
    for_chunks(s.tokens.shape.numel(), [&](Range rows) {
      for (std::int64_t n = rows.begin; n < rows.end; ++n) {
        const float* from = s.table.row(s.tokens.as<std::int32_t>()[n]);
        for (std::int64_t k = 0; k < s.streams; ++k) {
          std::copy(from, from + C, y[0].as<float>() + (n * s.streams + k) * C);
        }
      }
    });
  }

  // dtable[v] = sum of dy over the rows that read v, in row order: the rows are sorted by token
  // first (a counting sort), then every token is summed by one thread.
  static void backward(Tape& tape, const Saved& s, Cotangents dy, GradSlots dx) {
    const std::int64_t V = s.table.shape.rows(), C = s.table.shape.cols();
    const std::int64_t N = s.tokens.shape.numel();
    const auto start = tape.scratch<std::int32_t>(V + 1);
    const auto rows = tape.scratch<std::int32_t>(N);
    if (!dx[0] || tape.is_dry()) return;
    const std::int32_t* tokens = s.tokens.as<std::int32_t>();
    std::fill_n(start.data(), V + 1, 0);
    for (std::int64_t n = 0; n < N; ++n) ++start[tokens[n] + 1];
    for (std::int64_t v = 0; v < V; ++v) start[v + 1] += start[v];
    for (std::int64_t n = 0; n < N; ++n) rows[start[tokens[n]]++] = static_cast<std::int32_t>(n);
    for_tasks(V, [&](std::int64_t v) {  // start[v] is now the end of v's rows
      float* out = dx[0].data() + v * C;
      if (dx[0].beta == 0.0F) std::fill_n(out, C, 0.0F);
      for (std::int64_t i = v == 0 ? 0 : start[v - 1]; i < start[v]; ++i) {
        for (std::int64_t k = 0; k < s.streams; ++k) {
          const float* g = dy[0].as<float>() + (rows[i] * s.streams + k) * C;
#pragma omp simd
          for (std::int64_t c = 0; c < C; ++c) out[c] += g[c];
        }
      }
    });
  }
};
const RegisterOp kRegisterEmbedding{kOpInfo<Embedding>};

}  // namespace

Tensor embedding(Tape& tape, Tensor table, Tensor tokens, std::int64_t streams) {
  CHECK(table.shape.rank == 2 && tokens.dtype == DType::kI32 && streams >= 1, "embedding: table ",
        table.shape, ", tokens ", tokens.shape);
  Tensor y = tape.alloc({tokens.shape.numel(), streams, table.shape.cols()});
  tape.apply<Embedding>({table, tokens, streams}, {table}, {&y});
  return y;
}

}  // namespace shoal
