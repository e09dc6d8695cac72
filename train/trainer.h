#pragma once
#include <memory>
#include <string>
#include <vector>

#include "autograd/kernels/peak.h"
#include "train/config/run_config.h"
#include "train/metrics/metrics_log.h"
#include "train/metrics/progress.h"
#include "train/metrics/tensorboard.h"
#include "train/plan/batch_source.h"
#include "train/report/report_pace.h"
#include "train/run/birth.h"
#include "train/run/data_summary.h"
#include "train/run/memory_estimate.h"
#include "train/run/run_clock.h"
#include "train/run/training_state.h"
#include "train/stability/anticipatory.h"
#include "train/stability/faults.h"
#include "train/stability/snapshots.h"
#include "train/stability/spike_detector.h"
#include "train/step/step_runner.h"

namespace shoal {

// How a run ended; the value is the exit code.
enum class RunEnd { kDone = 0, kStopped = 75 };

// A training run in its folder: config.yaml -> model -> batches -> steps -> metrics, checkpoints,
// report. Everything that can be refused is refused in the constructor, before a folder exists.
class Trainer {
 public:
  explicit Trainer(const RunConfig& config);
  ~Trainer();

  // Makes the folder of a new run; it must not hold one yet.
  void create_run();
  // Takes up the run in config.run.dir from `store`'s newest usable checkpoint (or
  // config.checkpoint.step); without any it starts at step 0.
  void resume_run();
  // A run's state copied into a new folder: create_run() that starts from another run's checkpoint.
  void fork_run(const std::string& from);

  RunEnd run();
  // Sentences that belong to how it ended: "; it has diverged: ..."; "" if there are none.
  const std::string& closing() const { return closing_; }
  bool diverged() const { return diverged_; }  // is one of them
  // Of a finished run: writes the report that a kill after the last save left unwritten.
  void ensure_report();

  const MemoryEstimate& memory() const { return memory_; }
  std::int64_t step() const { return state_.position.step; }
  bool is_finished() const { return at_end(clock_.earlier_seconds()) && !evaluation_owed_; }
  const DataSplit& data() const { return source_.data_at(state_.position.step); }
  DataSummary data_summary() const;
  Model& model() { return model_; }

 private:
  void build();  // takes memory for training
  void take(Birth birth);
  void begin_stretch(const StepPlan& plan);
  void after_step(const StepPlan& plan, const StepOutcome& out, const SpikeVerdict& verdict,
                  double seconds);
  void say_routing();  // that anticipatory routing has begun, or ended
  void evaluate_now();
  // `must`: there is no later save, so a full disk ends the run.
  void save(bool must = false);
  ManifestInfo manifest_info() const;
  void event(const std::string& name, Json fields);
  void begin_records();
  void begin_progress();
  void end_records(const std::string& reason);
  bool at_end(double run_seconds) const;  // of its steps, tokens or minutes
  // To the lines and to TensorBoard, which wants to know when, where the record does not.
  template <class Record, class... Time>
  void write(const Record& record, Time... time);
  bool is_logged(std::int64_t step) const { return step % config_.log.every == 0; }
  void finish_report(const std::function<bool()>& give_up = nullptr);

  // trainer_recovery.cpp: what a run does about spikes and bad numbers.
  enum class Answer { kGoOn, kReport, kSkip, kRollback, kStop };
  static bool lets_pass(Answer answer) {
    return answer == Answer::kGoOn || answer == Answer::kReport;
  }
  bool watches() const;
  SpikeVerdict judge(const StepPlan& plan, const StepOutcome& out) const;
  Answer answer_to(const SpikeVerdict& verdict) const;
  void accept(const SpikeVerdict& verdict);  // of a step that was done
  void recover(const StepPlan& plan, const StepOutcome& out, const SpikeVerdict& verdict);
  bool skip(const StepPlan& plan, const SpikeVerdict& verdict, const std::string& what);
  void roll_back(const StepPlan& plan, const SpikeVerdict& verdict, const std::string& what);
  void go_back_to(std::int64_t step);
  [[noreturn]] void give_up(const SpikeVerdict& verdict, const std::string& what,
                            const std::string& why);
  [[noreturn]] void stop_for_bad_numbers(std::int64_t step, const std::string& what, bool skipped);
  void say_bad_numbers(std::int64_t step, const std::string& reason);
  std::string explain_bad_numbers(const StepPlan& plan, const StepOutcome& out);
  EventRecord spike_event(const SpikeVerdict& verdict, Answer answer) const;
  std::vector<EventRecord> strike(const StepPlan& plan, bool updated);
  void plan_snapshots();
  void begin_snapshots();
  void keep_snapshot();
  void store_snapshot(StateView view);
  void store_snapshots();
  void drop_snapshots();

  RunConfig config_;
  std::unique_ptr<Tokenizer> tokenizer_;
  RunPlan plan_;
  BatchSource source_;
  Model model_;
  Tape tape_;
  MemoryEstimate memory_;
  std::unique_ptr<StepRunner> runner_;
  std::unique_ptr<AnticipatoryRouting> routing_;
  TrainingState state_;
  BatchSizes sizes_;  // of the step that is run, or was
  std::vector<Batch> batches_;

  PosixIo io_;
  std::unique_ptr<RunFolder> folder_;
  std::unique_ptr<MetricsLog> metrics_;
  std::unique_ptr<TensorboardWriter> tensorboard_;
  std::unique_ptr<Progress> progress_;
  RunClock clock_;
  EventRecord origin_;  // "resume" or "fork", if it is one
  std::string closing_;
  Peak peak_;
  SpikeDetector detector_;
  std::unique_ptr<Snapshots> snapshots_;  // where something may lead to a rollback
  bool snapshots_in_memory_ = true;
  // What a rollback does not take back.
  struct Lasting {
    std::int64_t rollbacks = 0;
    std::int64_t spent = 0;  // faults provoked at steps up to this one are over
  } lasting_;
  bool diverged_ = false;
  bool validation_changed_ = false;  // since the checkpoint
  std::int64_t saved_step_ = -1, evaluated_step_ = -1, skipped_in_a_row_ = 0;
  bool evaluation_owed_ = false;  // a signal ended the one of this step
  ReportPace report_pace_;
};

// Parts of a configuration in the words of the step.
StepRunner::Options step_options(const RunConfig& config, std::int64_t micro_batches);

}  // namespace shoal
