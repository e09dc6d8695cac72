#pragma once
#include <string>

#include "train/checkpoint/posix_io.h"
#include "train/checkpoint/run_lock.h"
#include "train/checkpoint/store.h"

namespace shoal {

// RUN or RUN/checkpoints/step-N as the commands take it: the run's folder.
std::string run_folder_of(const std::string& path);
// Does this folder hold a run already?
bool holds_run(const std::string& folder);
// Error(kDisk) where this process could not write a run to that folder: said before the data are
// read. Makes nothing.
void require_place_for_run(const std::string& folder);
// config.yaml, under a line that names the program. As a whole: a kill at any instant leaves the
// old one or the new one.
void write_run_config(const std::string& folder, const std::string& yaml);
std::string run_config_text(const std::string& folder);  // "" where there is none

// A run's folder while this process trains in it: made where there is none, locked, its log open,
// what a killed process left in its checkpoints gone. Error(kUsage): another process has it.
class RunFolder {
 public:
  RunFolder(Io& io, const std::string& path);
  CheckpointStore& store() { return store_; }
  // checkpoints/snapshots: what a rollback may need beside the checkpoints. Error(kDisk): a link.
  CheckpointStore& snapshots() { return snapshots_; }
  // What the constructor made, with the folder if nothing else is in it.
  static void remove_beginning(const std::string& path);

 private:
  RunLock lock_;
  CheckpointStore store_, snapshots_;
};

}  // namespace shoal
