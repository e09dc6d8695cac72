#include "train/metrics/tensorboard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "tests/support/temporary_folder.h"
#include "train/metrics/event_record.h"

namespace shoal {
namespace {

// An independent reader: bit-by-bit CRC, a generic protobuf walk.
std::uint32_t slow_crc32c(const std::string& bytes) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes) {
    for (int bit = 0; bit < 8; ++bit) {
      const bool one = ((static_cast<unsigned char>(c) >> bit) & 1) != (crc & 1);
      crc >>= 1;
      if (one) crc ^= 0x82F63B78;
    }
  }
  return ~crc;
}

template <class T>
T word(const std::string& bytes, std::size_t at) {
  T value{};
  if (at + sizeof(T) > bytes.size()) throw std::runtime_error("cut off");
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

std::vector<std::string> read_records(const std::string& file) {
  std::vector<std::string> records;
  for (std::size_t at = 0; at < file.size();) {
    const auto length = word<std::uint64_t>(file, at);
    const auto check = [&](const std::string& bytes, std::size_t where) {
      const std::uint32_t unmasked = word<std::uint32_t>(file, where) - 0xa282ead8U;
      EXPECT_EQ((unmasked >> 17) | (unmasked << 15), slow_crc32c(bytes));
    };
    check(file.substr(at, 8), at + 8);
    records.push_back(file.substr(at + 12, length));
    EXPECT_EQ(records.back().size(), length);
    check(records.back(), at + 12 + length);
    at += 16 + length;
  }
  return records;
}

using Fields = std::multimap<std::uint64_t, std::string>;  // number -> raw bytes

std::uint64_t read_varint(const std::string& bytes, std::size_t& at) {
  std::uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.at(at++));
    value |= std::uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80) return value;
  }
}

Fields read_message(const std::string& bytes) {
  Fields fields;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::uint64_t key = read_varint(bytes, at);
    std::size_t length = 0;
    switch (key & 7) {
      case 0: {
        const std::uint64_t value = read_varint(bytes, at);
        fields.emplace(key >> 3, std::string(reinterpret_cast<const char*>(&value), 8));
        continue;
      }
      case 1:
        length = 8;
        break;
      case 2:
        length = read_varint(bytes, at);
        break;
      case 5:
        length = 4;
        break;
      default:
        throw std::runtime_error("unknown wire type");
    }
    if (at + length > bytes.size()) throw std::runtime_error("cut off");
    fields.emplace(key >> 3, bytes.substr(at, length));
    at += length;
  }
  return fields;
}

std::map<std::string, float> scalars_of(const Fields& event) {
  std::map<std::string, float> out;
  const Fields summary = read_message(event.find(5)->second);
  for (auto [it, end] = summary.equal_range(1); it != end; ++it) {
    const Fields value = read_message(it->second);
    out[value.find(1)->second] = word<float>(value.find(2)->second, 0);
  }
  return out;
}

TEST(Tensorboard, CrcMatchesPublishedVectors) {
  EXPECT_EQ(crc32c(""), 0U);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  // RFC 3720, B.4
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43U);
}

TEST(Tensorboard, ReadsBack) {
  const TemporaryFolder folder;
  TensorboardWriter writer(folder / "tensorboard");
  StepRecord step;
  step.step = 300;
  step.loss = 3.25;
  step.lr = 1e-3;
  step.grad_norm = std::numeric_limits<double>::quiet_NaN();
  step.clamp = {.gate_high = 1, .clamp_inputs = 4};
  step.time = 1234567.5;
  EXPECT_TRUE(writer.write(step));
  EXPECT_TRUE(writer.write(EvalRecord{.step = 300, .loss = 1.5, .bits_per_byte = 2.125}));

  const std::string name = std::filesystem::path(writer.path()).filename().string();
  EXPECT_THAT(name, testing::MatchesRegex("events\\.out\\.tfevents\\.[0-9]+\\.[-_.A-Za-z0-9]+"));
  const auto records = read_records(contents(writer.path()));
  ASSERT_EQ(records.size(), 3U);
  EXPECT_EQ(read_message(records[0]).find(3)->second, "brain.Event:2");
  const Fields event = read_message(records[1]);
  EXPECT_EQ(word<double>(event.find(1)->second, 0), 1234567.5);
  EXPECT_EQ(word<std::int64_t>(event.find(2)->second, 0), 300);
  const auto scalars = scalars_of(event);
  EXPECT_EQ(scalars.size(), 15U);
  EXPECT_EQ(scalars.at("train/loss"), 3.25F);
  EXPECT_EQ(scalars.at("optim/lr"), 1e-3F);
  EXPECT_EQ(scalars.at("clamp/gate_high"), 0.25F);
  EXPECT_TRUE(std::isnan(scalars.at("optim/grad_norm")));
  const auto eval = scalars_of(read_message(records[2]));
  EXPECT_EQ(eval.at("validation/bits_per_byte"), 2.125F);
  EXPECT_EQ(eval.at("validation/loss"), 1.5F);
}

