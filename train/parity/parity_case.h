#pragma once
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "train/interop/safetensors.h"

namespace shoal {

struct GoldenTensor {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};
struct GoldenIndices {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> values;
};

// The parts of a loss in natural logarithms; mtp is unweighted, the others as they enter the sum.
struct GoldenLosses {
  double loss = 0, ce = 0, mtp = 0, balance = 0, index_kl = 0;
};
struct GoldenStep {
  GoldenLosses losses;
  std::optional<double> grad_norm;  // before clipping, without the indexer's parameters
};

struct GoldenOptimizer {
  double lr = 0, weight_decay = 0, clip = 0, bias_speed = 0;
  double adamw_beta1 = 0, adamw_beta2 = 0, adamw_eps = 0;
  double muon_momentum = 0, muon_update_rms = 0;
};

// What an independent program says about one training step of one small model. config.json and
// model.safetensors must be there; whatever else the folder lacks is empty here.
struct ParityCase {
  std::string name;       // the folder's last part
  nlohmann::json config;  // of config.json, not yet read as a model's configuration
  SafetensorsFile model;  // weights under their published names

  std::optional<GoldenLosses> losses{};
  double mtp_weight = 0, balance_weight = 0, index_kl_weight = 0;
  std::optional<GoldenOptimizer> optimizer{};
  std::int64_t lag = 0;  // of the routing in those steps, see AnticipatoryRouting
  std::vector<GoldenStep> adamw{}, muon{};  // as many as steps_tokens has batches

  std::optional<GoldenIndices> tokens{};               // [B, T+1]
  std::optional<GoldenTensor> logits{}, mtp_logits{};  // [B, T, V]
  std::vector<GoldenTensor> streams{};                 // L+1 times [B, T, hc, C]
  std::map<int, GoldenIndices> topk{};                 // layer -> [B, T, k], -1 is "none"
  std::map<std::string, GoldenTensor> grad{};          // parameter's name -> its gradient
  std::map<std::string, GoldenTensor> grad_ce{};       // of the cross-entropy alone
  std::optional<GoldenIndices> steps_tokens{};         // [steps, B, T+1]

  std::vector<std::string> ignored{};  // tensors of golden.safetensors that nobody here knows
};

// Reads a folder and checks that its parts fit each other (shapes, ranges of tokens, a gradient for
// every tensor that the model has). Errors are Error(kData) and name the file and the tensor.
ParityCase load_parity_case(const std::string& folder);

}  // namespace shoal
