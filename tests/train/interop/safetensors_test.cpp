#include "train/interop/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "autograd/base/check.h"
#include "tests/support/temporary_folder.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;

std::string with_length(std::uint64_t length, const std::string& rest) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + rest;
}
std::string with_header(const std::string& json, std::size_t data_bytes) {
  return with_length(json.size(), json + std::string(data_bytes, 'x'));
}

// What opening says; empty when it opens.
std::string complaint(const std::string& path) {
  try {
    SafetensorsFile::open(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.why(), Failure::kData);
    EXPECT_THAT(error.what(), HasSubstr(path));
    return error.what();
  }
  return "";
}

struct Attack {
  const char* name;
  std::string bytes;
  const char* says;  // part of the message
};

std::vector<Attack> attacks() {
  const std::string a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const auto tensor = [](const std::string& body) { return "{\"a\":{" + body + "}}"; };
  return {
      {"empty", "", "too few"},
      {"only a length", with_length(2, ""), "too few"},
      {"length of the whole address space", with_length(~0ULL, "{}"), "should have"},
      {"length just beyond the file", with_length(3, "{}"), "should have"},
      {"length zero", with_length(0, "{}"), "not a JSON object"},
      {"length inside the object", with_length(1, "{}"), "not a JSON object"},
      {"list", with_header("[]", 0), "not a JSON object"},
      {"byte order mark", with_header("\xef\xbb\xbf{}", 0), "not a JSON object"},
      {"space before", with_header(" {}", 0), "not a JSON object"},
      {"second object", with_header("{}{}", 0), "not valid JSON"},
      {"text after a zero byte", with_header(std::string("{}\0}", 4), 0), "not a JSON object"},
      {"half an object", with_header("{\"a\":}", 0), "not valid JSON"},
      {"comment", with_header("{/* */}", 0), "not valid JSON"},
      {"not UTF-8", with_header("{\"\xff\":{}}", 0), "not valid JSON"},
      {"trailing bytes", with_header("{" + a + "}", 9), "belong to none"},
      {"no tensor but data", with_header("{}", 1), "belong to none"},
      {"data cut", with_header("{" + a + "}", 7), "do not lie"},
      {"tensor is a number", with_header("{\"a\":1}", 0), "needs an object"},
      {"tensor is null", with_header("{\"a\":null}", 0), "needs an object"},
      {"tensor is a list", with_header("{\"a\":[]}", 0), "needs an object"},
      {"same name twice", with_header("{" + a + "," + a + "}", 8), "appears twice"},
      {"same name in other spelling",
       with_header("{" + a + R"(,"\u0061":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8),
       "appears twice"},
      {"field twice", with_header(tensor(R"("dtype":"F32","dtype":"F32")"), 0), "dtype appears"},
      {"metadata twice", with_header(R"({"__metadata__":{},"__metadata__":{}})", 0), "twice"},
      {"metadata key twice", with_header(R"({"__metadata__":{"k":"1","k":"2"}})", 0), "twice"},
      {"metadata number", with_header(R"({"__metadata__":{"k":1}})", 0), "needs a string"},
      {"metadata list", with_header(R"({"__metadata__":[]})", 0), "not an object"},
      {"metadata nested", with_header(R"({"__metadata__":{"k":{}}})", 0), "needs a string"},
      {"no dtype", with_header(tensor(R"("shape":[2],"data_offsets":[0,8])"), 8),
       "dtype is missing"},
      {"no shape", with_header(tensor(R"("dtype":"F32","data_offsets":[0,8])"), 8),
       "shape is missing"},
      {"no offsets", with_header(tensor(R"("dtype":"F32","shape":[2])"), 8),
       "data_offsets is missing"},
      {"unknown key", with_header(tensor(R"("dtype":"F32","strides":[1])"), 8), "strides"},
      {"unknown dtype", with_header(tensor(R"("dtype":"F31","shape":[2],"data_offsets":[0,8])"), 8),
       "F31"},
      {"dtype is a number", with_header(tensor(R"("dtype":1)"), 8), "dtype needs a string"},
      {"shape is a string", with_header(tensor(R"("shape":"2")"), 8), "shape needs a list"},
      {"negative dimension", with_header(tensor(R"("shape":[-2])"), 8), "-2"},
      {"dimension with a fraction", with_header(tensor(R"("shape":[2.0])"), 8), "2.0"},
      {"dimension beyond 64 bits", with_header(tensor(R"("shape":[18446744073709551616])"), 8),
       "whole numbers"},
      {"dimension beyond 63 bits", with_header(tensor(R"("shape":[9223372036854775808])"), 8),
       "overflows"},
      {"nested shape", with_header(tensor(R"("shape":[[2]])"), 8), "shape needs"},
      {"nine dimensions", with_header(tensor(R"("shape":[1,1,1,1,1,1,1,1,1])"), 8), "dimensions"},
      {"shape wraps to the right size",
       with_header(tensor(R"("dtype":"F32","shape":[4611686018427387905,2],"data_offsets":[0,8])"),
                   8),
       "overflows"},
      {"overflow behind a zero",
       with_header(
           tensor(R"("dtype":"F32","shape":[4611686018427387904,4,0],"data_offsets":[0,0])"), 0),
       "overflows"},
      {"one offset", with_header(tensor(R"("data_offsets":[0])"), 8), "got 1"},
      {"three offsets", with_header(tensor(R"("data_offsets":[0,8,8])"), 8), "got more"},
      {"offsets backwards",
       with_header(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), 8), "do not lie"},
      {"offsets beyond the file",
       with_header(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[8,16])"), 8), "do not lie"},
      {"more bytes than the shape",
       with_header(tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,8])"), 8), "need 4"},
      {"fewer bytes than the shape",
       with_header(tensor(R"("dtype":"F64","shape":[2],"data_offsets":[0,8])"), 8), "need 16"},
      {"half a byte", with_header(tensor(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])"), 1),
       "whole bytes"},
      {"hole",
       with_header("{" + a + R"(,"b":{"dtype":"U8","shape":[1],"data_offsets":[9,10]}})", 10),
       "a hole after byte 8"},
      {"hole at the start",
       with_header(tensor(R"("dtype":"U8","shape":[1],"data_offsets":[1,2])"), 2),
       "a hole after byte 0"},
      {"overlap",
       with_header("{" + a + R"(,"b":{"dtype":"U8","shape":[1],"data_offsets":[7,8]}})", 8),
       "inside a tensor"},
      {"two tensors in one place",
       with_header("{" + a + R"(,"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8),
       "inside a tensor"},
      {"empty tensor inside another",
       with_header("{" + a + R"(,"b":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}})", 8),
       "inside a tensor"},
      {"bomb of objects",
       with_header(
           [] {
             std::string json;
             for (int i = 0; i < 200000; ++i) json += "{\"a\":";
             return json + std::string(200000, '}');
           }(),
           0),
       "unknown key"},
      {"bomb of lists", with_header("{\"a\":{\"shape\":" + std::string(1000000, '[') + "}}", 0),
       "shape needs"},
  };
}

TEST(Safetensors, RefusesEveryAttackWithOneClearSentence) {
  const TemporaryFolder folder;
  for (const Attack& attack : attacks()) {
    SCOPED_TRACE(attack.name);
    write_file(folder / "bad.safetensors", attack.bytes);
    const std::string says = complaint(folder / "bad.safetensors");
    EXPECT_THAT(says, HasSubstr(attack.says));
    EXPECT_THAT(verify_safetensors(folder / "bad.safetensors"), ::testing::ElementsAre(says));
  }
}

TEST(Safetensors, HeaderBeyondTheFormatsLimitIsRefusedBeforeItIsRead) {
  const TemporaryFolder folder;
  write_file(folder / "huge", with_length(kMaxSafetensorsHeader + 1, "{}"));
  std::filesystem::resize_file(folder / "huge", 2 * kMaxSafetensorsHeader);  // sparse
  EXPECT_THAT(complaint(folder / "huge"), HasSubstr("the format allows"));
}

TEST(Safetensors, NamesFromAFileCannotReachTheTerminalRaw) {
  const TemporaryFolder folder;
  write_file(folder / "bad", with_header(R"({"\u001b[2J\u0007\u009b":1})", 0));
  EXPECT_THAT(complaint(folder / "bad"), HasSubstr(R"("\u001b[2J\u0007\u009b")"));
  write_file(folder / "long", with_header("{\"" + std::string(5000, 'n') + "\":1}", 0));
  EXPECT_LT(complaint(folder / "long").size(), 400U);
}

TEST(Safetensors, MissingFilesFoldersAndPipesAreRefused) {
  const TemporaryFolder folder;
  EXPECT_THAT(complaint(folder / "none"), HasSubstr("No such file"));
  EXPECT_THAT(complaint(folder.path()), HasSubstr("is a folder"));
  EXPECT_THROW(verify_safetensors(folder / "none"), Error);
}

TEST(Safetensors, ATruncatedFileIsRefusedAtEveryLength) {
  const TemporaryFolder folder;
  const std::vector<float> a{1, 2, 3};
  const std::int64_t b = 7;
  write_safetensors(folder / "good", {{"a", "F32", {3}, a.data()}, {"b", "I64", {}, &b}});
  const std::string good = contents(folder / "good");
  EXPECT_EQ(complaint(folder / "good"), "");
  for (std::size_t length = 0; length < good.size(); ++length) {
    write_file(folder / "cut", good.substr(0, length));
    EXPECT_NE(complaint(folder / "cut"), "") << length;
  }
  write_file(folder / "long", good + "x");
  EXPECT_NE(complaint(folder / "long"), "");
}

TEST(Safetensors, RoundTripKeepsBitsAndMetadata) {
  const TemporaryFolder folder;
  const std::vector<float> floats{0.0F, -0.0F, 1e-42F, std::numeric_limits<float>::infinity(), 3};
  const std::vector<std::int64_t> longs{-1, 1LL << 40, 0};
  const std::vector<std::int32_t> ints{-5, 7};
  const std::vector<TensorToWrite> tensors{
      {"z \"name\"\n", "F32", {1, 5}, floats.data()},
      {"ints", "I32", {2, 1}, ints.data()},
      {"longs", "I64", {3}, longs.data()},
      {"empty", "F32", {0, 4}, nullptr},
  };
  write_safetensors(folder / "f", tensors, {{"source", "test"}});
  const SafetensorsFile file = SafetensorsFile::open(folder / "f");
  EXPECT_EQ(file.tensors().size(), 4U);
  EXPECT_EQ(file.metadata(),
            (std::map<std::string, std::string>{{"format", "pt"}, {"source", "test"}}));
  const std::vector<float> got = file.read_f32("z \"name\"\n");
  ASSERT_EQ(got.size(), floats.size());
  EXPECT_EQ(std::memcmp(got.data(), floats.data(), 20), 0);
  EXPECT_EQ(file.info("z \"name\"\n").shape, (std::vector<std::int64_t>{1, 5}));
  EXPECT_EQ(file.read_i64("longs"), longs);
  EXPECT_EQ(file.read_i64("ints"), (std::vector<std::int64_t>{-5, 7}));
  EXPECT_TRUE(file.read_f32("empty").empty());
  EXPECT_THROW(file.read_f32("longs"), Error);
  EXPECT_THROW(file.read_i64("empty"), Error);
  EXPECT_THROW(file.read_f32("absent"), Error);
}

TEST(Safetensors, BytesDoNotDependOnTheOrderOfTensors) {
  const TemporaryFolder folder;
  const float x = 1;
  const std::int64_t n = 2;
  const std::uint8_t u = 3;
  std::vector<TensorToWrite> tensors{
      {"u", "U8", {}, &u}, {"b", "F32", {}, &x}, {"a", "F32", {1}, &x}, {"n", "I64", {}, &n}};
  write_safetensors(folder / "one", tensors);
  std::reverse(tensors.begin(), tensors.end());
  write_safetensors(folder / "two", tensors);
  EXPECT_EQ(contents(folder / "one"), contents(folder / "two"));
  const SafetensorsFile file = SafetensorsFile::open(folder / "one");
  EXPECT_EQ(file.info("n").begin, 0U);
  EXPECT_EQ(file.info("a").begin, 8U);
  EXPECT_EQ(file.info("b").begin, 12U);
  EXPECT_EQ(file.info("u").begin, 16U);
  std::uint64_t length;
  std::memcpy(&length, contents(folder / "one").data(), 8);
  EXPECT_EQ(length % 8, 0U);
}

TEST(Safetensors, AFailedWriteLeavesTheOldFileAndNothingElse) {
  const TemporaryFolder folder;
  const float x = 1;
  write_safetensors(folder / "f", {{"x", "F32", {}, &x}});
  const std::string before = contents(folder / "f");
  EXPECT_THROW(write_safetensors(folder / "f", {{"x", "F32", {}, &x}, {"x", "F32", {}, &x}}),
               Error);
  EXPECT_EQ(contents(folder / "f"), before);
  try {
    write_safetensors(folder / "none/f", {{"x", "F32", {}, &x}});
    FAIL() << "wrote into a folder that is not there";
  } catch (const Error& error) {
    EXPECT_EQ(error.why(), Failure::kDisk);
  }
  std::filesystem::create_directory(folder / "g");  // cannot be replaced by a file
  EXPECT_THROW(write_safetensors(folder / "g", {{"x", "F32", {}, &x}}), Error);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 2);
}

TEST(Safetensors, WidensHalves) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<std::pair<std::uint16_t, float>> f16{
      {0x0000, 0.0F},        {0x8000, -0.0F},      {0x3c00, 1.0F},       {0xc000, -2.0F},
      {0x7bff, 65504.0F},    {0x0400, 0x1.0p-14F}, {0x0001, 0x1.0p-24F}, {0x83ff, -0x1.ff8p-15F},
      {0x3555, 0x1.554p-2F}, {0x7c00, inf},        {0xfc00, -inf},
  };
  for (const auto& [bits, value] : f16) {
    EXPECT_EQ(std::bit_cast<std::uint32_t>(f16_to_f32(bits)), std::bit_cast<std::uint32_t>(value))
        << bits;
  }
  EXPECT_TRUE(std::isnan(f16_to_f32(0x7e01)));
  EXPECT_TRUE(std::isnan(f16_to_f32(0x7c01)));
  EXPECT_EQ(bf16_to_f32(0x3f80), 1.0F);
  EXPECT_EQ(bf16_to_f32(0xc049), -3.140625F);
  EXPECT_EQ(bf16_to_f32(0x0001), 0x1.0p-133F);
  EXPECT_TRUE(std::isnan(bf16_to_f32(0x7fc0)));

  const TemporaryFolder folder;
  std::vector<std::uint16_t> all(65536 + 3);  // more than one block
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
  const auto n = static_cast<std::int64_t>(all.size());
  write_safetensors(folder / "f", {{"h", "F16", {n}, all.data()}, {"b", "BF16", {n}, all.data()}});
  const SafetensorsFile file = SafetensorsFile::open(folder / "f");
  const std::vector<float> h = file.read_f32("h"), b = file.read_f32("b");
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(std::bit_cast<std::uint32_t>(h[i]), std::bit_cast<std::uint32_t>(f16_to_f32(all[i])));
    EXPECT_EQ(std::bit_cast<std::uint32_t>(b[i]),
              std::bit_cast<std::uint32_t>(bf16_to_f32(all[i])));
  }
}

