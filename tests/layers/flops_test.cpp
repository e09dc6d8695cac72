// step_flops against what the ops of the same step report, one by one.
#include "layers/flops.h"

#include <gtest/gtest.h>

#include "autograd/base/flop_count.h"
#include "layers/objective/next_token.h"
#include "tests/support/paths.h"
#include "tests/support/tiny_model.h"
#include "train/config/load_config.h"
#include "train/run/memory_estimate.h"

namespace shoal::testing {
namespace {

// A dry run: shapes and what a row sees are all that counts.
double ops_report(ModelConfig config, const StepParts& parts, const Batch& batch) {
  config.finish("flops_test");
  Model model(config);
  model.allocate();
  Tape tape({.dry = true});
  const FlopCount flops;
  LossWeights weights{{}, 0.1, parts.indexer.learns ? 0.5 : 0.0};
  if (parts.mtp) weights.mtp = 0.3;
  Hidden hidden = model.forward(tape, batch, {.indexer = parts.indexer});
  const Loss loss = NextToken().loss(tape, model, hidden, weights, count({&batch, 1}));
  if (loss.total.id != kConstant) tape.backward(loss.total);
  return flops.flops();
}

// Two documents of 23 and 17 in one sequence, one of 40 in another: no padding.
Batch packed(std::int64_t vocab) {
  return pack(40, {{random_document(23, vocab, 1), random_document(17, vocab, 2)},
                   {random_document(40, vocab, 3)}});
}

// The loss counts the last three rows of each document alone (loss_on: answer).
Batch asking(std::int64_t vocab) {
  Batch batch = packed(vocab);
  batch.roles.assign(batch.tokens.size(), RowRole::kContext);
  for (const std::size_t end : {23U, 40U, 80U}) {
    for (std::size_t n = end - 3; n < end; ++n) batch.roles[n] = RowRole::kAnswer;
  }
  for (std::size_t n = 0; n < batch.tokens.size(); ++n) {
    if (batch.roles[n] == RowRole::kContext) batch.targets[n] = -1;
  }
  return batch;
}

void expect_equal(const ModelConfig& config, const StepParts& parts, const Batch& batch) {
  const double got = step_flops(config, parts, batch), want = ops_report(config, parts, batch);
  EXPECT_NEAR(got, want, 1e-9 * want);
}

TEST(Flops, AreThoseThatTheOpsReport) {
  const ModelConfig hybrid = hybrid_config();
  ModelConfig plain = hybrid, dense = hybrid, all_full = hybrid, one_shared = hybrid;
  plain.residual = ResidualKind::kPlain;
  dense.mlp_layer_types.assign(5, FeedForwardKind::kDense);
  dense.intermediate_size = 31;
  all_full.layer_types.assign(5, AttentionKind::kFull);
  one_shared.n_shared_experts = 0;
  for (const ModelConfig& config : {tiny_config(), hybrid, plain, dense, all_full, one_shared}) {
    for (const bool mtp : {false, true}) {
      for (const IndexerMode stage :
           {IndexerMode::kDense, IndexerMode::kWarmup, IndexerMode::kSparse}) {
        for (const bool learns : {false, true}) {
          SCOPED_TRACE(concat(config.layer_types.size(), " layers, ", name_of(stage),
                              mtp ? ", mtp" : "", learns ? ", index_kl" : ""));
          for (const Batch& batch : {packed(config.vocab_size), asking(config.vocab_size)}) {
            expect_equal(config, {{stage, learns}, mtp}, batch);
          }
        }
      }
    }
  }
}

// Whether scores are needed follows from how many entries the rows of a micro-batch see.
TEST(Flops, ScoresCountWhereThereIsAChoice) {
  ModelConfig config = hybrid_config();
  const auto V = config.vocab_size;
  const Batch batch = packed(V);  // at most 40 / 3 = 13 entries
  for (const std::int64_t top_k : {1, 2, 5, 7, 12, 13, 20}) {
    config.index_topk = top_k;
    for (const bool learns : {false, true}) {
      SCOPED_TRACE(concat("top ", top_k, learns ? ", learns" : ""));
      expect_equal(config, {{IndexerMode::kSparse, learns}, true}, batch);
    }
  }
  const auto flops = [&](std::int64_t top_k, IndexerMode stage) {
    config.index_topk = top_k;
    return step_flops(config, {{stage, false}, true}, batch);
  };
  EXPECT_EQ(flops(13, IndexerMode::kSparse), flops(13, IndexerMode::kDense));  // nobody is asked
  EXPECT_NE(flops(12, IndexerMode::kSparse), flops(12, IndexerMode::kDense));
}

TEST(Flops, WithoutMtpAreThoseOfAModelWithoutTheModule) {
  const ModelConfig with = hybrid_config();
  ModelConfig without = with;
  without.num_nextn_predict_layers = 0;
  const Batch batch = packed(with.vocab_size);
  const StepParts off{{IndexerMode::kSparse, true}, false};
  EXPECT_EQ(step_flops(with, off, batch), step_flops(without, off, batch));
  EXPECT_GT(step_flops(with, {off.indexer, true}, batch), step_flops(with, off, batch));
}

TEST(Flops, OfPaddingAreNone) {
  const ModelConfig config = hybrid_config();
  const auto V = config.vocab_size;
  const auto flops = [&](std::int64_t T) {
    return step_flops(config, {{IndexerMode::kSparse, true}, true},
                      pack(T, {{random_document(30, V, 1)}, {random_document(30, V, 2)}}));
  };
  EXPECT_EQ(flops(30), flops(47));
}

TEST(Flops, OfReplicasAreThoseThatTheOpsReport) {
  for (const char* name : {"tiny", "base", "small", "needle"}) {
    SCOPED_TRACE(name);
    const ModelConfig config = load_config(source_folder() + "/configs/replicas/" + name + ".yaml",
                                           {}, {.needs_data = false})
                                   .model;
    expect_equal(config, {{IndexerMode::kSparse, true}, true},
                 shape_batch(1, 1024, config.vocab_size, 1));
  }
}

}  // namespace
}  // namespace shoal::testing
