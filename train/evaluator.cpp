#include "train/evaluator.h"

#include <algorithm>
#include <numbers>

namespace shoal {

Evaluation evaluate(Model& model, Tape& tape, const Dataset& data, std::int64_t micro_batch,
                    std::int64_t sequences, IndexerStage stage) {
  const TraceSpan span("evaluate");
  const NoGrad off(tape);
  const std::int64_t count =
      sequences > 0 ? std::min(sequences, data.sequences()) : data.sequences();
  Evaluation out;
  double sum = 0.0;
  Batch batch;
  for (std::int64_t i = 0; i < count; i += micro_batch) {
    data.fill_in_order(i, std::min(micro_batch, count - i), batch);
    const Loss loss = model.loss(tape, batch, {}, {false, stage}, nullptr);
    sum += *loss.ce.as<float>();
    tape.end_microbatch();
    out.tokens += std::count_if(batch.targets.begin(), batch.targets.end(),
                                [](std::int32_t t) { return t >= 0; });
    out.bytes += data.batch_text_bytes(batch);
  }
  if (out.tokens > 0) out.loss = sum / static_cast<double>(out.tokens);
  if (out.bytes > 0) out.bits_per_byte = sum / std::numbers::ln2 / static_cast<double>(out.bytes);
  return out;
}

}  // namespace shoal
