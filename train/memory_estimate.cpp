#include "train/memory_estimate.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

#include "autograd/base/rng.h"
#include "train/gradient_tree.h"
#include "train/param_slices.h"

namespace shoal {
namespace {

std::string gib(std::size_t bytes) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(2) << static_cast<double>(bytes) / (1 << 30) << " GiB";
  return out.str();
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

MemoryEstimate estimate_memory(Model& model, const RunConfig& config, std::int64_t micro_batches,
                               std::string* dump) {
  MemoryEstimate e;
  const ParamStore& store = model.store();
  const auto flat_bytes = static_cast<std::size_t>(store.flat_size()) * sizeof(float);
  e.parameters = flat_bytes;
  e.gradients = flat_bytes * static_cast<std::size_t>(GradientTree::levels(micro_batches));
  for (const ParamSlice& slice : slices_of(store)) {
    const bool muon = slice.matrix && config.optim.matrices == MatrixOptimizer::kMuon;
    e.optimizer += static_cast<std::size_t>(slice.size) * sizeof(float) * (muon ? 1 : 2);
  }
  const ParallelOff off;
  Tape tape;
  PageRange gradients(flat_bytes);  // addresses only: nothing is written
  model.store().bind_grads(reinterpret_cast<float*>(gradients.data()));
  const Batch batch = shape_batch(config.train.micro_batch, config.data.sequence_length,
                                  config.model.vocab_size, 0);
  const Loss loss = model.loss(tape, batch, {1.0, 1.0, 1.0},
                               config.train.recompute == Recompute::kBlock, nullptr);
  if (dump != nullptr) *dump = tape.dump();
  tape.backward(loss.total);
  tape.end_microbatch();
  e.tape = tape.stats();
  return e;
}

void require_memory(const MemoryEstimate& e, const RunConfig& config) {
  const std::size_t available = available_memory();
  if (e.total() <= available) return;
  std::ostringstream remedy;
  if (e.tape.bytes() * 2 > e.total()) {
    if (config.train.recompute == Recompute::kNone) remedy << "set train.recompute: block, or ";
    if (config.train.micro_batch > 1) {
      remedy << "lower train.micro_batch (now " << config.train.micro_batch << ')';
    } else {
      remedy << "lower data.sequence_length (now " << config.data.sequence_length << ')';
    }
  } else {
    remedy << "lower model.hidden_size (now " << config.model.hidden_size
           << ") or model.n_routed_experts (now " << config.model.n_routed_experts << ')';
  }
  reject(Failure::kUsage, "a training step needs about ", gib(e.total()), " (parameters ",
         gib(e.parameters), ", gradients ", gib(e.gradients), ", optimizer ", gib(e.optimizer),
         ", activations ", gib(e.tape.bytes()), "), but only ", gib(available),
         " are free: ", remedy.str());
}

}  // namespace shoal