TEST(Safetensors, EightAndFourBitTensorsAreListedButNotReadAsFloat) {
  const TemporaryFolder folder;
  const std::array<std::uint8_t, 4> bytes{1, 2, 3, 4};
  write_safetensors(folder / "f",
                    {{"w8", "F8_E4M3", {4}, bytes.data()}, {"w4", "F4", {4, 2}, bytes.data()}});
  const SafetensorsFile file = SafetensorsFile::open(folder / "f");
  EXPECT_EQ(file.read_bytes("w4").size(), 4U);
  for (const char* name : {"w8", "w4"}) {
    try {
      file.read_f32(name);
      FAIL() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.why(), Failure::kData);
      EXPECT_THAT(error.what(), HasSubstr(file.info(name).dtype));
    }
  }
}

TEST(Safetensors, VerifyNamesTensorsThatAreNotFinite) {
  const TemporaryFolder folder;
  const std::vector<float> x{1, NAN, INFINITY};
  const std::vector<double> y{1, -INFINITY};
  const std::vector<std::int32_t> z{0x7f800000};  // an infinity only if it were a float
  write_safetensors(folder / "f", {{"x", "F32", {3}, x.data()},
                                   {"y", "F64", {2}, y.data()},
                                   {"ok", "F32", {1}, x.data()},
                                   {"z", "I32", {1}, z.data()}});
  EXPECT_THAT(
      verify_safetensors(folder / "f"),
      ::testing::ElementsAre(R"(tensor "x": 2 of 3 values are not finite, the first at 1)",
                             R"(tensor "y": 1 of 2 values are not finite, the first at 1)"));
}

}  // namespace
}  // namespace shoal
