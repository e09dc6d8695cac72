// Truncated and damaged checkpoints: noticed before HDF5 sees them, the one before is used, never
// a wrong number.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "autograd/base/check.h"
#include "autograd/base/rng.h"
#include "tests/train/checkpoint/faulty_io.h"
#include "tests/train/checkpoint/small_state.h"
#include "train/checkpoint/hdf5_image.h"
#include "train/checkpoint/store.h"

// HDF5 loses some memory of its own for every file that it refuses.
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5\n"; }

namespace shoal {
namespace {

constexpr const char* kDamaged = "/run/checkpoints";
const std::string kState = "/run/checkpoints/step-00000020/state.h5";
const std::string kManifest = "/run/checkpoints/step-00000020/manifest.json";

class Damage : public testing::Test {
 protected:
  Damage() {
    io.put("/run/config.yaml", "x");
    for (const std::int64_t step : {10, 20}) {
      SmallState state(step);
      CheckpointStore(io, kDamaged).save(state.view(), {"shoal", "data", "cpu", {}}, 3);
    }
  }

  // Loads with one file replaced. True: harmless; false: noticed, and the older one was loaded.
  bool survives(const std::string& path, const std::string& bytes) {
    const std::string whole = io.bytes(path);
    io.put(path, bytes);
    SmallState state(0);
    StateView into = state.view();
    const auto loaded = CheckpointStore(io, kDamaged).load_newest(into);
    io.put(path, whole);
    EXPECT_TRUE(loaded);
    if (into.step == 20) {
      EXPECT_EQ(bits(into), bits_of_step(20)) << "wrong numbers";
      EXPECT_TRUE(loaded->warnings.empty());
      return true;
    }
    EXPECT_EQ(bits(into), bits_of_step(10)) << "wrong numbers";
    EXPECT_THAT(loaded->warnings.at(0), testing::HasSubstr("step-00000020"));
    return false;
  }

  FaultyIo io;
};

TEST_F(Damage, EveryTruncationAndAnyTailIsNoticed) {
  for (const std::string& path : {kState, kManifest}) {
    const std::string whole = io.bytes(path);
    for (std::size_t size = 0; size < whole.size(); size += 1 + size / 64) {
      EXPECT_FALSE(survives(path, whole.substr(0, size))) << path << " cut to " << size;
    }
    EXPECT_FALSE(survives(path, whole + '\0')) << path;
    EXPECT_FALSE(survives(path, whole + whole)) << path;
  }
}

// One accident of the kinds that disks, cables and memories have.
std::string damaged(std::string bytes, const Rng& rng) {
  std::uint64_t draw = 0;
  const auto below = [&](std::uint64_t n) { return rng.below(draw++, n); };
  const auto block = [&] { return std::min<std::uint64_t>(bytes.size(), 1 + below(512)); };
  switch (below(6)) {
    case 0:
      bytes[below(bytes.size())] ^= static_cast<char>(1 << below(8));
      break;
    case 1: {
      const std::uint64_t size = block();
      const std::uint64_t at = below(bytes.size() - size + 1);
      std::fill_n(bytes.begin() + static_cast<long>(at), size, '\0');
      break;
    }
    case 2: {  // two blocks change places
      const std::uint64_t size = std::min<std::uint64_t>(block(), bytes.size() / 2);
      const std::uint64_t a = below(bytes.size() - 2 * size + 1);
      const std::uint64_t b = a + size + below(bytes.size() - a - 2 * size + 1);
      std::swap_ranges(bytes.begin() + static_cast<long>(a),
                       bytes.begin() + static_cast<long>(a + size),
                       bytes.begin() + static_cast<long>(b));
      break;
    }
    case 3: {  // the change that fletcher32 does not see
      std::vector<std::size_t> words;
      for (std::size_t at = 0; at + 1 < bytes.size(); at += 2) {
        const bool flat = bytes[at] == bytes[at + 1] && (bytes[at] == '\0' || bytes[at] == '\xFF');
        if (flat) words.push_back(at);
      }
      if (words.empty()) break;
      const std::size_t at = words[below(words.size())];
      bytes[at] = bytes[at + 1] = static_cast<char>(~bytes[at]);
      break;
    }
    case 4:
      bytes.erase(below(bytes.size()), block());
      break;
    default: {
      const std::uint64_t size = block();
      const std::uint64_t at = below(bytes.size() - size + 1);
      for (std::uint64_t i = 0; i < size; ++i) bytes[at + i] = static_cast<char>(below(256));
    }
  }
  return bytes;
}

TEST_F(Damage, TwoThousandRandomOnes) {
  int harmless = 0;
  for (std::uint64_t n = 0; n < 2000 && !HasFailure(); ++n) {
    const Rng rng(11, Purpose::kTest, n);
    const std::string& path = n % 3 == 0 ? kManifest : kState;
    const std::string whole = io.bytes(path);
    const std::string bytes = damaged(whole, rng);
    const bool survived = survives(path, bytes);
    EXPECT_EQ(survived, bytes == whole) << "damage " << n << " of " << path;
    harmless += survived ? 1 : 0;
  }
  EXPECT_LT(harmless, 300) << "most of them must change something";
}

// The same with a manifest that was forged to match: HDF5 gets to parse it. What our own reader
// lets through must be a state, whatever its numbers; nothing may crash or eat memory.
TEST_F(Damage, ForgedFilesAreRefusedOrAState) {
  const std::string whole = io.bytes(kState);
  int refused = 0;
  for (std::uint64_t n = 0; n < 1000; ++n) {
    const std::string bytes = damaged(whole, Rng(12, Purpose::kTest, n));
    try {
      const LoadedState state = parse_image(bytes, "forged");
      std::size_t total = 0;
      for (const LoadedArray& array : state.arrays) total += array.bytes.size();
      EXPECT_LE(total, bytes.size());
    } catch (const Error& error) {
      EXPECT_EQ(error.why(), Failure::kData) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace shoal
