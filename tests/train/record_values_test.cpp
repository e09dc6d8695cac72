// Every number of a run's records against one that is computed apart, from logits and raw counts:
// each is normalised in one place, and in the one that its name says.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "data/dataset.h"
#include "layers/objective/next_token.h"
#include "layers/statistics.h"
#include "tests/support/micro_run.h"
#include "train/cli/loaded_model.h"
#include "train/config/load_config.h"
#include "train/metrics/records.h"
#include "train/plan/batch_source.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;

// A CSA layer that learns, one step, every record of it.
const std::vector<std::string> kOneStep = {
    "train.steps=1",
    "optim.decay_share=0",
    "train.sample_prompts=[]",
    "log.every=1",
    "model.layer_types=[compressed_sparse_attention, compressed_sparse_attention]",
    "model.compress_rates={compressed_sparse_attention: 4}",
    "model.index_n_heads=2",
    "model.index_head_dim=16",
    "model.index_topk=3",
    "model.num_nextn_predict_layers=1",
    "model.swiglu_limit=0.01",
    "loss.balance=0.01",
    "loss.index_kl=0.7"};

// Sums over some batches, in double.
struct Sums {
  double ce = 0, mtp = 0, balance = 0, right = 0;
  std::vector<double> kl, uniform;  // of each layer
  std::int64_t rows = 0, targets = 0, mtp_targets = 0, text_bytes = 0, answers = 0, sequences = 0;
};

double cross_entropy(const float* z, std::int64_t V, std::int32_t target) {
  const double top = *std::max_element(z, z + V);
  double sum = 0.0;
  for (std::int64_t v = 0; v < V; ++v) sum += std::exp(z[v] - top);
  return top + std::log(sum) - z[target];
}

void add(Model& model, const Batch& batch, Sums& sums) {
  Tape tape;
  const std::int64_t V = model.config().vocab_size;
  const Model::Activations a = model.activations(tape, batch, true);
  for (std::int64_t n = 0; n < batch.rows(); ++n) {
    const auto i = static_cast<std::size_t>(n);
    const std::int32_t target = batch.targets[i];
    const bool padding = batch.roles.empty() ? target < 0 : batch.roles[i] == RowRole::kPadding;
    sums.rows += padding ? 0 : 1;
    if (target >= 0) {
      ++sums.targets;
      sums.text_bytes += target >= 2 ? 1 : 0;  // ids of bytes begin there
      sums.ce += cross_entropy(a.logits.row(n), V, target);
      if (!batch.roles.empty() && batch.roles[i] == RowRole::kAnswer) {
        ++sums.answers;
        sums.right +=
            std::max_element(a.logits.row(n), a.logits.row(n) + V) - a.logits.row(n) == target
                ? 1.0
                : 0.0;
      }
    }
    const bool more = n + 1 < batch.rows() && batch.first[i + 1] == batch.first[i];
    if (more && batch.targets[i + 1] >= 0) {
      ++sums.mtp_targets;
      sums.mtp += cross_entropy(a.mtp_logits.row(n), V, batch.targets[i + 1]);
    }
  }
  sums.sequences += batch.B;
  tape.end_microbatch();
  const NoGrad off(tape);
  Hidden hidden = model.forward(tape, batch, {.indexer = {IndexerMode::kSparse, true}});
  const Loss loss = NextToken().loss(tape, model, hidden, {1.0, 1.0, 1.0}, count({&batch, 1}));
  ModelStats stats = make_stats(model);
  shoal::add(stats, hidden);
  sums.balance += *loss.sums.balance.as<float>();
  sums.kl.resize(2);
  sums.uniform.resize(2);
  for (std::size_t l = 0; l < 2; ++l) {
    sums.kl[l] += stats[l].index.kl;
    sums.uniform[l] += stats[l].index.uniform;
  }
}

struct Checked {
  Json step, eval;
  std::vector<Json> layers;
};

