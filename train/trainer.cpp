#include "train/trainer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "autograd/base/printable.h"
#include "autograd/base/sha256.h"
#include "autograd/kernels/peak.h"
#include "train/config/show_config.h"
#include "train/generate/evaluator.h"
#include "train/generate/generator.h"
#include "train/interop/load_weights.h"
#include "train/metrics/log_setup.h"
#include "train/metrics/run_history.h"
#include "train/report/report.h"
#include "train/run/closing.h"
#include "train/run/plan_remarks.h"
#include "train/run/run_events.h"
#include "train/run/signals.h"
#include "train/run/version.h"

namespace shoal {
namespace fs = std::filesystem;
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kMostSkips = 10;           // in a row, before a run is given up
constexpr const char* kOwed = "evaluation_owed";  // a note of a checkpoint: see evaluation_owed_

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::unique_ptr<Tokenizer> tokenizer_for(const RunConfig& config) {
  std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(config.data.tokenizer);
  if (tokenizer->vocab_size() > config.model.vocab_size) {
    reject(Failure::kUsage, "model.vocab_size: ", config.model.vocab_size,
           " is less than the tokenizer's ", tokenizer->vocab_size(), " ids");
  }
  return tokenizer;
}

std::vector<DataSplit> load_stages(const RunConfig& config, const std::vector<Stage>& stages,
                                   const Tokenizer& tokenizer) {
  std::vector<DataSplit> data = {
      load_data(data_config(config_at(config, stages.front())), tokenizer)};
  for (std::size_t i = 1; i < stages.size(); ++i) {
    const std::int64_t T = stages[i].sequence_length;
    const DataSplit& last = data.back();
    data.push_back(T == stages[i - 1].sequence_length
                       ? last
                       : DataSplit{last.train.with_length(T), last.validation.with_length(T), {}});
  }
  return data;
}

}  // namespace

DataConfig data_config(const RunConfig& config) {
  DataConfig d;
  for (const CorpusSpec& c : config.data.train) d.train.push_back({c.path, c.weight, c.task});
  for (const CorpusSpec& c : config.data.validation_files) {
    d.validation_files.push_back({c.path, c.weight, c.task});
  }
  d.validation_share = config.data.validation_share;
  d.sequence_length = config.data.sequence_length;
  d.seed = config.run.seed;
  return d;
}

StepRunner::Options step_options(const RunConfig& config, std::int64_t micro_batches) {
  StepRunner::Options options;
  options.optimizer = {config.optim.matrices == MatrixOptimizer::kMuon,
                       config.optim.weight_decay,
                       config.optim.beta1,
                       config.optim.beta2,
                       config.optim.eps,
                       config.optim.momentum,
                       config.optim.update_rms};
  options.clip = config.optim.clip;
  options.router_bias_speed = config.stability.router_bias_speed;
  options.recompute = config.train.recompute == RecomputePolicy::kBlock;
  options.micro_batches = micro_batches;
  return options;
}

LossConfig loss_config(const RunConfig& config, std::int64_t step, bool late) {
  const double mtp = late ? config.loss.mtp_late : config.loss.mtp;
  return {mtp != 0.0 ? std::optional(mtp) : std::nullopt, config.loss.balance, config.loss.index_kl,
          config.indexer.at(step)};
}

Trainer::Trainer(const RunConfig& config)
    : config_(config),
      tokenizer_(tokenizer_for(config)),
      stages_(stages_of(config)),
      data_(load_stages(config, stages_, *tokenizer_)),
      model_(require_weights(config)) {
  for (const std::string& warning : data_.front().warnings) spdlog::warn("{}", printable(warning));
  schedule_ = {config_.optim.lr, config_.optim.end_lr, config_.optim.warmup_steps,
               config_.optim.decay_share, shoal::planned_steps(config_)};
  for (const Remark& remark : plan_remarks(config_)) {
    spdlog::log(remark.warns ? spdlog::level::warn : spdlog::level::info, "{}", remark.text);
  }
  model_.allocate();
  memory_ = estimate_memory(model_, config_, stages_);
  require_memory(memory_, config_at(config_, longest(stages_)));
}

