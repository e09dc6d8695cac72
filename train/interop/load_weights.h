#pragma once
#include "layers/model.h"
#include "train/interop/model_weights.h"

namespace shoal {

// Fills a model from published tensors. Every tensor of the model must be there with its shape, as
// F32, BF16 or F16, and nothing else; otherwise Error(kData) names file, tensor and what was
// expected, and the model is unchanged.
void load_weights(Model& model, const ModelWeights& weights);

// The same complaints without taking or reading anything: the model need not be allocated.
void check_weights(Model& model, const ModelWeights& weights);

// No tensor of the prediction block (mtp.0): transformers has none and saves none.
bool lacks_mtp(const ModelWeights& weights);

}  // namespace shoal
