#include "train/run/memory_estimate.h"

#include <algorithm>
#include <iomanip>
#include <limits>
#include <sstream>

#include "autograd/base/rng.h"
#include "layers/objective/next_token.h"
#include "train/stability/anticipatory.h"
#include "train/step/gradient_tree.h"
#include "train/step/param_slices.h"

namespace shoal {
namespace {

std::string gib(double bytes) {
  std::ostringstream out;
  const bool small = bytes < 0x1.0p27;  // "0.00 GiB" says nothing
  out << std::fixed << std::setprecision(2) << bytes / (small ? 0x1.0p20 : 0x1.0p30)
      << (small ? " MiB" : " GiB");
  return out.str();
}

double table_bytes(const ModelConfig& m) {  // of input and output
  return 2.0 * static_cast<double>(m.vocab_size) * static_cast<double>(m.hidden_size) *
         sizeof(float);
}

// What to lower where the parameters are too many.
std::string smaller_weights(const ModelConfig& m, double parameter_bytes) {
  if (table_bytes(m) * 2.0 > parameter_bytes) {
    return concat("lower model.vocab_size (now ", m.vocab_size, ") or model.hidden_size (now ",
                  m.hidden_size, ')');
  }
  return concat("lower model.hidden_size (now ", m.hidden_size, ") or model.n_routed_experts (now ",
                m.n_routed_experts, ')');
}

// Each block keeps its output streams for the backward pass. Checked first, because even walking
// through a step takes some bytes per token.
void require_streams(const RunConfig& config, const BatchSizes& sizes) {
  const ModelConfig& m = config.model;
  constexpr double kOfToken = 64;  // what describes it: ids, places, targets
  const double streams = static_cast<double>(sizeof(float)) * static_cast<double>(m.hidden_size) *
                         static_cast<double>(m.hc_mult * m.num_hidden_layers);
  const double bytes = (streams + kOfToken) * static_cast<double>(sizes.micro_batch) *
                       static_cast<double>(sizes.sequence_length);
  const std::size_t available = available_memory();
  if (bytes <= static_cast<double>(available)) return;
  const bool several = sizes.micro_batch > 1;
  reject(Failure::kUsage, "the residual streams of a micro-batch alone take ", gib(bytes),
         ", but only ", gib(static_cast<double>(available)), " are free: lower ",
         several ? "train.micro_batch" : "data.sequence_length", " (now ",
         several ? sizes.micro_batch : sizes.sequence_length, ")");
}

// What a step reads is held from its first micro-batch to its last.
void require_batches(const BatchSizes& sizes) {
  constexpr double kOfBatch = 256, kOfToken = 16;
  const std::int64_t micro_batches = sizes.micro_batches();
  const double bytes = static_cast<double>(micro_batches) *
                       (kOfBatch + kOfToken * static_cast<double>(sizes.micro_batch) *
                                       static_cast<double>(sizes.sequence_length));
  const auto available = static_cast<double>(available_memory());
  if (bytes <= available) return;
  reject(Failure::kUsage, "the ", micro_batches, " micro-batches of a step take ", gib(bytes),
         " to read, but only ", gib(available), " are free: lower train.batch_tokens (now ",
         sizes.batch_tokens, ")");
}

}  // namespace

Batch shape_batch(std::int64_t B, std::int64_t T, std::int64_t vocab_size, std::uint64_t seed) {
  const Rng rng(seed, Purpose::kBench);
  Batch batch;
  batch.B = B;
  batch.T = T;
  const auto token = [&](std::int64_t b, std::int64_t t) {
    return static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(b * (T + 1) + t),
                                               static_cast<std::uint64_t>(vocab_size)));
  };
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t t = 0; t < T; ++t) {
      batch.tokens.push_back(token(b, t));
      batch.targets.push_back(token(b, t + 1));
      batch.first.push_back(static_cast<std::int32_t>(b * T));
    }
  }
  return batch;
}

