// The model against an independent double-precision reading of the specification: losses, and the
// gradient of every tensor along a random direction.
#include "layers/model.h"

#include <gtest/gtest.h>

#include "layers/objective/next_token.h"
#include "tests/layers/model_reference.h"
#include "tests/support/tiny_model.h"

namespace shoal::testing {
namespace {

// What multiplies each sum: weights over the counts of a step.
constexpr LossParts kFactors{0.05, 0.02, 0.4, 0.07};
const LossWeights kWeights{kFactors.mtp, kFactors.balance, kFactors.index_kl};
const StepCounts kCounts{.rows = 1, .targets = 20, .mtp_targets = 1, .sequences = 1};

Loss loss_of(Tape& tape, Model& model, const Batch& batch, IndexerMode mode) {
  Hidden hidden = model.forward(tape, batch, {.indexer = {mode, true}});
  return NextToken().loss(tape, model, hidden, kWeights, kCounts);
}

struct Case {
  const char* name;
  ModelConfig config;
  std::int64_t T;
  std::vector<std::vector<std::int64_t>> lengths;  // of the documents of each sequence
  IndexerMode mode = IndexerMode::kSparse;
  Precision precision = {};
};

std::vector<Case> cases() {
  std::vector<Case> all;
  all.push_back({"two sequences", tiny_config(), 12, {{12}, {12}}});
  all.push_back({"documents and padding", tiny_config(), 14, {{6, 1, 5}, {13}, {1, 2}}});
  all.push_back({"shorter than the window", tiny_config(), 4, {{4}, {3}}});
  all.push_back({"one token", tiny_config(), 1, {{1}}});
  {
    Case c{"small clamp, many experts, two of them used", tiny_config(), 7, {{7}}};
    c.config.swiglu_limit = 0.3;
    c.config.n_routed_experts = 17;
    c.config.num_experts_per_tok = 1;
    all.push_back(c);
  }
  {
    Case c{"no clamp, every expert chosen, no MTP", tiny_config(), 9, {{9}, {4, 4}}};
    c.config.swiglu_limit = 0.0;
    c.config.num_experts_per_tok = 5;
    c.config.num_nextn_predict_layers = 0;
    all.push_back(c);
  }
  {
    Case c{"widths of one", tiny_config(), 6, {{6}, {5}}};
    c.config.hidden_size = 1;
    c.config.num_attention_heads = c.config.o_groups = c.config.o_lora_rank = 1;
    c.config.head_dim = c.config.qk_rope_head_dim = 2;
    c.config.q_lora_rank = c.config.moe_intermediate_size = 1;
    c.config.n_routed_experts = c.config.num_experts_per_tok = 1;
    c.config.sliding_window = 1;
    all.push_back(c);
  }
  {
    Case c{"window across blocks of rows, other rotary base", tiny_config(), 75, {{75}}};
    c.config.sliding_window = 40;
    c.config.rope_main.theta = 50.0;
    c.config.layer_types.resize(1);
    c.config.mlp_layer_types = {FeedForwardKind::kMoe};
    all.push_back(c);
  }
  {
    Case c{"one group per head, many groups", tiny_config(), 5, {{5}}};
    c.config.num_attention_heads = c.config.o_groups = 70;
    c.config.head_dim = 4;
    c.config.qk_rope_head_dim = 4;
    c.config.o_lora_rank = 1;
    all.push_back(c);
  }
  const auto hybrid = [] {
    ModelConfig c = hybrid_config();
    c.hc_mult = 2;
    c.n_routed_experts = 3;
    return c;
  };
  all.push_back({"hybrid", hybrid(), 20, {{20}}});
  all.push_back({"hybrid, documents and padding", hybrid(), 19, {{3, 1, 13}, {2}, {8, 11}}});
  all.push_back({"hybrid, no entry anywhere", hybrid(), 2, {{2}, {1}}});
  all.push_back({"hybrid, dense mode", hybrid(), 17, {{17}}, IndexerMode::kDense});
  for (const std::int64_t rate : {4, 2}) {
    Case c{rate == 2 ? "hybrid, other rates" : "hybrid, top 1", hybrid(), 16, {{16}}};
    c.config.compress_rate_csa = rate;
    c.config.compress_rate_hca = 6 - rate;
    c.config.index_topk = rate == 2 ? 4 : 1;
    c.config.index_n_heads = 1;
    c.config.hidden_size = 17;
    c.config.layer_types = {AttentionKind::kHeavilyCompressed, AttentionKind::kCompressedSparse};
    c.config.mlp_layer_types.resize(2);
    all.push_back(c);
  }
  // Fewer bits, part by part and all together: index heads and rows of experts that are a block,
  // more than one, and less.
  for (const Precision& precision : {Precision{.fp4_experts = true}, Precision{.fp4_indexer = true},
                                     Precision{.fp8_kv = true}, Precision{true, true, true}}) {
    for (const std::int64_t width : {8, 32, 64}) {
      // Small: the more numbers, the likelier one lies so near a border that floats cross it.
      Case c{"hybrid, fewer bits", hybrid(), 13, {{13}}};
      c.config.index_head_dim = width;
      c.config.moe_intermediate_size = width + 3;
      c.config.head_dim = width + 20;
      c.precision = precision;
      if (precision.fp8_kv) {
        c.config.layer_types = {AttentionKind::kCompressedSparse};
        c.config.mlp_layer_types = {FeedForwardKind::kMoe};
        c.config.num_nextn_predict_layers = 0;
      }
      all.push_back(c);
    }
  }
  for (std::int64_t n = 1; n <= 8; ++n) {
    Case c{"streams", tiny_config(), 6, {{6}}};
    c.config.hc_mult = n;
    c.config.hc_sinkhorn_iters = n == 2 ? 1 : n == 5 ? 64 : 20;
    c.config.hc_eps = n == 6 ? 1e-2 : 1e-6;
    all.push_back(c);
  }
  return all;
}

std::string title(const Case& c) {
  return std::string(c.name) + ", " + std::to_string(c.config.hc_mult) + " streams";
}

double dot_of(const float* a, const std::vector<double>& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < b.size(); ++i) sum += a[i] * b[i];
  return sum;
}

TEST(Model, LossesAndGradientsEqualTheReference) {
  Tape tape({std::size_t{1} << 30, std::size_t{1} << 30});
  std::uint64_t seed = 100;
  for (const Case& c : cases()) {
    SCOPED_TRACE(title(c));
    const auto model = random_model(c.config, ++seed);
    std::vector<std::vector<Document>> sequences;
    for (const auto& lengths : c.lengths) {
      sequences.emplace_back();
      for (const std::int64_t length : lengths) {
        sequences.back().push_back(random_document(length, c.config.vocab_size, ++seed));
      }
    }
    const Batch batch = pack(c.T, sequences);
    std::vector<float> grads(static_cast<std::size_t>(model->store().flat_size()));
    model->store().bind_grads(grads.data());

    model->set_precision(c.precision);
    ModelReference reference(*model, c.mode, c.precision);
    const auto want = reference.losses(sequences);
    const Loss got = loss_of(tape, *model, batch, c.mode);
    EXPECT_NEAR(*got.sums.ce.as<float>(), want.ce, 2e-6 * want.ce);
    if (model->has_mtp()) {
      EXPECT_NEAR(*got.sums.mtp.as<float>(), want.mtp, 2e-6 * want.mtp);
    }
    EXPECT_NEAR(*got.sums.balance.as<float>(), want.balance, 2e-6 * want.balance);
    EXPECT_NEAR(got.sums.index_kl ? *got.sums.index_kl.as<float>() : 0.0, want.index_kl,
                5e-6 * want.index_kl + 1e-6);
    tape.backward(got.total);
    tape.end_microbatch();

    // The index loss moves the indexers alone, and only it moves them.
    bool of_indexer = false;
    const auto total = [&](const std::string& changed) {
      const auto s = reference.losses_after_change(changed, sequences);
      return of_indexer ? kFactors.index_kl * s.index_kl
                        : kFactors.ce * s.ce + kFactors.mtp * s.mtp + kFactors.balance * s.balance;
    };
    double rms = 0.0;
    for (const float g : grads) rms += static_cast<double>(g) * g;
    rms = std::sqrt(rms / static_cast<double>(grads.size()));
    model->store().for_each_piece([&](const ParamPiece& piece, ModelParam& p) {
      of_indexer = p.group == ParamGroup::kIndexer;
      std::vector<double>& w = reference.tensors().at(piece.name);
      const Rng rng(seed, Purpose::kTest, hash_bytes(piece.name.data(), piece.name.size(), 9));
      std::vector<double> direction, before = w;
      for (std::size_t i = 0; i < w.size(); ++i) direction.push_back(rng.normal(i));
      const auto moved = [&](double h) {
        for (std::size_t i = 0; i < w.size(); ++i) w[i] = before[i] + h * direction[i];
        return total(piece.name);
      };
      constexpr double h = 1e-5;
      const double slope =
          (8.0 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h);
      w = before;
      const double along =
          p.grad_written ? dot_of(p.grad.as<float>() + piece.offset, direction) : 0.0;
      const double size = std::sqrt(static_cast<double>(w.size()));
      EXPECT_NEAR(along, slope, 2e-4 * std::abs(slope) + 2e-5 * rms * size) << piece.name;
    });
  }
}

// Where the loss counts some targets only, MTP still reads all tokens: the parts add up.
TEST(Model, MtpReadsTokensThatTheLossDoesNotCount) {
  Tape tape({std::size_t{1} << 30, std::size_t{1} << 30});
  const auto model = random_model(tiny_config(), 5);
  std::vector<float> grads(static_cast<std::size_t>(model->store().flat_size()));
  model->store().bind_grads(grads.data());
  const Batch all = pack(12, {{random_document(5, 23, 1), random_document(7, 23, 2)}});
  const auto mtp_of = [&](const Batch& batch) {
    const Loss loss = loss_of(tape, *model, batch, IndexerMode::kSparse);
    const float value = *loss.sums.mtp.as<float>();
    tape.end_microbatch();
    return value;
  };
  Batch answers = all, context = all;
  answers.roles = context.roles = std::vector<RowRole>(12, RowRole::kContext);
  for (std::size_t n = 0; n < 12; ++n) (n % 3 == 0 ? context : answers).targets[n] = -1;
  const float whole = mtp_of(all);
  EXPECT_NEAR(mtp_of(answers) + mtp_of(context), whole, 1e-5F * whole);
}

}  // namespace
}  // namespace shoal::testing
