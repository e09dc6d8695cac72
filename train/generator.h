#pragma once
#include <functional>
#include <string>

#include "data/tokenizer/tokenizer.h"
#include "layers/model.h"

namespace shoal {

struct SamplingConfig {
  std::int64_t tokens = 200;  // at most; the end of the document stops earlier
  double temperature = 0.8;   // 0: always the likeliest
  double top_p = 1.0;         // the smallest set of tokens with this much probability
  std::uint64_t seed = 1;
};

// Continues a prompt token by token; every token runs the whole forward again. `emit` gets each new
// piece of text as it comes. Returns the continuation without the prompt.
std::string generate(Model& model, Tape& tape, const Tokenizer& tokenizer,
                     const std::string& prompt, const SamplingConfig& config,
                     const std::function<void(const std::string&)>& emit = nullptr);

// One draw from logits [V]: softmax at the temperature, cut to top_p; u in [0, 1).
std::int32_t sample_token(std::span<const float> logits, double temperature, double top_p,
                          double u);

}  // namespace shoal
