#include "train/stability/health.h"

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/vec_math.h"

namespace shoal {
namespace {

using SmallMatrix =
    Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor, 8, 8>;  // no heap

Batch first_sequence(const Batch& batch) {
  Batch one = batch;
  one.B = 1;
  const auto T = static_cast<std::size_t>(batch.T);
  for (std::vector<std::int32_t>* rows : {&one.tokens, &one.targets, &one.first}) rows->resize(T);
  if (!one.roles.empty()) one.roles.resize(T);
  return one;
}

// fn(n, sum) for every n below N, into sums of fixed chunks that are added in their order.
template <class Sum, class Fn>
Sum sum_over(std::int64_t N, const Fn& fn) {
  std::array<Sum, kChunks> parts{};
  for_chunks(N, [&](Range r) {
    Sum& part = parts[static_cast<std::size_t>(r.chunk)];
    for (std::int64_t n = r.begin; n < r.end; ++n) fn(n, part);
  });
  Sum total{};
  for (const Sum& part : parts) total += part;
  return total;
}

struct Squares {
  double sum = 0.0;
  float most = 0.0F;
  void operator+=(const Squares& other) {
    sum += other.sum;
    most = std::max(most, other.most);
  }
};

struct Routing {
  double entropy = 0.0;
  float most = 0.0F;
  void operator+=(const Routing& other) {
    entropy += other.entropy;
    most = std::max(most, other.most);
  }
};

struct Gains {
  std::vector<MixingGain> of;  // each layer
  void operator+=(const Gains& other) {
    if (of.size() < other.of.size()) of.resize(other.of.size());
    for (std::size_t l = 0; l < other.of.size(); ++l) {
      of[l].forward += other.of[l].forward;
      of[l].backward += other.of[l].backward;
      of[l].backward_least += other.of[l].backward_least;
    }
  }
};

struct Taken {
  std::int64_t pairs = 0, same = 0;
  void operator+=(const Taken& other) {
    pairs += other.pairs;
    same += other.same;
  }
};

double entropy_of(const float* scores, std::int64_t E) {
  double sum = 0.0, entropy = 0.0;
  for (std::int64_t e = 0; e < E; ++e) sum += static_cast<double>(scores[e]);
  for (std::int64_t e = 0; e < E; ++e) {
    const double p = static_cast<double>(scores[e]) / sum;
    if (p > 0.0) entropy -= p * std::log(p);
  }
  return entropy;
}

// The likeliest token of each row of x [N, C] under the head [V, C], some rows at a time.
std::vector<std::int32_t> likeliest(Tape& tape, Tensor x, Tensor head) {
  constexpr std::int64_t kTile = std::int64_t{1} << 20;  // logits at a time
  const std::int64_t N = x.shape.rows(), C = x.shape.cols(), V = head.shape.rows();
  const std::int64_t most = std::clamp<std::int64_t>(kTile / V, 1, N);
  const auto logits = tape.scratch<float>(most * V);
  std::vector<std::int32_t> best(static_cast<std::size_t>(N));
  for (std::int64_t n0 = 0; n0 < N; n0 += most) {
    const std::int64_t rows = std::min(most, N - n0);
    gemm(gemm_forward(rows, V, C, x.row(n0), head.as<float>(), logits.data()));
    for_chunks(rows, [&](Range r) {
      for (std::int64_t n = r.begin; n < r.end; ++n) {
        const float* z = logits.data() + n * V;
        best[static_cast<std::size_t>(n0 + n)] =
            static_cast<std::int32_t>(std::max_element(z, z + V) - z);
      }
    });
  }
  return best;
}

class Probe : public BlockObserver {
 public:
  Probe(std::vector<LayerRecord>& layers, const Model& model, const Batch& batch)
      : layers_(layers), blocks_(model.all_blocks()), T_(batch.T) {
    for (std::int64_t n = 0; n < T_; ++n) {
      valid_.push_back(batch.is_padding(n) ? 0 : 1);
      rows_ += valid_.back();
    }
    combs_.resize(blocks_.size());
  }
  std::int64_t rows() const { return rows_; }

  void see(std::size_t place, const BlockInput& input, const Block::Result& block) override {
    LayerRecord& layer = layers_[place];
    measure_streams(layer, block.X);
    measure_attention(layer, blocks_[place]->attention().mass(block.softmax, *input.batch),
                      block.softmax.lse.shape.cols());
    if (block.router_logits) measure_router(layer, block.router_logits, block.router_scores);
    for (const Tensor& comb : {block.comb_attention, block.comb_ffn}) {
      if (comb) keep_comb(combs_[place], comb);
    }
  }

  // Of the blocks [first, last), which follow each other.
  void measure_gains(std::size_t first, std::size_t last) {
    if (first == last || combs_[first].empty()) return;
    const auto S = static_cast<std::int64_t>(2 * (last - first));
    const std::int64_t n = streams_, nn = n * n;
    const Gains sum = sum_over<Gains>(T_, [&](std::int64_t t, Gains& to) {
      if (!is_valid(t)) return;
      std::vector<double> comb;
      for (std::size_t l = first; l < last; ++l) {
        for (std::int64_t half = 0; half < 2; ++half) {
          const float* from = combs_[l].data() + (half * T_ + t) * nn;
          comb.insert(comb.end(), from, from + nn);
        }
      }
      Gains own;
      own.of.resize(last - first);
      mixing_gains(comb.data(), S, n, 2, own.of);
      to += own;
    });
    for (std::size_t l = first; l < last; ++l) {
      layers_[l].gain_forward = mean(sum.of[l - first].forward);
      layers_[l].gain_backward = mean(sum.of[l - first].backward);
      layers_[l].gain_backward_least = mean(sum.of[l - first].backward_least);
    }
  }

