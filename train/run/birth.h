#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "train/checkpoint/io.h"
#include "train/config/run_config.h"
#include "train/metrics/event_record.h"
#include "train/run/run_clock.h"
#include "train/run/run_folder.h"
#include "train/run/training_state.h"

namespace shoal {

// How a run in training comes to be: as a new one, from its own checkpoint, or from another run's.
// (Of a model folder import_run.h makes one.) Each leaves config.yaml as `config` says, where
// checkpoint.step has then been seen to. From here on there is something to go on with: a signal
// ends the run after saving.
struct Birth {
  std::unique_ptr<RunFolder> folder;
  std::int64_t saved_step = -1;  // that of the newest checkpoint; -1: there is none
  RunClock clock;
  EventRecord origin;  // "resume" or "fork", if it is one; time is the caller's
  std::map<std::string, std::string> notes = {};  // of the checkpoint that it goes on from
};

// Error(kUsage) where config.run.dir holds a run.
void require_no_run(const RunConfig& config, const std::string& remedy);

// Weights of train.init_from, if any; the folder must not hold a run yet. If the disk refuses,
// nothing stays behind.
Birth begin_run(Io& io, RunConfig& config, Model& model);
// From the newest usable checkpoint, or that of checkpoint.step, whose later ones are given up;
// without any the run begins. Error(kData): it was trained on other data than `data_fingerprint`.
Birth resume_run(Io& io, RunConfig& config, Model& model, TrainingState& state,
                 const std::string& data_fingerprint);
// From a checkpoint of `from`: a run, or a checkpoint's folder. `afresh` changes what of the state
// counts for one run alone.
Birth fork_run(Io& io, RunConfig& config, TrainingState& state, const std::string& from,
               const ManifestInfo& info, const std::function<void()>& afresh = nullptr);

}  // namespace shoal
