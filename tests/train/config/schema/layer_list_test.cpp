#include "train/config/schema/layer_list.h"

#include <gmock/gmock.h>

#include "tests/train/config/config_files.h"
#include "train/config/load_config.h"
#include "train/config/show_config.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;

constexpr auto kW = AttentionKind::kSliding, kC = AttentionKind::kCompressedSparse,
               kH = AttentionKind::kHeavilyCompressed, kF = AttentionKind::kFull;
using Layers = std::vector<AttentionKind>;

RunConfig with(const std::string& layers, const std::vector<std::string>& overrides = {}) {
  return parse_config("model:\n  layer_types: " + layers + "\n", "a.yaml", overrides, {});
}
std::string problem(const std::string& layers) {
  return error_of([&] { with(layers); });
}

TEST(LayerList, RepeatsNamesAndGroups) {
  const std::pair<const char*, Layers> cases[] = {
      {"[window, csa, hca, full]", {kW, kC, kH, kF}},
      {"[sliding_attention, compressed_sparse_attention, heavily_compressed_attention, "
       "full_attention]",
       {kW, kC, kH, kF}},
      {"[window x2, (csa, hca) x4]", {kW, kW, kC, kH, kC, kH, kC, kH, kC, kH}},
      {"[window x2, (csa, hca)x2]", {kW, kW, kC, kH, kC, kH}},
      {"[ window  x 2 ,( csa ,hca )  x 1]", {kW, kW, kC, kH}},
      {"[(csa x2, hca) x2, full]", {kC, kC, kH, kC, kC, kH, kF}},
      {"[((csa, hca) x2, window) x2]", {kC, kH, kC, kH, kW, kC, kH, kC, kH, kW}},
      {"[(csa)]", {kC}},
      {"['window x2', \"(csa\", 'hca) x1']", {kW, kW, kC, kH}},
      {"['(csa, hca) x2']", {kC, kH, kC, kH}},
      {"\n    - window x2\n    - (csa, hca) x2", {kW, kW, kC, kH, kC, kH}},
      {"\n    - window x2\n    - (csa\n    - hca) x2", {kW, kW, kC, kH, kC, kH}},
      {"window x2, (csa, hca) x2", {kW, kW, kC, kH, kC, kH}},
      {"csa x3", {kC, kC, kC}},
      {"full", {kF}},
  };
  for (const auto& [text, layers] : cases) {
    EXPECT_EQ(with(text).model.layer_types, layers) << text;
  }
  EXPECT_EQ(with("[csa x4096]").model.layer_types.size(), 4096U);
  const RunConfig argument =
      with("[full]", {"model.layer_types=[window, (csa, hca) x2]",
                      "model.mlp_layer_types=[hash_moe x2, (moe, dense) x1, moe]"});
  EXPECT_EQ(argument.model.layer_types, (Layers{kW, kC, kH, kC, kH}));
  EXPECT_EQ(argument.model.mlp_layer_types,
            (std::vector{FeedForwardKind::kHashMoe, FeedForwardKind::kHashMoe,
                         FeedForwardKind::kMoe, FeedForwardKind::kDense, FeedForwardKind::kMoe}));
}

TEST(LayerList, IsShownInFull) {
  EXPECT_THAT(to_yaml(with("[window, (csa, hca) x1]")),
              HasSubstr("layer_types: [sliding_attention, compressed_sparse_attention, "
                        "heavily_compressed_attention]\n"));
}

TEST(LayerList, SaysWhatIsWrongAndWhere) {
  const std::pair<const char*, const char*> cases[] = {
      {"[window x2, (csa, hca x4]", "a ')' is missing before the end"},
      {"[window, csa) x4]", "')' without a '('"},
      {"[window x0]", "x0 is no layer at all"},
      {"[csa x4097]", "more than 4096 layers"},
      {"[csa x99999999999999999999999]", "more than 4096 layers"},
      {"[((((csa x64) x64) x64) x64) x64]", "more than 4096 layers"},
      {"[(((((((((csa)))))))))]", "nested too deep"},
      {"[window, (csa, hca) x]", "',' is missing before 'x'"},
      {"[window csa]", "',' is missing before 'csa'"},
      {"[window, , csa]", "no value inside"},
      {"[window, ()]", "a name is missing before ')'"},
      {"['window,', csa]", "a name is missing before ','"},
      {"[(csa, hca) *4]", "'hca) *4' is not understood"},
      {"[csa+hca]", "is not understood"},
      {"[[csa, hca], full]", "has a list inside"},
      {"[x2, csa]", "'x2' is not known"},
      {"[csaa x2]", "'csaa' is not known; did you mean 'csa'?"},
      {"''", "a name is missing"},
  };
  for (const auto& [text, what] : cases) {
    const std::string said = problem(text);
    EXPECT_THAT(said, HasSubstr(what)) << text;
    EXPECT_THAT(said, HasSubstr("model.layer_types: ")) << text;
    EXPECT_EQ(said.find('\n'), said.npos) << said;  // once
  }
  EXPECT_THAT(problem("[window,\n    hcaa x3]"),
              HasSubstr("a.yaml:3:5: model.layer_types: 'hcaa'"));
}

}  // namespace
}  // namespace shoal
