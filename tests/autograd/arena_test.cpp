#include "autograd/arena.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace shoal {
namespace {

TEST(Arena, BothEndsAreAlignedAndDoNotOverlap) {
  Arena arena(1 << 20);
  auto* a = static_cast<std::byte*>(arena.push(1));
  auto* b = static_cast<std::byte*>(arena.push(65));
  auto* c = static_cast<std::byte*>(arena.push_high(3));
  auto* d = static_cast<std::byte*>(arena.push_high(100));
  for (const std::byte* p : {a, b, c, d}) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % Arena::kAlign, 0U);
  }
  EXPECT_EQ(b - a, 64);
  EXPECT_EQ(c - d, 128);
  EXPECT_GE(d - b, 128);
  EXPECT_EQ(arena.low_peak(), 64U + 128U);
  EXPECT_EQ(arena.high_peak(), 64U + 128U);
  EXPECT_EQ(arena.peak(), 384U);
}

TEST(PageRange, TakesFewerAddressesWhereThereAreNoMore) {
  constexpr std::size_t kTooMany = std::size_t{1} << 60;
  EXPECT_THROW(PageRange{kTooMany}, Error);
  const PageRange range = PageRange::up_to(kTooMany);
  EXPECT_LT(range.size(), kTooMany);
  EXPECT_GE(range.size(), std::size_t{1} << 30);
  range.data()[range.size() - 1] = std::byte{1};
}

TEST(Arena, ReleasedMemoryIsGivenOutAgain) {
  Arena arena(1 << 20);
  arena.push(1000);
  const std::size_t mark = arena.mark();
  void* first = arena.push(5000);
  arena.release(mark);
  EXPECT_EQ(arena.push(10), first);
  arena.release(0);
  EXPECT_EQ(arena.mark(), 0U);
  EXPECT_EQ(arena.low_peak(), 1024U + 5056U);  // the peak stays
}

TEST(Arena, ScratchIsPoppedInOrder) {
  Arena arena(1 << 20);
  float* first = nullptr;
  {
    const Scratch<float> a(arena, 10);
    first = a.data();
    const Scratch<double> b(arena, 3);
    a[9] = 1.0F;
    b[2] = 2.0;
    EXPECT_LT(static_cast<void*>(b.data()), static_cast<void*>(a.data()));
  }
  const Scratch<float> again(arena, 10);
  EXPECT_EQ(again.data(), first);
}

TEST(Arena, ZeroBytesAreNoError) {
  Arena arena(1 << 20);
  const Scratch<float> none(arena, 0);
  EXPECT_NE(arena.push(0), nullptr);
  EXPECT_EQ(arena.peak(), 0U);
}

TEST(Arena, SaysWhatItNeedsAndWhatItHas) {
  Arena arena(1);  // one huge page
  const std::size_t all = std::size_t{2} << 20;
  arena.push(all - 128);
  arena.push_high(64);
  try {
    arena.push(65);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                ::testing::HasSubstr("lower train.micro_batch or data.sequence_length"));
  }
  EXPECT_THROW(arena.push_high(65), Error);
  arena.push(64);
}

// The pages of both ends are there before the first use: writing all of them causes no fault.
TEST(Arena, PopulatedPagesCauseNoFault) {
#ifdef SHOAL_POISON
  GTEST_SKIP() << "a sanitizer keeps pages of its own";
#endif
  Arena arena(std::size_t{64} << 20);
  arena.populate(5 << 20, 3 << 20);
  const long before = page_faults();
  std::memset(arena.push(5 << 20), 1, 5 << 20);
  std::memset(arena.push_high(3 << 20), 1, 3 << 20);
  EXPECT_LE(page_faults() - before, 1);
}

#ifdef SHOAL_POISON
TEST(ArenaDeathTest, FreedMemoryIsPoisoned) {
  Arena arena(1 << 20);
  auto* p = static_cast<volatile char*>(arena.push(64));
  arena.release(0);
  EXPECT_DEATH(p[3] = 1, "use-after-poison");
}

TEST(Arena, OfADryRunIsNotPoisoned) {
  Arena arena(1 << 20, true);
  const void* low = arena.push(64);
  const void* high = arena.push_high(64);
  arena.pop_high(64);
  arena.release(0);
  EXPECT_FALSE(__asan_address_is_poisoned(low));
  EXPECT_FALSE(__asan_address_is_poisoned(high));
}
#endif

}  // namespace
}  // namespace shoal
