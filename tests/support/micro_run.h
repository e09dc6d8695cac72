#pragma once
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/support/program.h"
#include "tests/support/temporary_folder.h"

namespace shoal {

// A folder with corpus.txt and micro.yaml: a replica of 55,022 parameters with a hash layer and a
// learned one, MTP and Muon, whose 24 steps take milliseconds. A step has 6 sequences in 3
// micro-batches; an epoch ends inside step 10 and inside step 20; warm-up ends at step 6, decay
// begins at step 17. It saves every 5 steps and evaluates every 7.
class MicroRun {
 public:
  static constexpr std::int64_t kSteps = 24;

  MicroRun();
  // Fails the test if a run in its folder has recorded what docs/metrics.md does not know.
  ~MicroRun();
  MicroRun(const MicroRun&) = delete;
  MicroRun& operator=(const MicroRun&) = delete;

  // `shoal train micro.yaml run.dir=NAME ...`, and the same without waiting for its end.
  std::vector<std::string> train_arguments(const std::string& name,
                                           const std::vector<std::string>& overrides = {}) const;
  Ended train(const std::string& name, const std::vector<std::string>& overrides = {},
              const ProgramOptions& options = {}) const;
  // Likewise, and expects it to reach its end.
  void train_to_the_end(const std::string& name, const std::vector<std::string>& overrides = {},
                        const ProgramOptions& options = {}) const;

  const TemporaryFolder& folder() const { return folder_; }
  std::string config() const { return folder_ / "micro.yaml"; }
  std::string operator/(const std::string& name) const { return folder_ / name; }

 private:
  TemporaryFolder folder_;
};

// Every line of kind step, eval and layer in a run's metrics.jsonl, without what a clock decides.
std::vector<std::string> numbers_of(const std::string& run);
// The lines of one kind, parsed again by the caller; events included.
std::vector<std::string> lines_of(const std::string& run, const std::string& kind);
std::int64_t last_step(const std::string& run);  // with a whole `step` line; 0: none yet

// Type, shape and bytes of each dataset under /model, /optimizer and /state.
std::map<std::string, std::string> state_of(const std::string& run_or_checkpoint);
// Both of them, and that there are as many steps as there should be.
void expect_equal_runs(const std::string& run, const std::string& other,
                       std::int64_t steps = MicroRun::kSteps);

std::vector<std::int64_t> checkpoints_of(const std::string& run);  // their steps, ascending
std::set<std::string> everything_in(const std::string& folder);    // paths of files and folders
std::string bytes_of_file(const std::string& path);
void flip_byte(const std::string& path, std::int64_t at);  // negative: from the end

}  // namespace shoal
