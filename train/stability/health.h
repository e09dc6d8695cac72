#pragma once
#include <span>
#include <vector>

#include "layers/model.h"
#include "train/metrics/records.h"
#include "train/plan/run_plan.h"

namespace shoal {

// How much a row of residual mixings enlarges what passes (spec 4.4). With B_s[k][j] =
// comb_s[j][k] (spec 4.1) and the composite C = B_last ... B_first:
struct MixingGain {
  double forward = 0.0;         // largest |row sum| of C
  double backward = 0.0;        // largest |column sum|
  double backward_least = 0.0;  // smallest column sum
};

// Of one token, whose mixings comb [S, n, n] lie in the order of the sublayers (n at most 8): the
// gain from every `each`-th sublayer on to the last. gains [S / each].
void mixing_gains(const double* comb, std::int64_t S, std::int64_t n, std::int64_t each,
                  std::span<MixingGain> gains);

// Runs the batch's first sequence once more, with the model's weights and precision, and fills in
// what the records of the layers (as layer_records() makes them) say of streams, mixing, attention,
// router and MTP. Nothing that training depends on changes. Memory: one block's activations.
void add_health(std::vector<LayerRecord>& layers, Model& model, Tape& tape, const StepPlan& plan,
                const Batch& batch);

}  // namespace shoal
