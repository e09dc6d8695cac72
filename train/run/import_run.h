#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace shoal {

struct Imported {
  std::string run;  // absolute
  std::int64_t parameters = 0;
  std::vector<std::string> warnings;
};

// Makes a run of a Hugging Face model folder: config.yaml, and a checkpoint of step 0 that holds
// the weights alone (an optimizer begins with nothing). It has no data to train on.
//
// Nothing is written when something is wrong: errors as read_model_folder(), and Error(kUsage)
// where `run` is there and not empty.
Imported import_model(const std::string& folder, const std::string& run);

}  // namespace shoal
