#include "data/short_names.h"

#include <gtest/gtest.h>

namespace shoal {
namespace {

using Names = std::vector<std::string>;

TEST(ShortNames, AreTheEndsThatTellPathsApart) {
  EXPECT_EQ(short_names({}), Names{});
  EXPECT_EQ(short_names({"/d/a.txt"}), Names{"a.txt"});
  EXPECT_EQ(short_names({"/d/a.txt", "/d/b.txt"}), (Names{"a.txt", "b.txt"}));
  EXPECT_EQ(short_names({"/p/q/a.txt", "/r/q/a.txt", "/x/b"}),
            (Names{"p/q/a.txt", "r/q/a.txt", "b"}));
  EXPECT_EQ(short_names({"/a", "/p/a", "a"}), (Names{"/a", "p/a", "a"}));
  EXPECT_EQ(short_names({"/d/a", "/d/a", "/d/b"}), (Names{"a", "a (2)", "b"}));
  EXPECT_EQ(short_names({"a/", "a"}), (Names{"a", "a (2)"}));
  EXPECT_EQ(short_names({"/"}), Names{"/"});
}

}  // namespace
}  // namespace shoal
