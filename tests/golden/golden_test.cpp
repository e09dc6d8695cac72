// A tiny random model and what a training step on it must give, computed in double precision by a
// program that shares no code with this one.
#include <gtest/gtest.h>

#include <sstream>

#include "autograd/base/parallel.h"
#include "autograd/kernels/gemm.h"
#include "tests/train/interop/temp_folder.h"
#include "train/interop/parity.h"
#include "train/interop/safetensors.h"

namespace shoal {
namespace {

const std::string kWindow = std::string(SHOAL_GOLDEN_DIR) + "/window";

std::string failures(const ParityRun& run) {
  std::ostringstream out;
  for (const TensorError& e : run.comparison->all()) {
    if (!e.passed()) out << e.name << ": " << e.error << " > " << e.tolerance << '\n';
  }
  for (const std::string& name : run.comparison->not_compared()) out << name << " not compared\n";
  return out.str();
}

TEST(Golden, WindowPasses) {
  const ParityRun run = run_parity(kWindow);
  EXPECT_EQ(failures(run), "");
  EXPECT_TRUE(run.comparison->passed());
  // All of it was there: three parts of streams, both logits, every gradient, ten steps twice.
  EXPECT_EQ(run.want->streams.size(), 3U);
  EXPECT_TRUE(run.want->logits && run.want->mtp_logits && run.want->losses);
  EXPECT_EQ(run.want->adamw.size(), 10U);
  EXPECT_EQ(run.want->muon.size(), 10U);
  EXPECT_GT(run.want->grad.size(), 80U);
  EXPECT_GT(run.want->grad_ce.size(), 40U);
  // Far inside the bounds, as float32 should be.
  const ParityErrors e = run.comparison->errors();
  EXPECT_LT(*e.logits, 2e-6);
  EXPECT_LT(*e.streams, 2e-6);
  EXPECT_LT(*e.loss, 2e-7);
  EXPECT_LT(*e.adamw, 1e-6);
  EXPECT_LT(*e.muon, 1e-6);
}

TEST(Golden, WindowPassesWithOtherThreadsAndTheNarrowKernel) {
  const int before = thread_count();
  set_thread_count(3);
  use_wide_gemm(false);
  EXPECT_EQ(failures(run_parity(kWindow)), "");
  use_wide_gemm(true);
  set_thread_count(before);
}

// Every tensor of the model matters: one changed weight, and the comparison fails.
TEST(Golden, PerturbedWeightFails) {
  const SafetensorsFile model = SafetensorsFile::open(kWindow + "/model.safetensors");
  for (const char* victim : {"layers.0.attn.attn_sink", "layers.1.ffn.gate.weight",
                             "mtp.0.hc_ffn_base", "layers.1.ffn.shared_experts.w2.weight"}) {
    const testing::TempFolder folder;
    for (const char* file : {"/config.json", "/golden.json", "/golden.safetensors"}) {
      std::filesystem::copy_file(kWindow + file, folder.path() + file);
    }
    std::map<std::string, std::vector<float>> floats;
    std::map<std::string, std::vector<std::int64_t>> ints;
    std::vector<TensorToWrite> tensors;
    for (const auto& [name, info] : model.tensors()) {
      if (info.dtype == "I64") {
        ints[name] = model.read_i64(name);
        tensors.push_back({name, "I64", info.shape, ints[name].data()});
      } else {
        floats[name] = model.read_f32(name);
        tensors.push_back({name, "F32", info.shape, floats[name].data()});
      }
    }
    ASSERT_TRUE(floats.contains(victim)) << victim;
    floats[victim][1] += 0.01F;
    write_safetensors(folder.path() + "/model.safetensors", tensors);
    EXPECT_FALSE(run_parity(folder.path()).comparison->passed()) << victim;
  }
}

}  // namespace
}  // namespace shoal
