#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/autograd/gradcheck.h"

namespace shoal::testing {
namespace {

// What the cases really record, not what they are called.
std::set<std::string> checked_ops() {
  std::set<std::string> names;
  for (const CaseList list : case_lists()) {
    for (const GradCase& c : list()) names.merge(recorded_ops(c));
  }
  return names;
}

TEST(Ops, AllOpsAreChecked) {
  const std::set<std::string> checked = checked_ops();
  std::set<std::string> registered;
  for (const OpInfo* op : op_registry()) {
    EXPECT_TRUE(registered.insert(std::string(op->name)).second) << op->name << " twice";
    EXPECT_TRUE(checked.count(std::string(op->name)) > 0)
        << op->name << " has no gradient case: add GRADIENT_CASES in tests/autograd/ops";
  }
  EXPECT_FALSE(registered.empty()) << "the registry is empty: is the library linked whole?";
  for (const std::string& name : checked) {
    EXPECT_TRUE(registered.count(name) > 0) << name << " is recorded and not registered";
  }
}

}  // namespace
}  // namespace shoal::testing
