// Equal bits: what an output may not depend on.
#include <gtest/gtest.h>

#include <algorithm>
#include <span>

#include "autograd/kernels/gemm.h"
#include "layers/objective/next_token.h"
#include "layers/statistics.h"
#include "tests/optim/testing.h"
#include "tests/support/tiny_model.h"

namespace shoal::testing {
namespace {

constexpr std::int64_t kT = 43;  // more than one block of attention rows

struct Logits {
  std::int64_t V;
  std::vector<float> main, mtp;
  std::vector<std::vector<float>> streams;
  std::span<const float> row(std::int64_t n) const { return slice(main, n); }
  std::span<const float> mtp_row(std::int64_t n) const { return slice(mtp, n); }

 private:
  std::span<const float> slice(const std::vector<float>& all, std::int64_t n) const {
    return std::span(all).subspan(static_cast<std::size_t>(n * V), static_cast<std::size_t>(V));
  }
};

std::vector<float> copy_of(const Tensor& t) {
  return {t.as<float>(), t.as<float>() + t.shape.numel()};
}

class InvarianceBase {
 protected:
  Logits run(const Batch& batch) {
    const Model::Activations a = model_->activations(tape_, batch, true);
    Logits out{config_.vocab_size, copy_of(a.logits), copy_of(a.mtp_logits), {}};
    for (const Tensor& X : a.streams) out.streams.push_back(copy_of(X));
    tape_.end_microbatch();
    return out;
  }
  Document document(std::int64_t length, std::uint64_t seed) const {
    return random_document(length, config_.vocab_size, seed);
  }
  static bool equal(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
  }
  // Rows [from, from + rows) of `a` are rows [to, to + rows) of `b`, bit for bit, MTP included. The
  // last row of MTP reads the document's last target, so it counts too.
  static void expect_rows(const Logits& a, std::int64_t from, const Logits& b, std::int64_t to,
                          std::int64_t rows) {
    for (std::int64_t i = 0; i < rows; ++i) {
      EXPECT_TRUE(equal(a.row(from + i), b.row(to + i))) << "row " << i;
      EXPECT_TRUE(equal(a.mtp_row(from + i), b.mtp_row(to + i))) << "MTP row " << i;
    }
  }

  static ModelConfig window_layers() {
    ModelConfig c = tiny_config();
    c.hc_mult = 4;
    c.sliding_window = 36;  // crosses the border of attention blocks
    return c;
  }

