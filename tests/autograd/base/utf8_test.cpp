#include "autograd/base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace shoal {
namespace {

std::string encoded(unsigned c) {
  const auto byte = [](unsigned b) { return std::string(1, static_cast<char>(b)); };
  const auto tail = [&](unsigned shift) { return byte(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) return byte(c);
  if (c < 0x800) return byte(0xC0 | c >> 6) + tail(0);
  if (c < 0x10000) return byte(0xE0 | c >> 12) + tail(6) + tail(0);
  return byte(0xF0 | c >> 18) + tail(12) + tail(6) + tail(0);
}

TEST(Utf8, TakesEveryCharacterButSurrogates) {
  for (unsigned c = 0; c <= 0x10FFFF; ++c) {
    const bool surrogate = c >= 0xD800 && c < 0xE000;
    ASSERT_EQ(find_invalid_utf8(encoded(c)), surrogate ? 0 : kValidUtf8) << c;
  }
  for (unsigned c : {0x110000U, 0x1FFFFFU}) EXPECT_EQ(find_invalid_utf8(encoded(c)), 0U);
}

TEST(Utf8, FindsTheFirstBadByte) {
  const std::string good = "0123456789 \xC3\xA9\xE2\x82\xAC\xF0\x9F\x90\x9F tail";
  EXPECT_EQ(find_invalid_utf8(good), kValidUtf8);
  // The rest of a character that was cut off is not looked at, even where it lies in memory.
  for (std::size_t size : {12U, 14U, 15U, 17U, 18U, 19U}) {
    EXPECT_NE(find_invalid_utf8(std::string_view(good).substr(0, size)), kValidUtf8) << size;
  }
  for (const std::string bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF",
                                "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF5\x80\x80\x80", "\xFF",
                                "\xC3", "\xE2\x82", "\xF0\x9F\x90", "\xC3 "}) {
    for (std::size_t before = 0; before < 20; ++before) {
      const std::string text = std::string(before, 'x') + bad;
      EXPECT_EQ(find_invalid_utf8(text), before) << bad;
      if (bad != "\xC3" && bad != "\xE2\x82" && bad != "\xF0\x9F\x90") {
        EXPECT_EQ(find_invalid_utf8(text + good), before) << bad;
      }
    }
  }
}

}  // namespace
}  // namespace shoal