MemoryEstimate estimate_memory(Model& model, const RunConfig& config, const BatchSizes& sizes,
                               std::string* dump) {
  require_streams(config, sizes);
  require_batches(sizes);
  MemoryEstimate e;
  const ParamStore& store = model.store();
  const auto flat_bytes = static_cast<std::size_t>(store.flat_size()) * sizeof(float);
  // Where quantization begins later, memory is there before.
  const Precision precision = config.model.precision_at(std::numeric_limits<std::int64_t>::max());
  e.parameters = flat_bytes + (precision.fp4_experts ? model.rounded_experts().bytes() : 0);
  e.gradients = flat_bytes * static_cast<std::size_t>(GradientTree::buffers(sizes.micro_batches()));
  for (const ParamSlice& slice : slices_of(store)) {
    const bool muon = slice.matrix && config.optim.matrices == MatrixOptimizer::kMuon;
    e.optimizer += static_cast<std::size_t>(slice.size) * sizeof(float) * (muon ? 1 : 2);
  }
  e.routes = AnticipatoryRouting::queue_bytes(config.model, config.stability.anticipatory, sizes);
  // Addresses only, nothing is written; the tape is content with what is left.
  PageRange gradients(flat_bytes);
  Tape tape({.dry = true});
  model.store().bind_grads(reinterpret_cast<float*>(gradients.data()));
  const Batch batch =
      shape_batch(sizes.micro_batch, sizes.sequence_length, config.model.vocab_size, 0);
  const bool recompute = config.train.recompute == RecomputePolicy::kBlock;
  // Other modes of the indexers need less.
  const IndexerPlan indexer{IndexerMode::kSparse, config.loss.index_kl != 0.0};
  model.set_precision(precision);
  Hidden hidden = model.forward(tape, batch, {recompute, indexer});
  const Loss loss = NextToken().loss(tape, model, hidden, {}, count({&batch, 1}));
  if (dump != nullptr) *dump = tape.dump();
  tape.backward(loss.total);
  tape.end_microbatch();
  e.tape = tape.stats();
  return e;
}

MemoryEstimate estimate_memory(Model& model, const RunConfig& config,
                               const std::vector<BatchSizes>& all) {
  MemoryEstimate most;
  for (const BatchSizes& sizes : all) {
    const MemoryEstimate e = estimate_memory(model, config, sizes);
    most.parameters = std::max(most.parameters, e.parameters);
    most.gradients = std::max(most.gradients, e.gradients);
    most.optimizer = std::max(most.optimizer, e.optimizer);
    most.routes = std::max(most.routes, e.routes);
    most.tape.records = std::max(most.tape.records, e.tape.records);
    most.tape.arena_low_peak = std::max(most.tape.arena_low_peak, e.tape.arena_low_peak);
    most.tape.arena_high_peak = std::max(most.tape.arena_high_peak, e.tape.arena_high_peak);
    most.tape.grad_peak = std::max(most.tape.grad_peak, e.tape.grad_peak);
  }
  return most;
}

const ModelConfig& require_weights(const RunConfig& config) {
  const ModelConfig& m = config.model;
  double bytes = table_bytes(m);
  for (const FeedForwardKind kind : m.mlp_layer_types) {
    const std::int64_t experts = kind == FeedForwardKind::kDense ? 1 : m.n_routed_experts;
    bytes += 3.0 * sizeof(float) * static_cast<double>(experts) *
             static_cast<double>(m.expert_width(kind)) * static_cast<double>(m.hidden_size);
  }
  const std::size_t available = available_memory();
  if (3.0 * bytes <= static_cast<double>(available)) return m;
  reject(Failure::kUsage, "values, gradients and momentum of the model's experts and tables take ",
         gib(3.0 * bytes), ", but only ", gib(static_cast<double>(available)),
         " are free: ", smaller_weights(m, bytes));
}

void require_memory(const MemoryEstimate& e, const RunConfig& config, const BatchSizes& sizes) {
  const std::size_t available = available_memory();
  if (e.total() <= available) return;
  std::ostringstream remedy;
  if (e.routes * 2 > e.total()) {
    remedy << "lower stability.anticipatory.lag (now " << config.stability.anticipatory.lag << ')';
  } else if (e.tape.bytes() * 2 > e.total()) {
    if (config.train.recompute == RecomputePolicy::kNone)
      remedy << "set train.recompute: block, or ";
    if (sizes.micro_batch > 1) {
      remedy << "lower train.micro_batch (now " << sizes.micro_batch << ')';
    } else {
      remedy << "lower data.sequence_length (now " << sizes.sequence_length << ')';
    }
  } else {
    remedy << smaller_weights(config.model, static_cast<double>(e.parameters));
  }
  const auto size = [](std::size_t bytes) { return gib(static_cast<double>(bytes)); };
  reject(Failure::kUsage, "a training step needs about ", size(e.total()), " (parameters ",
         size(e.parameters), ", gradients ", size(e.gradients), ", optimizer ", size(e.optimizer),
         ", activations ", size(e.tape.bytes()),
         e.routes > 0 ? concat(", routes ", size(e.routes)) : "", "), but only ", size(available),
         " are free: ", remedy.str());
}

}  // namespace shoal
