// Decoding from a cache has the bits of the whole forward, however the tokens come.
#include "layers/decode/decode.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "autograd/kernels/gemm.h"
#include "tests/support/heap_count.h"
#include "tests/support/tiny_model.h"

namespace shoal::testing {
namespace {

using ::testing::HasSubstr;

std::vector<float> copy_of(const Tensor& t) {
  return {t.as<float>(), t.as<float>() + t.shape.numel()};
}

// Every kind of attention layer, every kind of feed-forward.
ModelConfig hybrid_config() {
  ModelConfig c = tiny_config();
  c.layer_types = {AttentionKind::kSliding, AttentionKind::kCompressedSparse,
                   AttentionKind::kHeavilyCompressed, AttentionKind::kCompressedSparse,
                   AttentionKind::kFull};
  c.mlp_layer_types = {FeedForwardKind::kHashMoe, FeedForwardKind::kMoe, FeedForwardKind::kDense,
                       FeedForwardKind::kMoe, FeedForwardKind::kMoe};
  c.compress_rate_csa = 4;
  c.compress_rate_hca = 7;
  c.index_n_heads = 3;
  c.index_head_dim = 9;
  c.index_topk = 3;
  return c;
}

class Decode : public ::testing::Test {
 protected:
  // Thousands of short regions: threads that meet in each would mostly wait on a busy machine.
  Decode() { set_thread_count(1); }

  struct Whole {
    std::vector<float> streams, logits;
  };
  Whole whole(const Document& tokens, IndexerMode mode) {
    const Model::Activations a = model_->activations(
        tape_, pack(static_cast<std::int64_t>(tokens.size()) - 1, {{tokens}}), false, mode);
    Whole out{copy_of(a.streams.back()), copy_of(a.logits)};
    tape_.end_microbatch();
    return out;
  }
  // The documents' rows in the order of the calls, each call with `next(sequence, left)` tokens of
  // every sequence that has some left. Documents hold one token more than is read.
  template <class Next>
  void expect_equal(const std::vector<Document>& documents, IndexerMode mode, const Next& next) {
    std::vector<Whole> wholes;
    std::vector<SequenceCache> caches;
    for (const Document& d : documents) {
      wholes.push_back(whole(d, mode));
      caches.emplace_back(*model_, mode, static_cast<std::int64_t>(d.size()) / 2);
    }
    const std::int64_t V = config_.vocab_size;
    for (bool any = true; any;) {
      std::vector<DecodeChunk> chunks;
      std::vector<std::size_t> who;
      std::vector<std::int64_t> from;
      for (std::size_t s = 0; s < documents.size(); ++s) {
        const std::int64_t read = caches[s].length();
        const std::int64_t left = static_cast<std::int64_t>(documents[s].size()) - 1 - read;
        const std::int64_t n = std::min<std::int64_t>(left, next(s, left));
        if (n <= 0) continue;
        chunks.push_back({&caches[s], std::span(documents[s])
                                          .subspan(static_cast<std::size_t>(read),
                                                   static_cast<std::size_t>(n))});
        who.push_back(s);
        from.push_back(read);
      }
      any = !chunks.empty();
      if (!any) break;
      const bool streams = config_.residual != ResidualKind::kPlain || chunks.size() % 2 == 0;
      const Tensor y =
          streams ? decode_streams(*model_, tape_, chunks) : decode(*model_, tape_, chunks);
      const std::int64_t width = y.shape.numel() / y.shape[0];
      std::int64_t row = 0;
      for (std::size_t i = 0; i < chunks.size(); ++i) {
        const auto n = static_cast<std::int64_t>(chunks[i].tokens.size());
        const Whole& w = wholes[who[i]];
        const float* expected =
            streams ? w.streams.data() + from[i] * width : w.logits.data() + (from[i] + n - 1) * V;
        const std::int64_t rows = streams ? n : 1;
        ASSERT_EQ(std::memcmp(y.as<float>() + row * width, expected,
                              static_cast<std::size_t>(rows * width) * sizeof(float)),
                  0)
            << "sequence " << who[i] << ", tokens " << from[i] << " + " << n;
        row += rows;
      }
      if (streams) {
        const Tensor logits = model_->logits(tape_, y);
        row = 0;
        for (std::size_t i = 0; i < chunks.size(); ++i) {
          const auto n = static_cast<std::int64_t>(chunks[i].tokens.size());
          ASSERT_EQ(std::memcmp(logits.row(row), wholes[who[i]].logits.data() + from[i] * V,
                                static_cast<std::size_t>(n * V) * sizeof(float)),
                    0)
              << "logits of sequence " << who[i] << ", tokens " << from[i] << " + " << n;
          row += n;
        }
      }
      tape_.end_microbatch();
    }
    for (std::size_t s = 0; s < documents.size(); ++s) {
      EXPECT_EQ(caches[s].length() + 1, static_cast<std::int64_t>(documents[s].size()));
    }
  }
  void use(const ModelConfig& config, std::uint64_t seed = 1) {
    config_ = config;
    model_ = random_model(config, seed);
  }
  Document document(std::int64_t length, std::uint64_t seed) const {
    return random_document(length, config_.vocab_size, seed);
  }

