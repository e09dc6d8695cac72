#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <sstream>

#include "autograd/base/check.h"
#include "tests/support/temporary_folder.h"
#include "train/parity/parity_case.h"
#include "train/parity/parity_compare.h"

namespace shoal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

// A small case on disk: one layer, B 1, T 2, V 5, C 3, two streams. Tests damage a part of it.
struct Files {
  Json config{{"vocab_size", 5}, {"hidden_size", 3}, {"num_hidden_layers", 1}};
  Json golden;
  std::vector<float> ten = std::vector<float>(48, 0.5F);
  std::vector<std::int64_t> tokens{0, 4, 2, 1, 1, 3};
  std::vector<std::int64_t> chosen{-1, -1, 0, -1};
  std::vector<TensorToWrite> model, tensors;

  Files() {
    const Json losses{
        {"loss", 2.5}, {"ce", 2.0}, {"mtp", 1.0}, {"balance", 0.25}, {"index_kl", 0.0}};
    Json step = losses;
    step["grad_norm"] = 3.0;
    golden = {{"losses", losses},
              {"weights", {{"mtp", 0.3}, {"balance", 1e-4}, {"index_kl", 1.0}}},
              {"adamw", Json::array({step, step})},
              {"muon", Json::array({step, step})},
              {"optimizer",
               {{"lr", 0.002},
                {"weight_decay", 0.1},
                {"clip", 1.0},
                {"bias_speed", 0.001},
                {"adamw", {{"beta1", 0.9}, {"beta2", 0.95}, {"eps", 1e-20}}},
                {"muon", {{"momentum", 0.95}, {"update_rms", 0.18}}}}}};
    model = {{"embed.weight", "F32", {5, 3}, ten.data()},
             {"hc_head_base", "F32", {4}, ten.data()},
             {"layers.0.ffn.gate.bias", "F32", {2}, ten.data()},
             {"layers.0.ffn.gate.tid2eid", "I64", {5, 1}, tokens.data()}};
    tensors = {{"tokens", "I64", {1, 3}, tokens.data()},
               {"steps.tokens", "I64", {2, 1, 3}, tokens.data()},
               {"logits", "F32", {1, 2, 5}, ten.data()},
               {"mtp_logits", "F32", {1, 2, 5}, ten.data()},
               {"streams.0", "F32", {1, 2, 2, 3}, ten.data()},
               {"streams.1", "F32", {1, 2, 2, 3}, ten.data()},
               {"topk.0", "I64", {1, 2, 2}, chosen.data()},
               {"grad/embed.weight", "F32", {5, 3}, ten.data()},
               {"grad/hc_head_base", "F32", {4}, ten.data()},
               {"grad_ce/embed.weight", "F32", {5, 3}, ten.data()}};
  }

  TensorToWrite& tensor(const std::string& name) {
    for (TensorToWrite& t : tensors) {
      if (t.name == name) return t;
    }
    throw Error("no tensor " + name);
  }
  void drop(const std::string& name) {
    std::erase_if(tensors, [&](const TensorToWrite& t) { return t.name == name; });
  }
  ParityCase load(const TemporaryFolder& folder) const {
    write_file(folder / "config.json", config.dump());
    write_file(folder / "golden.json", golden.dump());
    write_safetensors(folder / "model.safetensors", model);
    write_safetensors(folder / "golden.safetensors", tensors);
    return load_parity_case(folder.path());
  }
  std::string complaint() const {
    const TemporaryFolder folder;
    try {
      load(folder);
    } catch (const Error& error) {
      EXPECT_EQ(error.why(), Failure::kData);
      EXPECT_THAT(error.what(), HasSubstr(folder.path()));
      return error.what();
    }
    return "";
  }
};

TEST(ParityCase, ReadsEveryPart) {
  const TemporaryFolder folder;
  const ParityCase c = Files().load(folder);
  EXPECT_EQ(c.name, std::filesystem::path(folder.path()).filename());
  EXPECT_EQ(c.losses->loss, 2.5);
  EXPECT_EQ(c.losses->balance, 0.25);
  EXPECT_EQ(c.balance_weight, 1e-4);
  EXPECT_EQ(c.optimizer->adamw_eps, 1e-20);
  EXPECT_EQ(c.optimizer->muon_update_rms, 0.18);
  ASSERT_EQ(c.adamw.size(), 2U);
  EXPECT_EQ(c.adamw[1].grad_norm, 3.0);
  EXPECT_EQ(c.lag, 0);
  EXPECT_THAT(c.tokens->values, ElementsAre(0, 4, 2));
  EXPECT_THAT(c.steps_tokens->shape, ElementsAre(2, 1, 3));
  EXPECT_EQ(c.streams.size(), 2U);
  EXPECT_THAT(c.topk.at(0).values, ElementsAre(-1, -1, 0, -1));
  EXPECT_EQ(c.grad.at("embed.weight").values.size(), 15U);
  EXPECT_TRUE(c.ignored.empty());
  EXPECT_TRUE(c.model.has("hc_head_base"));
}

