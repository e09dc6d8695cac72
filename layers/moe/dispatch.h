#pragma once
#include "autograd/tape.h"

namespace shoal {

// Rows on their way to routed experts: a token's, or those that other processes sent.
struct ExpertRows {
  Tensor x;       // [R, C]
  Tensor gates;   // [R, K]
  Tensor ids;     // [R, K] i32: experts of the process that the rows are at
  Tensor valid;   // [R] i32: 0 for padding
  Tensor origin;  // whatever combine() needs to find the way back; nobody else reads it
};

// Brings rows to where their experts are, and the results back. Both ways are ops on the tape, so
// that gradients travel likewise. Without one all experts are here, and nothing is moved.
class Dispatch {
 public:
  virtual ~Dispatch() = default;
  // own: the tokens of this process, ids of all experts of the layer.
  virtual ExpertRows send(Tape& tape, const ExpertRows& own) const = 0;
  // y [R, C] of the rows that send() returned -> [N, C], the sum over a token's experts in the
  // order of its ids.
  virtual Tensor combine(Tape& tape, Tensor y, const ExpertRows& sent) const = 0;
};

}  // namespace shoal