  ModelConfig config_ = hybrid_config();
  std::unique_ptr<Model> model_ = random_model(config_);
  Tape tape_{{std::size_t{1} << 33, std::size_t{1} << 30}};
};

TEST_F(Decode, AnyPiecesEqualTheWholeForward) {
  const Document d = document(67, 1);
  for (const IndexerMode mode : {IndexerMode::kSparse, IndexerMode::kWarmup, IndexerMode::kDense}) {
    for (const std::int64_t piece : {1, 2, 3, 4, 5, 7, 8, 13, 28, 66, 67}) {
      SCOPED_TRACE(concat(name_of(mode), ", pieces of ", piece));
      expect_equal({d}, mode, [&](std::size_t, std::int64_t) { return piece; });
    }
  }
  // A prompt, then token by token; and any pieces at all.
  expect_equal({d}, IndexerMode::kSparse,
               [&](std::size_t, std::int64_t left) { return left == 67 ? 41 : 1; });
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    const Rng rng(seed, Purpose::kTest);
    std::uint64_t draw = 0;
    expect_equal({d}, IndexerMode::kSparse, [&](std::size_t, std::int64_t) {
      return 1 + static_cast<std::int64_t>(rng.below(draw++, 20));
    });
  }
}

TEST_F(Decode, SeveralSequencesShareACall) {
  const std::vector<Document> documents = {document(50, 2), document(1, 3), document(33, 4),
                                           document(50, 5)};
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    const Rng rng(seed, Purpose::kTest);
    std::uint64_t draw = 0;
    // Some calls leave a sequence out.
    expect_equal(documents, IndexerMode::kSparse, [&](std::size_t s, std::int64_t left) {
      const auto n = static_cast<std::int64_t>(rng.below(draw++, 9));
      return s == 0 && left > 0 ? std::max<std::int64_t>(n, 1) : n;
    });
    if (HasFatalFailure()) return;
  }
}

TEST_F(Decode, EveryResidualFeedForwardAndKernel) {
  for (const ResidualKind residual :
       {ResidualKind::kManifold, ResidualKind::kHyper, ResidualKind::kPlain}) {
    for (const RouterScore score :
         {RouterScore::kSqrtSoftplus, RouterScore::kSigmoid, RouterScore::kSoftmax}) {
      for (const bool wide : {true, false}) {
        SCOPED_TRACE(concat(name_of(residual), ", ", name_of(score), wide ? ", wide" : ""));
        ModelConfig c = hybrid_config();
        c.residual = residual;
        c.scoring_func = score;
        use(c, 7);
        use_wide_gemm(wide);
        expect_equal({document(31, 6)}, IndexerMode::kSparse,
                     [](std::size_t, std::int64_t left) { return left > 12 ? 9 : 1; });
        use_wide_gemm(true);
      }
    }
  }
}

// The indexers' keys lie packed in the cache; the training forward packs them anew. Heads of whole
// blocks, of several and of a short one.
TEST_F(Decode, FewerBits) {
  for (const std::int64_t width : {8, 32, 64}) {
    ModelConfig c = hybrid_config();
    c.head_dim = 80;  // more than a block of FP8 without the rotary dimensions
    c.index_head_dim = width;
    use(c, static_cast<std::uint64_t>(width));
    const Whole exact = whole(document(67, 1), IndexerMode::kSparse);
    for (const Precision& precision :
         {Precision{.fp4_experts = true}, Precision{.fp4_indexer = true}, Precision{.fp8_kv = true},
          Precision{true, true, true}}) {
      for (const bool wide : {true, false}) {
        SCOPED_TRACE(concat("index heads of ", width, ", ", precision.fp4_experts, " ",
                            precision.fp4_indexer, " ", precision.fp8_kv));
        use_wide_gemm(wide);
        model_->set_precision(precision);
        EXPECT_NE(whole(document(67, 1), IndexerMode::kSparse).logits, exact.logits);
        for (const std::int64_t piece : {1, 5, 67}) {
          expect_equal({document(67, 1), document(40, 2)}, IndexerMode::kSparse,
                       [&](std::size_t, std::int64_t) { return piece; });
        }
        use_wide_gemm(true);
      }
    }
    model_->set_precision({});
    EXPECT_EQ(whole(document(67, 1), IndexerMode::kSparse).logits, exact.logits);
  }
}

TEST_F(Decode, APackedIndexKeyOf128Takes68Bytes) {
  ModelConfig c = hybrid_config();
  c.index_head_dim = 128;
  use(c);
  const Document d = document(161, 1);
  std::size_t bytes[2];
  for (const bool fp4 : {false, true}) {
    model_->set_precision({.fp4_indexer = fp4});
    SequenceCache cache(*model_, IndexerMode::kSparse, 160);
    const DecodeChunk chunk{&cache, std::span(d).first(160)};
    decode(*model_, tape_, std::span(&chunk, 1));
    tape_.end_microbatch();
    bytes[fp4 ? 1 : 0] = cache.bytes();
  }
  // Two CSA layers, 40 entries each.
  EXPECT_EQ(bytes[0] - bytes[1], 2U * 40 * (128 * sizeof(float) - 68));
}

