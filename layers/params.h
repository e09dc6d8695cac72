#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "autograd/base/memory.h"
#include "autograd/tape.h"

namespace shoal {

// A published tensor inside a parameter: most parameters are one piece; the experts of a layer lie
// together in one parameter and are many.
struct ParamPiece {
  std::string name;     // DeepSeek's: layers.3.attn.wq_a.weight
  std::int64_t offset;  // in floats, from the start of the parameter
  Shape shape;
  // Rows of each matrix that Muon treats as independent; they add up to the piece's rows.
  std::vector<std::int64_t> row_blocks;
};

enum class Init { kNormal, kOnes, kZeros };

// Which loss moves a parameter. Indexers learn from their own loss alone: they have a phase in
// which nothing else learns, and the clip of the gradient leaves them out.
enum class ParamGroup : std::uint8_t { kModel, kIndexer };

// What a parameter is for: the groups in which a run's health is told.
enum class ParamRole : std::uint8_t {
  kEmbedding,
  kAttention,
  kCompressor,
  kIndexer,
  kRouter,
  kExperts,
  kSharedExperts,  // and dense layers
  kMixing,         // between residual streams
  kNorm,
  kHead,
  kMtp,  // all of the module
};

struct ParamSpec {
  std::string name;  // of the whole; for a single piece the published one
  Shape shape;
  ParamRole role;      // unless the store says otherwise: see InGroup
  bool matrix = true;  // Muon's when matrices are Muon's, else always AdamW
  bool decay = true;
  Init init = Init::kNormal;
  double std = 0.0;
  std::vector<ParamPiece> pieces = {};         // empty: one piece, the whole
  std::vector<std::int64_t> row_blocks = {};   // of that one piece; empty: one block
  std::function<void(float*)> fill = nullptr;  // instead of init
};

struct ModelParam : Param {
  std::vector<ParamPiece> pieces;
  ParamGroup group = ParamGroup::kModel;
  ParamRole role = ParamRole::kAttention;
  std::int64_t offset = 0;  // in floats, in the flat buffers
  ParamSpec spec;
  // What a forward pass reads instead of the value, such as its rounded copy; null: the value.
  const float* read_from = nullptr;

  // The parameter as layers use it. Its gradient is the value's, whatever bytes are read: the
  // straight-through estimate costs nothing, and no layer knows of it.
  Tensor weight() const {
    Tensor w = value;
    if (read_from != nullptr) w.data = const_cast<float*>(read_from);
    return w;
  }
};

// State of the model that no gradient moves: router biases, hash tables.
struct ModelBuffer {
  std::string name;
  Tensor value;
};

// All parameters in one flat buffer, in the order they were added, each on a 64-byte boundary. The
// gradients' buffer belongs to the trainer, which has several.
class ParamStore {
 public:
  ParamStore() = default;
  ParamStore(const ParamStore&) = delete;
  ParamStore& operator=(const ParamStore&) = delete;

  ModelParam& add(ParamSpec spec);
  // While one of these lives, what is added belongs to `group` and has that role, whatever its own.
  class InGroup {
   public:
    InGroup(ParamStore& store, ParamGroup group, ParamRole role)
        : store_(store),
          before_(std::exchange(store.group_, group)),
          role_before_(std::exchange(store.role_, role)) {}
    ~InGroup() {
      store_.group_ = before_;
      store_.role_ = role_before_;
    }
    InGroup(const InGroup&) = delete;
    InGroup& operator=(const InGroup&) = delete;

   private:
    ParamStore& store_;
    ParamGroup before_;
    std::optional<ParamRole> role_before_;
  };
  ModelBuffer& add_buffer(const std::string& name, Shape shape, DType dtype);
  // Takes memory; parameters have addresses from now on.
  void allocate();
  // Values as a function of (seed, name) alone.
  void initialise(std::uint64_t seed);
  void bind_grads(float* flat);

  std::deque<ModelParam>& params() { return params_; }
  const std::deque<ModelParam>& params() const { return params_; }
  std::deque<ModelBuffer>& buffers() { return buffers_; }
  const std::deque<ModelBuffer>& buffers() const { return buffers_; }
  // Floats in a flat buffer, boundaries' padding included.
  std::int64_t flat_size() const { return flat_size_; }
  std::int64_t count() const;  // parameters without padding
  std::span<float> values() const {
    return {reinterpret_cast<float*>(value_pages_.data()), static_cast<std::size_t>(flat_size_)};
  }
  // Each published tensor: fn(piece, parameter).
  void for_each_piece(const std::function<void(const ParamPiece&, ModelParam&)>& fn);

 private:
  std::deque<ModelParam> params_;
  std::deque<ModelBuffer> buffers_;
  PageRange value_pages_, buffer_pages_;
  ParamGroup group_ = ParamGroup::kModel;
  std::optional<ParamRole> role_;
  std::int64_t flat_size_ = 0;
};

}  // namespace shoal