TEST(ParityCase, WhatACaseLacksIsEmpty) {
  const TemporaryFolder folder;
  const Files files;
  files.load(folder);
  std::filesystem::remove(folder / "golden.json");
  std::filesystem::remove(folder / "golden.safetensors");
  const ParityCase c = load_parity_case(folder.path());
  EXPECT_FALSE(c.losses || c.logits || c.tokens || c.optimizer || c.steps_tokens);
  EXPECT_TRUE(c.streams.empty() && c.grad.empty() && c.adamw.empty());
  const ParityComparison nothing(c);
  const Json errors = parity_json({&nothing, 1})["cases"][0]["errors"];
  for (const char* key : {"logits", "streams", "loss", "grad_worst", "grad_worst_name", "adamw",
                          "muon", "topk_equal"}) {
    ASSERT_TRUE(errors.contains(key)) << key;
    EXPECT_TRUE(errors[key].is_null()) << key;
  }
  std::filesystem::remove(folder / "config.json");
  EXPECT_THROW(load_parity_case(folder.path()), Error);
  EXPECT_THROW(load_parity_case(folder / "none"), Error);
}

TEST(ParityCase, UnknownTensorsAreNamedNotDropped) {
  const TemporaryFolder folder;
  Files files;
  files.tensors.push_back({"streams.x", "F32", {1}, files.ten.data()});
  files.tensors.push_back({"streams.01", "F32", {1}, files.ten.data()});
  EXPECT_THAT(files.load(folder).ignored, ElementsAre("streams.01", "streams.x"));
}

TEST(ParityCase, RefusesPartsThatDoNotFit) {
  struct Damage {
    const char* says;
    std::function<void(Files&)> apply;
  };
  const std::vector<Damage> damages{
      {"vocab_size", [](Files& f) { f.config["vocab_size"] = "5"; }},
      {"vocab_size", [](Files& f) { f.config["vocab_size"] = 0; }},
      {"\"logits\"", [](Files& f) { f.config["vocab_size"] = 6; }},
      {"\"streams.0\"", [](Files& f) { f.config["hidden_size"] = 2; }},
      {"2 layers need 3", [](Files& f) { f.config["num_hidden_layers"] = 2; }},
      {"holds 4", [](Files& f) { f.config["vocab_size"] = 4; }},
      {"holds -2", [](Files& f) { f.tokens[1] = -2; }},
      {"holds 2", [](Files& f) { f.chosen[2] = 2; }},
      {"\"tokens\" is missing", [](Files& f) { f.drop("tokens"); }},
      {"streams.0 is missing", [](Files& f) { f.drop("streams.0"); }},
      {"grad/hc_head_base", [](Files& f) { f.drop("grad/hc_head_base"); }},
      {"belongs to no tensor", [](Files& f) { f.tensor("grad/hc_head_base").name = "grad/x"; }},
      {"[5, 3]",
       [](Files& f) {
         f.tensor("grad/embed.weight").shape = {3, 5};
       }},
      {"[1, 2, any]",
       [](Files& f) {
         f.tensor("topk.0").shape = {2, 2};
       }},
      {"1 layers", [](Files& f) { f.tensor("topk.0").name = "topk.1"; }},
      {"I64", [](Files& f) { f.tensor("tokens").dtype = "F64"; }},
      {"has 1 batches",
       [](Files& f) {
         f.tensor("steps.tokens").shape = {1, 1, 3};
       }},
      {"has 0 batches", [](Files& f) { f.drop("steps.tokens"); }},
      {"optimizer is missing", [](Files& f) { f.golden.erase("optimizer"); }},
      {"weights is missing", [](Files& f) { f.golden.erase("weights"); }},
      {"losses.ce", [](Files& f) { f.golden["losses"].erase("ce"); }},
      {"adamw[1].mtp", [](Files& f) { f.golden["adamw"][1]["mtp"] = "1"; }},
      {"routing: needs an object", [](Files& f) { f.golden["routing"] = 2; }},
      {"routing.lag is missing", [](Files& f) { f.golden["routing"] = Json::object(); }},
      {"routing.lag: -1 is no number",
       [](Files& f) {
         f.golden["routing"] = {{"lag", -1}};
       }},
      {"routing.lag: 0.5 is no number",
       [](Files& f) {
         f.golden["routing"] = {{"lag", 0.5}};
       }},
      {"optimizer.muon.momentum", [](Files& f) { f.golden["optimizer"]["muon"] = Json::object(); }},
  };
  for (const Damage& damage : damages) {
    Files files;
    damage.apply(files);
    EXPECT_THAT(files.complaint(), HasSubstr(damage.says));
  }
  EXPECT_EQ(Files().complaint(), "");
}

