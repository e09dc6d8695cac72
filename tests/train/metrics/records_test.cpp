#include "train/metrics/records.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "autograd/base/check.h"
#include "autograd/base/rng.h"
#include "train/metrics/event_record.h"

namespace shoal {
namespace {

StepRecord sample_step() {
  StepRecord r;
  r.step = 120;
  r.tokens = 983040;
  r.loss = 3.2101;
  r.ce = 2.9;
  r.mtp = 0.31;
  r.balance = 1e-4;
  r.index_kl = 0.0;
  r.lr = 3e-4;
  r.grad_norm = 0.91F;  // a float, widened
  r.clamp = {.gate_high = 3, .up_high = 2, .up_low = 1, .clamp_inputs = 4096};
  r.step_seconds = 0.8125;
  r.tokens_per_second = 10082.5;
  r.matmul_peak_share = 0.5;
  r.time = 1700000000.25;
  return r;
}

TEST(Records, StepLineIsWhatItAlwaysWas) {
  EXPECT_EQ(
      line_of(json_of(sample_step())),
      R"({"kind":"step","step":120,"tokens":983040,"loss":3.2101,"ce":2.9,"mtp":0.31,)"
      R"("balance":0.0001,"index_kl":0.0,"lr":0.0003,"grad_norm":0.9100000262260437,)"
      R"("gate_high":3,"up_high":2,"up_low":1,"clamp_inputs":4096,"gate_max":0.0,"up_max":0.0,)"
      R"("step_seconds":0.8125,"tokens_per_second":10082.5,"matmul_peak_share":0.5,"time":1700000000.25})");
}

TEST(Records, LayerAndEventLines) {
  LayerRecord layer;
  layer.step = 7;
  layer.layer = 3;
  layer.expert_load = {5, 0, 9};
  layer.bias_low = -0.001;
  EXPECT_EQ(line_of(json_of(layer)),
            R"({"kind":"layer","step":7,"layer":3,"expert_load":[5,0,9],"gate_high":0,"up_high":0,)"
            R"("up_low":0,"clamp_inputs":0,"gate_max":0.0,"up_max":0.0,"bias_low":-0.001,)"
            R"("bias_high":0.0,"idle_experts":0})");
  layer.layer = LayerRecord::kMtp;
  EXPECT_NE(line_of(json_of(layer)).find(R"("layer":"mtp")"), std::string::npos);

  EventRecord event{.step = 9, .event = "spike", .fields = {}, .time = 1.5};
  event.fields = {{"norm", std::numeric_limits<double>::infinity()}, {"text", "a\xff\x01"}};
  EXPECT_EQ(line_of(json_of(event)),
            "{\"kind\":\"event\",\"step\":9,\"event\":\"spike\",\"norm\":\"inf\","
            "\"text\":\"a\xEF\xBF\xBD\\u0001\",\"time\":1.5}");
  event.fields = {{"step", 1}};
  EXPECT_THROW(json_of(event), Error);
}

TEST(Records, NumbersReadBackToTheSameBits) {
  const Rng rng(1, Purpose::kTest);
  int finite = 0;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    // Any bits at all: subnormals, huge, negative; floats on every other round.
    double value = std::bit_cast<double>(rng.bits(i));
    if (i % 2 == 1) value = std::bit_cast<float>(static_cast<std::uint32_t>(rng.bits(i)));
    if (std::isnan(value)) continue;
    StepRecord r;
    r.loss = value;
    const auto back = step_of(*parse_line(line_of(json_of(r))));
    ASSERT_TRUE(back);
    ASSERT_EQ(std::bit_cast<std::uint64_t>(back->loss), std::bit_cast<std::uint64_t>(value));
    ++finite;
  }
  EXPECT_GT(finite, 19000);
  for (const double value : {-0.0, 0.1 + 0.2, 5e-324, 1.7976931348623157e308}) {
    EXPECT_EQ(std::bit_cast<std::uint64_t>(Json::parse(json_number(value).dump()).get<double>()),
              std::bit_cast<std::uint64_t>(value));
  }
}

TEST(Records, NonFiniteNumbersAreStrings) {
  StepRecord r;
  r.loss = std::numeric_limits<double>::quiet_NaN();
  r.ce = -std::numeric_limits<double>::infinity();
  const std::string line = line_of(json_of(r));
  EXPECT_NE(line.find(R"("loss":"nan","ce":"-inf")"), std::string::npos) << line;
  const auto back = step_of(*parse_line(line));
  EXPECT_TRUE(std::isnan(back->loss));
  EXPECT_EQ(back->ce, r.ce);
}

TEST(Records, EveryKindReadsBack) {
  const StepRecord r = sample_step();
  const auto step = step_of(*parse_line(line_of(json_of(r))));
  EXPECT_EQ(json_of(*step), json_of(r));
  EXPECT_EQ(step->clamp.share(step->clamp.gate_high), 3.0 / 4096);

  EvalRecord e{.step = 4, .loss = 1.25, .bits_per_byte = 1.8, .tokens = 10, .bytes = 9};
  e.eval_seconds = 0.5;
  EXPECT_FALSE(json_of(e).contains("sources"));
  EXPECT_EQ(json_of(*eval_of(json_of(e))), json_of(e));
  e.sources = {{"a.txt", 1.5, 2.0, 6, 5}, {"b.txt", 1.0, 1.25, 4, 4}};
  EXPECT_EQ(json_of(e).at("sources").at(1).at("source"), "b.txt");
  EXPECT_EQ(json_of(*eval_of(json_of(e))), json_of(e));
  Json strange = json_of(e);
  strange["sources"] = {3, Json::object(), {{"source", 4}}, {{"source", "c"}}};
  EXPECT_EQ(eval_of(strange)->sources.size(), 1U);

  LayerRecord l;
  l.step = 2;
  l.layer = LayerRecord::kMtp;
  l.expert_load = {1, 2, 3};
  l.bias_high = 0.25;
  EXPECT_EQ(json_of(*layer_of(json_of(l))), json_of(l));
  const Json group = json_of(GroupRecord{7, "router", 0.5, 2.0, 0.25, 3.5});
  EXPECT_EQ(line_of(group), R"({"kind":"group","step":7,"group":"router","grad_norm":0.5,)"
                            R"("weight_rms":2.0,"update_ratio":0.25,"momentum_rank":3.5})");
  EXPECT_EQ(json_of(*group_of(group)), group);

  EventRecord event{.step = 3, .event = "sample", .fields = {{"prompt", "In the"}}, .time = 2.0};
  EXPECT_EQ(json_of(*event_of(json_of(event))), json_of(event));
}

TEST(Records, StrangeLinesAreNoRecords) {
  EXPECT_FALSE(parse_line(R"({"kind":"step","st)"));
  EXPECT_FALSE(parse_line("[1,2]"));
  EXPECT_FALSE(parse_line(""));
  for (const char* line :
       {R"({"kind":"step"})", R"({"kind":"step","step":"1"})", R"({"kind":"step","step":-1})",
        R"({"kind":"step","step":1.5})", R"({"kind":"eval","step":1})", R"({"step":1})",
        R"({"kind":"step","step":9223372036854775807})", R"({"kind":3,"step":1})",
        R"({"kind":"step","step":18446744073709551615})"}) {
    EXPECT_FALSE(step_of(*parse_line(line))) << line;
  }
  const std::string deep(1000000, '[');  // copying or printing it would use up the stack
  EXPECT_FALSE(parse_line("{\"a\":" + deep + std::string(deep.size(), ']') + "}"));
  EXPECT_TRUE(parse_line(R"({"text":"\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["})"));
  const auto bare = step_of(*parse_line(R"({"kind":"step","step":1,"loss":[2],"tokens":"x"})"));
  ASSERT_TRUE(bare);
  EXPECT_TRUE(std::isnan(bare->loss));
  EXPECT_EQ(bare->tokens, 0);
}

}  // namespace
}  // namespace shoal
