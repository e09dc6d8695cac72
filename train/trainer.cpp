#include "train/trainer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "autograd/base/printable.h"
#include "train/config/show_config.h"
#include "train/generate/evaluator.h"
#include "train/generate/generator.h"
#include "train/metrics/event_record.h"
#include "train/metrics/log_setup.h"
#include "train/metrics/run_history.h"
#include "train/report/report.h"
#include "train/run/closing.h"
#include "train/run/plan_remarks.h"
#include "train/run/run_events.h"
#include "train/run/signals.h"
#include "train/run/step_records.h"
#include "train/run/version.h"
#include "train/stability/group_health.h"
#include "train/stability/health.h"

namespace shoal {
namespace fs = std::filesystem;
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kOwed = "evaluation_owed";  // a note of a checkpoint: see evaluation_owed_
constexpr const char* kValidationNote = "validation_fingerprint";  // in manifests

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

}  // namespace

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

Trainer::Trainer(const RunConfig& config)
    : config_(config),
      tokenizer_(tokenizer_for(config)),
      plan_(config),
      source_(config, plan_, *tokenizer_),
      model_(require_weights(config)),
      detector_(config.stability.spike) {
  for (const std::string& warning : data().warnings) spdlog::warn("{}", printable(warning));
  for (const Remark& remark : plan_remarks(config_)) {
    spdlog::log(remark.warns ? spdlog::level::warn : spdlog::level::info, "{}", remark.text);
  }
  model_.allocate();
  memory_ = estimate_memory(model_, config_, plan_.sizes());
  require_memory(memory_, config_, largest(plan_.sizes()));
  plan_snapshots();
}

Trainer::~Trainer() = default;

// Memory is taken here, once, so that the steps themselves take none.
void Trainer::build() {
  const TraceSpan span("build");
  runner_ = std::make_unique<StepRunner>(model_, tape_,
                                         step_options(config_, plan_.most_micro_batches()));
  state_.add(model_);
  state_.add(runner_->optimizer());
  routing_ = std::make_unique<AnticipatoryRouting>(
      model_, tape_, config_.stability.anticipatory,
      Ahead{[this](std::int64_t done) { return plan_.at(done); },
            [this](std::int64_t done, std::vector<Batch>& into) {
              source_.batches(state_.position, done, into);
            },
            plan_.steps()});
  routing_->add_to(state_);
  detector_.add_to(state_);
  const std::optional<std::int64_t> none = 0;  // in checkpoints from before
  state_.add_number("/state/skipped_in_a_row", skipped_in_a_row_, none);
  state_.add_number("/state/rollbacks", lasting_.rollbacks, none);
  state_.add_number("/state/spent_faults", lasting_.spent, none);
  tape_.populate(memory_.tape);
  const char* trace_numbers = std::getenv("SHOAL_NAN");
  tape_.trace_numbers(trace_numbers != nullptr && *trace_numbers == '1');
  const std::vector<std::int64_t> counts = data().train.token_counts();
  std::vector<std::int64_t> padded(static_cast<std::size_t>(config_.model.vocab_size), 0);
  std::copy(counts.begin(), counts.end(), padded.begin());
  model_.initialise(config_.run.seed, padded);
  sizes_ = plan_.sizes().front();
  runner_->set_micro_batches(sizes_.micro_batches());
  peak_.measure();
}

void Trainer::create_run() {
  require_no_run(
      config_, concat("go on with `shoal resume ", config_.run.dir, "` or choose another run.dir"));
  build();
  take(begin_run(io_, config_, model_));
}

void Trainer::resume_run() {
  build();
  take(shoal::resume_run(io_, config_, model_, state_, source_.fingerprint()));
}

void Trainer::fork_run(const std::string& from) {
  require_no_run(config_, "choose another folder");
  build();
  const auto afresh = [&] {  // another run: what happened to its parent does not count
    lasting_ = {};
    detector_ = SpikeDetector(config_.stability.spike);
  };
  take(shoal::fork_run(io_, config_, state_, from, manifest_info(), afresh));
}

void Trainer::take(Birth birth) {
  folder_ = std::move(birth.folder);
  saved_step_ = birth.saved_step;
  clock_ = birth.clock;
  origin_ = std::move(birth.origin);
  evaluation_owed_ =
      birth.notes.contains(kOwed) && !has_evaluation(config_.run.dir + "/metrics.jsonl", step());
  const auto validated_on = birth.notes.find(kValidationNote);
  validation_changed_ = validated_on != birth.notes.end() &&
                        validated_on->second != source_.fingerprint(&DataSplit::validation);
  if (validation_changed_) {
    spdlog::warn(
        "data.validation holds other text than before: evaluations from here on do not compare "
        "with those up to step {}",
        step());
  }
}

bool Trainer::at_end(double run_seconds) const {
  if (plan_.is_complete(step())) return true;
  return config_.train.minutes > 0.0 && run_seconds >= config_.train.minutes * 60.0;
}