  ModelConfig config_ = window_layers();
  std::unique_ptr<Model> model_;
  Tape tape_{{std::size_t{1} << 30, std::size_t{1} << 30}};
};

class Invariance : public InvarianceBase, public ::testing::TestWithParam<bool> {
 protected:
  Invariance() {
    if (GetParam()) config_ = hybrid_config();
    model_ = random_model(config_);
  }
};
INSTANTIATE_TEST_SUITE_P(Models, Invariance, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "Hybrid" : "Window"; });

TEST_P(Invariance, ATokenChangesNothingBeforeIt) {
  const Document tokens = document(kT, 1);
  const Logits before = run(pack(kT, {{tokens}}));
  const std::int64_t V = config_.vocab_size;
  for (std::int64_t t = 0; t <= kT; ++t) {
    Document changed = tokens;
    auto& token = changed[static_cast<std::size_t>(t)];
    token = static_cast<std::int32_t>((token + 1 + t % (V - 1)) % V);
    const Logits after = run(pack(kT, {{changed}}));
    for (std::int64_t n = 0; n < kT; ++n) {
      // Row n has read token n; MTP's has read token n + 1 too.
      ASSERT_EQ(equal(before.row(n), after.row(n)), n < t) << n << " of " << t;
      if (n + 1 < t) {
        ASSERT_TRUE(equal(before.mtp_row(n), after.mtp_row(n))) << "MTP " << n << " of " << t;
      }
    }
    if (t >= 1) {
      EXPECT_FALSE(equal(before.mtp_row(t - 1), after.mtp_row(t - 1))) << t;
    }
    // The streams before any layer and after each.
    const std::int64_t width = config_.hc_mult * config_.hidden_size;
    for (std::size_t l = 0; l < before.streams.size(); ++l) {
      const auto size = static_cast<std::size_t>(std::min(t, kT) * width);
      ASSERT_TRUE(
          equal(std::span(before.streams[l]).first(size), std::span(after.streams[l]).first(size)))
          << "streams " << l << " of " << t;
    }
  }
}

TEST_P(Invariance, ADocumentDoesNotSeeItsNeighbours) {
  for (const std::int64_t length : {1, 2, 7, 13}) {
    const Document d = document(length, 5);
    const Logits alone = run(pack(length, {{d}}));
    for (std::int64_t before = 1; before <= kT - length; before += 4) {
      for (const std::uint64_t seed : {6U, 7U}) {
        SCOPED_TRACE(concat(length, " tokens after ", before));
        std::vector<Document> sequence{document(before, seed), d};
        const std::int64_t rest = kT - before - length;
        if (rest > 3) sequence.push_back(document(rest - 3, seed + 9));  // the last 3: padding
        expect_rows(alone, 0, run(pack(kT, {sequence})), before, length);
      }
    }
  }
}

TEST_P(Invariance, ASequenceDoesNotSeeItsMicroBatch) {
  std::vector<std::vector<Document>> sequences;
  std::vector<Logits> alone;
  for (std::uint64_t b = 0; b < 5; ++b) {
    sequences.push_back({document(17, 20 + b), document(3 + static_cast<std::int64_t>(b), 30 + b)});
    alone.push_back(run(pack(kT, {sequences.back()})));
  }
  for (std::size_t B = 2; B <= 5; ++B) {
    for (std::size_t first = 0; first + B <= 5; ++first) {
      const Logits together =
          run(pack(kT, {sequences.begin() + static_cast<std::ptrdiff_t>(first),
                        sequences.begin() + static_cast<std::ptrdiff_t>(first + B)}));
      for (std::size_t b = 0; b < B; ++b) {
        SCOPED_TRACE(concat("sequence ", b, " of ", B));
        expect_rows(alone[first + b], 0, together, static_cast<std::int64_t>(b) * kT, kT);
      }
    }
  }
}

// Generation asks for single rows.
TEST_P(Invariance, ChosenRowsEqualTheWholeForward) {
  const Batch batch = pack(kT, {{document(kT, 3)}, {document(20, 4)}});
  const Logits all = run(batch);
  const std::vector<std::int64_t> rows{kT + 19, 0, 42, 17};
  const Hidden hidden = model_->forward(tape_, batch, {});
  const Tensor some = model_->logits_of_rows(tape_, hidden.X, rows);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const float* row = some.row(static_cast<std::int64_t>(i));
    EXPECT_TRUE(equal({row, static_cast<std::size_t>(all.V)}, all.row(rows[i])));
  }
  tape_.end_microbatch();
}

// The whole vocabulary in slices of logits, and every kernel width.
TEST_P(Invariance, OtherKernelsAndResiduals) {
  for (const ResidualKind residual :
       {ResidualKind::kManifold, ResidualKind::kHyper, ResidualKind::kPlain}) {
    for (const RouterScore score : {RouterScore::kSigmoid, RouterScore::kSoftmax}) {
      ModelConfig config = config_;
      config.residual = residual;
      config.scoring_func = score;
      config.mlp_layer_types.assign(config.layer_types.size(), FeedForwardKind::kMoe);
      config.mlp_layer_types[0] = FeedForwardKind::kDense;
      model_ = random_model(config, 4);
      const Document d = document(11, 8);
      const Logits alone = run(pack(11, {{d}}));
      expect_rows(alone, 0, run(pack(30, {{document(9, 1)}, {document(8, 2), d}})), 38, 11);
      use_wide_gemm(false);
      expect_rows(alone, 0, run(pack(30, {{document(9, 1)}, {document(8, 2), d}})), 38, 11);
      use_wide_gemm(true);
    }
  }
}

