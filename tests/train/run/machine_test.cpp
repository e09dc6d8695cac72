#include "train/run/machine.h"

#include <gtest/gtest.h>

#include <vector>

namespace shoal {
namespace {

TEST(Machine, ReadsTheSystemsLists) {
  const std::string text =
      "processor\t: 0\nmodel name\t: A CPU: fast \nmodel name\t: B\nempty\t:\n";
  EXPECT_EQ(value_of(text, "model name"), "A CPU: fast");
  EXPECT_EQ(value_of(text, "model"), "");
  EXPECT_EQ(value_of(text, "empty"), "");
  EXPECT_EQ(value_of("", "x"), "");
  EXPECT_FALSE(cpu_model().empty());
}

TEST(Machine, PeakMemoryGrowsAndStays) {
  const std::int64_t before = peak_resident_bytes();
  EXPECT_GT(before, 1 << 20);
  constexpr std::size_t kBytes = std::size_t{256} << 20;
  { const std::vector<char> large(kBytes, 1); }
  EXPECT_GE(peak_resident_bytes(), before + (std::int64_t{64} << 20));
  EXPECT_LT(peak_resident_bytes(), before + std::int64_t{2} * kBytes);
}

}  // namespace
}  // namespace shoal
