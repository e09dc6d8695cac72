#include "autograd/base/trace.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"
#include "train/step/step_runner.h"

namespace shoal::testing {
namespace {

void traced_step() {
  const auto model = random_model(tiny_config());
  Tape tape({1 << 28, 1 << 28});
  StepRunner runner(*model, tape, {});
  const Batch batch = pack(10, {{random_document(10, 23, 1)}});
  runner.step({&batch, 1}, {});
  std::exit(0);  // the file is written at exit
}

// In a process of its own, which runs this test from its start and finds the variable set.
TEST(TraceDeathTest, AStepWritesAFileThatViewersOpen) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  std::unique_ptr<TemporaryFolder> folder;
  if (std::getenv("SHOAL_TRACE") == nullptr) {
    folder = std::make_unique<TemporaryFolder>();
    ::setenv("SHOAL_TRACE", (*folder / "trace.json").c_str(), 1);
  }
  EXPECT_EXIT(traced_step(), ::testing::ExitedWithCode(0), "");
  const nlohmann::json trace = nlohmann::json::parse(std::ifstream(std::getenv("SHOAL_TRACE")));
  if (folder) ::unsetenv("SHOAL_TRACE");
  std::map<std::string, int> forward, backward, phases;
  double last = 0.0;
  for (const auto& e : trace.at("traceEvents")) {
    EXPECT_EQ(e.at("ph"), "X");
    EXPECT_GE(e.at("dur").get<double>(), 0.0);
    EXPECT_GE(e.at("ts").get<double>(), 0.0);
    last = std::max(last, e.at("ts").get<double>());
    auto& group = e.at("cat") == "forward"    ? forward
                  : e.at("cat") == "backward" ? backward
                                              : phases;
    ++group[e.at("name")];
  }
  EXPECT_GT(last, 0.0);
  EXPECT_EQ(forward["attention"], 3);  // two layers and MTP
  EXPECT_EQ(backward["attention"], 3);
  EXPECT_EQ(forward["cross_entropy"], 2);
  for (const char* phase : {"forward", "backward", "measure", "optimizer"}) {
    EXPECT_EQ(phases[phase], 1) << phase;
  }
}

TEST(Trace, IsOffWithoutTheVariable) {
  if (std::getenv("SHOAL_TRACE") == nullptr) {
    EXPECT_FALSE(trace_is_on());
  }
}

}  // namespace
}  // namespace shoal::testing
