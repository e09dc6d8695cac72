#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "autograd/tape.h"
#include "autograd/tensor.h"

namespace shoal::testing {

using Doubles = std::vector<double>;

// An op, its formula in double, and what to feed them. Integer inputs (tokens, experts) are no
// inputs here: the two functions carry them.
struct GradCase {
  std::string name;           // for messages
  std::vector<Shape> inputs;  // float32
  std::function<std::vector<Tensor>(Tape&, const std::vector<Tensor>&)> op;
  std::function<std::vector<Doubles>(const std::vector<Doubles>&)> reference;  // as many outputs
  // Element i of an input; standard normal where nothing is said.
  std::map<int, std::function<double(std::int64_t i)>> values{};
  std::set<int> constants{};  // inputs that take no gradient
  bool same_tensor = true;    // false: no caller can mean one tensor for two inputs
  // Outputs and gradients: |got - want| <= rtol * |want| + atol * rms(want) + floor. Whoever widens
  // one says why.
  double rtol = 2e-4, atol = 2e-5, floor = 2e-7;
  std::uint64_t seed = 7;
};

// Runs the op and holds it to its formula and to the contract of ops (autograd/tape.h). Empty, or
// the first thing that is wrong:
// - each output equals the reference, and has the same bits where nothing is recorded;
// - each gradient, for a random cotangent over all outputs and for each output alone (the others
//   get none), equals finite differences of the reference;
// - the first write to a gradient overwrites all of it (it held NaN), a second use of the op adds;
// - each input may be the only one that takes a gradient, and two inputs may be the same tensor;
// - inputs stay as they were, and 1, 2 and 3 threads give equal bits.
std::string gradient_problem(const GradCase& c);

// Names of the ops that a case records.
std::set<std::string> recorded_ops(const GradCase& c);

// d(sum_k <cotangent_k, reference_k>) / d(input) for several cotangents at once, by central
// differences whose step shrinks until two of them agree. Throws where they never do: the reference
// has a kink there, and the case needs other values.
using Cotangent = std::vector<Doubles>;  // one per output
std::vector<Doubles> finite_differences(const GradCase& c, const std::vector<Doubles>& at,
                                        int input, const std::vector<Cotangent>& cotangents);

// The cases of all GRADIENT_CASES of this program.
using CaseList = std::vector<GradCase> (*)();
std::vector<CaseList>& case_lists();
struct RegisterCases {
  explicit RegisterCases(CaseList list) { case_lists().push_back(list); }
};

}  // namespace shoal::testing

#define EXPECT_GRADIENTS(...) EXPECT_EQ(::shoal::testing::gradient_problem(__VA_ARGS__), "")

// GRADIENT_CASES(RmsNorm) { return {...}; } is the test RmsNorm.Gradients, and tells
// AllOpsAreChecked which ops it covers. The body returns std::vector<GradCase>.
#define GRADIENT_CASES(Suite)                                                               \
  static std::vector<::shoal::testing::GradCase> Suite##_gradient_cases();                  \
  static const ::shoal::testing::RegisterCases Suite##_registered(&Suite##_gradient_cases); \
  TEST(Suite, Gradients) {                                                                  \
    for (const auto& one_case : Suite##_gradient_cases()) EXPECT_GRADIENTS(one_case);       \
  }                                                                                         \
  static std::vector<::shoal::testing::GradCase> Suite##_gradient_cases()
