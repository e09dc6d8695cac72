#include "autograd/tape.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

namespace shoal {
namespace {

constexpr std::size_t kSavedAlign = 16;

struct Span {
  float low = std::numeric_limits<float>::infinity();
  float high = -std::numeric_limits<float>::infinity();
  std::int64_t bad = -1;  // index of the first value that is not finite
};

Span range_of(const Tensor& t) {
  Span span;
  if (t.data == nullptr || t.dtype != DType::kF32) return span;
  const float* x = t.as<float>();
  for (std::int64_t i = 0; i < t.shape.numel(); ++i) {
    if (!std::isfinite(x[i])) {
      if (span.bad < 0) span.bad = i;
      continue;
    }
    span.low = std::min(span.low, x[i]);
    span.high = std::max(span.high, x[i]);
  }
  return span;
}

}  // namespace

std::vector<const OpInfo*>& op_registry() {
  static std::vector<const OpInfo*> ops;
  return ops;
}

Tape::Tape(const TapeConfig& config)
    : arena_(config.arena_bytes, config.dry),
      grads_(config.grad_bytes, config.dry),
      dry_(config.dry) {
  log_.reserve(1 << 20);
  records_.reserve(1 << 12);
  values_.reserve(1 << 13);
  args_.reserve(1 << 14);
  leaves_.reserve(1 << 12);
  free_grads_.reserve(1 << 12);
}

Tensor Tape::leaf(Param& param) {
  if (param.value.id == kConstant && is_recording()) {
    param.value.id = new_value(param.grad);
    values_.back().param = &param;
    param.grad_written = false;
    leaves_.push_back(&param);
  }
  return param.value;
}

bool Tape::record(const OpInfo& op, std::initializer_list<Tensor> inputs,
                  std::initializer_list<Tensor*> outputs) {
  const auto takes_gradient = [](const Tensor& t) { return t.id != kConstant; };
  if (!is_recording() || std::none_of(inputs.begin(), inputs.end(), takes_gradient)) return false;
  records_.push_back(
      {&op, label_, log_.size(), arena_.mark(), static_cast<std::uint32_t>(args_.size()),
       static_cast<std::uint16_t>(inputs.size()), static_cast<std::uint16_t>(outputs.size())});
  for (const Tensor& t : inputs) args_.push_back(t.id);
  for (Tensor* t : outputs) {
    t->id = new_value({nullptr, t->shape, t->dtype, kConstant});
    args_.push_back(t->id);
  }
  return true;
}

void Tape::save(const void* saved, std::size_t bytes) {
  const std::size_t at = log_.size();
  log_.resize(at + (bytes + kSavedAlign - 1) / kSavedAlign * kSavedAlign);
  std::memcpy(log_.data() + at, saved, bytes);
}

void Tape::backward(Tensor loss, float seed) {
  CHECK(loss.id != kConstant, "backward: the loss depends on no parameter");
  CHECK(loss.shape.numel() == 1, "backward: the loss must be a scalar, got ", loss.shape);
  Value& v = values_[static_cast<std::size_t>(loss.id)];
  take_grad(v);
  *v.grad.as<float>() = seed;
  v.written = true;
  walk_back(0);
}

void Tape::walk_back(std::size_t begin) {
  for (std::size_t i = records_.size(); i-- > begin;) {
    const Record r = records_[i];  // a copy: a recomputed block appends to the tape
    std::array<Tensor, kMaxOutputs> dy;
    std::array<GradSlot, kMaxInputs> dx;
    bool any = false;
    for (std::size_t k = 0; k < r.outputs; ++k) {
      const Value& v = values_[static_cast<std::size_t>(args_[r.args + r.inputs + k])];
      if (v.written) dy[k] = v.grad;
      any |= v.written;
    }
    if (any) {
      for (std::size_t k = 0; k < r.inputs; ++k) {
        const ValueId id = args_[r.args + k];
        if (id == kConstant) continue;
        Value& v = values_[static_cast<std::size_t>(id)];
        take_grad(v);
        dx[k] = {v.grad, v.written ? 1.0F : 0.0F};
        v.written = true;
        if (v.param != nullptr) v.param->grad_written = true;
      }
      alignas(kSavedAlign) std::array<std::byte, kMaxSaved> saved;  // the log may move in a replay
      std::memcpy(saved.data(), log_.data() + r.saved,
                  std::min(saved.size(), log_.size() - r.saved));
      {
        const Label label(*this, r.label);
        const TraceSpan span(r.op->name, "backward");
        const ParallelOff off(dry_);
        r.op->backward(*this, saved.data(), {dy.data(), r.outputs}, {dx.data(), r.inputs});
      }
      if (tracer_on_) trace_backward(r, {dx.data(), r.inputs});
    }
    for (std::size_t k = 0; k < r.outputs; ++k) {
      give_back(values_[static_cast<std::size_t>(args_[r.args + r.inputs + k])]);
    }
  }
}

void Tape::end_microbatch() {
  arena_.release(0);
  // Blocks are reused within a micro-batch only: their sizes follow from the batch (packed
  // documents have more or fewer entries), and blocks of sizes that are gone would pile up.
  grads_.release(0);
  free_grads_.clear();
  records_.clear();
  args_.clear();
  log_.clear();
  values_.clear();
  for (Param* p : leaves_) p->value.id = kConstant;
  leaves_.clear();
  replay_depth_ = 0;
}

void Tape::rewind(const Mark& mark) {
  for (std::size_t i = mark.values; i < values_.size(); ++i) {
    CHECK(values_[i].param == nullptr, "recompute: parameter ", values_[i].param->name,
          " must be used once before the recomputed block");
    give_back(values_[i]);
  }
  records_.resize(mark.records);
  args_.resize(mark.args);
  log_.resize(mark.log);
  values_.resize(mark.values);
  arena_.release(mark.arena);
}

Tensor Tape::alias(Tensor x, const GradSlot& slot) {
  if (!slot) {
    x.id = kConstant;
    return x;
  }
  x.id = new_value(slot.grad);
  values_.back().written = slot.beta != 0.0F;
  values_.back().borrowed = true;
  return x;
}

void Tape::seed(const Tensor& y, const Tensor& dy) {
  if (y.id == kConstant || dy.data == nullptr) return;
  Value& v = values_[static_cast<std::size_t>(y.id)];
  v.grad = dy;
  v.written = v.borrowed = true;
}

ValueId Tape::new_value(const Tensor& grad) {
  Value v;
  v.grad = grad;
  values_.push_back(v);
  return static_cast<ValueId>(values_.size()) - 1;
}

void Tape::take_grad(Value& v) {
  if (v.grad.data != nullptr) return;
  const std::size_t bytes = v.grad.bytes();
  const auto same = std::find_if(free_grads_.rbegin(), free_grads_.rend(),
                                 [&](const FreeGrad& free) { return free.bytes == bytes; });
  if (same == free_grads_.rend()) {
    v.grad.data = grads_.push(bytes);
  } else {
    v.grad.data = same->data;
    *same = free_grads_.back();
    free_grads_.pop_back();
  }
}

void Tape::give_back(Value& v) {
  if (v.param != nullptr || v.borrowed || v.grad.data == nullptr) return;
  free_grads_.push_back({v.grad.bytes(), v.grad.data});
  v.grad.data = nullptr;
  v.written = false;
}

TapeStats Tape::stats() const {
  return {records_.size(), arena_.low_peak(), arena_.high_peak(), grads_.low_peak()};
}

void Tape::populate(const TapeStats& stats) {
  arena_.populate(stats.arena_low_peak, stats.arena_high_peak);
  grads_.populate(stats.grad_peak, 0);
}

void Tape::trace_forward(std::string_view op, std::span<const Tensor> inputs, Outputs y) {
  if (dry_ || !bad_number_.empty()) return;
  for (std::size_t k = 0; k < y.size(); ++k) {
    const Span found = range_of(y[k]);
    if (found.bad < 0) continue;
    std::ostringstream out;
    out << "forward of " << op << (label_.empty() ? "" : " in ") << label_ << ": output " << k
        << ' ' << y[k].shape << " is not finite at element " << found.bad;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const Span span = range_of(inputs[i]);
      out << "; input " << i << " in [" << span.low << ", " << span.high << ']'
          << (span.bad < 0 ? "" : " and not finite");
    }
    bad_number_ = out.str();
    return;
  }
}

