#include "train/generator.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "autograd/base/rng.h"

namespace shoal {

std::int32_t sample_token(std::span<const float> logits, double temperature, double top_p,
                          double u) {
  const auto likeliest = std::max_element(logits.begin(), logits.end());
  if (temperature <= 0.0) return static_cast<std::int32_t>(likeliest - logits.begin());
  std::vector<double> p(logits.size());
  for (std::size_t v = 0; v < p.size(); ++v) {
    p[v] = std::exp((static_cast<double>(logits[v]) - *likeliest) / temperature);
  }
  std::vector<std::int32_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return p[static_cast<std::size_t>(a)] > p[static_cast<std::size_t>(b)];
  });
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  double kept = 0.0;
  std::size_t count = 0;
  while (count < order.size() && (count == 0 || kept < top_p * total)) {
    kept += p[static_cast<std::size_t>(order[count++])];
  }
  double left = u * kept;
  for (std::size_t i = 0; i + 1 < count; ++i) {
    left -= p[static_cast<std::size_t>(order[i])];
    if (left < 0.0) return order[i];
  }
  return order[count - 1];
}

std::string generate(Model& model, Tape& tape, const Tokenizer& tokenizer,
                     const std::string& prompt, const SamplingConfig& config,
                     const std::function<void(const std::string&)>& emit) {
  const TraceSpan span("generate");
  const Rng rng(config.seed, Purpose::kSampling);
  Batch batch;
  batch.B = 1;
  batch.tokens = {tokenizer.bos()};
  tokenizer.encode(prompt, batch.tokens);
  const auto longest = static_cast<std::size_t>(model.config().max_position_embeddings);
  if (batch.tokens.size() > longest) {
    reject(Failure::kUsage, "the prompt has ", batch.tokens.size(), " tokens, the model ", longest,
           " positions (model.max_position_embeddings)");
  }
  // Ids that the model has and the tokenizer lacks mean nothing.
  const std::int64_t vocabulary = std::min(tokenizer.vocab_size(), model.config().vocab_size);
  std::string text;
  for (std::int64_t i = 0; i < config.tokens && batch.tokens.size() <= longest; ++i) {
    batch.T = static_cast<std::int64_t>(batch.tokens.size());
    batch.targets.assign(batch.tokens.size(), 0);
    batch.first.assign(batch.tokens.size(), 0);
    const std::int64_t last = batch.T - 1;
    const Tensor logits =
        model.logits_of_rows(tape, batch, std::span<const std::int64_t>(&last, 1));
    const std::int32_t next =
        sample_token({logits.as<float>(), static_cast<std::size_t>(vocabulary)}, config.temperature,
                     config.top_p, rng.uniform(static_cast<std::uint64_t>(i)));
    tape.end_microbatch();
    if (next == tokenizer.eos()) break;
    batch.tokens.push_back(next);
    const std::string piece = tokenizer.decode(std::span<const std::int32_t>(&next, 1));
    if (emit) emit(piece);
    text += piece;
  }
  return text;
}

}  // namespace shoal