class HybridInvariance : public InvarianceBase, public ::testing::Test {
 protected:
  HybridInvariance() { config_ = hybrid_config(); }

  // Every gradient after a micro-batch, zeros where none came, and the losses.
  struct Step {
    std::vector<float> gradients;
    float total = 0, ce = 0, index_kl = 0;
    std::vector<IndexSums> index;
  };
  struct Mode {
    bool recompute;
    IndexerMode indexer;
  };
  Step step(Model& model, const Batch& batch, double index_kl, const Mode& mode) {
    Step out;
    out.gradients.resize(static_cast<std::size_t>(model.store().flat_size()));
    model.store().bind_grads(out.gradients.data());
    ModelStats stats = make_stats(model);
    Hidden hidden = model.forward(tape_, batch, {mode.recompute, {mode.indexer, index_kl != 0.0}});
    const Loss loss =
        NextToken().loss(tape_, model, hidden, {0.02, 0.01, index_kl},
                         {.rows = 1, .targets = 20, .mtp_targets = 1, .sequences = 1});
    add(stats, hidden);
    out.total = *loss.total.as<float>();
    out.ce = *loss.sums.ce.as<float>();
    out.index_kl = loss.sums.index_kl ? *loss.sums.index_kl.as<float>() : 0.0F;
    for (const BlockStats& s : stats) out.index.push_back(s.index);
    tape_.backward(loss.total);
    tape_.end_microbatch();
    for (ModelParam& p : model.store().params()) {
      if (!p.grad_written) std::fill_n(p.grad.as<float>(), p.grad.shape.numel(), 0.0F);
    }
    return out;
  }
  static std::span<const float> of(const Step& s, const ModelParam& p) {
    return std::span(s.gradients)
        .subspan(static_cast<std::size_t>(p.offset),
                 static_cast<std::size_t>(p.value.shape.numel()));
  }
  static bool all_zero(std::span<const float> x) {
    return std::all_of(x.begin(), x.end(), [](float v) { return v == 0.0F; });
  }
  Batch batch() const {
    return pack(kT, {{document(kT, 1)}, {document(13, 2), document(1, 3), document(22, 4)}});
  }
};

// The published rates: every place of a token within a block of 128, each kind of layer alone
// before the heads.
TEST_F(HybridInvariance, ATokenChangesNothingBeforeItAtThePublishedRates) {
  constexpr std::int64_t T = 261, kRate = 128;
  for (const AttentionKind kind : {AttentionKind::kSliding, AttentionKind::kCompressedSparse,
                                   AttentionKind::kHeavilyCompressed, AttentionKind::kFull}) {
    SCOPED_TRACE(name_of(kind));
    config_ = hybrid_config();
    config_.hidden_size = 8;
    config_.moe_intermediate_size = 3;
    config_.hc_mult = 2;
    config_.compress_rate_csa = 4;
    config_.compress_rate_hca = kRate;
    config_.index_topk = 5;
    config_.sliding_window = 128;
    config_.layer_types = {kind};
    config_.mlp_layer_types = {FeedForwardKind::kMoe};
    model_ = random_model(config_, 3);
    const Document tokens = document(T, 1);
    const Logits before = run(pack(T, {{tokens}}));
    for (std::int64_t t = kRate; t < 2 * kRate; ++t) {
      Document changed = tokens;
      auto& token = changed[static_cast<std::size_t>(t)];
      token = static_cast<std::int32_t>((token + 1) % config_.vocab_size);
      const Logits after = run(pack(T, {{changed}}));
      const auto rows = static_cast<std::size_t>(t * config_.vocab_size);
      ASSERT_TRUE(equal(std::span(before.main).first(rows), std::span(after.main).first(rows)));
      ASSERT_FALSE(equal(before.row(t), after.row(t))) << t;
      // MTP's row n has read token n + 1.
      const auto mtp_rows = static_cast<std::size_t>((t - 1) * config_.vocab_size);
      ASSERT_TRUE(
          equal(std::span(before.mtp).first(mtp_rows), std::span(after.mtp).first(mtp_rows)));
      ASSERT_FALSE(equal(before.mtp_row(t - 1), after.mtp_row(t - 1))) << t;
      // The last row still hears of it.
      ASSERT_FALSE(equal(before.row(T - 1), after.row(T - 1)) && kind != AttentionKind::kSliding &&
                   kind != AttentionKind::kCompressedSparse)
          << t;
    }
  }
}

