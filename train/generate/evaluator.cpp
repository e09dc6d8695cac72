#include "train/generate/evaluator.h"

#include <algorithm>
#include <chrono>
#include <numbers>
#include <span>
#include <vector>

#include "layers/objective/next_token.h"

namespace shoal {
namespace {

// Rows of the batch whose answer gets the largest logit, the lowest id among equals; every token
// before it is the true one.
std::int64_t count_right(const Model& model, Tape& tape, Tensor X, const Batch& batch,
                         std::span<const std::int64_t> rows) {
  const Tensor logits = model.logits_of_rows(tape, X, rows);
  std::int64_t right = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const float* z = logits.row(static_cast<std::int64_t>(i));
    const auto best = std::max_element(z, z + logits.shape.cols()) - z;
    right += best == batch.targets[static_cast<std::size_t>(rows[i])] ? 1 : 0;
  }
  return right;
}

double bits_per_byte(double nats, std::int64_t bytes) {
  return nats / std::numbers::ln2 / static_cast<double>(bytes);
}

}  // namespace

std::optional<EvalRecord> evaluate_unless(const std::function<bool()>& give_up, Model& model,
                                          Tape& tape, const Dataset& data, std::int64_t micro_batch,
                                          std::int64_t sequences, IndexerMode mode) {
  const TraceSpan span("evaluate");
  const NoGrad off(tape);
  const std::int64_t count =
      sequences > 0 ? std::min(sequences, data.sequences()) : data.sequences();
  const auto begin = std::chrono::steady_clock::now();
  EvalRecord out;
  double sum = 0.0;
  Batch batch;
  std::vector<std::int64_t> answers;  // rows
  std::int64_t right = 0;
  const std::vector<std::vector<std::int64_t>> lists = data.in_order_by_source(count);
  for (std::size_t s = 0; s < lists.size(); ++s) {
    const std::span<const std::int64_t> list = lists[s];
    SourceScore score;
    double source_sum = 0.0;
    for (std::size_t i = 0; i < list.size(); i += static_cast<std::size_t>(micro_batch)) {
      if (give_up && give_up()) return std::nullopt;
      data.fill_in_order(
          list.subspan(i, std::min(static_cast<std::size_t>(micro_batch), list.size() - i)), batch);
      Hidden hidden = model.forward(tape, batch, {.indexer = {mode, false}});
      const Loss loss = NextToken().loss(tape, model, hidden, {std::nullopt, 0.0, 0.0}, {});
      source_sum += *loss.sums.ce.as<float>();
      score.tokens += std::count_if(batch.targets.begin(), batch.targets.end(),
                                    [](std::int32_t t) { return t >= 0; });
      score.bytes += data.batch_text_bytes(batch);
      answers.clear();
      for (std::int64_t n = 0; n < batch.rows(); ++n) {
        if (batch.is_answer(n)) answers.push_back(n);
      }
      if (!answers.empty()) right += count_right(model, tape, hidden.X, batch, answers);
      out.answers += static_cast<std::int64_t>(answers.size());
      tape.end_microbatch();
    }
    sum += source_sum;
    out.tokens += score.tokens;
    out.bytes += score.bytes;
    if (lists.size() == 1 || score.bytes == 0) continue;
    score.source = data.source(s).name;
    score.loss = source_sum / static_cast<double>(score.tokens);
    score.bits_per_byte = bits_per_byte(source_sum, score.bytes);
    out.sources.push_back(std::move(score));
  }
  if (out.tokens > 0) out.loss = sum / static_cast<double>(out.tokens);
  if (out.answers > 0) {
    out.answer_accuracy = static_cast<double>(right) / static_cast<double>(out.answers);
  }
  if (out.bytes > 0) out.bits_per_byte = bits_per_byte(sum, out.bytes);
  out.eval_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

EvalRecord evaluate(Model& model, Tape& tape, const Dataset& data, std::int64_t micro_batch,
                    std::int64_t sequences, IndexerMode mode) {
  return *evaluate_unless(nullptr, model, tape, data, micro_batch, sequences, mode);
}

}  // namespace shoal