 private:
  bool is_valid(std::int64_t n) const { return valid_[static_cast<std::size_t>(n)] != 0; }
  double mean(double sum) const { return sum / static_cast<double>(rows_); }

  void measure_streams(LayerRecord& layer, const Tensor& X) const {
    const std::int64_t width = X.shape.numel() / T_;
    const Squares s = sum_over<Squares>(T_, [&](std::int64_t n, Squares& to) {
      if (!is_valid(n)) return;
      const float* x = X.as<float>() + n * width;
      for (std::int64_t i = 0; i < width; ++i) to.sum += static_cast<double>(x[i]) * x[i];
      to.most = std::max(to.most, largest_magnitude(x, width));
    });
    layer.stream_rms = std::sqrt(mean(s.sum) / static_cast<double>(width));
    layer.stream_max = s.most;
  }

  void measure_attention(LayerRecord& layer, const AttentionMass& mass, std::int64_t heads) const {
    const auto H = static_cast<double>(heads);
    layer.attention_sink = mean(mass.sink) / H;
    layer.attention_window = mean(mass.window) / H;
    layer.attention_entries = mean(mass.entries) / H;
    layer.attention_logit_max = mass.largest;
  }

  void measure_router(LayerRecord& layer, const Tensor& logits, const Tensor& scores) const {
    const std::int64_t E = logits.shape.cols();
    const Routing sum = sum_over<Routing>(T_, [&](std::int64_t n, Routing& to) {
      if (!is_valid(n)) return;
      to.most = std::max(to.most, largest_magnitude(logits.row(n), E));
      to.entropy += entropy_of(scores.row(n), E);
    });
    layer.router_logit_max = sum.most;
    layer.router_entropy = E == 1 ? 1.0 : mean(sum.entropy) / std::log(static_cast<double>(E));
  }

  void keep_comb(std::vector<float>& to, const Tensor& comb) {
    streams_ = comb.shape[1];
    to.insert(to.end(), comb.as<float>(), comb.as<float>() + comb.shape.numel());
  }

  std::vector<LayerRecord>& layers_;
  std::vector<const Block*> blocks_;
  std::int64_t T_, rows_ = 0, streams_ = 0;
  std::vector<std::int32_t> valid_;
  std::vector<std::vector<float>> combs_;  // of each block, [2, T, n, n]; empty of a plain residual
};

// Which guesses of the MTP block the main head makes too, one position later.
double taken_share(const Batch& batch, const std::vector<std::int32_t>& main,
                   const std::vector<std::int32_t>& mtp) {
  Taken taken;
  for (std::size_t n = 0; n + 1 < main.size(); ++n) {
    const auto next = static_cast<std::int64_t>(n) + 1;
    if (batch.first[n + 1] != batch.first[n] || batch.is_padding(next)) continue;
    taken += {1, mtp[n] == main[n + 1] ? 1 : 0};
  }
  return static_cast<double>(taken.same) / static_cast<double>(taken.pairs);  // NaN: nowhere
}

}  // namespace

void mixing_gains(const double* comb, std::int64_t S, std::int64_t n, std::int64_t each,
                  std::span<MixingGain> gains) {
  // The transpose of the composite, comb_s ... comb_last: rows are C's columns.
  SmallMatrix transposed = SmallMatrix::Identity(n, n);
  for (std::int64_t s = S - 1; s >= 0; --s) {
    transposed = (Eigen::Map<const SmallMatrix>(comb + s * n * n, n, n) * transposed).eval();
    if (s % each != 0) continue;
    const auto row_sums = transposed.colwise().sum();
    const auto column_sums = transposed.rowwise().sum();
    gains[static_cast<std::size_t>(s / each)] = {
        row_sums.cwiseAbs().maxCoeff(), column_sums.cwiseAbs().maxCoeff(), column_sums.minCoeff()};
  }
}

void add_health(std::vector<LayerRecord>& layers, Model& model, Tape& tape, const StepPlan& plan,
                const Batch& batch) {
  const TraceSpan span("health");
  const Batch one = first_sequence(batch);
  Probe probe(layers, model, one);
  if (probe.rows() == 0) return;
  const NoGrad off(tape);
  ForwardPlan forward{.recompute = true, .indexer = plan.indexer_plan()};
  forward.indexer.learns = false;
  forward.observer = &probe;
  Hidden hidden = model.forward(tape, one, forward);
  const std::size_t trunk = model.blocks().size();
  probe.measure_gains(0, trunk);
  if (model.has_mtp() && plan.loss.mtp) {
    const Tensor X = model.forward_mtp(tape, hidden);
    probe.measure_gains(trunk, trunk + 1);
    layers[trunk].mtp_taken =
        taken_share(one, likeliest(tape, model.head_input(tape, hidden.X), model.head()),
                    likeliest(tape, model.mtp_head_input(tape, X), model.head()));
  }
  tape.end_microbatch();
}

}  // namespace shoal
