#include "train/generate/text_stream.h"

#include <gtest/gtest.h>

#include "autograd/base/rng.h"
#include "autograd/base/utf8.h"

namespace shoal {
namespace {

// "text" in random pieces: what came at each of them, and at the end.
template <class Stream>
std::vector<std::string> in_pieces(Stream stream, std::string_view text, std::uint64_t seed) {
  const Rng rng(seed, Purpose::kTest);
  std::vector<std::string> out;
  std::uint64_t draw = 0;
  while (!text.empty()) {
    const std::string_view piece = text.substr(0, 1 + rng.below(draw++, 3));
    out.push_back(stream.add(piece));
    text.remove_prefix(piece.size());
  }
  out.push_back(stream.finish());
  return out;
}
std::string joined(const std::vector<std::string>& pieces) {
  std::string all;
  for (const std::string& piece : pieces) all += piece;
  return all;
}

TEST(WholeCharacters, NoPieceEndsInsideOfACharacter) {
  const std::string text = "a\u00e9\u4f60\U0001f41f\u00ff\n\u07ff\u0800\uffff\U00010000\U0010ffffz";
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const std::vector<std::string> pieces = in_pieces(WholeCharacters(), text, seed);
    EXPECT_EQ(joined(pieces), text);
    EXPECT_EQ(pieces.back(), "");
    for (const std::string& piece : pieces) {
      EXPECT_EQ(find_invalid_utf8(piece), kValidUtf8) << seed;
    }
  }
}

TEST(WholeCharacters, HoldsNothingThatCannotBecomeACharacter) {
  // Leads that are none, overlong forms, surrogates, too large, a lead that is followed by another.
  for (const std::string text : {"\x80", "\xbf\xbf\xbf\xbf", "\xc0", "\xff", "\xe0\x80", "\xed\xa0",
                                 "\xf0\x80", "\xf4\x90", "\xf5", "\xe4\xbd\x41", "\xc3\xc3 "}) {
    WholeCharacters stream;
    std::string out;
    for (const char c : text) out += stream.add(std::string_view(&c, 1));
    EXPECT_EQ(out, text);
    EXPECT_EQ(stream.finish(), "");
  }
  for (const std::string text :
       {"\xc3", "\xe4\xbd", "\xe4", "\xf0\x9f\x90", "\xf4\x8f", "\xed\x9f"}) {
    WholeCharacters stream;
    EXPECT_EQ(stream.add("x" + text), "x");
    EXPECT_EQ(stream.finish(), text);  // the end: no more will come
  }
}

TEST(StopText, EndsBeforeTheFirstStop) {
  const auto cut = [](const std::string& text, const std::vector<std::string>& stops) {
    std::size_t end = text.size();
    for (const std::string& stop : stops) {
      if (!stop.empty()) end = std::min(end, text.find(stop));
    }
    return text.substr(0, end);
  };
  const std::vector<std::vector<std::string>> stops = {
      {}, {""}, {"b"}, {"aab"}, {"abab", "bb"}, {"aaaa"}, {"ab", "b"}, {"bba", "abba"}};
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const Rng rng(seed, Purpose::kTest, 1);
    std::string text;
    for (std::uint64_t i = 0; i < 20; ++i) text += rng.below(i, 2) == 0 ? 'a' : 'b';
    for (const std::vector<std::string>& some : stops) {
      // Byte by byte, so that no piece holds text after a stop.
      StopText stream(some);
      std::string out;
      for (const char c : text) out += stream.add(std::string_view(&c, 1));
      const bool found = stream.found();
      out += stream.finish();
      EXPECT_EQ(out, cut(text, some)) << text;
      EXPECT_EQ(found, out.size() < text.size());
    }
  }
}

TEST(StopText, HoldsBackOnlyWhatMayBeginAStop) {
  StopText stream({"\n\n", "END"});
  EXPECT_EQ(stream.add("one\n"), "one");
  EXPECT_EQ(stream.add("two E"), "\ntwo ");
  EXPECT_EQ(stream.add("N"), "");
  EXPECT_EQ(stream.add("d"), "ENd");
  EXPECT_EQ(stream.add("x\n\nrest"), "x");
  EXPECT_TRUE(stream.found());
  EXPECT_EQ(stream.add("more"), "");
  EXPECT_EQ(stream.finish(), "");
}

}  // namespace
}  // namespace shoal
