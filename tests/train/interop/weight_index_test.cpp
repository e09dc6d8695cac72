#include "train/interop/weight_index.h"

#include <gmock/gmock.h>

#include "autograd/base/check.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;

std::string refused(const std::string& text) {
  try {
    parse_weight_index(text, "index");
  } catch (const Error& error) {
    EXPECT_EQ(error.why(), Failure::kData);
    EXPECT_THAT(error.what(), ::testing::StartsWith("index: "));
    return error.what();
  }
  return "";
}

TEST(WeightIndex, ReadsWhatOthersWrite) {
  const WeightIndex index = parse_weight_index(
      R"({"metadata": {"total_parameters": 7, "total_size": 32.0}, "more": [],
          "weight_map": {"b": "model-00002-of-00002.safetensors", "a": "x.safetensors"}})",
      "index");
  EXPECT_EQ(index.total_bytes, 32);
  EXPECT_EQ(index.file_of.at("a"), "x.safetensors");
  EXPECT_EQ(index.file_of.at("b"), shard_name(2, 2));
}

TEST(WeightIndex, ReadsWhatItWrites) {
  const WeightIndex index{{{"a", shard_name(1, 2)}, {"b\"", shard_name(2, 2)}}, 99};
  const WeightIndex again = parse_weight_index(weight_index_text(index), "index");
  EXPECT_EQ(again.file_of, index.file_of);
  EXPECT_EQ(again.total_bytes, 99);
}

TEST(WeightIndex, NamesShardsAsOthersDo) {
  EXPECT_EQ(shard_name(2, 17), "model-00002-of-00017.safetensors");
  EXPECT_EQ(shard_name(123456, 200000), "model-123456-of-200000.safetensors");
}

TEST(WeightIndex, FilesOfOtherFoldersAreRefused) {
  for (const std::string name :
       {"../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", "a\\\\b.safetensors", ".",
        "..", "", "x.bin", ".safetensors", ".hidden.safetensors", "a\\u0000.safetensors",
        "a\\n.safetensors"}) {
    const std::string said = refused(R"({"weight_map": {"tensor": ")" + name + "\"}}");
    EXPECT_THAT(said, HasSubstr("tensor \"tensor\" is in")) << name;
    EXPECT_THAT(said, HasSubstr("expected the plain name")) << name;
  }
  EXPECT_THAT(refused(R"({"weight_map": {"t": 3}})"), HasSubstr("is in no text"));
  EXPECT_THAT(refused("{\"weight_map\": {\"t\": \"" + std::string(300, 'a') + ".safetensors\"}}"),
              HasSubstr("plain name"));
}

TEST(WeightIndex, StrangeTextsAreRefused) {
  for (const char* text :
       {"", "[]", "{}", "{", R"({"weight_map": {}})", R"({"weight_map": []})",
        R"({"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}})",
        R"({"weight_map": {"a": "x.safetensors"}, "metadata": 1})",
        R"({"weight_map": {"a": "x.safetensors"}, "metadata": {"total_size": "1"}})",
        R"({"weight_map": {"a": "x.safetensors"}, "metadata": {"total_size": -1}})",
        R"({"weight_map": {"a": "x.safetensors"}, "metadata": {"total_size": 1e300}})"}) {
    EXPECT_NE(refused(text), "") << text;
  }
}

}  // namespace
}  // namespace shoal
