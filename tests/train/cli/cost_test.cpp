// shoal cost: what a model costs, without making one.
#include <gmock/gmock.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "tests/support/micro_run.h"
#include "tests/support/paths.h"
#include "train/config/load_config.h"
#include "train/config/published/model_json.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kFlash = source_folder() + "/configs/full/v4-flash.yaml";

TEST(Cost, OfAPublishedModelAsJson) {
  const Ended ended = run_program({"cost", kFlash, "--context", "4096,1048576", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const Json cost = Json::parse(ended.out);
  EXPECT_EQ(cost.at("parameters"), 284332240471);
  EXPECT_EQ(cost.at("parameters_with_mtp"), 290942289362);
  ASSERT_EQ(cost.at("contexts").size(), 2U);
  const Json& million = cost.at("contexts")[1];
  EXPECT_EQ(million.at("context"), 1048576);
  EXPECT_NEAR(million.at("kv_of_v32").get<double>(), 0.0732, 5e-5);
  for (const char* convention : {"D", "E", "H"}) {
    EXPECT_NEAR(million.at("flops_of_v32").at(convention).get<double>(), 0.10, 3e-3);
  }
  EXPECT_TRUE(cost.contains("step_bytes"));
}

TEST(Cost, OfAReplicaIsWhatItsRunSays) {
  const MicroRun micro;
  const Ended cost = run_program({"cost", micro.config(), "--json"});
  ASSERT_EQ(cost.code, 0) << cost.err;
  const Ended bench = run_program({"bench", "step", micro.config(), "--steps", "1", "--json"});
  ASSERT_EQ(bench.code, 0) << bench.err;
  const Json mine = Json::parse(cost.out), measured = Json::parse(bench.out);
  // Router biases are no gradient's parameters: of the learned layer and of MTP.
  EXPECT_EQ(mine.at("parameters_with_mtp").get<std::int64_t>(),
            measured.at("parameters").get<std::int64_t>() + 2 * 4);
  EXPECT_EQ(mine.at("step_bytes_by_part").at("arena"), measured.at("arena_bytes"));
  EXPECT_EQ(mine.at("contexts").size(), 3U);
  const Ended table = run_program({"cost", micro.config(), "model.num_nextn_predict_layers=0"});
  EXPECT_THAT(table.out, HasSubstr("memory of a step"));
}

// As many layers and experts as can be named, in a file of 100 KB: counted, and no step of it
// walked through, which took 7 GB and minutes.
TEST(Cost, OfAMereClaimIsCheap) {
  const MicroRun micro;
  ModelConfig claim = load_config(micro.config(), {}, {.needs_data = false}).model;
  claim.layer_types.assign(4096, AttentionKind::kSliding);
  claim.mlp_layer_types.assign(4096, FeedForwardKind::kMoe);
  claim.num_hidden_layers = 4096;
  claim.n_routed_experts = 64;
  const std::string file = micro.folder().write("config.json", model_to_json(claim).dump());
  const auto begin = std::chrono::steady_clock::now();
  const Ended ended = run_program({"cost", file, "--json"});
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_TRUE(Json::parse(ended.out).at("step_bytes").is_null());
  claim.n_routed_experts = 65;
  micro.folder().write("config.json", model_to_json(claim).dump());
  const Ended refused = run_program({"cost", file});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.last_line(),
              HasSubstr("n_routed_experts: 65 in each of 4096 layers; use at"));
}

TEST(Cost, OfAConfigJson) {
  const MicroRun micro;
  const RunConfig flash = load_config(kFlash, {}, {.needs_data = false});
  const std::string file = micro.folder().write("config.json", model_to_json(flash.model).dump());
  const Ended from_json = run_program({"cost", file, "--json", "--context", "65536"});
  ASSERT_EQ(from_json.code, 0) << from_json.err;
  const Ended from_yaml = run_program({"cost", kFlash, "--json", "--context", "65536"});
  EXPECT_EQ(Json::parse(from_json.out).at("contexts"), Json::parse(from_yaml.out).at("contexts"));
  const Ended refused = run_program({"cost", file, "optim.lr=1"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.last_line(), HasSubstr("takes no settings"));
}

// A replica beside itself with full attention, not as 0.0000 of a model ten thousand times larger.
TEST(Cost, OfAReplicaComparesWithFullAttention) {
  const std::string base = source_folder() + "/configs/replicas/base.yaml";
  const Ended table = run_program({"cost", base});
  ASSERT_EQ(table.code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("forward and backward"));
  EXPECT_THAT(table.out, HasSubstr("forward alone"));
  EXPECT_THAT(table.out, HasSubstr("full attention"));
  EXPECT_THAT(table.out, Not(HasSubstr("V3.2")));
  EXPECT_THAT(table.out, Not(HasSubstr("0.0000")));
  EXPECT_THAT(run_program({"cost", kFlash, "--context", "4096"}).out, HasSubstr("V3.2"));

  const Json mine = Json::parse(run_program({"cost", base, "--json"}).out);
  const int layers =
      static_cast<int>(load_config(base, {}, {.needs_data = false}).model.layer_types.size());
  std::string types = "model.layer_types=[";
  for (int l = 0; l < layers; ++l) types += l > 0 ? ", full_attention" : "full_attention";
  const Ended ended = run_program({"cost", base, types + "]", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const Json full = Json::parse(ended.out);
  for (std::size_t i = 0; i < mine.at("contexts").size(); ++i) {
    const Json &a = mine.at("contexts")[i], &b = full.at("contexts")[i];
    const auto ratio = [&](const char* what) {
      return a.at(what).get<double>() / b.at(what).get<double>();
    };
    EXPECT_DOUBLE_EQ(a.at("flops_of_full_attention"), ratio("flops_per_token"));
    EXPECT_DOUBLE_EQ(a.at("kv_of_full_attention"), ratio("kv_bytes"));
    EXPECT_EQ(b.at("flops_of_full_attention"), 1.0);
  }
}

TEST(Cost, OfTrainingIsWhatBenchStepCounts) {
  const MicroRun micro;
  const Json cost = Json::parse(run_program({"cost", micro.config(), "--json"}).out);
  const Ended bench = run_program({"bench", "step", micro.config(), "--steps", "1", "--json"});
  ASSERT_EQ(bench.code, 0) << bench.err;
  EXPECT_DOUBLE_EQ(cost.at("training_flops_per_token"),
                   Json::parse(bench.out).at("flops_per_token"));
}

}  // namespace
}  // namespace shoal
