#include "train/interop/packed_experts.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <functional>
#include <map>

#include "autograd/kernels/fp4.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"
#include "train/interop/export_model.h"
#include "train/interop/json_file.h"
#include "train/interop/load_weights.h"

namespace shoal::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Experts whose rows have whole blocks and a short one, or an odd length.
ModelConfig config_of(std::int64_t width) {
  ModelConfig c = tiny_config();
  c.hidden_size = 40;
  c.moe_intermediate_size = width;
  return c;
}

struct Stored {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};
using StoredList = std::map<std::string, Stored>;

StoredList read_all(const std::string& path) {
  StoredList all;
  const SafetensorsFile file = SafetensorsFile::open(path);
  for (const auto& [name, info] : file.tensors()) {
    all[name] = {info.dtype, info.shape, file.read_bytes(name)};
  }
  return all;
}
void write_all(const std::string& path, const StoredList& all) {
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, t] : all) tensors.push_back({name, t.dtype, t.shape, t.bytes.data()});
  write_safetensors(path, tensors);
}

TEST(PackedExperts, ComeBackAsTheRoundedWeightsAndNothingElseChanges) {
  for (const std::int64_t width : {9, 16, 64}) {
    const TemporaryFolder dir;
    const auto model = random_model(config_of(width));
    export_model(*model, dir / "x", false, kShardBytes, true);
    const auto json = read_json_object(dir / "x/config.json");
    EXPECT_EQ(json.at("expert_dtype"), "fp4");
    EXPECT_EQ(json.at("model_type"), "shoal");
    const StoredList stored = read_all(dir / "x/model.safetensors");
    for (const char* name : {"layers.0.ffn.experts.4.w2", "mtp.0.ffn.experts.0.w2"}) {
      const Stored& codes = stored.at(std::string(name) + ".weight");
      const Stored& scales = stored.at(std::string(name) + ".scale");
      EXPECT_EQ(codes.dtype, "I8");
      EXPECT_THAT(codes.shape, ElementsAre(40, (width + 1) / 2));
      EXPECT_EQ(scales.dtype, "F8_E8M0");
      EXPECT_THAT(scales.shape, ElementsAre(40, (width + 31) / 32));
    }
    EXPECT_EQ(stored.at("layers.0.ffn.shared_experts.w1.weight").dtype, "F32");

    const auto again = random_model(config_of(width), 2);
    load_weights(*again, ModelWeights::open(dir / "x"));
    const std::set<std::string> packed = packable_names(*model);
    EXPECT_EQ(packed.size(), 3U * 3 * 5);  // two layers and MTP, five experts
    auto& params = again->store().params();
    for (std::size_t i = 0; i < params.size(); ++i) {
      ModelParam& got = params[i];
      ModelParam& from = model->store().params()[i];
      for (const ParamPiece& piece : got.pieces) {
        const float* values = from.value.as<float>() + piece.offset;
        std::vector<float> want(values, values + piece.shape.numel());
        if (packed.contains(piece.name)) {
          fp4_round(values, piece.shape.rows(), piece.shape.cols(), want.data());
        }
        ASSERT_EQ(std::memcmp(got.value.as<float>() + piece.offset, want.data(),
                              want.size() * sizeof(float)),
                  0)
            << piece.name;
      }
    }
    // Packing rounded weights loses nothing more.
    export_model(*again, dir / "again", false, kShardBytes, true);
    const auto third = random_model(config_of(width), 3);
    load_weights(*third, ModelWeights::open(dir / "again"));
    EXPECT_EQ(std::memcmp(third->store().values().data(), again->store().values().data(),
                          again->store().values().size_bytes()),
              0);
  }
}

TEST(PackedExperts, WhatDoesNotFitIsRefusedAndChangesNothing) {
  const TemporaryFolder dir;
  const auto model = random_model(config_of(48));
  export_model(*model, dir / "x", false, kShardBytes, true);
  const StoredList sound = read_all(dir / "x/model.safetensors");
  const auto refused = [&](const std::function<void(StoredList&)>& change) {
    StoredList all = sound;
    change(all);
    std::filesystem::create_directories(dir / "y");
    write_all(dir / "y/model.safetensors", all);
    const auto other = random_model(config_of(48), 2);
    const std::vector<float> before(other->store().values().begin(), other->store().values().end());
    try {
      load_weights(*other, ModelWeights::open(dir / "y"));
    } catch (const Error& error) {
      EXPECT_EQ(error.why(), Failure::kData);
      EXPECT_EQ(
          std::memcmp(before.data(), other->store().values().data(), before.size() * sizeof(float)),
          0);
      return std::string(error.what());
    }
    return std::string();
  };
  const std::string weight = "layers.1.ffn.experts.2.w2.weight";
  const std::string scale = "layers.1.ffn.experts.2.w2.scale";
  EXPECT_EQ(refused([](StoredList&) {}), "");
  EXPECT_THAT(refused([&](StoredList& all) {
                all[weight].shape[1] -= 1;
                all[weight].bytes.resize(40 * 23);
              }),
              HasSubstr("\"" + weight + "\" is [40, 23] of packed FP4; [40, 48] takes [40, 24]"));
  EXPECT_THAT(refused([&](StoredList& all) { all.erase(scale); }),
              HasSubstr("\"" + scale + "\": missing; packed FP4 needs its scales"));
  EXPECT_THAT(refused([&](StoredList& all) {
                all[scale].shape[1] = 1;
                all[scale].bytes.resize(40);
              }),
              HasSubstr("\"" + scale + "\" is [40, 1]; expected a scale for each 32 values"));
  EXPECT_THAT(refused([&](StoredList& all) { all[scale].dtype = "F8_E4M3"; }),
              HasSubstr("has dtype F8_E4M3; scales of packed FP4 are F8_E8M0"));
  EXPECT_THAT(refused([&](StoredList& all) { all[scale].bytes[3] = std::byte{255}; }),
              HasSubstr("\"" + scale + "\" has scale 255 at 3, out of range"));
  EXPECT_THAT(refused([&](StoredList& all) {
                all[scale].bytes[5] = std::byte{254};
                for (std::byte& b : all[weight].bytes) b = std::byte{0x77};
              }),
              HasSubstr("has scale 254 at 5, out of range"));
  // Others than routed experts are not packed.
  EXPECT_THAT(refused([&](StoredList& all) {
                Stored& head = all["head.weight"];
                head.dtype = "I8";
                head.bytes.resize(head.bytes.size() / 4);
              }),
              HasSubstr("\"head.weight\" has dtype I8, which is quantized"));
  EXPECT_THAT(refused([&](StoredList& all) { all["head.scale"] = all[scale]; }),
              HasSubstr("head.scale"));
}

}  // namespace
}  // namespace shoal::testing
