#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/synthetic/task.h"
#include "layers/config.h"

namespace shoal {

// A whole run, as the YAML says it (design: one schema table reads, prints and documents it).
struct CorpusSpec {
  std::string path;  // text, .jsonl, .tokens, or a folder of them
  double weight = 1.0;
  std::optional<TaskConfig> task = {};  // instead of a path

  bool operator==(const CorpusSpec&) const = default;
};

enum class RecomputePolicy { kNone, kBlock };
enum class MatrixOptimizer { kMuon, kAdamw };
enum class BadNumbers { kStop, kSkip, kRollback };
enum class SpikeAction { kOff, kReport, kSkip, kRollback };
enum class FaultKind { kLrPulse, kBadBatch, kExpertShock };

// How a spike is told from noise and what is done about it: see train/stability/spike_detector.h
// and snapshots.h.
struct SpikeConfig {
  SpikeAction action = SpikeAction::kOff;
  double threshold = 6.0, onset = 2.0;  // in standard deviations
  std::int64_t warmup = 100;            // steps that are learned from before the first alarm
  std::int64_t lookback = 64;           // steps that the onset is looked for in
  std::int64_t cooldown = 500;          // steps after an alarm without another
  std::int64_t snapshot_every = 50;     // steps
  std::int64_t max_rollbacks = 3;

  bool operator==(const SpikeConfig&) const = default;
};

// A fault for experiments: see train/stability/faults.h.
struct FaultSpec {
  FaultKind kind = FaultKind::kLrPulse;
  std::int64_t at_step = 1;  // as a `step` record counts: 1 is the first update
  std::int64_t steps = 1;    // how many in a row
  double factor = 10.0;

  bool operator==(const FaultSpec&) const = default;
};

enum class AnticipatoryMode { kOff, kOnSpike, kAlways };
enum class RoutingDrain { kFresh, kReplay };

// Experts are chosen by earlier parameters: see train/stability/anticipatory.h.
struct AnticipatoryConfig {
  AnticipatoryMode mode = AnticipatoryMode::kOff;
  std::int64_t lag = 16;     // updates between choice and use
  std::int64_t steps = 500;  // of an active period
  RoutingDrain drain = RoutingDrain::kFresh;

  bool operator==(const AnticipatoryConfig&) const = default;
};

// From this step on (0-based: the number of updates done before it) the indexers are in this mode.
struct IndexerSpec {
  IndexerMode mode = IndexerMode::kSparse;
  std::int64_t from_step = 0;

  bool operator==(const IndexerSpec&) const = default;
};

// From this step on (likewise) sequences and batches have other sizes; 0: as before.
struct SizesSpec {
  std::int64_t from_step = 0;
  std::int64_t sequence_length = 0, batch_tokens = 0, micro_batch = 0;

  bool operator==(const SizesSpec&) const = default;
};

// As YAML and records name them.
inline const char* name_of(BadNumbers policy) {
  constexpr const char* kNames[] = {"stop", "skip", "rollback"};
  return kNames[static_cast<int>(policy)];
}
inline const char* name_of(SpikeAction action) {
  constexpr const char* kNames[] = {"off", "report", "skip", "rollback"};
  return kNames[static_cast<int>(action)];
}
inline const char* name_of(FaultKind kind) {
  constexpr const char* kNames[] = {"lr_pulse", "bad_batch", "expert_shock"};
  return kNames[static_cast<int>(kind)];
}

struct RunConfig {
  struct Run {
    std::string name = "run";
    std::string dir;  // empty: runs/NAME
    std::uint64_t seed = 1;

    bool operator==(const Run&) const = default;
  } run;

  ModelConfig model;

  struct Data {
    std::string tokenizer = "bytes";
    std::vector<CorpusSpec> train;
    double validation_share = 0.05;            // of documents, by hash; 0 where ...
    std::vector<CorpusSpec> validation_files;  // ... files are named
    std::int64_t sequence_length = 512;

    bool operator==(const Data&) const = default;
  } data;

  struct Train {
    std::int64_t steps = 0;  // 0: no such limit
    double tokens = 0.0;     // 0: no such limit
    double minutes = 0.0;    // 0: no such limit; at least one of the three is set
    std::int64_t batch_tokens = 8192;
    std::int64_t micro_batch = 4;     // sequences in one forward
    std::vector<SizesSpec> stages;    // rising from_step; see sizes_of()
    std::int64_t eval_every = 100;    // steps; 0: only at the end
    std::int64_t eval_sequences = 0;  // 0: the whole validation data
    RecomputePolicy recompute = RecomputePolicy::kNone;
    std::string init_from;
    std::vector<std::string> sample_prompts;
    std::int64_t sample_tokens = 100;

    bool operator==(const Train&) const = default;
  } train;

  struct Loss {
    double mtp = 0.3, mtp_late = 0.1;  // late: from the start of learning-rate decay
    double balance = 1e-4;
    double index_kl = 1.0;

    bool operator==(const Loss&) const = default;
  } loss;

  struct Indexer {
    std::vector<IndexerSpec> modes{{}};  // rising from_step; the first begins at 0

    bool operator==(const Indexer&) const = default;
  } indexer;

  struct Optim {
    double lr = 1e-3, end_lr = 1e-4;
    std::int64_t warmup_steps = 50;
    double decay_share = 0.3;  // linear warm-up, constant, cosine over the last share
    double clip = 1.0;         // 0: no clipping
    double weight_decay = 0.1;
    double beta1 = 0.9, beta2 = 0.95, eps = 1e-20;
    double momentum = 0.95, update_rms = 0.18;
    MatrixOptimizer matrices = MatrixOptimizer::kMuon;

    bool operator==(const Optim&) const = default;
  } optim;

  struct Stability {
    BadNumbers on_bad_numbers = BadNumbers::kStop;
    double router_bias_speed = 0.001;
    AnticipatoryConfig anticipatory;
    SpikeConfig spike;
    std::vector<FaultSpec> provoke;

    // What a loss or gradient that is not finite leads to. It is a spike, too: whoever answers
    // those by more than a report need not say it twice.
    BadNumbers bad_numbers() const {
      if (on_bad_numbers != BadNumbers::kStop) return on_bad_numbers;
      if (spike.action == SpikeAction::kSkip) return BadNumbers::kSkip;
      return spike.action == SpikeAction::kRollback ? BadNumbers::kRollback : BadNumbers::kStop;
    }
    bool rolls_back() const {
      return spike.action == SpikeAction::kRollback || on_bad_numbers == BadNumbers::kRollback;
    }

    bool operator==(const Stability&) const = default;
  } stability;

  struct Checkpoint {
    std::int64_t every_steps = 100;  // 0: only at the end
    std::int64_t keep = 3;
    std::int64_t step = 0;  // resume from this one; 0: the newest that verifies

    bool operator==(const Checkpoint&) const = default;
  } checkpoint;

  struct Log {
    std::int64_t every = 10;
    bool tensorboard = true;

    bool operator==(const Log&) const = default;
  } log;

  bool operator==(const RunConfig&) const = default;
};

}  // namespace shoal
