// Runs with fewer bits through the program: trained, stopped, evaluated, exchanged.
#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/micro_run.h"
#include "train/cli/loaded_model.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Strings = std::vector<std::string>;

const Strings kSparse = {
    "model.layer_types=[compressed_sparse_attention, heavily_compressed_attention]",
    "model.compress_rates={compressed_sparse_attention: 2, heavily_compressed_attention: 4}",
    "model.index_topk=2", "model.index_head_dim=32"};
const Strings kRounded = {"model.fp4={experts: qat, indexer: qat}", "model.fp8.kv=qat"};

Strings operator+(Strings a, const Strings& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

double loss_of(const Strings& arguments) {
  return json_of_command(Strings{"eval"} + arguments + Strings{"--json"}).at("loss").get<double>();
}

TEST(Fp4Run, ThreadsRecomputeAndAResumeGiveTheSameRun) {
  const MicroRun micro;
  micro.train_to_the_end("whole", kSparse + kRounded);
  micro.train_to_the_end("plain", kSparse);
  EXPECT_NE(numbers_of(micro / "whole"), numbers_of(micro / "plain"));
  micro.train_to_the_end("other", kSparse + kRounded + Strings{"train.recompute=block"},
                         {.threads = 2});
  expect_equal_runs(micro / "whole", micro / "other");
  micro.train_to_the_end("half", kSparse + kRounded + Strings{"train.steps=24"});
  fs::remove_all(micro / "half/checkpoints/step-00000024");
  run_well({"resume", micro / "half"});
  expect_equal_runs(micro / "whole", micro / "half");
}

// Against the weights of the last checkpoint, rounded by the definition: the nearest E2M1 value.
TEST(Fp4Run, ItsRecordsSayWhatRoundingDoes) {
  const MicroRun micro;
  micro.train_to_the_end("run", kSparse + kRounded + Strings{"log.every=6"});
  const LoadedModel loaded = load_model(micro / "run", {});
  const std::vector<const Block*> blocks = loaded.model->all_blocks();
  const Strings lines = lines_of(micro / "run", "layer");
  ASSERT_EQ(lines.size() % blocks.size(), 0U);
  for (std::size_t l = 0; l < blocks.size(); ++l) {
    const Json record = *parse_line(lines[lines.size() - blocks.size() + l]);
    double error = 0.0, square = 0.0, zeros = 0.0, weights = 0.0;
    int least = 1000, most = -1000;
    for (const ModelParam* p : blocks[l]->feed_forward().routed_weights()) {
      for (std::int64_t r = 0; r < p->value.shape.rows(); ++r) {
        for (std::int64_t k = 0; k < p->value.shape.cols(); k += 32) {
          const float* x = p->value.row(r) + k;
          const std::int64_t n = std::min<std::int64_t>(32, p->value.shape.cols() - k);
          double largest = 0.0;
          for (std::int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(double{x[i]}));
          const int power = static_cast<int>(std::ceil(std::log2(largest / 6.0)));
          least = std::min(least, power);
          most = std::max(most, power);
          for (std::int64_t i = 0; i < n; ++i) {
            double nearest = 1e300;
            for (const double code : {0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0}) {
              const double value = std::ldexp(code, power);
              const double distance = std::abs(std::abs(double{x[i]}) - value);
              if (distance < std::abs(std::abs(double{x[i]}) - nearest)) nearest = value;
            }
            error += std::pow(std::abs(double{x[i]}) - nearest, 2);
            square += double{x[i]} * double{x[i]};
            zeros += nearest == 0.0 && x[i] != 0.0F ? 1.0 : 0.0;
            weights += 1.0;
          }
        }
      }
    }
    EXPECT_NEAR(record.at("fp4_zeros").get<double>(), zeros / weights, 1e-12);
    EXPECT_NEAR(record.at("fp4_distance").get<double>(), std::sqrt(error / square), 1e-7);
    EXPECT_EQ(record.at("fp4_least_scale"), least);
    EXPECT_EQ(record.at("fp4_most_scale"), most);
    EXPECT_EQ(record.contains("index_recall"), l == 0) << record;
    if (l != 0) continue;
    EXPECT_GT(record.at("index_recall").get<double>(), 0.5);
    EXPECT_LE(record.at("index_recall").get<double>(), 1.0);
  }
  EXPECT_THAT(bytes_of_file(micro / "run/report.html"), HasSubstr("Index recall"));
}

TEST(Fp4Run, QuantizationMayBeginLater) {
  const MicroRun micro;
  micro.train_to_the_end("plain", kSparse);
  micro.train_to_the_end("late", kSparse + Strings{"model.fp4={experts: qat, from_step: 12}"});
  const Strings plain = lines_of(micro / "plain", "step"), late = lines_of(micro / "late", "step");
  const auto loss = [](const std::string& line) { return Json::parse(line).at("loss"); };
  EXPECT_EQ(loss(plain[11]), loss(late[11]));
  EXPECT_NE(loss(plain[12]), loss(late[12]));
}

TEST(Fp4Run, PtqRoundsAfterTrainingAlone) {
  const MicroRun micro;
  const Ended refused = micro.train("ptq", kSparse + Strings{"model.fp4.experts=ptq"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("model.fp4.experts: ptq rounds in evaluation and generation "
                                     "alone; train with off, then `shoal eval RUN "
                                     "model.fp4.experts=ptq`"));
  EXPECT_FALSE(fs::exists(micro / "ptq"));

  micro.train_to_the_end("run", kSparse);
  const std::string run = micro / "run";
  const double plain = loss_of({run});
  EXPECT_NE(loss_of({run, "model.fp4.experts=ptq"}), plain);
  EXPECT_NE(loss_of({run, "model.fp4={experts: ptq, indexer: ptq}"}),
            loss_of({run, "model.fp4.experts=ptq"}));
  EXPECT_NE(loss_of({run, "model.fp8.kv=qat"}), plain);
  EXPECT_EQ(run_program({"resume", run, "model.fp4.experts=ptq"}).code, 2);

  const auto generate = [&](const Strings& more) {
    return run_well(Strings{"generate", run, "--prompt", "the king", "--tokens", "60"} + more).out;
  };
  EXPECT_NE(generate({"model.fp4={experts: ptq, indexer: ptq}"}), generate({}));
  const Ended nothing = run_program({"generate", run, "--prompt", "x", "optim.lr=1"});
  EXPECT_EQ(nothing.code, 2);
  EXPECT_THAT(nothing.last_line(), HasSubstr("optim.lr: changes nothing in a generation"));
}

TEST(Fp4Run, PackedExpertsAreExchanged) {
  const MicroRun micro;
  micro.train_to_the_end("run", kSparse);
  run_well({"export", micro / "run", micro / "hub", "--fp4"});
  EXPECT_THAT(run_well({"inspect", micro / "hub"}).out, HasSubstr("F8_E8M0"));
  run_well({"verify", micro / "hub"});
  run_well({"import", micro / "hub", micro / "back"});
  // The imported weights are the rounded ones.
  const Strings data = {"data.validation=[" + (micro / "corpus.txt") + "]",
                        "data.sequence_length=32", "train.batch_tokens=192", "train.micro_batch=2"};
  EXPECT_EQ(loss_of(Strings{micro / "back"} + data),
            loss_of(Strings{micro / "run", "model.fp4.experts=ptq"} + data));
  EXPECT_NE(loss_of(Strings{micro / "back"} + data), loss_of(Strings{micro / "run"} + data));
}

TEST(Fp4Run, HeadsThatHadamardCannotHaveAreRefused) {
  const MicroRun micro;
  const Ended refused =
      micro.train("x", kSparse + Strings{"model.index_head_dim=24", "model.fp4.indexer=qat"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("use a power of two up to 1024, or fp4.indexer off"));
}

}  // namespace
}  // namespace shoal
