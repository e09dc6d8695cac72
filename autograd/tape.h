#pragma once
#include <array>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/arena.h"
#include "autograd/base/parallel.h"
#include "autograd/base/trace.h"
#include "autograd/tensor.h"

namespace shoal {

class Tape;
inline constexpr std::size_t kMaxSaved = 1024;  // bytes an op may keep for backward

// A parameter: its bytes lie in two flat buffers that somebody else owns.
struct Param {
  std::string name;
  Tensor value, grad;
  bool grad_written = false;  // by the last backward; a parameter that is not reached has none
};

// Where backward puts the gradient of one input.
struct GradSlot {
  Tensor grad;        // null: nobody needs it, skip the work
  float beta = 0.0F;  // 0: overwrite (never read), 1: add
  explicit operator bool() const { return grad.data != nullptr; }
  float* data() const { return grad.as<float>(); }
};
using Outputs = std::span<const Tensor>;
using Cotangents = std::span<const Tensor>;   // one per output; null data: none came
using GradSlots = std::span<const GradSlot>;  // one per input

// All that an op has to provide: its name, the plain data that backward needs, the way there and
// back. Saved usually holds handles of the inputs.
template <class Op>
concept DifferentiableOp =
    std::is_trivially_copyable_v<typename Op::Saved> &&
    sizeof(typename Op::Saved) <= kMaxSaved&& requires(Tape& tape, const typename Op::Saved& saved,
                                                       Outputs y, Cotangents dy, GradSlots dx) {
  { Op::kName } -> std::convertible_to<std::string_view>;
  Op::forward(tape, saved, y);
  Op::backward(tape, saved, dy, dx);
};

struct OpInfo {
  std::string_view name;
  void (*backward)(Tape&, const void* saved, Cotangents, GradSlots);
};
template <class Op>
inline constexpr OpInfo kOpInfo{
    Op::kName, [](Tape& tape, const void* saved, Cotangents dy, GradSlots dx) {
      Op::backward(tape, *static_cast<const typename Op::Saved*>(saved), dy, dx);
    }};

// Every op registers itself once, beside its definition; a test walks the list.
std::vector<const OpInfo*>& op_registry();
struct RegisterOp {
  explicit RegisterOp(const OpInfo& op) { op_registry().push_back(&op); }
};

struct TapeConfig {
  // Addresses, at most, not memory: pages are taken when touched.
  std::size_t arena_bytes = std::size_t{1} << 40;
  std::size_t grad_bytes = std::size_t{1} << 40;
  // Shapes and storage are walked through without arithmetic: memory estimates.
  bool dry = false;
};

struct TapeStats {
  std::size_t records = 0;
  std::size_t arena_low_peak = 0, arena_high_peak = 0, grad_peak = 0;
  std::size_t bytes() const { return arena_low_peak + arena_high_peak + grad_peak; }
};

// A linear tape of plain records over coarse fused ops. One per process, reused every micro-batch;
// after the first it takes nothing from the heap.
class Tape {
 public:
  enum class Mode : std::uint8_t { kRecord, kOff };
  static constexpr int kMaxOutputs = 4, kMaxInputs = 12;

  explicit Tape(const TapeConfig& config = {});

  // storage
  Tensor leaf(Param& param);                              // a parameter enters the graph
  Tensor alloc(Shape shape, DType dtype = DType::kF32) {  // until end_microbatch()
    Tensor t{nullptr, shape, dtype, kConstant};
    t.data = arena_.push(t.bytes());
    return t;
  }
  template <class T>
  Scratch<T> scratch(std::int64_t count) {  // until it leaves scope
    return Scratch<T>(arena_, count);
  }

  // graph: runs Op::forward into `outputs` and records it, unless no input takes a gradient.
  template <DifferentiableOp Op>
  void apply(const typename Op::Saved& saved, std::initializer_list<Tensor> inputs,
             std::initializer_list<Tensor*> outputs) {
    std::array<Tensor, kMaxOutputs> y;
    CHECK(outputs.size() <= kMaxOutputs && inputs.size() <= kMaxInputs, Op::kName,
          ": too many tensors");
    std::size_t count = 0;
    for (const Tensor* t : outputs) y[count++] = *t;
    {
      const TraceSpan span(Op::kName, "forward");
      const ParallelOff off(dry_);
      Op::forward(*this, saved, Outputs(y.data(), count));
    }
    if (tracer_on_) trace_forward(Op::kName, inputs, Outputs(y.data(), count));
    if (record(kOpInfo<Op>, inputs, outputs)) save(&saved, sizeof(saved));
  }
  void backward(Tensor loss, float seed = 1.0F);
  // Activations are gone; parameter gradients stay readable, and the next backward overwrites them.
  void end_microbatch();

