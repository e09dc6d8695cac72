#include "train/run/step_records.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "train/step/index_recall.h"

namespace shoal {
namespace {

template <class Record>
void add_clamped(Record& record, const ClampCount& c) {
  record.clamp.gate_high += c.gate_high;
  record.clamp.up_high += c.up_high;
  record.clamp.up_low += c.up_low;
  record.clamp.clamp_inputs += c.pairs;
  record.clamp.gate_max = std::max(record.clamp.gate_max, static_cast<double>(c.gate_max));
  record.clamp.up_max = std::max(record.clamp.up_max, static_cast<double>(c.up_max));
}

void add_load(LayerRecord& record) {
  const std::vector<std::int64_t>& load = record.expert_load;
  if (load.empty()) return;
  const auto experts = static_cast<double>(load.size());
  const double mean = std::accumulate(load.begin(), load.end(), 0.0) / experts;
  double squares = 0.0;
  for (const std::int64_t n : load) {
    squares += (static_cast<double>(n) - mean) * (static_cast<double>(n) - mean);
  }
  record.load_cv = mean > 0.0 ? std::sqrt(squares / experts) / mean : 0.0;
  record.idle_experts = std::count(load.begin(), load.end(), 0);
}

}  // namespace

StepRecord step_record(const StepPlan& plan, const RunPosition& after, const StepOutcome& out,
                       const ModelStats& stats) {
  StepRecord record;
  record.step = after.step;
  record.tokens = after.tokens;
  record.loss = out.loss();
  record.ce = out.parts.ce;
  record.mtp = out.parts.mtp;
  record.balance = out.parts.balance;
  record.index_kl = out.parts.index_kl;
  record.lr = plan.lr;
  record.grad_norm = out.grads.norm;
  for (const BlockStats& block : stats) add_clamped(record, block.clamped);
  return record;
}

std::vector<LayerRecord> layer_records(const Model& model, std::int64_t step,
                                       const StepOutcome& out, const ModelStats& stats) {
  const std::vector<const Block*> blocks = model.all_blocks();
  std::vector<LayerRecord> records(blocks.size());
  for (std::size_t l = 0; l < blocks.size(); ++l) {
    LayerRecord& record = records[l];
    record.step = step;
    record.layer =
        blocks[l] == model.mtp_block() ? LayerRecord::kMtp : static_cast<std::int64_t>(l);
    record.expert_load = stats[l].load;
    add_load(record);
    add_clamped(record, stats[l].clamped);
    if (const ModelBuffer* bias = blocks[l]->feed_forward().bias()) {
      const float* b = bias->value.as<float>();
      const auto [low, high] = std::minmax_element(b, b + bias->value.shape.numel());
      record.bias_low = *low;
      record.bias_high = *high;
    }
    if (const IndexSums& index = stats[l].index; index.uniform > 0.0) {
      record.index_kl = index.kl / static_cast<double>(out.counts.rows);
      record.index_captured = 1.0 - index.kl / index.uniform;
    }
  }
  return records;
}

void add_rounding(std::vector<LayerRecord>& records, Model& model, Tape& tape,
                  const Precision& precision, const Batch& batch) {
  if (precision.fp4_indexer) {
    const std::vector<double> recalls = index_recall(model, tape, batch);
    for (std::size_t l = 0; l < records.size(); ++l) records[l].index_recall = recalls[l];
  }
  if (!precision.fp4_experts) return;
  const std::vector<const Block*> blocks = model.all_blocks();
  for (std::size_t l = 0; l < records.size(); ++l) {
    const auto weights = blocks[l]->feed_forward().routed_weights();
    if (weights[0] == nullptr) continue;
    const RoundingStats stats = measure_rounding(weights);
    records[l].fp4_zeros = static_cast<double>(stats.to_zero) / static_cast<double>(stats.weights);
    records[l].fp4_distance = stats.distance;
    records[l].fp4_least_scale = stats.least_scale;
    records[l].fp4_most_scale = stats.most_scale;
  }
}

}  // namespace shoal