// The index loss and what it moves stay apart from everything else.
TEST_F(HybridInvariance, TheIndexLossMovesTheIndexersAlone) {
  model_ = random_model(config_);
  for (const bool recompute : {false, true}) {
    const Mode mode{recompute, IndexerMode::kSparse};
    const Step without = step(*model_, batch(), 0.0, mode),
               with = step(*model_, batch(), 1.0, mode);
    const Step twice = step(*model_, batch(), 2.0, mode);
    EXPECT_EQ(without.ce, with.ce);
    EXPECT_EQ(without.index_kl, 0.0F);
    EXPECT_GT(with.index_kl, 0.0F);
    int indexers = 0;
    for (const ModelParam& p : model_->store().params()) {
      if (p.group == ParamGroup::kIndexer) {
        ++indexers;
        EXPECT_TRUE(all_zero(of(without, p))) << p.name;
        EXPECT_FALSE(all_zero(of(with, p))) << p.name;
        for (std::size_t i = 0; i < of(with, p).size(); ++i) {
          ASSERT_EQ(of(twice, p)[i], 2.0F * of(with, p)[i]) << p.name;
        }
      } else {
        EXPECT_FALSE(all_zero(of(without, p))) << p.name;
        EXPECT_TRUE(equal(of(without, p), of(with, p))) << p.name;
      }
    }
    EXPECT_EQ(indexers, 2 * 5);
  }
}

// Where top-k covers all entries, choosing changes nothing.
TEST_F(HybridInvariance, SparseEqualsDenseWhereAllEntriesAreChosen) {
  config_.index_topk = kT / config_.compress_rate_csa;
  model_ = random_model(config_);
  const Batch b = batch();
  const Step sparse = step(*model_, b, 1.0, {false, IndexerMode::kSparse});
  const Step dense = step(*model_, b, 1.0, {false, IndexerMode::kDense});
  const Step warmup = step(*model_, b, 1.0, {false, IndexerMode::kWarmup});
  EXPECT_EQ(sparse.ce, dense.ce);
  EXPECT_EQ(sparse.ce, warmup.ce);
  EXPECT_EQ(dense.index_kl, 0.0F);
  EXPECT_EQ(sparse.index_kl, warmup.index_kl);
  for (const ModelParam& p : model_->store().params()) {
    if (p.group == ParamGroup::kIndexer) {
      EXPECT_TRUE(equal(of(sparse, p), of(warmup, p))) << p.name;
      EXPECT_TRUE(all_zero(of(dense, p))) << p.name;
    } else {
      EXPECT_TRUE(equal(of(sparse, p), of(dense, p))) << p.name;
      // The embedding is on the tape, but nothing reaches it.
      EXPECT_TRUE(all_zero(of(warmup, p))) << p.name;
    }
  }
}

