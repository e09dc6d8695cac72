// shoal cost: what a model costs, without making one.
#include <gmock/gmock.h>

#include "tests/support/micro_run.h"
#include "train/config/load_config.h"
#include "train/config/published/model_json.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;

const std::string kFlash = std::string(SHOAL_SOURCE_DIR) + "/configs/full/v4-flash.yaml";

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

}  // namespace
}  // namespace shoal
