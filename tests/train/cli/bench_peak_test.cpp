// shoal bench peak: the measure of every share, and what products reach of it.
#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>

#include "tests/support/micro_run.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;

TEST(BenchPeak, PrintsThePeakAndBothProducts) {
  const Ended ended = run_program({"bench", "peak", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const Json json = Json::parse(ended.out);
  for (const char* product : {"shoal_gflops", "openblas_gflops"}) {
    EXPECT_GT(json.at(product).get<double>(), 0.0);
    EXPECT_LT(json.at(product), json.at("peak_gflops")) << product;
  }
  EXPECT_EQ(json.at("threads"), 1);
  const std::string kernels = json.at("openblas_kernels");
  EXPECT_FALSE(kernels.empty());
  const Ended table = run_program({"bench", "peak"});
  EXPECT_THAT(table.out, HasSubstr("OpenBLAS, 1024^3 (" + kernels + ")"));
  EXPECT_THAT(table.out, HasSubstr("fused multiply-adds in registers"));
}

#ifdef __x86_64__
TEST(BenchPeak, WarnsOfKernelsBelowTheProcessor) {
  ::setenv("OPENBLAS_CORETYPE", "Prescott", 1);  // what OpenBLAS takes for what it does not know
  const Ended ended = run_program({"bench", "peak", "--json"});
  ::unsetenv("OPENBLAS_CORETYPE");
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(Json::parse(ended.out).at("openblas_kernels"), "Prescott");
  EXPECT_THAT(ended.err, HasSubstr("set OPENBLAS_CORETYPE="));
}

TEST(BenchPeak, DoesNotDependOnOpenBlas) {
  const auto peak = [] {
    return Json::parse(run_program({"bench", "peak", "--json"}).out)
        .at("peak_gflops")
        .get<double>();
  };
  double with = 0.0, without = 0.0;
  for (int attempt = 0; attempt < 3; ++attempt) with = std::max(with, peak());
  ::setenv("OPENBLAS_CORETYPE", "Prescott", 1);
  for (int attempt = 0; attempt < 3; ++attempt) without = std::max(without, peak());
  ::unsetenv("OPENBLAS_CORETYPE");
  EXPECT_NEAR(with / without, 1.0, 0.3);
}
#endif

TEST(BenchDecode, SaysWhatItsBaselineIs) {
  const MicroRun micro;
  const Ended ended = run_program({"bench", "decode", micro.config(), "--context", "300",
                                   "--tokens", "4", "model.max_position_embeddings=512"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("full attention in every layer, on as many threads"));
}

}  // namespace
}  // namespace shoal