// One entry too many for the last rows alone: the others look at all of theirs through a list.
TEST_F(HybridInvariance, AListOfAllEqualsLookingAtAll) {
  config_.index_topk = kT / config_.compress_rate_csa - 1;
  model_ = random_model(config_);
  const Batch b = pack(kT, {{document(kT, 1)}});
  const auto logits = [&](IndexerMode mode) {
    const Model::Activations a = model_->activations(tape_, b, false, mode);
    EXPECT_EQ(static_cast<bool>(a.chosen[1]), mode == IndexerMode::kSparse);
    EXPECT_FALSE(static_cast<bool>(a.chosen[2]));
    std::vector<float> copy = copy_of(a.logits);
    tape_.end_microbatch();
    return copy;
  };
  const std::vector<float> sparse = logits(IndexerMode::kSparse);
  const std::vector<float> dense = logits(IndexerMode::kDense);
  const std::int64_t same = kT / config_.compress_rate_csa * config_.compress_rate_csa - 1;
  const auto size = static_cast<std::size_t>(same * config_.vocab_size);
  EXPECT_TRUE(equal(std::span(sparse).first(size), std::span(dense).first(size)));
  EXPECT_FALSE(equal(std::span(sparse).subspan(size), std::span(dense).subspan(size)));
}

TEST_F(HybridInvariance, RecomputeAndThreadsAndKernelsChangeNoBit) {
  model_ = random_model(config_);
  for (const IndexerMode mode : {IndexerMode::kSparse, IndexerMode::kWarmup, IndexerMode::kDense}) {
    SCOPED_TRACE(name_of(mode));
    const Step want = step(*model_, batch(), 0.3, {false, mode});
    const auto same = [&](const Step& got) {
      EXPECT_EQ(got.total, want.total);
      EXPECT_EQ(got.index_kl, want.index_kl);
      EXPECT_TRUE(equal(got.gradients, want.gradients));
      for (std::size_t l = 0; l < want.index.size(); ++l) {
        EXPECT_EQ(got.index[l].kl, want.index[l].kl);
        EXPECT_EQ(got.index[l].uniform, want.index[l].uniform);
      }
    };
    EXPECT_EQ(want.index[1].kl > 0.0, mode != IndexerMode::kDense);
    EXPECT_GE(want.index[1].uniform, 0.0);
    EXPECT_EQ(want.index[2].kl, 0.0);  // HCA has no indexer
    same(step(*model_, batch(), 0.3, {true, mode}));
    for_thread_counts([&](int) {
      same(step(*model_, batch(), 0.3, {false, mode}));
      same(step(*model_, batch(), 0.3, {true, mode}));
    });
    use_wide_gemm(false);
    same(step(*model_, batch(), 0.3, {false, mode}));
    use_wide_gemm(true);
  }
}

// What indexers chose: entries of the own document whose block has ended, as many as there are up
// to k, rising.
TEST_F(HybridInvariance, ChosenEntriesAreVisibleOnes) {
  model_ = random_model(config_);
  const Batch b = batch();
  const Model::Activations a = model_->activations(tape_, b, false);
  for (const std::size_t layer : {1U, 4U}) {
    const Tensor& chosen = a.chosen[layer];
    ASSERT_EQ(chosen.shape, (Shape{2 * kT, config_.index_topk}));
    for (std::int64_t n = 0; n < 2 * kT; ++n) {
      const std::int64_t position = n - b.first[static_cast<std::size_t>(n)];
      const std::int64_t visible = (position + 1) / config_.compress_rate_csa;
      EXPECT_EQ(a.sparse.count.as<std::int32_t>()[n], visible);
      const std::int32_t begin = a.sparse.begin.as<std::int32_t>()[n];
      std::int64_t last = begin - 1;
      for (std::int64_t i = 0; i < config_.index_topk; ++i) {
        const std::int32_t entry = chosen.as<std::int32_t>()[n * config_.index_topk + i];
        if (i >= visible) {
          EXPECT_EQ(entry, -1);
          continue;
        }
        EXPECT_GT(entry, last);
        EXPECT_LT(entry, begin + visible);
        last = entry;
        // Its block begins in the own document.
        const std::int32_t own = a.sparse.rows.own_row.as<std::int32_t>()[entry];
        EXPECT_GE(own, b.first[static_cast<std::size_t>(n)]);
        EXPECT_LE(own + config_.compress_rate_csa - 1, n);
      }
    }
  }
  tape_.end_microbatch();
}

}  // namespace
}  // namespace shoal::testing