  // Labels what follows for the tracer and the dump; the text must outlive the tape's use.
  std::string_view set_label(std::string_view label) { return std::exchange(label_, label); }
  std::string_view label() const { return label_; }
  // Checks every output and gradient for values that are not finite; the first is named with its
  // op, label and the ranges of its inputs. An empty string: nothing found.
  void trace_numbers(bool on) { tracer_on_ = on; }
  const std::string& first_bad_number() const { return bad_number_; }
  void forget_bad_number() { bad_number_.clear(); }
  std::string dump() const;  // a line for each record: op, label, shapes, bytes

  TapeStats stats() const;
  void populate(const TapeStats& stats);  // touches the pages that such a step will use
  // Nothing computes and nobody reads values: ops take their memory and return.
  bool is_dry() const { return dry_; }
  bool is_recording() const { return mode_ == Mode::kRecord; }
  // Inside the second run of a recomputed block: side effects (counters) must not repeat.
  bool is_replaying() const { return replay_depth_ > 0; }
  Mode set_mode(Mode mode) { return std::exchange(mode_, mode); }

  // For recompute() only.
  struct Mark {
    std::size_t records, args, log, values, arena;
  };
  Mark mark() const {
    return {records_.size(), args_.size(), log_.size(), values_.size(), arena_.mark()};
  }
  void rewind(const Mark& mark);
  Tensor alias(Tensor x, const GradSlot& slot);  // x again, its gradient goes to the slot
  void seed(const Tensor& y, const Tensor& dy);  // backward of y starts with dy
  void walk_back(std::size_t begin);             // records [begin, end) in reverse
  bool has_grad(const Tensor& x) const {
    return x.id != kConstant && values_[static_cast<std::size_t>(x.id)].written;
  }
  void replaying(bool on) { replay_depth_ += on ? 1 : -1; }

 private:
  struct Record {
    const OpInfo* op;
    std::string_view label;
    std::size_t saved, arena_top;
    std::uint32_t args;
    std::uint16_t inputs, outputs;
  };
  struct Value {
    Tensor grad;
    Param* param = nullptr;
    bool written = false, borrowed = false;
  };
  // Given back, for a gradient of the same size. They are few, so that a list serves; packed
  // documents bring new sizes with every batch, and a map by size would grow with them.
  struct FreeGrad {
    std::size_t bytes;
    void* data;
  };
  bool record(const OpInfo& op, std::initializer_list<Tensor> inputs,
              std::initializer_list<Tensor*> outputs);
  void save(const void* saved, std::size_t bytes);
  void trace_forward(std::string_view op, std::span<const Tensor> inputs, Outputs y);
  void trace_backward(const Record& record, GradSlots dx);
  ValueId new_value(const Tensor& grad);
  void take_grad(Value& v);
  void give_back(Value& v);

  Arena arena_, grads_;
  std::vector<std::byte> log_;
  std::vector<Record> records_;
  std::vector<Value> values_;
  std::vector<ValueId> args_;
  std::vector<Param*> leaves_;
  std::vector<FreeGrad> free_grads_;
  std::string_view label_;
  std::string bad_number_;
  int replay_depth_ = 0;
  Mode mode_ = Mode::kRecord;
  bool dry_ = false;
  bool tracer_on_ = false;
};

// While one lives, ops run and nothing is recorded.
class NoGrad {
 public:
  explicit NoGrad(Tape& tape, Tape::Mode mode = Tape::Mode::kOff)
      : tape_(tape), before_(tape.set_mode(mode)) {}
  ~NoGrad() { tape_.set_mode(before_); }
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  Tape& tape_;
  Tape::Mode before_;
};

class Label {
 public:
  Label(Tape& tape, std::string_view text) : tape_(tape), before_(tape.set_label(text)) {}
  ~Label() { tape_.set_label(before_); }
  Label(const Label&) = delete;
  Label& operator=(const Label&) = delete;

 private:
  Tape& tape_;
  std::string_view before_;
};

}  // namespace shoal