Trainer::~Trainer() = default;

// Memory is taken here, once, so that the steps themselves take none.
void Trainer::build() {
  const TraceSpan span("build");
  runner_ = std::make_unique<StepRunner>(model_, tape_,
                                         step_options(config_, most_micro_batches(stages_)));
  tape_.populate(memory_.tape);
  const char* trace_numbers = std::getenv("SHOAL_NAN");
  tape_.trace_numbers(trace_numbers != nullptr && *trace_numbers == '1');
  const std::vector<std::int64_t> counts = data_.front().train.token_counts();
  std::vector<std::int64_t> padded(static_cast<std::size_t>(config_.model.vocab_size), 0);
  std::copy(counts.begin(), counts.end(), padded.begin());
  model_.initialise(config_.run.seed, padded);
  enter_stage(0);
  peak_gflops_ = measure_matmul_peak_gflops();
}

// Takes memory where a stage needs more than those before.
void Trainer::enter_stage(std::size_t index) {
  stage_ = index;
  batches_.resize(static_cast<std::size_t>(stage().micro_batches()));
  samples_.resize(static_cast<std::size_t>(stage().micro_batch));
  runner_->set_micro_batches(stage().micro_batches());
}

// Only where a run begins: whoever goes on from a checkpoint may have deleted them since.
void Trainer::load_initial_weights() {
  const std::string& from = config_.train.init_from;
  if (from.empty()) return;
  if (ModelWeights::lie_in(from)) {
    load_weights(model_, ModelWeights::open(from));
  } else {
    StateView view = model_view(model_);
    copy_state(read_stored(io_, from).state, view, from, "/model/");
  }
  spdlog::info("weights from {}", printable(from));
}

// From here on there is something to go on with: a signal ends the run after saving.
void Trainer::open_folder() {
  watch_signals();
  folder_ = std::make_unique<RunFolder>(io_, config_.run.dir);
}

void Trainer::write_config() const { write_run_config(config_.run.dir, to_yaml(config_)); }

void Trainer::create_run() {
  if (holds_run(config_.run.dir)) {
    reject(Failure::kUsage, config_.run.dir, ": holds a run already; go on with `shoal resume ",
           config_.run.dir, "` or choose another run.dir");
  }
  build();
  load_initial_weights();
  config_.checkpoint.step = 0;
  begin_folder([&] { write_config(); });
}

// Opens the folder and lets `write` make a run of it. If that fails nothing stays behind.
void Trainer::begin_folder(const std::function<void()>& write) {
  std::error_code ignored;
  const bool was_there = fs::exists(config_.run.dir, ignored);
  try {
    open_folder();
    write();
  } catch (const Error& error) {
    if (!was_there && error.why() == Failure::kDisk) {  // else it may be another process's
      RunFolder::remove_beginning(config_.run.dir);
      folder_.reset();
    }
    throw;
  }
}

void Trainer::resume_run() {
  build();
  open_folder();
  StateView view = run_view(model_, runner_->optimizer(), position_);
  const std::optional<std::int64_t> step =
      config_.checkpoint.step > 0 ? std::optional(config_.checkpoint.step) : std::nullopt;
  if (const std::optional<LoadReport> report = folder_->store().load_newest(view, step)) {
    for (const std::string& warning : report->warnings) spdlog::warn("{}", printable(warning));
    position_.step = view.step;
    position_.tokens = view.tokens;
    saved_step_ = position_.step;
    clock_.go_on(report->manifest.info.notes);
    evaluation_owed_ = report->manifest.info.notes.contains(kOwed) &&
                       !has_evaluation(config_.run.dir + "/metrics.jsonl", position_.step);
    const std::string data = data_fingerprint();
    const std::string& trained_on = report->manifest.info.data_fingerprint;  // "": imported
    if (!trained_on.empty() && trained_on != data) {
      reject(Failure::kData, report->path,
             ": was trained on other data than data.train holds now; restore the corpus, or start "
             "from these weights with train.init_from");
    }
    if (report->manifest.info.cpu_features != cpu_features()) {
      spdlog::warn(
          "the checkpoint comes from another kind of processor ({}): results go on "
          "numerically equivalent, not with equal bits",
          printable(report->manifest.info.cpu_features));
    }
    spdlog::info("resumed at step {} from {}", position_.step, printable(report->path));
  } else {
    load_initial_weights();
    spdlog::info("{} has no checkpoint yet: starting at step 0", printable(config_.run.dir));
  }
  if (step) {
    // The lines of metrics after it go, so these go as well; and the next resume goes on from here,
    // not back again.
    for (const std::string& path : folder_->store().discard_after(position_.step)) {
      spdlog::info("removed {}", printable(path));
    }
    config_.checkpoint.step = 0;
  }
  const std::string before = view.config.empty() ? run_config_text(config_.run.dir) : view.config;
  origin_ = {position_.step, "resume", changed_fields(before, config_)};
  write_config();
}

