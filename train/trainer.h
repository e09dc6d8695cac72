#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "layers/flops.h"
#include "optim/schedule.h"
#include "train/config/run_config.h"
#include "train/config/stages.h"
#include "train/metrics/metrics_log.h"
#include "train/metrics/progress.h"
#include "train/metrics/tensorboard.h"
#include "train/report/report_pace.h"
#include "train/run/memory_estimate.h"
#include "train/run/run_clock.h"
#include "train/run/run_folder.h"
#include "train/run/run_state.h"
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
  // Of a finished run: writes the report that a kill after the last save left unwritten.
  void ensure_report();

  const MemoryEstimate& memory() const { return memory_; }
  std::int64_t planned_steps() const { return schedule_.total_steps; }
  std::int64_t step() const { return position_.step; }
  bool is_finished() const { return at_end() && !evaluation_owed_; }
  const DataSplit& data() const { return data_[stage_]; }
  Model& model() { return model_; }

 private:
  void build();  // takes memory for training
  void load_initial_weights();
  void open_folder();
  void begin_folder(const std::function<void()>& write);
  void write_config() const;
  void enter_stage(std::size_t index);
  const Stage& stage() const { return stages_[stage_]; }
  std::string data_fingerprint() const;
  StepOutcome one_step();
  void after_step(const StepOutcome& out, double seconds, double flops);
  void handle_bad_numbers(const StepOutcome& out);
  void say_bad_numbers(std::int64_t step, const std::string& reason);
  std::string explain_bad_numbers(const StepOutcome& out);
  void evaluate_now();
  // `must`: there is no later save, so a full disk ends the run.
  void save(bool must = false);
  ManifestInfo manifest_info() const;
  void event(const std::string& name, Json fields);
  void write_layers(const StepOutcome& out);
  void begin_records();
  void end_records(const std::string& reason);
  bool at_end() const;  // of its steps, tokens or minutes
  void finish_report(const std::function<bool()>& give_up = nullptr);
  LossConfig loss_config() const;

  RunConfig config_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<Stage> stages_;
  std::vector<DataSplit> data_;  // of each stage
  std::size_t stage_ = 0;        // of the step that is run, or was
  Model model_;
  Tape tape_;
  MemoryEstimate memory_;
  ScheduleConfig schedule_;
  std::unique_ptr<StepRunner> runner_;
  RunPosition position_;
  std::vector<Batch> batches_;
  std::vector<std::int64_t> samples_;

  PosixIo io_;
  std::unique_ptr<RunFolder> folder_;
  std::unique_ptr<MetricsLog> metrics_;
  std::unique_ptr<TensorboardWriter> tensorboard_;
  std::unique_ptr<Progress> progress_;
  RunClock clock_;
  EventRecord origin_;  // "resume" or "fork", if it is one
  std::string closing_;
  double peak_gflops_ = 0.0;
  std::int64_t saved_step_ = -1, evaluated_step_ = -1, skipped_in_a_row_ = 0;
  bool evaluation_owed_ = false;  // a signal ended the one of this step
  ReportPace report_pace_;
};

// Parts of a configuration in the words of the folders that use them.
DataConfig data_config(const RunConfig& config);
// While `step` updates are done; `late`: the rate decays.
LossConfig loss_config(const RunConfig& config, std::int64_t step, bool late);
StepRunner::Options step_options(const RunConfig& config, std::int64_t micro_batches);

}  // namespace shoal