template <class Record, class... Time>
void Trainer::write(const Record& record, Time... time) {
  metrics_->write(record);
  if (tensorboard_) tensorboard_->write(record, time...);
}

void Trainer::event(const std::string& name, Json fields) {
  const EventRecord record{step(), name, std::move(fields), unix_time()};
  write(record);
}

void Trainer::begin_records() {
  metrics_ =
      std::make_unique<MetricsLog>(config_.run.dir + "/metrics.jsonl", step(), saved_step_ >= 0);
  if (config_.log.tensorboard) {
    tensorboard_ = std::make_unique<TensorboardWriter>(config_.run.dir + "/tensorboard", step());
  }
  event("start", start_fields(config_, model_.store().count(), memory_.total(), peak_.gflops()));
  if (tensorboard_) tensorboard_->write_text(step(), unix_time(), "config", to_yaml(config_));
  if (!origin_.event.empty()) event(origin_.event, origin_.fields);
  if (validation_changed_) event("validation_changed", Json::object());
  event("data", json_of(data_summary()));
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
         closing_remarks(config_, plan_.schedule(), step(), reason == "minutes",
                         config_.run.dir + "/metrics.jsonl")) {
      event(remark.event.event, remark.event.fields);
      diverged_ |= remark.event.event == "diverged";
      closing_ += "; " + remark.sentence;
    }
  }
  event("end", end_fields(reason, clock_, state_.position.tokens));
}

void Trainer::begin_progress() {
  ProgressState start;
  start.step = step();
  start.tokens = state_.position.tokens;
  start.run_seconds = clock_.seconds();
  progress_ = std::make_unique<Progress>(
      Console::standard_error(),
      ProgressGoal{config_.train.steps, config_.train.tokens, config_.train.minutes}, start,
      config_.log.every, [](std::string_view line) { log_to_file(line); });
}

