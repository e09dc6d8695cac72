#include "train/generate/generator.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "data/tokenizer/bytes.h"
#include "tests/support/tiny_model.h"
#include "train/generate/text_stream.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;

ModelConfig byte_config() {
  ModelConfig c = testing::tiny_config();
  c.vocab_size = 258;
  c.layer_types = {AttentionKind::kSliding, AttentionKind::kCompressedSparse,
                   AttentionKind::kHeavilyCompressed};
  c.mlp_layer_types = {FeedForwardKind::kHashMoe, FeedForwardKind::kMoe, FeedForwardKind::kDense};
  c.compress_rate_csa = 3;
  c.compress_rate_hca = 5;
  c.index_n_heads = 2;
  c.index_head_dim = 8;
  c.index_topk = 2;
  c.max_position_embeddings = 200;
  return c;
}

class Generator : public ::testing::Test {
 protected:
  Generator() { set_thread_count(1); }

  Generation run(const std::vector<std::string>& prompts, const GenerateConfig& config,
                 IndexerMode mode = IndexerMode::kSparse, const EmitText& emit = nullptr) {
    return generate(*model_, tape_, tokenizer_, prompts, config, mode, emit);
  }
  // A whole forward for every token.
  std::string plain(const std::string& prompt, const GenerateConfig& config, IndexerMode mode) {
    const Rng rng(config.seed, Purpose::kSampling);
    TokenSampler sampler(config.sampling);
    Batch batch;
    batch.B = 1;
    batch.tokens = {tokenizer_.bos()};
    tokenizer_.encode(prompt, batch.tokens);
    std::string text;
    for (std::int64_t i = 0; i < config.tokens; ++i) {
      batch.T = static_cast<std::int64_t>(batch.tokens.size());
      batch.targets.assign(batch.tokens.size(), 0);
      batch.first.assign(batch.tokens.size(), 0);
      const std::int64_t last = batch.T - 1;
      const Hidden hidden = model_->forward(tape_, batch, {.indexer = {mode, false}});
      const Tensor logits = model_->logits_of_rows(tape_, hidden.X, std::span(&last, 1));
      const std::int32_t next =
          sampler.draw({logits.as<float>(), 258}, rng.uniform(static_cast<std::uint64_t>(i)));
      tape_.end_microbatch();
      if (next == tokenizer_.eos()) break;
      batch.tokens.push_back(next);
      text += tokenizer_.decode(std::span(&next, 1));
    }
    return text;
  }

  ByteTokenizer tokenizer_;
  std::unique_ptr<Model> model_ = testing::random_model(byte_config());
  Tape tape_{{std::size_t{1} << 32, std::size_t{1} << 20}};
};

TEST_F(Generator, WritesWhatAWholeForwardForEveryTokenWrites) {
  const std::string prompt = "In the beginning was the word";
  std::vector<std::string> texts;
  for (const IndexerMode mode : {IndexerMode::kSparse, IndexerMode::kDense}) {
    for (const Sampling& sampling : {Sampling{0.8, 0, 1.0}, Sampling{0.0, 0, 1.0},
                                     Sampling{1.5, 20, 1.0}, Sampling{1.0, 0, 0.7}}) {
      for (const std::string& begin : {prompt, std::string()}) {
        const GenerateConfig config{60, sampling, 4, {}};
        texts.push_back(run({begin}, config, mode).texts.at(0).text);
        EXPECT_EQ(texts.back(), plain(begin, config, mode));
      }
    }
  }
  // The mode matters, and so do the rules of drawing.
  std::sort(texts.begin(), texts.end());
  EXPECT_EQ(std::unique(texts.begin(), texts.end()), texts.end());
}

// Asked before every forward pass: what was written until then stays.
TEST_F(Generator, GivesUpBetweenTokens) {
  GenerateConfig config;
  config.tokens = 6;
  Generation whole;
  const auto is_short = [](const GeneratedText& text) { return text.tokens < 6; };
  do {  // until no document ends early
    ++config.seed;
    whole = run({"ab", "c"}, config);
  } while (std::any_of(whole.texts.begin(), whole.texts.end(), is_short));
  int asked = 0;
  config.give_up = [&] { return ++asked > 3; };
  const Generation part = run({"ab", "c"}, config);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(part.texts[i].end, TextEnd::kGivenUp);
    EXPECT_LE(part.texts[i].tokens, 3);
    EXPECT_LT(part.texts[i].text.size(), whole.texts[i].text.size());
    EXPECT_EQ(whole.texts[i].text.substr(0, part.texts[i].text.size()), part.texts[i].text);
  }
}

