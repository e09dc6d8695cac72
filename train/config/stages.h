#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "train/config/document/document.h"
#include "train/config/document/problems.h"
#include "train/config/run_config.h"

namespace shoal {

// A stretch of a run with one length of sequences and one batch (train.stages).
struct Stage {
  std::int64_t from_step = 0;  // updates done before its first step
  std::int64_t sequence_length = 0, batch_tokens = 0;
  std::int64_t micro_batch = 0;  // sequences in one forward

  std::int64_t sequences() const { return batch_tokens / sequence_length; }
  std::int64_t micro_batches() const { return sequences() / micro_batch; }
};

// All of a run, from step 0 on; a single one where train.stages is empty. What a stage leaves out
// is as before it: at first as data.sequence_length, train.batch_tokens and train.micro_batch say.
std::vector<Stage> stages_of(const RunConfig& config);
// Which of them is in force while `step` updates are done.
std::size_t stage_at(std::span<const Stage> stages, std::int64_t step);
// The run as if it had this stage alone.
RunConfig config_at(const RunConfig& config, const Stage& stage);

// Steps until train.steps or train.tokens ends the run, whichever comes first; 0: neither does.
std::int64_t planned_steps(const RunConfig& config);

// [{from_step: 100, sequence_length: 2048, batch_tokens: 8192, micro_batch: 1}], all but from_step
// optional.
std::optional<std::vector<StageSpec>> read_stages(const Node& node, const std::string& key,
                                                  Problems& problems);
nlohmann::json stages_json(const std::vector<StageSpec>& stages);

}  // namespace shoal
