#include "layers/cost.h"

#include <gtest/gtest.h>

#include "layers/flops.h"
#include "layers/model.h"
#include "tests/support/paths.h"
#include "train/config/load_config.h"
#include "train/run/memory_estimate.h"

namespace shoal {
namespace {

ModelConfig published(const std::string& name) {
  return load_config(source_folder() + "/configs/full/" + name + ".yaml", {}, {.needs_data = false})
      .model;
}

ParameterCount count_of(const ModelConfig& config) {
  Model model(config);
  const ParameterCount count = count_parameters(model);
  EXPECT_EQ(model.store().values().data(), nullptr) << "memory was taken";
  return count;
}

// The formulas of spec 1.4.
struct Formula {
  const ModelConfig& m;
  std::int64_t d = m.hidden_size, c = m.head_dim, dc = m.q_lora_rank, nh = m.num_attention_heads,
               g = m.o_groups, dg = m.o_lora_rank, E = m.n_routed_experts,
               f = m.moe_intermediate_size, n = m.hc_mult;

  std::int64_t compressor(std::int64_t rate, std::int64_t coff, std::int64_t width) const {
    return 2 * d * coff * width + rate * coff * width + width;
  }
  std::int64_t attention(AttentionKind kind) const {
    std::int64_t p = d * dc + dc + dc * nh * c + d * c + c + c * nh * dg + g * dg * d + nh;
    if (kind == AttentionKind::kHeavilyCompressed) p += compressor(m.compress_rate_hca, 1, c);
    if (kind != AttentionKind::kCompressedSparse) return p;
    const std::int64_t heads = m.index_n_heads, width = m.index_head_dim;
    return p + compressor(m.compress_rate_csa, 2, c) + dc * heads * width + d * heads +
           compressor(m.compress_rate_csa, 2, width);
  }
  std::int64_t block(AttentionKind kind, bool hash) const {
    const std::int64_t moe = (E + 1) * 3 * d * f + E * d + (hash ? 0 : E);
    const std::int64_t mhc = 2 * ((2 * n + n * n) * n * d + (2 * n + n * n) + 3);
    return attention(kind) + moe + mhc + 2 * d;
  }
  std::int64_t collapse() const { return n * n * d + n + 1; }
  std::int64_t total() const {
    std::int64_t sum = 2 * m.vocab_size * d + d + collapse();
    for (std::size_t l = 0; l < m.layer_types.size(); ++l) {
      sum += block(m.layer_types[l], m.mlp_layer_types[l] == FeedForwardKind::kHashMoe);
    }
    return sum;
  }
  std::int64_t mtp() const {
    return block(AttentionKind::kSliding, false) + 2 * d * d + 3 * d + collapse();
  }
};

TEST(Cost, ListOfParametersIsWhatTheFormulaSays) {
  ModelConfig small;
  small.vocab_size = 23;
  small.hidden_size = 19;
  small.layer_types = {AttentionKind::kSliding, AttentionKind::kCompressedSparse,
                       AttentionKind::kHeavilyCompressed};
  small.mlp_layer_types = {FeedForwardKind::kHashMoe, FeedForwardKind::kMoe, FeedForwardKind::kMoe};
  small.num_attention_heads = 6;
  small.head_dim = 11;
  small.qk_rope_head_dim = 6;
  small.o_groups = 3;
  small.compress_rate_csa = 3;
  small.compress_rate_hca = 7;
  small.index_head_dim = 8;
  small.hc_mult = 3;
  small.finish("small");
  for (const ModelConfig& config : {small, published("v4-flash"), published("v4-pro")}) {
    const ParameterCount count = count_of(config);
    const Formula formula{config};
    EXPECT_EQ(count.total(), formula.total());
    EXPECT_EQ(count[Part::kMtp], formula.mtp());
  }
}

TEST(Cost, PublishedModelsHaveTheirPublishedParameters) {
  const ParameterCount flash = count_of(published("v4-flash")), pro = count_of(published("v4-pro"));
  EXPECT_EQ(flash.total(), 284332240471);
  EXPECT_EQ(flash.with_mtp(), 290942289362);
  EXPECT_EQ(pro.total(), 1572997201763);
  EXPECT_EQ(pro.with_mtp(), 1598837347742);
  EXPECT_NEAR(static_cast<double>(flash.total_active()), 13.270e9, 5e5);
  EXPECT_NEAR(static_cast<double>(pro.total_active()), 48.852e9, 5e5);
  // Without the head as well.
  EXPECT_NEAR(static_cast<double>(flash.total_active() - flash[Part::kHead]), 12.741e9, 5e5);
  EXPECT_NEAR(static_cast<double>(pro.total_active() - pro[Part::kHead]), 47.926e9, 5e5);
}

// Spec 11.2.
TEST(Cost, CacheOfAMillionTokens) {
  constexpr std::int64_t kMillion = 1 << 20;
  EXPECT_EQ(v32::kv_bytes(kMillion), 61.0 * 788 * kMillion);
  const double flash = kv_bytes(published("v4-flash"), kMillion);
  const double pro = kv_bytes(published("v4-pro"), kMillion);
  const double window = 584.0 * 128, sparse = (584.0 + 68) * kMillion / 4;
  const double heavy = 584.0 * kMillion / 128;
  EXPECT_EQ(flash, 43 * window + 21 * sparse + 20 * heavy);
  EXPECT_EQ(pro, 61 * window + 30 * sparse + 31 * heavy);
  EXPECT_NEAR(flash, 3.688e9, 5e5);
  EXPECT_NEAR(pro, 5.280e9, 5e5);
  EXPECT_NEAR(flash / v32::kv_bytes(kMillion), 0.0732, 5e-5);
  EXPECT_NEAR(pro / v32::kv_bytes(kMillion), 0.1048, 5e-5);
  // Before the first entries, and where a block is not full.
  EXPECT_EQ(kv_bytes(published("v4-flash"), 3), 43 * 584.0 * 3);
  EXPECT_EQ(kv_bytes(published("v4-flash"), 7), 43 * 584.0 * 7 + 21 * 652.0);
}

// Spec 11.3: raw counts in GFLOP, then the conventions.
TEST(Cost, FlopsOfDecodingAtAMillionTokens) {
  constexpr std::int64_t kMillion = 1 << 20;
  const DecodeFlops old = v32::decode_flops(kMillion);
  EXPECT_NEAR(old.linear, 75e9, 5e8);
  EXPECT_NEAR(old.attention, 35e9, 5e8);
  EXPECT_NEAR(old.indexer, 1048e9, 5e8);
  EXPECT_NEAR(old.total(), 1158e9, 5e8);
  struct Want {
    const char* name;
    double linear, attention, indexer;  // GFLOP
    double raw, d, e, h;                // of V3.2
  };
  for (const Want& want : {Want{"v4-pro", 98, 77, 129, 0.262, 0.265, 0.267, 0.2704},
                           Want{"v4-flash", 27, 24, 90, 0.121, 0.0997, 0.1009, 0.1021}}) {
    SCOPED_TRACE(want.name);
    const ModelConfig config = published(want.name);
    const ParameterCount count = count_of(config);
    const DecodeFlops f = decode_flops(config, count, kMillion);
    EXPECT_NEAR(f.linear, want.linear * 1e9, 5e8);
    EXPECT_NEAR(f.attention, want.attention * 1e9, 5e8);
    EXPECT_NEAR(f.indexer, want.indexer * 1e9, 5e8);
    const auto ratio = [&](Convention c) {
      return equivalent_flops(config, count, kMillion, c) / v32::equivalent_flops(kMillion, c);
    };
    EXPECT_NEAR(f.total() / old.total(), want.raw, 5e-4);
    EXPECT_NEAR(ratio(Convention::kD), want.d, want.d < 0.2 ? 5e-5 : 5e-4);
    EXPECT_NEAR(ratio(Convention::kE), want.e, want.e < 0.2 ? 5e-5 : 5e-4);
    EXPECT_NEAR(ratio(Convention::kH), want.h, 1e-4);
  }
}

TEST(Cost, RatioOfFlopsByContext) {
  const ModelConfig pro = published("v4-pro"), flash = published("v4-flash");
  const ParameterCount of_pro = count_of(pro), of_flash = count_of(flash);
  struct Want {
    std::int64_t context;
    double pro, flash;
  };
  for (const Want& want : {Want{4096, 0.83, 0.23}, Want{65536, 0.65, 0.19},
                           Want{131072, 0.54, 0.16}, Want{524288, 0.33, 0.12}}) {
    const double old = v32::equivalent_flops(want.context, Convention::kH);
    EXPECT_NEAR(equivalent_flops(pro, of_pro, want.context, Convention::kH) / old, want.pro, 5e-3);
    EXPECT_NEAR(equivalent_flops(flash, of_flash, want.context, Convention::kH) / old, want.flash,
                5e-3);
  }
}

// Two counts of the same products: from the list of parameters, as spec 11 does, and from the
// formulas of a training step, of whose work the forward pass is a third.
TEST(Cost, ForwardFlopsAreAThirdOfAStepsLastToken) {
  for (const char* name : {"tiny", "base", "small", "needle"}) {
    SCOPED_TRACE(name);
    const RunConfig run = load_config(source_folder() + "/configs/replicas/" + name + ".yaml", {},
                                      {.needs_data = false});
    for (const bool full : {false, true}) {
      ModelConfig config = run.model;
      if (full)
        std::fill(config.layer_types.begin(), config.layer_types.end(), AttentionKind::kFull);
      const std::int64_t n = 4096;
      const auto step = [&](std::int64_t T) {
        return step_flops(config, {{IndexerMode::kSparse, false}, false},
                          shape_batch(1, T, config.vocab_size, 0));
      };
      const double last = step(n) - step(n - 1);
      const DecodeFlops forward = decode_flops(config, count_of(config), n);
      // The indexers run forward only.
      const auto indexers = static_cast<double>(std::count(
          config.layer_types.begin(), config.layer_types.end(), AttentionKind::kCompressedSparse));
      const double products =
          indexers * 2.0 *
          static_cast<double>(config.q_lora_rank * config.index_n_heads * config.index_head_dim +
                              config.hidden_size *
                                  (config.index_n_heads + 4 * config.index_head_dim));
      const double want =
          3.0 * (forward.total() - forward.indexer - products) + forward.indexer + products;
      EXPECT_NEAR(last, want, 0.01 * want) << (full ? "full" : "");
    }
  }
}

}  // namespace
}  // namespace shoal
