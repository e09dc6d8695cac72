#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace shoal {

// How the next token is drawn from logits.
struct Sampling {
  double temperature = 0.8;  // 0: always the likeliest
  std::int64_t top_k = 0;    // the k likeliest tokens; 0: all
  double top_p = 1.0;        // of these, the fewest that have this much of their probability
};

// Draws tokens; its memory is kept from draw to draw.
class TokenSampler {
 public:
  explicit TokenSampler(const Sampling& how) : how_(how) {}
  // Softmax of logits [V] at the temperature, cut to top_k, then to top_p; u in [0, 1). Of equal
  // tokens the lower one counts as likelier; what is no number is never drawn.
  std::int32_t draw(std::span<const float> logits, double u);

 private:
  struct Candidate {
    double p;
    std::int32_t token;
  };
  // The i-th likeliest. Few tokens carry most draws: order is made as far as it is asked for.
  const Candidate& likeliest(std::size_t i);

  Sampling how_;
  std::vector<Candidate> candidates_;
  std::size_t sorted_ = 0;
};

}  // namespace shoal