TEST(ParityCase, RefusesBadJson) {
  const TemporaryFolder folder;
  Files().load(folder);
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("{\"a\":1,\"a\":2}"), std::string("{}x"),
        std::string("{\"a\":1e999}"), std::string("{\"a\":NaN}"), std::string("{}\0{", 4),
        "{\"a\":" + std::string(1000000, '[')}) {
    write_file(folder / "golden.json", text);
    try {
      load_parity_case(folder.path());
      FAIL() << text.substr(0, 40);
    } catch (const Error& error) {
      EXPECT_EQ(error.why(), Failure::kData);
      EXPECT_THAT(error.what(), HasSubstr("golden.json: "));
    }
  }
}

// Hands a case its own numbers; `change` may alter one entry of a tensor on the way.
ParityComparison compared(const ParityCase& c, const std::string& changed = "", float factor = 1) {
  ParityComparison result(c);
  const auto values = [&](const std::string& name, const GoldenTensor& want) {
    std::vector<float> got = want.values;
    if (name == changed) {
      for (float& v : got) v *= factor;
    }
    return got;
  };
  const auto losses = [&](const std::string& name, GoldenLosses parts) {
    if (name == changed) parts.loss *= factor;
    if (name + "_parts" == changed) parts.mtp *= factor;
    return parts;
  };
  result.logits(values("logits", *c.logits));
  result.mtp_logits(values("mtp_logits", *c.mtp_logits));
  for (std::size_t l = 0; l < c.streams.size(); ++l) {
    result.streams(static_cast<int>(l), values("streams." + std::to_string(l), c.streams[l]));
  }
  for (const auto& [l, want] : c.topk) {
    std::vector<std::int64_t> got = want.values;
    std::swap(got[2], got[3]);  // another order is the same set
    if (changed == "topk") got[0] = 1;
    result.topk(l, got);
  }
  for (const auto& [name, want] : c.grad) result.gradient(name, values("grad/" + name, want));
  for (const auto& [name, want] : c.grad_ce) result.gradient_ce(name, values("ce/" + name, want));
  result.losses(losses("loss", *c.losses));
  const auto steps = [&](const std::string& name, std::vector<GoldenStep> all) {
    all[1].losses = losses(name, all[1].losses);
    if (name + "_grad_norm" == changed) *all[0].grad_norm *= factor;
    return all;
  };
  const std::vector<GoldenStep> adamw = steps("adamw", c.adamw), muon = steps("muon", c.muon);
  result.adamw(adamw);
  result.muon(muon);
  return result;
}

TEST(ParityComparison, PassesOnItsOwnNumbersAndFailsBeyondEachTolerance) {
  const TemporaryFolder folder;
  const ParityCase c = Files().load(folder);
  EXPECT_TRUE(compared(c).passed());
  const struct {
    const char* name;
    double tolerance;
  } bounds[] = {{"logits", 5e-6},
                {"mtp_logits", 5e-6},
                {"streams.1", 5e-6},
                {"loss", 1e-6},
                {"loss_parts", 2e-5},
                {"adamw", 5e-6},
                {"muon_parts", 2e-5},
                {"adamw_grad_norm", 2e-5},
                {"grad/embed.weight", 2e-4},
                {"ce/embed.weight", 2e-4},
                {"grad/hc_head_base", 5e-3}};
  for (const auto& [name, tolerance] : bounds) {
    SCOPED_TRACE(name);
    EXPECT_TRUE(compared(c, name, static_cast<float>(1 + 0.7 * tolerance)).passed());
    EXPECT_FALSE(compared(c, name, static_cast<float>(1 + 1.4 * tolerance)).passed());
    EXPECT_FALSE(compared(c, name, std::numeric_limits<float>::quiet_NaN()).passed());
  }
  EXPECT_FALSE(compared(c, "topk").passed());
  EXPECT_EQ(compared(c, "topk").errors().topk_equal, false);
  EXPECT_EQ(compared(c).errors().topk_equal, true);
}

