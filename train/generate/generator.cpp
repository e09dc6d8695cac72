#include "train/generate/generator.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <deque>

#include "autograd/base/rng.h"
#include "layers/decode/decode.h"
#include "train/generate/text_stream.h"

namespace shoal {
namespace {

using Clock = std::chrono::steady_clock;

// Rows of a prefill step: enough for the matrix products, few enough for the tape.
constexpr std::int64_t kPrefillRows = 512;

std::vector<std::int32_t> encode(const Model& model, const Tokenizer& tokenizer,
                                 const std::string& prompt) {
  std::vector<std::int32_t> tokens = {tokenizer.bos()};
  tokenizer.encode(prompt, tokens);
  const auto longest = static_cast<std::size_t>(model.config().max_position_embeddings);
  if (tokens.size() > longest) {
    reject(Failure::kUsage, "the prompt has ", tokens.size(), " tokens, the model ", longest,
           " positions (model.max_position_embeddings)");
  }
  return tokens;
}

// A prompt and what comes after it.
struct Sequence {
  std::vector<std::int32_t> tokens;  // read, or to be read next
  SequenceCache cache;
  StopText stop;
  GeneratedText out;
  Rng rng;
  bool ended = false;

  std::int64_t unread() const { return static_cast<std::int64_t>(tokens.size()) - cache.length(); }
  DecodeChunk next(std::int64_t n) {
    return {&cache, std::span(tokens).subspan(static_cast<std::size_t>(cache.length()),
                                              static_cast<std::size_t>(n))};
  }
};

class Writer {
 public:
  Writer(Model& model, Tape& tape, const Tokenizer& tokenizer, const GenerateConfig& config,
         const EmitText& emit)
      : model_(model),
        tape_(tape),
        tokenizer_(tokenizer),
        config_(config),
        emit_(emit),
        sampler_(config.sampling),
        // Ids that the model has and the tokenizer lacks mean nothing.
        vocabulary_(std::min(tokenizer.vocab_size(), model.config().vocab_size)) {}

  void add(const std::string& prompt, IndexerMode mode) {
    const Rng rng(config_.seed, Purpose::kSampling, config_.first_place + sequences_.size());
    std::vector<std::int32_t> tokens = encode(model_, tokenizer_, prompt);
    const auto length = static_cast<std::int64_t>(tokens.size());
    const std::int64_t most =
        length + std::min(config_.tokens, model_.config().max_position_embeddings - length);
    tokens.reserve(static_cast<std::size_t>(most) + 1);
    sequences_.push_back(
        {std::move(tokens), {model_, mode, most}, StopText(config_.stops), {}, rng, false});
    sequences_.back().out.prompt_tokens = length;
  }

  Generation run() {
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      if (config_.tokens == 0) end(i, TextEnd::kTokens);
    }
    const auto start = Clock::now();
    while (step(
        kPrefillRows, [](const Sequence& s) { return s.out.tokens == 0; },
        result_.prefill_tokens)) {
    }
    const auto read = Clock::now();
    while (step(
        INT64_MAX, [](const Sequence&) { return true; }, result_.decode_tokens)) {
    }
    const auto seconds = [](auto from, auto to) {
      return std::chrono::duration<double>(to - from).count();
    };
    result_.prefill_seconds = seconds(start, read);
    result_.decode_seconds = seconds(read, Clock::now());
    for (Sequence& s : sequences_) {
      result_.cache_bytes += s.cache.bytes();
      result_.raw_cache_bytes += raw_cache_bytes(model_.config(), s.cache.length());
      result_.multi_head_cache_bytes += multi_head_cache_bytes(model_.config(), s.cache.length());
      result_.texts.push_back(std::move(s.out));
    }
    return std::move(result_);
  }

 private:
  // Reads at most `rows` tokens of the sequences that are wanted, and draws one for each whose
  // tokens are all read. False: none is wanted.
  template <class Wanted>
  bool step(std::int64_t rows, const Wanted& wanted, std::int64_t& count) {
    if (config_.give_up && config_.give_up()) {
      for (std::size_t i = 0; i < sequences_.size(); ++i) {
        if (!sequences_[i].ended) end(i, TextEnd::kGivenUp);
      }
      return false;
    }
    chunks_.clear();
    who_.clear();
    for (std::size_t i = 0; i < sequences_.size() && rows > 0; ++i) {
      Sequence& s = sequences_[i];
      if (s.ended || !wanted(s)) continue;
      const std::int64_t n = std::min(s.unread(), rows);
      rows -= n;
      count += n;
      chunks_.push_back(s.next(n));
      who_.push_back(i);
    }
    if (chunks_.empty()) return false;
    const Tensor logits = decode(model_, tape_, chunks_);
    for (std::size_t k = 0; k < who_.size(); ++k) {
      if (sequences_[who_[k]].unread() == 0) {
        draw(who_[k],
             {logits.row(static_cast<std::int64_t>(k)), static_cast<std::size_t>(vocabulary_)});
      }
    }
    tape_.end_microbatch();
    return true;
  }

  void draw(std::size_t i, std::span<const float> logits) {
    Sequence& s = sequences_[i];
    const std::int32_t next =
        sampler_.draw(logits, s.rng.uniform(static_cast<std::uint64_t>(s.out.tokens)));
    if (next == tokenizer_.eos()) return end(i, TextEnd::kEndOfDocument);
    ++s.out.tokens;
    s.tokens.push_back(next);
    say(i, s.stop.add(tokenizer_.decode(std::span<const std::int32_t>(&next, 1))));
    if (s.stop.found()) return end(i, TextEnd::kStop);
    if (s.out.tokens == config_.tokens) return end(i, TextEnd::kTokens);
    if (static_cast<std::int64_t>(s.tokens.size()) > model_.config().max_position_embeddings) {
      end(i, TextEnd::kPositions);
    }
  }

  void say(std::size_t i, const std::string& piece) {
    if (piece.empty()) return;
    sequences_[i].out.text += piece;
    if (emit_) emit_(i, piece);
  }

  void end(std::size_t i, TextEnd why) {
    Sequence& s = sequences_[i];
    say(i, s.stop.finish());
    s.out.end = why;
    s.ended = true;
    if (emit_) emit_(i, "");
  }

  Model& model_;
  Tape& tape_;
  const Tokenizer& tokenizer_;
  const GenerateConfig& config_;
  const EmitText& emit_;
  TokenSampler sampler_;
  std::int64_t vocabulary_;
  std::deque<Sequence> sequences_;  // chunks point into them
  std::vector<DecodeChunk> chunks_;
  std::vector<std::size_t> who_;
  Generation result_;
};

}  // namespace

const char* name_of(TextEnd end) {
  constexpr std::array kNames = {"tokens", "end_of_document", "stop", "positions", "given_up"};
  return kNames[static_cast<std::size_t>(end)];
}

void check_prompts(const Model& model, const Tokenizer& tokenizer,
                   std::span<const std::string> prompts) {
  for (const std::string& prompt : prompts) encode(model, tokenizer, prompt);
}

Generation generate(Model& model, Tape& tape, const Tokenizer& tokenizer,
                    std::span<const std::string> prompts, const GenerateConfig& config,
                    IndexerMode mode, const EmitText& emit) {
  const TraceSpan span("generate");
  Writer writer(model, tape, tokenizer, config, emit);
  for (const std::string& prompt : prompts) writer.add(prompt, mode);
  return writer.run();
}

}  // namespace shoal