TEST_F(Generator, PromptsTogetherAreEachAlone) {
  const std::vector<std::string> prompts = {"", "a", std::string(150, 'x'), "In the beginning",
                                            "a"};
  const GenerateConfig config{40, {0.9, 0, 1.0}, 2, {}};
  std::vector<std::string> emitted(prompts.size());
  std::vector<int> ends(prompts.size());
  const Generation together =
      run(prompts, config, IndexerMode::kSparse, [&](std::size_t i, const std::string& piece) {
        EXPECT_EQ(ends.at(i), 0);
        emitted.at(i) += piece;
        ends.at(i) += piece.empty() ? 1 : 0;
      });
  std::int64_t read = 0, drawn = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const GeneratedText& text = together.texts.at(i);
    GenerateConfig at_its_place = config;
    at_its_place.first_place = i;
    EXPECT_EQ(text.text, run({prompts[i]}, at_its_place).texts.at(0).text) << i;
    EXPECT_EQ(text.text, emitted[i]);
    EXPECT_EQ(ends[i], 1);
    EXPECT_EQ(text.prompt_tokens, static_cast<std::int64_t>(prompts[i].size()) + 1);
    read += text.prompt_tokens;
    drawn += text.tokens;
  }
  EXPECT_NE(together.texts[1].text, together.texts[4].text);  // equal prompts, their own draws
  EXPECT_EQ(together.prefill_tokens, read);
  EXPECT_LE(together.decode_tokens, drawn);  // the last token of a text is never read
  EXPECT_GT(together.prefill_seconds, 0.0);
  EXPECT_GT(together.cache_bytes, 0U);
  EXPECT_LT(together.cache_bytes, together.raw_cache_bytes);
  EXPECT_EQ(together.multi_head_cache_bytes, together.raw_cache_bytes * 2 * 6);
}

// A prompt of more than one prefill step, and how many positions there are.
TEST_F(Generator, LongPromptsAndTheLastPosition) {
  ModelConfig config = byte_config();
  config.max_position_embeddings = 1100;
  model_ = testing::random_model(config);
  const std::string prompt(1090, 'b');
  const GenerateConfig generate_config{100, {0.8, 0, 1.0}, 1, {}};
  const GeneratedText text = run({prompt}, generate_config).texts.at(0);
  if (text.end == TextEnd::kPositions) {
    EXPECT_EQ(text.tokens, 10);  // the last one is drawn at position 1,099, and not read
  }
  EXPECT_TRUE(
      plain(prompt, {10, {0.8, 0, 1.0}, 1, {}}, IndexerMode::kSparse).starts_with(text.text));
  // A longer prompt takes no more of the tape than 512 tokens take, all prompts together.
  const auto tape_bytes = [&](const std::vector<std::string>& prompts) {
    Tape tape({std::size_t{1} << 32, std::size_t{1} << 20});
    generate(*model_, tape, tokenizer_, prompts, {1, {}, 1, {}}, IndexerMode::kSparse);
    return static_cast<double>(tape.stats().bytes());
  };
  const double of_a_step = tape_bytes({std::string(511, 'c')});
  EXPECT_LT(tape_bytes({std::string(1023, 'c')}), 1.2 * of_a_step);
  EXPECT_LT(tape_bytes({std::string(400, 'c'), std::string(400, 'd')}), 1.2 * of_a_step);
  try {
    run({"a", std::string(1100, 'a')}, generate_config);
    FAIL() << "one token too many";
  } catch (const Error& error) {
    EXPECT_EQ(error.why(), Failure::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("1101 tokens"));
    EXPECT_THAT(error.what(), HasSubstr("1100 positions"));
  }
}

TEST_F(Generator, Ends) {
  const std::string all = run({"x"}, {80, {0.0, 0, 1.0}, 1, {}}).texts.at(0).text;
  ASSERT_GE(all.size(), 20U);
  // Stops: some bytes of the text itself, of which an earlier place does not count.
  const std::string stop = all.substr(10, 3);
  const GeneratedText cut = run({"x"}, {80, {0.0, 0, 1.0}, 1, {"nowhere", stop}}).texts.at(0);
  EXPECT_EQ(cut.end, TextEnd::kStop);
  EXPECT_EQ(cut.text, all.substr(0, all.find(stop)));
  EXPECT_EQ(cut.tokens, static_cast<std::int64_t>(all.find(stop) + stop.size()));
  EXPECT_STREQ(name_of(cut.end), "stop");
  const GeneratedText none = run({"x"}, {0, {}, 1, {}}).texts.at(0);
  EXPECT_EQ(none.text, "");
  EXPECT_EQ(none.end, TextEnd::kTokens);
  EXPECT_EQ(run({"x"}, {7, {0.0, 0, 1.0}, 1, {}}).texts.at(0).text, all.substr(0, 7));
  // The end of the document: its logit raised above all others.
  ModelParam* head = nullptr;
  for (ModelParam& p : model_->store().params()) {
    if (p.name == "head.weight") head = &p;
  }
  ASSERT_NE(head, nullptr);
  const std::int64_t C = model_->config().hidden_size;
  std::fill_n(head->value.as<float>(), 258 * C, 0.0F);  // all alike: bos is the first, then eos
  const GeneratedText end = run({"x"}, {50, {1.0, 2, 1.0}, 3, {}}).texts.at(0);
  EXPECT_EQ(end.end, TextEnd::kEndOfDocument);
  EXPECT_LT(end.tokens, 50);
}

}  // namespace
}  // namespace shoal