void Tape::trace_backward(const Record& record, GradSlots dx) {
  if (dry_ || !bad_number_.empty()) return;
  for (std::size_t k = 0; k < dx.size(); ++k) {
    const Span found = range_of(dx[k].grad);
    if (found.bad < 0) continue;
    std::ostringstream out;
    out << "backward of " << record.op->name << (record.label.empty() ? "" : " in ") << record.label
        << ": gradient of input " << k << ' ' << dx[k].grad.shape << " is not finite at element "
        << found.bad;
    bad_number_ = out.str();
    return;
  }
}

std::string Tape::dump() const {
  std::ostringstream out;
  std::size_t before = 0;
  for (const Record& r : records_) {
    out << r.op->name << ' ' << (r.label.empty() ? "-" : r.label);
    for (std::size_t k = 0; k < static_cast<std::size_t>(r.inputs) + r.outputs; ++k) {
      const ValueId id = args_[r.args + k];
      if (k == r.inputs) out << " ->";
      out << ' ';
      if (id == kConstant) {
        out << "const";
        continue;
      }
      const Value& v = values_[static_cast<std::size_t>(id)];
      out << (v.param != nullptr ? v.param->name : "%" + std::to_string(id)) << v.grad.shape;
    }
    out << "  " << (r.arena_top - std::min(before, r.arena_top)) << " bytes\n";
    before = r.arena_top;
  }
  return out.str();
}

}  // namespace shoal