TEST(Tensorboard, LayersAndEventsReadBack) {
  const TemporaryFolder folder;
  TensorboardWriter writer(folder / "tensorboard");
  LayerRecord layer;
  layer.step = 20;
  layer.layer = 3;
  layer.expert_load = {30, 10, 0, 0};
  layer.index_captured = 0.75;
  layer.gain_forward = 1.5;
  layer.idle_experts = 2;
  EXPECT_TRUE(writer.write(layer, 2.5));
  layer.layer = LayerRecord::kMtp;
  layer.index_captured = layer.gain_forward = std::nan("");
  EXPECT_TRUE(writer.write(layer, 2.5));
  layer.expert_load.clear();
  EXPECT_TRUE(writer.write(layer, 2.5));  // nothing to say
  EXPECT_TRUE(writer.write(
      EventRecord{20, "sample", {{"prompt", "And "}, {"text", "he\nsaid \xff"}}, 3.0}));
  EXPECT_TRUE(
      writer.write(EventRecord{21, "diverged", {{"loss", 249.0}, {"reason", "high"}}, 4.0}));
  EXPECT_TRUE(writer.write(GroupRecord{20, "router", 0.5, 2.0, 0.25}, 2.5));

  const auto records = read_records(contents(writer.path()));
  ASSERT_EQ(records.size(), 6U);
  const auto scalars = scalars_of(read_message(records[1]));
  EXPECT_EQ(scalars.at("experts/imbalance_layer_3"), 3.0F);
  EXPECT_EQ(scalars.at("indexers/captured_layer_3"), 0.75F);
  EXPECT_EQ(scalars.at("health/gain_forward_layer_3"), 1.5F);
  EXPECT_EQ(scalars.at("health/idle_experts_layer_3"), 2.0F);
  const auto group = scalars_of(read_message(records[5]));
  EXPECT_EQ(group.at("health/grad_norm_router"), 0.5F);
  EXPECT_EQ(group.at("health/update_ratio_router"), 0.25F);
  EXPECT_EQ(group.count("health/momentum_rank_router"), 0U);
  EXPECT_EQ(scalars_of(read_message(records[2])).size(), 2U);
  EXPECT_EQ(scalars_of(read_message(records[2])).count("experts/imbalance_mtp"), 1U);

  const auto text_of = [&](std::size_t record, const std::string& tag) {
    const Fields event = read_message(records[record]);
    const Fields value = read_message(read_message(event.find(5)->second).find(1)->second);
    EXPECT_EQ(value.find(1)->second, tag);
    const Fields metadata = read_message(value.find(9)->second);
    EXPECT_EQ(read_message(metadata.find(1)->second).find(1)->second, "text");
    const Fields tensor = read_message(value.find(8)->second);
    EXPECT_EQ(word<std::int64_t>(tensor.find(1)->second, 0), 7);  // DT_STRING
    return tensor.find(8)->second;
  };
  EXPECT_EQ(text_of(3, "sample/And "), "    And he\n    said \xEF\xBF\xBD");
  EXPECT_EQ(text_of(4, "event/diverged"), "    loss: 249.0\n    reason: high\n    ");
}

TEST(Tensorboard, AResumeGetsItsOwnFileAndPurgesLaterSteps) {
  const TemporaryFolder folder;
  const TensorboardWriter first(folder / "tensorboard"), second(folder / "tensorboard", 40);
  EXPECT_NE(first.path(), second.path());
  const auto records = read_records(contents(second.path()));
  ASSERT_EQ(records.size(), 2U);
  const Fields event = read_message(records[1]);
  EXPECT_EQ(word<std::int64_t>(event.find(2)->second, 0), 41);
  const Fields session = read_message(event.find(7)->second);
  EXPECT_EQ(word<std::int64_t>(session.find(1)->second, 0), 1);  // START
}

}  // namespace
}  // namespace shoal