void Trainer::fork_run(const std::string& from) {
  if (holds_run(config_.run.dir)) {
    reject(Failure::kUsage, config_.run.dir, ": holds a run already; choose another folder");
  }
  build();
  StateView view = run_view(model_, runner_->optimizer(), position_);
  const std::optional<std::int64_t> step =
      config_.checkpoint.step > 0 ? std::optional(config_.checkpoint.step) : std::nullopt;
  const CheckpointStore::Stored stored = read_stored(io_, from, step);
  copy_state(stored.state, view, from, part_to_load(stored.state));
  position_.step = view.step;
  position_.tokens = view.tokens;
  config_.checkpoint.step = 0;
  clock_.begin(position_.tokens);
  origin_ = {position_.step, "fork", fork_fields(from, view.config, config_)};
  begin_folder([&] {
    // Before the configuration makes it a run: a fork without its beginning would start at step 0.
    view.config = to_yaml(config_);
    folder_->store().save(view, manifest_info(), config_.checkpoint.keep);
    saved_step_ = position_.step;
    copy_lines_through(from + "/metrics.jsonl", config_.run.dir + "/metrics.jsonl", position_.step);
    write_config();
  });
  spdlog::info("forked at step {} from {}", position_.step, printable(from));
}

bool Trainer::at_end() const {
  if (schedule_.total_steps > 0 && position_.step >= schedule_.total_steps) return true;
  return config_.train.minutes > 0.0 && clock_.earlier_seconds() >= config_.train.minutes * 60.0;
}

LossConfig Trainer::loss_config() const {
  return shoal::loss_config(config_, position_.step, in_decay(schedule_, position_.step + 1));
}

void Trainer::event(const std::string& name, Json fields) {
  const EventRecord record{position_.step, name, std::move(fields), unix_time()};
  metrics_->write(record);
  if (tensorboard_) tensorboard_->write(record);
}

void Trainer::begin_records() {
  metrics_ = std::make_unique<MetricsLog>(config_.run.dir + "/metrics.jsonl", position_.step);
  if (config_.log.tensorboard) {
    tensorboard_ =
        std::make_unique<TensorboardWriter>(config_.run.dir + "/tensorboard", position_.step);
  }
  event("start", start_fields(config_, model_.store().count(), memory_.total(), peak_gflops_));
  if (tensorboard_)
    tensorboard_->write_text(position_.step, unix_time(), "config", to_yaml(config_));
  if (!origin_.event.empty()) event(origin_.event, origin_.fields);
  for (Remark& remark : plan_remarks(config_)) {
    if (remark.warns) event("warning", Json{{"reason", std::move(remark.text)}});
  }
  if (tensorboard_ && origin_.event == "fork") {
    const RunHistory parent = read_history(config_.run.dir + "/metrics.jsonl");
    for (const StepRecord& record : parent.steps) tensorboard_->write(record);
    for (const EvalRecord& record : parent.evals) tensorboard_->write(record);
  }
}