TEST(ParityComparison, NamesTheGradientThatIsNearestToItsBound) {
  const TemporaryFolder folder;
  const ParityCase c = Files().load(folder);
  const ParityErrors small = compared(c, "grad/hc_head_base", 1.001F).errors();
  EXPECT_EQ(small.grad_worst_name, "hc_head_base");
  EXPECT_NEAR(*small.grad_worst, 1e-3, 1e-6);
  ParityComparison both(c);
  std::vector<float> base = c.grad.at("hc_head_base").values;
  std::vector<float> embed = c.grad.at("embed.weight").values;
  for (float& v : base) v *= 1.001F;    // a fifth of its bound
  for (float& v : embed) v *= 1.0001F;  // half of its bound
  both.gradient("hc_head_base", base);
  both.gradient("embed.weight", embed);
  EXPECT_EQ(both.errors().grad_worst_name, "embed.weight");
}

TEST(ParityComparison, WhatWasNotHandedInFails) {
  const TemporaryFolder folder;
  const ParityCase c = Files().load(folder);
  const ParityComparison nothing(c);
  EXPECT_FALSE(nothing.passed());
  EXPECT_THAT(nothing.not_compared(),
              ElementsAre("logits", "mtp_logits", "loss", "streams.0", "streams.1", "topk.0",
                          "grad/embed.weight", "grad/hc_head_base", "grad_ce/embed.weight", "adamw",
                          "muon"));
  ParityComparison wrong(c);
  EXPECT_THROW(wrong.logits(std::vector<float>(3)), Error);
  EXPECT_THROW(wrong.gradient("layers.0.x", std::vector<float>(3)), Error);
}

TEST(ParityComparison, ErrorsOfZerosAreAbsolute) {
  const std::vector<float> zero(3, 0.0F), tiny(3, 1e-8F), nan(3, NAN);
  EXPECT_EQ(relative_l2(zero, zero), 0.0);
  EXPECT_EQ(relative_l2(tiny, zero), std::numeric_limits<double>::max());
  EXPECT_NEAR(relative_l2(tiny, zero, 1e-9), std::sqrt(3.0) * 1e-8, 1e-14);
  EXPECT_EQ(relative_l2(nan, zero, 1e-9), std::numeric_limits<double>::max());
  EXPECT_EQ(relative_l2(nan, nan), std::numeric_limits<double>::max());
  EXPECT_EQ(relative_error(0.5, 0.0), 0.5);
  EXPECT_EQ(relative_error(NAN, 1.0), std::numeric_limits<double>::max());
  const GoldenTensor unused{{3}, zero};
  EXPECT_LT(relative_l2(zero, zero, 1e-9), gradient_tolerance("w", unused));
  EXPECT_GT(relative_l2(tiny, zero, 1e-9), gradient_tolerance("w", unused));
}

TEST(ParityComparison, JsonAndTableSayWhatFailed) {
  const TemporaryFolder folder;
  const ParityCase c = Files().load(folder);
  const std::vector<ParityComparison> cases{compared(c), compared(c, "grad/embed.weight", 1.5F)};
  const Json json = parity_json(cases);
  EXPECT_EQ(json["passed"], false);
  EXPECT_EQ(json["cases"][0]["passed"], true);
  EXPECT_EQ(json["cases"][0]["case"], c.name);
  EXPECT_EQ(json["cases"][0]["errors"]["topk_equal"], true);
  EXPECT_EQ(json["cases"][1]["errors"]["grad_worst_name"], "embed.weight");
  EXPECT_NEAR(json["cases"][1]["errors"]["grad_worst"].get<double>(), 0.5, 1e-6);
  std::ostringstream table;
  print_parity(table, cases);
  EXPECT_THAT(table.str(), HasSubstr("embed.weight  FAILED\n"));
  EXPECT_THAT(table.str(), HasSubstr("grad/embed.weight: 5.0e-01, at most 2.0e-04\n"));
}

}  // namespace
}  // namespace shoal
