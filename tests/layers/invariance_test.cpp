// Equal bits: what an output may not depend on.
#include <gtest/gtest.h>

#include <algorithm>
#include <span>

#include "autograd/kernels/gemm.h"
#include "tests/layers/tiny_model.h"

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

class Invariance : public ::testing::Test {
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

  ModelConfig config_ = [] {
    ModelConfig c = tiny_config();
    c.hc_mult = 4;
    c.sliding_window = 36;  // crosses the border of attention blocks
    return c;
  }();
  std::unique_ptr<Model> model_ = random_model(config_);
  Tape tape_{{std::size_t{1} << 30, std::size_t{1} << 30}};
};

TEST_F(Invariance, ATokenChangesNothingBeforeIt) {
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

TEST_F(Invariance, ADocumentDoesNotSeeItsNeighbours) {
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

TEST_F(Invariance, ASequenceDoesNotSeeItsMicroBatch) {
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
TEST_F(Invariance, ChosenRowsEqualTheWholeForward) {
  const Batch batch = pack(kT, {{document(kT, 3)}, {document(20, 4)}});
  const Logits all = run(batch);
  const std::vector<std::int64_t> rows{kT + 19, 0, 42, 17};
  const Tensor some = model_->logits_of_rows(tape_, batch, rows);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const float* row = some.row(static_cast<std::int64_t>(i));
    EXPECT_TRUE(equal({row, static_cast<std::size_t>(all.V)}, all.row(rows[i])));
  }
  tape_.end_microbatch();
}

// The whole vocabulary in slices of logits, and every kernel width.
TEST_F(Invariance, OtherKernelsAndResiduals) {
  for (const ResidualKind residual :
       {ResidualKind::kManifold, ResidualKind::kHyper, ResidualKind::kPlain}) {
    for (const RouterScore score : {RouterScore::kSigmoid, RouterScore::kSoftmax}) {
      ModelConfig config = config_;
      config.residual = residual;
      config.scoring_func = score;
      config.mlp_layer_types = {FeedForwardKind::kDense, FeedForwardKind::kMoe};
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

}  // namespace
}  // namespace shoal::testing