// Before the last report. What is said here is of the run as it ended in this process.
void Trainer::end_records(const std::string& reason) {
  // Of a long history somebody who stops a run does not wait: it goes on, and ends some day.
  if (reason != "signal" || report_pace_.is_quick()) {
    for (const ClosingRemark& remark :
         closing_remarks(config_, schedule_, position_.step, reason == "minutes",
                         config_.run.dir + "/metrics.jsonl")) {
      event(remark.event.event, remark.event.fields);
      closing_ += "; " + remark.sentence;
    }
  }
  event("end", end_fields(reason, clock_, position_.tokens));
}

RunEnd Trainer::run() {
  begin_records();
  clock_.start();
  ProgressState start;
  start.step = position_.step;
  start.tokens = position_.tokens;
  start.run_seconds = clock_.earlier_seconds();
  progress_ = std::make_unique<Progress>(
      Console::standard_error(),
      ProgressGoal{config_.train.steps, config_.train.tokens, config_.train.minutes}, start,
      config_.log.every, [](std::string_view line) { log_to_file(line); });
  if (evaluation_owed_) evaluate_now();
  bool out_of_time = at_end();
  while (!out_of_time && !stop_requested()) {
    const auto begin = Clock::now();
    const StepOutcome out = one_step();
    if (!out.finished) break;
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    double flops = 0.0;
    const IndexerMode indexer{loss_config().indexer, config_.loss.index_kl != 0.0};
    for (const Batch& batch : batches_) flops += step_flops(config_.model, indexer, batch);
    if (!out.updated) {
      handle_bad_numbers(out);
      continue;
    }
    after_step(out, seconds, flops);
    out_of_time = (schedule_.total_steps > 0 && position_.step >= schedule_.total_steps) ||
                  (config_.train.minutes > 0.0 && clock_.seconds() >= config_.train.minutes * 60.0);
    const auto due = [&](std::int64_t every) { return every > 0 && position_.step % every == 0; };
    // The last evaluation comes before the last checkpoint: what follows that may be lost.
    if (due(config_.train.eval_every) || out_of_time) evaluate_now();
    if (due(config_.checkpoint.every_steps)) save();
  }
  if (out_of_time && evaluated_step_ != position_.step) evaluate_now();
  const bool stopped = !out_of_time || evaluation_owed_;
  if (stopped) event("signal", Json{{"signal", signal_received()}});
  if (saved_step_ != position_.step) save(true);
  progress_->finish();
  const bool planned = schedule_.total_steps > 0 && position_.step >= schedule_.total_steps;
  end_records(stopped ? "signal" : planned ? "done" : "minutes");
  if (!stopped || report_pace_.is_quick()) {
    finish_report();
  } else {
    spdlog::info("the report is left for later: shoal report {}", printable(config_.run.dir));
  }
  return stopped ? RunEnd::kStopped : RunEnd::kDone;
}

StepOutcome Trainer::one_step() {
  const TraceSpan span("step");
  const RunClock::Timing timing(clock_, RunClock::kTraining);
  if (const std::size_t now = stage_at(stages_, position_.step); now != stage_) {
    enter_stage(now);
    event("stage", Json{{"sequence_length", stage().sequence_length},
                        {"batch_tokens", stage().batch_tokens},
                        {"micro_batch", stage().micro_batch}});
  }
  for (std::size_t i = 0; i < batches_.size(); ++i) {
    const auto first = position_.samples + static_cast<std::int64_t>(i * samples_.size());
    for (std::size_t k = 0; k < samples_.size(); ++k) {
      samples_[k] = first + static_cast<std::int64_t>(k);
    }
    data().train.fill(samples_, batches_[i]);
  }
  return runner_->step(batches_, loss_config(), position_.step + 1,
                       learning_rate(schedule_, position_.step + 1), stop_requested);
}

