#include "train/checkpoint/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "autograd/base/check.h"

namespace shoal {
namespace {

using testing::HasSubstr;

Manifest example() {
  Manifest manifest;
  manifest.step = 100;
  manifest.tokens = 51200;
  manifest.created = "2025-01-31T12:00:00Z";
  manifest.config_sha256 = std::string(64, 'a');
  manifest.info = {"shoal 0.1.0", "corpus 12", "avx2 fma", {{"metrics_bytes", "123"}}};
  manifest.files = {{"state.h5", 6041, std::string(64, '0')}};
  return manifest;
}

std::string error_of(const std::string& text) {
  try {
    (void)parse_manifest(text, "m.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.why(), Failure::kData);
    EXPECT_THAT(error.what(), testing::StartsWith("m.json: "));
    return error.what();
  }
  return "";
}

// The example with one piece of its text replaced and the checksum made to match again.
std::string forged(const std::string& from, const std::string& to) {
  std::string text = manifest_text(example());
  std::string body = text.substr(0, text.find("  \"manifest_sha256\""));
  const std::size_t at = body.find(from);
  CHECK(at != body.npos, from);
  return seal_manifest(body.replace(at, from.size(), to));
}

TEST(Manifest, GivesBackWhatWasWritten) {
  const Manifest manifest = example();
  const std::string text = manifest_text(manifest);
  const Manifest read = parse_manifest(text, "x");
  EXPECT_EQ(manifest_text(read), text);
  EXPECT_EQ(read.step, 100);
  EXPECT_EQ(read.tokens, 51200);
  EXPECT_EQ(read.info.notes, manifest.info.notes);
  EXPECT_EQ(read.files, manifest.files);
  EXPECT_EQ(error_of(forged("100", "101")), "");
  // Any program can read it.
  EXPECT_EQ(nlohmann::json::parse(text)["files"][0]["bytes"], 6041);
}

TEST(Manifest, EveryFlippedBitIsNoticed) {
  const std::string text = manifest_text(example());
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = text;
      bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
      EXPECT_NE(error_of(bad), "") << at;
    }
  }
}

TEST(Manifest, SaysWhatIsWrong) {
  EXPECT_THAT(error_of(""), HasSubstr("checksum, is missing"));
  EXPECT_THAT(error_of("{}\n"), HasSubstr("checksum, is missing"));
  EXPECT_THAT(error_of(std::string(kMostManifestBytes + 1, ' ')), HasSubstr("larger"));
  EXPECT_THAT(error_of(seal_manifest("{")), HasSubstr("key format is missing"));
  EXPECT_THAT(error_of(seal_manifest("[")), HasSubstr("parse error"));
  const struct {
    const char *from, *to, *error;
  } kCases[] = {
      {"\"format\": 1", "\"format\": 2", "format 2, this program knows 1"},
      {"\"step\"", "\"stop\"", "key step is missing"},
      {"\"step\": 100", "\"step\": -1", "key step is no count"},
      {"\"step\": 100", "\"step\": 1.5", "key step is no count"},
      {"\"step\": 100", "\"step\": 1e300", "key step is no count"},
      {"\"step\": 100", "\"step\": 9223372036854775808", "key step is no count"},
      {"\"step\": 100", "\"step\": \"100\"", "key step is no count"},
      {"\"step\": 100", "\"step\": 100, \"step\": 101", "key step is there twice"},
      {"\"step\": 100", "\"step\": 100, \"x\": 1", "key x is unknown"},
      {"\"step\": 100", "\"step\": 100, \"\\u001b[2J\": 1", "key ?[2J is unknown"},
      {"\"123\"", "123", "a note that is no text"},
      {"\"123\"", "[[[[[[[[]]]]]]]]", "nested too deep"},
      {"aaaa\"", "aaaA\"", "config_sha256 is no SHA-256"},
      {"0000\"", "000\"", "sha256 is no SHA-256"},
      {"6041", "60410000000000000000", "bytes is no count"},
      {"state.h5", "../state.h5", "not plain"},
      {"state.h5", "/etc/passwd", "not plain"},
      {"state.h5", "..", "not plain"},
      {"state.h5", "", "not plain"},
      {"state.h5", "a\\u0000b", "not plain"},
      {"state.h5", "a\\nb", "not plain"},
      {"state.h5", "other.h5", "lists no state.h5"},
      {"shoal 0.1.0", "\xFF", "parse error"},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(error_of(forged(c.from, c.to)), HasSubstr(c.error)) << c.from << " -> " << c.to;
  }
}

TEST(Manifest, AnyNoteCanBeWrittenAndReadAgain) {
  Manifest manifest = example();
  manifest.info.notes = {{"path", "/tmp/\xFF\xFE"}, {"lines", "a\nb\x1B"}, {"", "\"\\"}};
  const Manifest read = parse_manifest(manifest_text(manifest), "x");
  EXPECT_EQ(read.info.notes.at("lines"), "a?b?");
  EXPECT_EQ(read.info.notes.at(""), "\"\\");
}

}  // namespace
}  // namespace shoal
