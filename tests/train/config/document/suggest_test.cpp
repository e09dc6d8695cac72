#include "train/config/document/suggest.h"

#include <gtest/gtest.h>

namespace shoal {
namespace {

TEST(Suggest, CountsEdits) {
  EXPECT_EQ(edit_distance("", "", 5), 0);
  EXPECT_EQ(edit_distance("", "abc", 5), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting", 5), 3);
  EXPECT_EQ(edit_distance("weigth", "weight", 5), 1);  // a swap of neighbours
  EXPECT_EQ(edit_distance("ab", "ba", 5), 1);
  EXPECT_EQ(edit_distance("abcdefgh", "x", 2), 3);  // more than the limit
  EXPECT_EQ(edit_distance(std::string(100000, 'a'), "b", 2), 3);
}

TEST(Suggest, OffersTheNearestIfItIsNear) {
  const std::vector<std::string> known = {"lr", "end_lr", "warmup_steps", "weight_decay"};
  EXPECT_EQ(suggest("weigth_decay", known), "weight_decay");
  EXPECT_EQ(suggest("warmup", known), "warmup_steps");
  EXPECT_EQ(suggest("rl", known), "lr");
  EXPECT_EQ(suggest("end_rl", known), "end_lr");
  EXPECT_EQ(suggest("learning_rate", known), std::nullopt);
  EXPECT_EQ(suggest("", known), std::nullopt);
  EXPECT_EQ(suggest("x", {}), std::nullopt);
}

}  // namespace
}  // namespace shoal