void Trainer::after_step(const StepOutcome& out, double seconds, double flops) {
  skipped_in_a_row_ = 0;
  ++position_.step;
  position_.tokens += stage().batch_tokens;
  position_.samples += stage().sequences();
  StepRecord record;
  record.step = position_.step;
  record.tokens = position_.tokens;
  record.loss = out.loss;
  record.ce = out.ce;
  record.mtp = out.mtp;
  record.balance = out.balance;
  record.index_kl = out.index_kl;
  record.lr = learning_rate(schedule_, position_.step);
  record.grad_norm = out.grads.norm;
  const std::vector<const Block*> blocks = model_.all_blocks();
  for (std::size_t l = 0; l < blocks.size(); ++l) {
    const ClampCount& c = runner_->stats()[l].clamped;
    record.clamp.gate_high += c.gate_high;
    record.clamp.up_high += c.up_high;
    record.clamp.up_low += c.up_low;
    record.clamp.clamp_inputs += c.pairs;
  }
  record.step_seconds = seconds;
  record.tokens_per_second = static_cast<double>(stage().batch_tokens) / seconds;
  record.matmul_peak_share = flops / seconds / (peak_gflops_ * 1e9);
  record.time = unix_time();
  metrics_->write(record);
  if (tensorboard_) tensorboard_->write(record);
  if (position_.step % config_.log.every == 0) write_layers(out);
  progress_->step(ProgressState(record, clock_.seconds()));
}

void Trainer::write_layers(const StepOutcome& out) {
  const std::vector<const Block*> blocks = model_.all_blocks();
  for (std::size_t l = 0; l < blocks.size(); ++l) {
    const BlockStats& stats = runner_->stats()[l];
    LayerRecord record;
    record.step = position_.step;
    record.layer =
        blocks[l] == model_.mtp_block() ? LayerRecord::kMtp : static_cast<std::int64_t>(l);
    record.expert_load = stats.load;
    record.clamp = {stats.clamped.gate_high, stats.clamped.up_high, stats.clamped.up_low,
                    stats.clamped.pairs};
    if (const ModelBuffer* bias = blocks[l]->feed_forward().bias()) {
      const float* b = bias->value.as<float>();
      const auto [low, high] = std::minmax_element(b, b + bias->value.shape.numel());
      record.bias_low = *low;
      record.bias_high = *high;
    }
    if (stats.index.uniform > 0.0) {
      record.index_kl = stats.index.kl / static_cast<double>(out.targets);
      record.index_captured = 1.0 - stats.index.kl / stats.index.uniform;
    }
    metrics_->write(record);
    if (tensorboard_) tensorboard_->write(record, unix_time());
  }
}

// Which op and layer went bad first: the same step again, watched. The state has not changed, so it
// goes bad again in the same place.
std::string Trainer::explain_bad_numbers(const StepOutcome& out) {
  std::string what = out.grads.first_bad.empty()
                         ? "the loss is not finite"
                         : "the gradient of " + out.grads.first_bad + " is not finite";
  tape_.trace_numbers(true);
  tape_.forget_bad_number();
  runner_->gradients(batches_, loss_config(), stop_requested);
  tape_.trace_numbers(false);
  if (!tape_.first_bad_number().empty()) what += "; first seen in the " + tape_.first_bad_number();
  return what;
}

void Trainer::handle_bad_numbers(const StepOutcome& out) {
  const std::int64_t step = position_.step + 1;
  const std::string what = explain_bad_numbers(out);
  const bool skip = config_.stability.on_bad_numbers == BadNumbers::kSkip;
  if (skip) {
    event("skip", Json{{"attempted_step", step}, {"reason", what}});
    if (++skipped_in_a_row_ < kMostSkips) {
      spdlog::warn("step {} skipped: {}", step, what);
      position_.samples += stage().sequences();
      return;
    }
  }
  std::string end = skip ? concat(" (", kMostSkips, " steps skipped in a row)")
                         : "; the weights were not changed (stability.on_bad_numbers is stop)";
  if (saved_step_ != position_.step && position_.step > 0) {
    // Finite gradients and an absurd learning rate: the last update itself overflowed.
    const std::string sick =
        first_not_finite(run_view(model_, runner_->optimizer(), position_).arrays);
    if (sick.empty()) {
      save();  // the last good state
    } else {
      end = concat("; ", sick, " is not finite since step ", position_.step,
                   ", which was not saved (is optim.lr too high?)");
    }
  }
  say_bad_numbers(step, what + end);
  reject(Failure::kNumbers, "step ", step, ": ", what, end);
}

