#include "train/config/schema/schema_docs.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/support/paths.h"
#include "tests/train/config/config_files.h"
#include "train/config/load_config.h"
#include "train/config/schema/schema.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;

TEST(Schema, PathsAreUniqueAndSectionsStandTogether) {
  std::set<std::string> paths, closed;
  std::string open;
  for (const Key& key : schema()) {
    EXPECT_TRUE(paths.insert(key.path).second) << key.path;
    EXPECT_FALSE(key.help.empty()) << key.path;
    if (key.section() == open) continue;
    EXPECT_TRUE(closed.insert(key.section()).second) << key.path;
    open = key.section();
  }
  for (const std::string& path : paths) EXPECT_FALSE(is_section(path)) << path;
  EXPECT_NE(find_key("optim.lr"), nullptr);
  EXPECT_EQ(find_key("optim"), nullptr);
  EXPECT_TRUE(is_section("model.init"));
  EXPECT_FALSE(is_section("mod"));
}

TEST(Schema, ListsEveryKindOfLayerAndStage) {
  for (const std::string& text : {schema_table(), schema_json().dump(), schema_markdown()}) {
    for (const char* word :
         {"sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention",
          "full_attention", "index_topk", "index_kl", "warmup", "from_step"}) {
      EXPECT_THAT(text, HasSubstr(word));
    }
  }
}

TEST(Schema, JsonSchemaHasEveryKey) {
  const nlohmann::json root = schema_json();
  EXPECT_EQ(root.at("$schema"), "https://json-schema.org/draft/2020-12/schema");
  for (const Key& key : schema()) {
    nlohmann::json::json_pointer at("");
    std::string part;
    for (const char c : key.path + ".") {
      if (c != '.') {
        part += c;
        continue;
      }
      at /= "properties";
      at /= part;
      part.clear();
    }
    ASSERT_TRUE(root.contains(at)) << key.path;
    const nlohmann::json& value = root.at(at);
    EXPECT_TRUE(value.contains("description")) << key.path;
    EXPECT_TRUE(value.contains("type") || value.contains("enum") || value.contains("anyOf"));
  }
  const auto& lr = root.at("/properties/optim/properties/lr"_json_pointer);
  EXPECT_EQ(lr.at("exclusiveMinimum"), 0);
  EXPECT_EQ(lr.at("default"), 0.001);
  EXPECT_EQ(root.at("/properties/model/additionalProperties"_json_pointer), false);
}

std::string read_text_file(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// SHOAL_UPDATE_DOCS=1 writes the page instead.
TEST(Schema, TheDocumentationPageIsNotStale) {
  const std::string path = source_folder() + "/docs/config.md";
  if (std::getenv("SHOAL_UPDATE_DOCS") != nullptr) {
    std::ofstream(path) << schema_markdown();
  }
  EXPECT_EQ(read_text_file(path), schema_markdown())
      << "run SHOAL_UPDATE_DOCS=1 config_test --gtest_filter=Schema.TheDocumentation*";
}

TEST(Replicas, AreCompleteAndWhatTheySay) {
  const std::string folder = source_folder() + "/configs/replicas/";
  const RunConfig tiny = load_config(folder + "tiny.yaml", {}, {.needs_data = true});
  EXPECT_EQ(tiny.model.vocab_size, 258);
  EXPECT_EQ(tiny.model.num_hidden_layers, 4);
  EXPECT_EQ(tiny.run.name, "tiny");
  EXPECT_FALSE(tiny.train.sample_prompts.empty());

  const RunConfig small = load_config(folder + "small.yaml", {}, {.needs_data = true});
  EXPECT_EQ(small.model.hidden_size, 256);
  EXPECT_EQ(small.model.num_hidden_layers, 6);
  EXPECT_EQ(small.model.n_routed_experts, 16);

  const RunConfig base = load_config(folder + "base.yaml", {}, {.needs_data = true});
  EXPECT_EQ(base.model.hidden_size, 512);
  EXPECT_EQ(base.model.num_attention_heads * base.model.head_dim, 1024);
  EXPECT_EQ(base.model.mlp_layer_types.at(1), FeedForwardKind::kHashMoe);
  EXPECT_EQ(base.model.mlp_layer_types.at(2), FeedForwardKind::kMoe);
  EXPECT_EQ(base.data.sequence_length, 2048);
}

}  // namespace
}  // namespace shoal
