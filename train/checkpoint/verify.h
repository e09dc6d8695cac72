#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "train/checkpoint/io.h"
#include "train/checkpoint/manifest.h"
#include "train/checkpoint/state.h"

namespace shoal {

// Is `path` something the two functions below understand: a checkpoint's folder (it has a manifest
// or a step's name), a run's folder, or a run's folder of checkpoints?
bool is_checkpoint_path(Io& io, const std::string& path);

// One sentence for everything that is wrong with a checkpoint, or with any checkpoint of a run;
// empty if all is well. Checks what a load checks, and that no value of the model or the optimizer
// is NaN or infinite. Error(kData) if `path` is neither or a run without a checkpoint. One that a
// run at work deletes meanwhile, to make room for newer ones, is no problem.
std::vector<std::string> verify_checkpoint(Io& io, const std::string& path);

// What is in a checkpoint.
struct CheckpointTable {
  struct Row {
    std::string path;
    StateType type = StateType::kF32;
    std::vector<std::int64_t> shape;
    std::uint64_t bytes = 0;
    double rms = 0;               // of the values, as double
    double most = 0;              // largest absolute value
    std::int64_t not_finite = 0;  // NaN and infinite values, which rms and most leave out
  };
  std::string path;
  std::string damage;  // why it cannot be read; then there is nothing below
  Manifest manifest;
  std::string config;
  std::vector<Row> rows;  // ascending paths
};

// Of a checkpoint, or of every checkpoint of a run, newest first, damaged ones included. Error as
// verify_checkpoint.
std::vector<CheckpointTable> inspect_checkpoint(Io& io, const std::string& path);

}  // namespace shoal