// In the run's own records, before an error ends it.
void Trainer::say_bad_numbers(std::int64_t step, const std::string& reason) {
  event("bad_numbers", Json{{"attempted_step", step}, {"reason", reason}});
  progress_->finish();
  end_records("bad_numbers");
  finish_report();
}

void Trainer::evaluate_now() {
  const RunClock::Timing timing(clock_, RunClock::kEvaluation);
  evaluated_step_ = position_.step;
  const IndexerStage stage = config_.indexer.at(position_.step);
  const std::size_t at = stage_at(stages_, position_.step);
  const Dataset& validation = data_[at].validation;
  if (validation.sequences() > 0) {
    std::optional<EvalRecord> record =
        evaluate_unless(stop_requested, model_, tape_, validation, stages_[at].micro_batch,
                        config_.train.eval_sequences, stage);
    evaluation_owed_ = !record;  // the stop comes first; whoever goes on evaluates then
    if (!record) return;
    record->step = position_.step;
    record->time = unix_time();
    metrics_->write(*record);
    if (tensorboard_) tensorboard_->write(*record);
    progress_->eval(*record);
  }
  for (const std::string& prompt : config_.train.sample_prompts) {
    GenerateConfig sampling;
    sampling.give_up = stop_requested;
    sampling.tokens = config_.train.sample_tokens;
    sampling.seed = config_.run.seed;
    const std::string text =
        generate(model_, tape_, *tokenizer_, std::span(&prompt, 1), sampling, stage).texts[0].text;
    if (stop_requested()) return;
    event("sample", Json{{"prompt", prompt}, {"text", text}});
    log_to_file("sample: " + printable(prompt + text));
  }
  if (report_pace_.is_due(clock_.seconds() - clock_.earlier_seconds())) {
    finish_report(stop_requested);
  }
}

// Of every stage's sequences; of a single one its own.
std::string Trainer::data_fingerprint() const {
  std::string all = data_.front().train.fingerprint();
  for (std::size_t i = 1; i < data_.size(); ++i) all += data_[i].train.fingerprint();
  return data_.size() == 1 ? all : sha256_hex(all.data(), all.size());
}

ManifestInfo Trainer::manifest_info() const {
  ManifestInfo info;
  info.program = program_version();
  info.data_fingerprint = data_fingerprint();
  info.cpu_features = cpu_features();
  clock_.put_into(info.notes);
  if (evaluation_owed_) info.notes[kOwed] = "1";
  return info;
}

void Trainer::save(bool must) {
  const TraceSpan span("save");
  const RunClock::Timing timing(clock_, RunClock::kSaving);
  StateView view = run_view(model_, runner_->optimizer(), position_);
  view.config = to_yaml(config_);
  metrics_->sync();
  try {
    const SaveReport report = folder_->store().save(view, manifest_info(), config_.checkpoint.keep);
    for (const std::string& warning : report.warnings) spdlog::warn("{}", printable(warning));
    saved_step_ = position_.step;
    event("checkpoint", Json{{"bytes", report.bytes}});
  } catch (const Error& error) {
    if (error.why() == Failure::kNumbers) say_bad_numbers(position_.step, error.what());
    // A full disk costs a checkpoint, not the run: older ones are whole, the next save may work.
    // At the run's end there is no next one.
    if (error.why() != Failure::kDisk || must) throw;
    spdlog::warn("no checkpoint at step {}: {}; going on", position_.step, error.what());
    event("checkpoint_failed", Json{{"reason", error.what()}});
  }
}

void Trainer::ensure_report() {
  if (!fs::exists(fs::path(config_.run.dir) / "report.html")) finish_report();
}

void Trainer::finish_report(const std::function<bool()>& give_up) {
  const auto begin = Clock::now();
  try {
    write_report(config_.run.dir, give_up);
  } catch (const Error& error) {
    spdlog::warn("no report: {}", error.what());
  }
  if (give_up && give_up()) return;  // it says nothing of how long it takes
  report_pace_.took(std::chrono::duration<double>(Clock::now() - begin).count());
}

}  // namespace shoal
