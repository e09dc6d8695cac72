#pragma once
#include <map>
#include <string>
#include <vector>

#include "layers/model.h"
#include "tests/support/tiny_model.h"

namespace shoal::testing {

// A model with mHC, all kinds of attention and sqrt-softplus routing once more, in double precision
// and in plain loops over the formulas of the specification: one document, one position, one value
// at a time. Its only input from the program is the tensors' published names.
class ModelReference {
 public:
  explicit ModelReference(Model& model, IndexerMode mode = IndexerMode::kSparse,
                          const Precision& precision = {});

  struct Sums {  // over all positions, without weights
    double ce = 0, mtp = 0, balance = 0, index_kl = 0;
  };
  // One entry per sequence, each a list of documents.
  using Sequences = std::vector<std::vector<Document>>;
  Sums losses(const Sequences& sequences);
  // The same once more where, since losses(sequences), only the tensor `name` has changed: the
  // blocks before the first one that reads it are not gone through again.
  Sums losses_after_change(const std::string& name, const Sequences& sequences);

  // What the last losses() saw of a block, "layers.3." or "mtp.0.": sums over its positions.
  struct Seen {
    double squares = 0, stream_max = 0;        // of the streams behind it
    double sink = 0, window = 0, entries = 0;  // probability, of all heads
    double logit_max = 0, router_max = 0, entropy = 0, gate_max = 0, up_max = 0;
    std::vector<std::vector<std::vector<double>>> combs;  // of both sublayers, position by position
  };
  const Seen& seen(const std::string& block) const { return seen_.at(block); }
  // Likeliest tokens of MTP that there are, and that the main head holds likeliest one later.
  std::int64_t mtp_guesses() const { return mtp_guesses_; }
  std::int64_t mtp_taken() const { return mtp_taken_; }

  // Weights may be changed between two calls.
  std::map<std::string, std::vector<double>>& tensors() { return tensors_; }

 private:
  using Vector = std::vector<double>;
  using Rows = std::vector<Vector>;
  using Streams = std::vector<Rows>;  // [position][stream][channel]
  struct Choice {                     // of one learned router at one position
    Vector share;                     // s_i / sum_j s_j
    std::vector<int> experts;
  };
  using Choices = std::vector<Choice>;
  struct Passed {  // one block at one document
    Streams before;
    Choices choices;
    double index_kl = 0;
  };
  struct Mix {
    Vector read, post;
    Rows comb;
  };

  // Straight through a rounding: what losses() found that it adds stays the same afterwards, so
  // that differences of losses_after_change() are differences of the unrounded numbers.
  Vector rounded(const std::string& what, const Vector& x, const Vector& values, std::size_t block,
                 double floor) const;
  bool is_alive(const std::string& what, double z) const;
  Vector fp8_kv(const std::string& what, const Vector& x) const;  // spec 8.4, if it is asked for
  Vector index_vector(const std::string& what,
                      const Vector& x) const;  // Hadamard and FP4, likewise

  const Vector& at(const std::string& name) const { return tensors_.at(name); }
  Vector times(const std::string& name, const Vector& x) const;  // W x, W [out, in]
  Vector norm(const std::string& name, const Vector& x) const;
  // Rotates the last r values.
  void turn(Vector& v, double position, const RopeConfig& rope) const;
  Mix mix(const std::string& prefix, const Rows& X) const;
  Vector head(const std::string& prefix, const Rows& X) const;
  // The entries of width D that a compressor makes of x.
  Rows entries(const std::string& prefix, const Rows& x, std::size_t D, std::size_t rate,
               bool overlap) const;
  // I[t][i] of all entries that t may see.
  Rows index_scores(const std::string& prefix, const Rows& x, const Rows& u) const;
  Rows attention(const std::string& prefix, const Rows& x, AttentionKind kind,
                 double* index_kl) const;
  Vector expert(const std::string& prefix, const Vector& x) const;
  Vector moe(const std::string& prefix, const Vector& x, int token, Choices* choices) const;
  void block(const std::string& prefix, AttentionKind kind, Streams& X, const std::vector<int>& ids,
             Choices* choices, double* index_kl) const;
  static double cross_entropy(const Vector& logits, int target);
  double balance(const Choices& choices) const;
  // Begins at block `first` (num_hidden_layers: after them), with what was kept of those before.
  Sums losses_from(std::size_t first, const Sequences& sequences, bool keep);

  Seen& seen_in(const std::string& prefix) const;  // of a tensor, or of a part of the block

  ModelConfig config_;
  mutable std::map<std::string, Seen> seen_;
  std::int64_t mtp_guesses_ = 0, mtp_taken_ = 0;
  IndexerMode mode_;
  Precision precision_;
  bool keep_ = true;                                                // the call is losses()
  std::size_t document_ = 0;                                        // that is gone through
  mutable std::map<std::string, Vector> added_;                     // see rounded()
  mutable std::map<std::string, bool> alive_;                       // of FP4 indexers, likewise
  mutable std::map<std::string, std::vector<std::size_t>> chosen_;  // of FP4 indexers, likewise
  std::map<std::string, Vector> tensors_;
  std::vector<std::vector<Passed>> passed_;  // [document][block], of the last losses()
};

}  // namespace shoal::testing
