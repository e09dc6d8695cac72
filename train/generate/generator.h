#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/tokenizer/tokenizer.h"
#include "layers/model.h"
#include "train/generate/token_sampler.h"

namespace shoal {

struct GenerateConfig {
  std::int64_t tokens = 200;  // at most
  Sampling sampling;
  std::uint64_t seed = 1;
  std::vector<std::string> stops;  // a text ends before the first of these; "" means nothing
  std::function<bool()> give_up =
      nullptr;  // asked before every forward pass: texts end as they are
  // Of the first prompt: draws depend on the seed and on a prompt's place, so that equal prompts
  // get texts of their own.
  std::uint64_t first_place = 0;
};

enum class TextEnd { kTokens, kEndOfDocument, kStop, kPositions, kGivenUp };
const char* name_of(TextEnd end);  // tokens, end_of_document, stop, positions, given_up

struct GeneratedText {
  std::string text;  // the continuation, without the prompt
  std::int64_t prompt_tokens = 0, tokens = 0;
  TextEnd end = TextEnd::kTokens;
};

struct Generation {
  std::vector<GeneratedText> texts;  // one per prompt
  // Reading the prompts in pieces, and token by token after that; tokens that the model has read.
  std::int64_t prefill_tokens = 0, decode_tokens = 0;
  double prefill_seconds = 0.0, decode_seconds = 0.0;
  // What the caches held at the ends of the texts, and caches without compression for as many
  // tokens (layers/decode/sequence_cache.h).
  std::size_t cache_bytes = 0, raw_cache_bytes = 0, multi_head_cache_bytes = 0;
};

// Throws Error(kUsage) for a prompt with more tokens than the model has positions.
void check_prompts(const Model& model, const Tokenizer& tokenizer,
                   std::span<const std::string> prompts);

// Continues prompts from caches, all of them together; each text is what its prompt would get
// alone at its place. `mode` says how CSA layers attend. `emit` gets every new piece of text as it
// comes, with its prompt's number; pieces may end inside a character. An empty piece says that the
// text has ended.
using EmitText = std::function<void(std::size_t prompt, const std::string& piece)>;
Generation generate(Model& model, Tape& tape, const Tokenizer& tokenizer,
                    std::span<const std::string> prompts, const GenerateConfig& config,
                    IndexerMode mode, const EmitText& emit = nullptr);

}  // namespace shoal
