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
// the weights alone (an optimizer begins with nothing). It has no data to train on. A folder from
// transformers lacks the prediction block, and so does its run then.
//
// Nothing is written when something is wrong. Error(kData): config.json or weights are not sound or
// do not fit each other. Error(kUsage): the model cannot be run here (its layers, its tokenizer),
// or `run` is there and not empty.
Imported import_model(const std::string& folder, const std::string& run);

// Reads config.json and the headers of the weights. Error as above where they are not sound or do
// not fit each other.
void check_model_folder(const std::string& folder);

}  // namespace shoal
