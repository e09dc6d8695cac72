#pragma once
#include "layers/model.h"
#include "train/interop/safetensors.h"

namespace shoal {

// Fills a model from a file of published tensors. Every tensor of the model must be there with its
// shape, and nothing else; otherwise Error(kData) names the tensor and what was expected, and the
// model is unchanged.
void load_weights(Model& model, const SafetensorsFile& file);

}  // namespace shoal
