#pragma once
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "train/parity/parity_case.h"

namespace shoal {

// |got - want| / |want| (Euclidean norms, in double); |got - want| where |want| is below `floor`.
// Whatever is not finite counts as the largest double, which JSON can hold.
double relative_l2(std::span<const float> got, std::span<const float> want, double floor = 0.0);
double relative_error(double got, double want);

// Bounds of an error, each with a reason in the numbers: float32 over a few layers, the summed
// loss, gradients of a deep graph, and small tensors on mHC paths, where large terms cancel.
namespace parity_tolerance {
inline constexpr double kLogits = 5e-6;
inline constexpr double kStreams = 5e-6;
inline constexpr double kLoss = 1e-6;
inline constexpr double kGradient = 2e-4;
inline constexpr double kSmallHcGradient = 5e-3;  // up to 24 elements, "hc_" in the name
inline constexpr double kTenLosses = 5e-6;
inline constexpr double kLossParts = 2e-5;
// Of all gradients at once. Its error is at most that of the worst of them; but the errors are
// independent, so it is far below. Over ten steps, like the parts of the loss.
inline constexpr double kGradNorm = 2e-5;
inline constexpr double kZeroGradient = 1e-9;  // absolute, for a gradient whose norm is below it
}  // namespace parity_tolerance
double gradient_tolerance(const std::string& name, const GoldenTensor& want);

struct TensorError {
  std::string name;
  double error = 0, tolerance = 0;
  bool passed() const { return error <= tolerance; }  // false for NaN
};

// What `shoal parity` prints about a case; null where the case lacks it. grad_worst is the gradient
// nearest to its tolerance, or farthest beyond.
struct ParityErrors {
  std::optional<double> logits, mtp_logits, streams, loss, loss_parts;
  std::optional<double> grad_worst, grad_ce_worst;
  std::string grad_worst_name, grad_ce_worst_name;
  std::optional<double> adamw, adamw_parts, adamw_grad_norm, muon, muon_parts, muon_grad_norm;
  std::optional<bool> topk_equal;
};

// Collects what a model gave for a case. Every part of the case has to be handed in once, under the
// name it has in golden.safetensors; what is not, fails.
class ParityComparison {
 public:
  explicit ParityComparison(const ParityCase& want);  // which has to live longer

  void logits(std::span<const float> got);
  void mtp_logits(std::span<const float> got);
  void streams(int layer, std::span<const float> got);
  void topk(int layer, std::span<const std::int64_t> got);  // sets: order is free
  void losses(const GoldenLosses& got);
  void gradient(const std::string& name, std::span<const float> got);
  void gradient_ce(const std::string& name, std::span<const float> got);
  void adamw(std::span<const GoldenStep> got);
  void muon(std::span<const GoldenStep> got);

  ParityErrors errors() const;
  const std::vector<TensorError>& all() const { return all_; }  // in the order they came
  std::vector<std::string> not_compared() const;  // what the case holds and nobody handed in
  bool passed() const;
  const std::string& case_name() const { return want_.name; }

 private:
  void compare(const std::string& name, std::span<const float> got, const GoldenTensor& want,
               double tolerance, double floor = 0.0);
  void compare_losses(const std::string& name, std::span<const GoldenLosses> got,
                      std::span<const GoldenLosses> want, double tolerance);
  void compare_steps(const std::string& name, std::span<const GoldenStep> got,
                     std::span<const GoldenStep> want);
  void add(const std::string& name, double error, double tolerance);
  std::optional<double> worst(const std::string& prefix) const;

  const ParityCase& want_;
  std::vector<TensorError> all_;
};

// {"passed", "cases": [{"case", "passed", "errors": {...}}]}
nlohmann::json parity_json(std::span<const ParityComparison> cases);
// A line for each case, then one for everything beyond its tolerance or not compared.
void print_parity(std::ostream& out, std::span<const ParityComparison> cases);

}  // namespace shoal