// Windows of one token and of more than a document; an overlap that reaches over pieces; blocks
// longer than documents.
TEST_F(Decode, OddSizes) {
  for (const std::int64_t window : {1, 2, 100}) {
    for (const std::int64_t rate : {2, 3, 16, 90}) {
      SCOPED_TRACE(concat("window ", window, ", rate ", rate));
      ModelConfig c = hybrid_config();
      c.sliding_window = window;
      c.compress_rate_csa = rate;
      c.compress_rate_hca = 2 * rate;
      use(c, 3);
      for (const std::int64_t piece : {1, 6, 33}) {
        expect_equal({document(70, 8)}, IndexerMode::kSparse,
                     [&](std::size_t, std::int64_t) { return piece; });
      }
    }
  }
}

TEST_F(Decode, FourThousandTokens) {
  ModelConfig c = hybrid_config();
  c.layer_types = {AttentionKind::kSliding, AttentionKind::kCompressedSparse,
                   AttentionKind::kHeavilyCompressed, AttentionKind::kFull};
  c.mlp_layer_types = {FeedForwardKind::kHashMoe, FeedForwardKind::kMoe, FeedForwardKind::kMoe,
                       FeedForwardKind::kDense};
  c.sliding_window = 64;
  c.compress_rate_hca = 128;
  c.index_topk = 64;
  use(c);
  const Document d = document(4096, 9);
  expect_equal({d}, IndexerMode::kSparse,
               [](std::size_t, std::int64_t left) { return left > 130 ? 512 : 1; });
  set_thread_count(2);
  expect_equal({d}, IndexerMode::kSparse,
               [](std::size_t, std::int64_t left) { return left > 3 ? 331 : 1; });
}

// A warm sequence takes nothing from the heap, and its cache grows by what spec 11.1 says.
TEST_F(Decode, NoHeapCallsAndFewBytes) {
  const Document d = document(400, 10);
  SequenceCache cache(*model_, IndexerMode::kSparse, 400);
  model_->ropes(400);
  std::vector<std::size_t> bytes;
  bytes.reserve(400);
  long warm = 0;
  for (std::size_t i = 0; i < 400; ++i) {
    const DecodeChunk chunk{&cache, std::span(d).subspan(i, 1)};
    decode(*model_, tape_, std::span(&chunk, 1));
    tape_.end_microbatch();
    if (i == 99) warm = heap_calls();
    if (i >= 99) bytes.push_back(cache.bytes());
  }
  if (heap_is_counted()) {
    EXPECT_EQ(heap_calls(), warm);
  }
  // 100 to 380 tokens: both complete a block of CSA and of HCA.
  const auto floats = [&](std::int64_t tokens) {
    const std::int64_t D = config_.head_dim, I = config_.index_head_dim;
    const std::int64_t sparse = tokens / 4 * (D + I) + (tokens % 4 + 4) * 4 * (D + I);
    const std::int64_t heavy = tokens / 7 * D + tokens % 7 * 2 * D;
    return 4 * (config_.sliding_window - 1) * D + tokens * D + 2 * sparse + heavy;
  };
  for (const std::int64_t tokens : {100, 101, 103, 250, 399, 400}) {
    EXPECT_EQ(bytes[static_cast<std::size_t>(tokens - 100)],
              static_cast<std::size_t>(floats(tokens)) * sizeof(float))
        << tokens;
  }
  EXPECT_EQ(raw_cache_bytes(model_->config(), 400), 5U * 400 * 11 * 4);
  EXPECT_EQ(multi_head_cache_bytes(model_->config(), 400), 5U * 400 * 11 * 4 * 12);
}

TEST_F(Decode, CallersMistakes) {
  ModelConfig c = hybrid_config();
  c.max_position_embeddings = 9;
  use(c);
  const Document d = document(9, 11);
  SequenceCache cache(*model_, IndexerMode::kSparse, 9), dense(*model_, IndexerMode::kDense, 9);
  const auto message = [&](std::vector<DecodeChunk> chunks) {
    try {
      decode(*model_, tape_, chunks);
    } catch (const Error& error) {
      tape_.end_microbatch();
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(message({{&cache, d}}), HasSubstr("9 positions"));
  EXPECT_THAT(message({}), HasSubstr("no sequence"));
  EXPECT_THAT(message({{&cache, {}}}), HasSubstr("has no tokens"));
  const std::span<const std::int32_t> two = std::span(d).first(2);
  EXPECT_THAT(message({{&cache, two}, {&cache, two}}), HasSubstr("sequence 1 is also sequence 0"));
  EXPECT_THAT(message({{&cache, two}, {&dense, two}}), HasSubstr("different indexer stages"));
}

}  // namespace
}  // namespace shoal::testing