Checked check_one_step(const MicroRun& micro, const std::string& name,
                       const std::vector<std::string>& settings) {
  std::vector<std::string> overrides = kOneStep;
  overrides.insert(overrides.end(), settings.begin(), settings.end());
  micro.train_to_the_end(name, overrides);
  const std::string run = micro / name;
  Checked got{
      *parse_line(lines_of(run, "step").at(0)), *parse_line(lines_of(run, "eval").at(0)), {}};
  for (const std::string& line : lines_of(run, "layer")) got.layers.push_back(*parse_line(line));

  const RunConfig config = load_config(run + "/config.yaml", {}, {.needs_data = true});
  const auto tokenizer = make_tokenizer(config.data.tokenizer);
  const DataSplit data = load_data(data_config(config, config.data.sequence_length), *tokenizer);
  Model model(config.model);
  model.allocate();
  std::vector<std::int64_t> counts = data.train.token_counts();
  counts.resize(static_cast<std::size_t>(config.model.vocab_size));
  model.initialise(config.run.seed, counts);
  Sums sums;
  for (std::int64_t i = 0; i < 6; i += 2) {
    Batch batch;
    data.train.fill(std::vector<std::int64_t>{i, i + 1}, batch);
    add(model, batch, sums);
  }
  const auto number = [](const Json& record, const char* field) {
    return record.at(field).get<double>();
  };
  const auto near = [&](const Json& record, const char* field, double want) {
    EXPECT_NEAR(number(record, field), want, 2e-5 * std::abs(want) + 1e-7) << name << ' ' << field;
  };
  const auto whole = [](std::int64_t n) { return static_cast<double>(n); };
  const double rows = whole(sums.rows);
  near(got.step, "ce", sums.ce / whole(sums.targets));
  near(got.step, "mtp", 0.3 * sums.mtp / whole(sums.mtp_targets));
  near(got.step, "balance", 0.01 * sums.balance / whole(sums.sequences));
  near(got.step, "index_kl", 0.7 * (sums.kl[0] + sums.kl[1]) / rows);
  near(got.step, "loss",
       number(got.step, "ce") + number(got.step, "mtp") + number(got.step, "balance") +
           number(got.step, "index_kl"));
  EXPECT_EQ(got.step.at("tokens"), 192);
  near(got.step, "tokens_per_second", 192.0 / number(got.step, "step_seconds"));
  EXPECT_GT(number(got.step, "matmul_peak_share"), 0.0);
  EXPECT_LT(number(got.step, "matmul_peak_share"), 1.0);
  EXPECT_EQ(got.layers.size(), 3U);
  for (std::size_t l = 0; l < 2; ++l) {
    near(got.layers[l], "index_kl", sums.kl[l] / rows);
    near(got.layers[l], "index_captured", 1.0 - sums.kl[l] / sums.uniform[l]);
  }
  std::int64_t pairs = 0;
  for (const char* field : {"gate_high", "up_high", "up_low", "clamp_inputs"}) {
    std::int64_t sum = 0;
    for (const Json& layer : got.layers) sum += layer.at(field).get<std::int64_t>();
    EXPECT_EQ(got.step.at(field), sum) << field;
    EXPECT_GT(sum, 0) << field;
    pairs = sum;
  }
  const ModelConfig& m = config.model;
  EXPECT_EQ(pairs,
            3 * sums.rows * m.moe_intermediate_size * (m.num_experts_per_tok + m.n_shared_experts));
  for (const Json& layer : got.layers) {
    std::int64_t load = 0;
    for (const Json& n : layer.at("expert_load")) load += n.get<std::int64_t>();
    EXPECT_EQ(load, sums.rows * m.num_experts_per_tok);
    const double mean = whole(load) / whole(m.n_routed_experts);
    double squares = 0.0;
    std::int64_t idle = 0;
    for (const Json& n : layer.at("expert_load")) {
      squares += std::pow(n.get<double>() - mean, 2.0);
      idle += n == 0 ? 1 : 0;
    }
    near(layer, "load_cv", std::sqrt(squares / whole(m.n_routed_experts)) / mean);
    EXPECT_EQ(layer.at("idle_experts"), idle);
  }

  // The evaluation, of the weights that were saved.
  const LoadedModel loaded = load_model(run, {});
  Sums held_out;
  for (std::int64_t i = 0; i < data.validation.sequences(); ++i) {
    Batch batch;
    data.validation.fill_in_order(i, 1, batch);
    add(*loaded.model, batch, held_out);
  }
  near(got.eval, "loss", held_out.ce / whole(held_out.targets));
  EXPECT_EQ(got.eval.at("tokens"), held_out.targets);
  if (held_out.answers > 0) {
    EXPECT_EQ(got.eval.at("answers"), held_out.answers);
    near(got.eval, "answer_accuracy", held_out.right / whole(held_out.answers));
  } else {
    EXPECT_EQ(got.eval.at("bytes"), held_out.text_bytes);
    near(got.eval, "bits_per_byte", held_out.ce / std::numbers::ln2 / whole(held_out.text_bytes));
  }
  const Ended again = run_program({"eval", run, "--json"});
  EXPECT_EQ(again.code, 0) << again.err;
  const Json said = Json::parse(again.out);
  for (const auto& [field, value] : said.items()) {
    EXPECT_EQ(value, got.eval.at(field)) << field;
  }

  // What people read: the cross-entropy under the name that it has in an evaluation.
  const std::string log = bytes_of_file(run + "/log.txt");
  char line[64];
  std::snprintf(line, sizeof(line), "step 1/1 | loss %.4f |", number(got.step, "ce"));
  EXPECT_THAT(log, HasSubstr(line));
  std::snprintf(line, sizeof(line), "eval at step 1 | loss %.4f |", number(got.eval, "loss"));
  EXPECT_THAT(log, HasSubstr(line));
  return got;
}

TEST(RecordValues, OfATextRun) {
  const MicroRun micro;
  const Checked got = check_one_step(micro, "text", {});
  // Of 258 ids the first guess is about uniform.
  EXPECT_NEAR(got.step.at("ce").get<double>(), std::log(258.0), 0.3);
}

TEST(RecordValues, OfATaskWhoseAnswersAloneCount) {
  const MicroRun micro;
  const Checked got = check_one_step(
      micro, "task", {"data.train=[{task: copy, length: 6, loss_on: answer, episodes: 10}]"});
  EXPECT_GT(got.layers[0].at("index_kl").get<double>(), 0.0);
}

TEST(RecordValues, OfATaskThatIsLearnedAsAWhole) {
  const MicroRun micro;
  check_one_step(micro, "task", {"data.train=[{task: copy, length: 6, episodes: 10}]"});
}

}  // namespace
}  // namespace shoal