RunEnd Trainer::run() {
  begin_records();
  clock_.start();
  begin_progress();
  begin_snapshots();
  if (evaluation_owed_) evaluate_now();
  bool out_of_time = at_end(clock_.earlier_seconds());
  while (!out_of_time && !stop_requested()) {
    keep_snapshot();
    const auto begin = Clock::now();
    StepPlan plan = plan_.at(step(), lasting_.spent);
    if (plan_.turns_at(step())) detector_.restart();
    StepOutcome out;
    SpikeVerdict verdict;
    {
      const TraceSpan span("step");
      const RunClock::Timing timing(clock_, RunClock::kTraining);
      if (plan.sizes != sizes_) begin_stretch(plan);
      if (routing_->update(step())) say_routing();
      source_.batches(state_.position, step(), batches_);
      if (routing_->look_ahead(step(), batches_, stop_requested)) {
        plan.given_ids = routing_->given_ids();
        if (plan.shuffled_targets) shuffle_targets(batches_, config_.run.seed, plan.number);
        runner_->keep_weights(is_logged(plan.number));
        out = runner_->gradients(batches_, plan, stop_requested);
      }
      if (out.finished) verdict = judge(plan, out);
      if (out.finished && lets_pass(answer_to(verdict))) runner_->update(out, plan);
    }
    if (!out.finished) {
      routing_->undo();
      break;
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    if (!out.updated) {
      recover(plan, out, verdict);
      continue;
    }
    after_step(plan, out, verdict, seconds);
    out_of_time = at_end(clock_.seconds());
    const auto due = [&](std::int64_t every) { return every > 0 && step() % every == 0; };
    // The last evaluation comes before the last checkpoint: what follows that may be lost.
    if (due(config_.train.eval_every) || out_of_time) evaluate_now();
    if (due(config_.checkpoint.every_steps)) save();
  }
  if (out_of_time && evaluated_step_ != step()) evaluate_now();
  const bool stopped = !out_of_time || evaluation_owed_;
  if (stopped) event("signal", Json{{"signal", signal_received()}});
  if (saved_step_ != step()) save(true);
  if (plan_.is_complete(step())) drop_snapshots();
  progress_->finish();
  end_records(stopped ? "signal" : plan_.is_complete(step()) ? "done" : "minutes");
  if (!stopped || report_pace_.is_quick()) {
    finish_report();
  } else {
    spdlog::info("the report is left for later: shoal report {}", printable(config_.run.dir));
  }
  return stopped ? RunEnd::kStopped : RunEnd::kDone;
}

void Trainer::begin_stretch(const StepPlan& plan) {
  sizes_ = plan.sizes;
  runner_->set_micro_batches(sizes_.micro_batches());
  event("stage", Json{{"sequence_length", sizes_.sequence_length},
                      {"batch_tokens", sizes_.batch_tokens},
                      {"micro_batch", sizes_.micro_batch}});
}

void Trainer::say_routing() {
  if (!routing_->is_on()) {
    event("anticipatory_off", Json::object());
    return;
  }
  Json fields{{"lag", config_.stability.anticipatory.lag}};
  if (config_.stability.anticipatory.mode == AnticipatoryMode::kOnSpike) {
    fields["until"] = routing_->until();
  }
  event("anticipatory_on", std::move(fields));
}

void Trainer::after_step(const StepPlan& plan, const StepOutcome& out, const SpikeVerdict& verdict,
                         double seconds) {
  skipped_in_a_row_ = 0;
  RunPosition& position = state_.position;
  const std::vector<EventRecord> provoked = strike(plan, true);
  position.step = plan.number;
  position.tokens += plan.sizes.batch_tokens;
  position.samples += plan.sizes.sequences();
  routing_->batches_used();
  StepRecord record = step_record(plan, position, out, runner_->stats());
  record.step_seconds = seconds;
  record.tokens_per_second = static_cast<double>(plan.sizes.batch_tokens) / seconds;
  record.matmul_peak_share = peak_.share(out.flops, seconds);
  record.time = unix_time();
  write(record);
  if (is_logged(step())) {
    model_.set_precision(plan.precision);  // the weights have changed since
    std::vector<LayerRecord> layers = layer_records(model_, step(), out, runner_->stats());
    add_rounding(layers, model_, tape_, plan.precision, batches_.front());
    add_health(layers, model_, tape_, plan, batches_.front());
    for (const LayerRecord& layer : layers) write(layer, unix_time());
    for (const GroupRecord& group : group_records(*runner_, model_.store(), step())) {
      write(group, unix_time());
    }
  }
  progress_->step(ProgressState(record, clock_.seconds()));
  for (const EventRecord& fault : provoked) event(fault.event, fault.fields);
  accept(verdict);
}

void Trainer::evaluate_now() {
  const RunClock::Timing timing(clock_, RunClock::kEvaluation);
  evaluated_step_ = step();
  const StepPlan plan = plan_.at(step());
  model_.set_precision(plan.precision);  // the weights have changed since
  const Dataset& validation = data().validation;
  if (validation.sequences() > 0) {
    std::optional<EvalRecord> record =
        evaluate_unless(stop_requested, model_, tape_, validation, plan.sizes.micro_batch,
                        config_.train.eval_sequences, plan.indexer);
    evaluation_owed_ = !record;  // the stop comes first; whoever goes on evaluates then
    if (!record) return;
    record->step = step();
    record->time = unix_time();
    write(*record);
    progress_->eval(*record);
  }
  const std::vector<std::string>& prompts = config_.train.sample_prompts;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    GenerateConfig sampling;
    sampling.first_place = i;
    sampling.give_up = stop_requested;
    sampling.tokens = config_.train.sample_tokens;
    sampling.seed = config_.run.seed;
    const std::string text =
        generate(model_, tape_, *tokenizer_, std::span(&prompts[i], 1), sampling, plan.indexer)
            .texts[0]
            .text;
    if (stop_requested()) return;
    event("sample", Json{{"prompt", prompts[i]}, {"text", text}});
    log_to_file("sample: " + printable(prompts[i] + text));
  }
  if (report_pace_.is_due(clock_.seconds() - clock_.earlier_seconds())) {
    finish_report(stop_requested);
  }
}

DataSummary Trainer::data_summary() const {
  return summarise(source_.data(), plan_.sizes(), plan_.steps(), config_.data.validation_share);
}

ManifestInfo Trainer::manifest_info() const {
  ManifestInfo info;
  info.program = program_version();
  info.data_fingerprint = source_.fingerprint();
  info.notes[kValidationNote] = source_.fingerprint(&DataSplit::validation);
  info.cpu_features = cpu_features();
  clock_.put_into(info.notes);
  if (evaluation_owed_) info.notes[kOwed] = "1";
  return info;
}

void Trainer::save(bool must) {
  const TraceSpan span("save");
  const RunClock::Timing timing(clock_, RunClock::kSaving);
  StateView view = state_.view();
  view.config = to_yaml(config_);
  metrics_->sync();
  try {
    store_snapshots();
    const SaveReport report = folder_->store().save(view, manifest_info(), config_.checkpoint.keep);
    for (const std::string& warning : report.warnings) spdlog::warn("{}", printable(warning));
    saved_step_ = step();
    event("checkpoint", Json{{"bytes", report.bytes}});
  } catch (const Error& error) {
    // Where the run can go back the next step will show it, and does.
    const bool heals =
        !must && config_.stability.bad_numbers() == BadNumbers::kRollback && snapshots_;
    if (error.why() == Failure::kNumbers && !heals) say_bad_numbers(step(), error.what());
    // A full disk costs a checkpoint, not the run: older ones are whole, the next save may work.
    // At the run's end there is no next one.
    if ((error.why() != Failure::kDisk && !(error.why() == Failure::kNumbers && heals)) || must) {
      throw;
    }
    spdlog::warn("no checkpoint at step {}: {}; going on", step(), error.what());
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
