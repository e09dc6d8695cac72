#pragma once
#include "data/dataset.h"
#include "layers/model.h"

namespace shoal {

struct Evaluation {
  double loss = 0;             // mean cross-entropy per counted token, nats
  double bits_per_byte = 0;    // summed cross-entropy / ln 2 / bytes of text; 0 without text
  double answer_accuracy = 0;  // share of a task's answer tokens that are the likeliest one
  std::int64_t tokens = 0, bytes = 0, answers = 0;
};

// Cross-entropy over the first `sequences` of the data (0: all), in their fixed order.
Evaluation evaluate(Model& model, Tape& tape, const Dataset& data, std::int64_t micro_batch,
                    std::int64_t sequences, IndexerStage stage = IndexerStage::kSparse);

}  // namespace shoal
