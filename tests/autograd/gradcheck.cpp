#include "tests/autograd/gradcheck.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <sstream>

#include "autograd/base/parallel.h"
#include "autograd/base/rng.h"

namespace shoal::testing {
namespace {

// Exactly as large as asked for, so that AddressSanitizer sees one element too far.
class AlignedFloats {
 public:
  AlignedFloats(std::size_t count, float value) : count_(count) {
    void* p = nullptr;
    CHECK(::posix_memalign(&p, 64, std::max<std::size_t>(1, count * sizeof(float))) == 0);
    data_.reset(static_cast<float*>(p));
    std::fill_n(data_.get(), count, value);
  }
  explicit AlignedFloats(const std::vector<float>& values) : AlignedFloats(values.size(), 0.0F) {
    std::copy(values.begin(), values.end(), data_.get());
  }
  float* data() const { return data_.get(); }
  std::vector<float> copy() const { return {data_.get(), data_.get() + count_}; }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::size_t count_;
  std::unique_ptr<float, Free> data_;
};

using Floats = std::vector<std::vector<float>>;  // one per input or output

// loss = sum_k <r_k, y_k>. Its backward hands r_k to y_k: the cotangent that a test chose.
struct WeightedSum {
  static constexpr std::string_view kName = "test_weighted_sum";
  struct Saved {
    std::array<const float*, Tape::kMaxInputs> y, r;
    std::array<std::int64_t, Tape::kMaxInputs> count;
  };
  static void forward(Tape&, const Saved& s, Outputs loss) {
    double sum = 0;
    for (std::size_t k = 0; k < s.y.size(); ++k) {
      for (std::int64_t i = 0; i < s.count[k]; ++i) {
        sum += static_cast<double>(s.y[k][i]) * static_cast<double>(s.r[k][i]);
      }
    }
    *loss[0].as<float>() = static_cast<float>(sum);
  }
  static void backward(Tape&, const Saved& s, Cotangents, GradSlots dx) {
    for (std::size_t k = 0; k < s.y.size(); ++k) {
      if (dx[k]) {
        write_grad(dx[k].data(), dx[k].beta, s.count[k], [&](std::int64_t i) { return s.r[k][i]; });
      }
    }
  }
};

// Two vectors of outputs with the cotangent of each; null r: that output gets none.
Tensor weighted_sum(Tape& tape, const std::vector<std::pair<Tensor, const float*>>& terms) {
  WeightedSum::Saved saved{};
  std::array<Tensor, Tape::kMaxInputs> in;
  CHECK(terms.size() <= in.size(), "gradcheck: too many outputs");
  for (std::size_t k = 0; k < terms.size(); ++k) {
    in[k] = terms[k].first;
    saved.y[k] = in[k].as<float>();
    saved.r[k] = terms[k].second;
    saved.count[k] = in[k].shape.numel();
  }
  Tensor loss = tape.alloc({1});
  tape.apply<WeightedSum>(
      saved, {in[0], in[1], in[2], in[3], in[4], in[5], in[6], in[7], in[8], in[9], in[10], in[11]},
      {&loss});
  return loss;
}

std::vector<float> floats_of(const Tensor& t) {
  std::vector<float> values(static_cast<std::size_t>(t.shape.numel()));
  if (t.dtype == DType::kF32) {
    std::copy_n(t.as<float>(), values.size(), values.begin());
  } else {
    std::copy_n(t.as<std::int32_t>(), values.size(), values.begin());
  }
  return values;
}

bool equal_bits(const Floats& a, const Floats& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t k = 0; k < a.size(); ++k) {
    if (a[k].size() != b[k].size()) return false;
    if (!a[k].empty() && std::memcmp(a[k].data(), b[k].data(), 4 * a[k].size()) != 0) return false;
  }
  return true;
}

double rms(const Doubles& x) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  return x.empty() ? 0.0 : std::sqrt(sum / static_cast<double>(x.size()));
}

// What a run of the op on one tape is asked to do.
struct Request {
  std::vector<Floats> cotangents;  // per use of the op: one per output, empty: none comes
  std::set<int> differentiable;    // inputs
  std::optional<std::pair<int, int>> same{};  // the second input is the first one's tensor
  int threads = 1;
};
struct Answer {
  Floats outputs, gradients;  // of inputs without gradient: empty
};

class Checker {
 public:
  explicit Checker(const GradCase& c) : c_(c) {
    for (std::size_t k = 0; k < c.inputs.size(); ++k) {
      const auto given = c.values.find(static_cast<int>(k));
      const Rng rng(c.seed, Purpose::kTest, k);
      std::vector<float> x(static_cast<std::size_t>(c.inputs[k].numel()));
      for (std::size_t i = 0; i < x.size(); ++i) {
        x[i] = static_cast<float>(
            given == c.values.end() ? rng.normal(i) : given->second(static_cast<std::int64_t>(i)));
      }
      in64_.emplace_back(x.begin(), x.end());
      in_.push_back(std::move(x));
      if (c.constants.count(static_cast<int>(k)) == 0) differentiable_.insert(static_cast<int>(k));
    }
  }

  std::string problem() {
    const int before = thread_count();
    try {
      run_all();
    } catch (const Wrong& wrong) {
      problem_ = c_.name + ": " + wrong.what;
    } catch (const std::exception& error) {
      problem_ = c_.name + ": threw: " + error.what();
    }
    set_thread_count(before);
    return problem_;
  }

  std::set<std::string> ops() {
    Tape tape(tape_config());
    std::vector<Param> params = make_params(Request{{}, differentiable_});
    c_.op(tape, leaves(tape, params));
    std::istringstream lines(tape.dump());
    std::set<std::string> names;
    for (std::string line; std::getline(lines, line);) names.insert(line.substr(0, line.find(' ')));
    tape.end_microbatch();
    return names;
  }

 private:
  struct Wrong {
    std::string what;
  };
  template <class... Detail>
  [[noreturn]] static void wrong(const Detail&... detail) {
    throw Wrong{concat(detail...)};
  }

  static TapeConfig tape_config() {
    return {.arena_bytes = std::size_t{1} << 30, .grad_bytes = std::size_t{1} << 30};
  }

  // The input whose tensor stands in place k.
  static int source_of(const Request& request, int k) {
    return request.same && request.same->second == k ? request.same->first : k;
  }

  // Gradients start as NaN: whoever reads one before writing it spreads it.
  std::vector<Param> make_params(const Request& request) {
    values_.clear();
    grads_.clear();
    std::vector<Param> params(in_.size());
    for (std::size_t k = 0; k < in_.size(); ++k) {
      values_.emplace_back(in_[static_cast<std::size_t>(source_of(request, static_cast<int>(k)))]);
      grads_.emplace_back(in_[k].size(), std::numeric_limits<float>::quiet_NaN());
      params[k].name = concat("in", k);
      params[k].value = {values_[k].data(), c_.inputs[k], DType::kF32, kConstant};
      params[k].grad = {grads_[k].data(), c_.inputs[k], DType::kF32, kConstant};
    }
    return params;
  }

  std::vector<Tensor> leaves(Tape& tape, std::vector<Param>& params) const {
    return leaves(tape, params, Request{{}, differentiable_});
  }
  static std::vector<Tensor> leaves(Tape& tape, std::vector<Param>& params,
                                    const Request& request) {
    std::vector<Tensor> x;
    for (std::size_t k = 0; k < params.size(); ++k) {
      const auto source = static_cast<std::size_t>(source_of(request, static_cast<int>(k)));
      x.push_back(request.differentiable.count(static_cast<int>(source)) > 0
                      ? tape.leaf(params[source])
                      : params[source].value);
    }
    return x;
  }

  Answer run(const Request& request) {
    set_thread_count(request.threads);
    Tape tape(tape_config());
    std::vector<Param> params = make_params(request);
    const std::vector<Tensor> x = leaves(tape, params, request);
    Answer answer;
    std::vector<std::pair<Tensor, const float*>> terms;
    for (const Floats& r : request.cotangents) {
      const std::vector<Tensor> y = c_.op(tape, x);
      if (answer.outputs.empty()) {
        for (const Tensor& t : y) answer.outputs.push_back(floats_of(t));
      }
      for (std::size_t k = 0; k < y.size(); ++k) {
        if (!r[k].empty() && y[k].id != kConstant) terms.emplace_back(y[k], r[k].data());
      }
    }
    if (!terms.empty()) {
      const Tensor loss = weighted_sum(tape, terms);
      tape.backward(loss);
    }
    for (std::size_t k = 0; k < in_.size(); ++k) {
      const bool used = params[k].grad_written;
      answer.gradients.push_back(used ? grads_[k].copy() : std::vector<float>());
    }
    check_inputs(request);
    tape.end_microbatch();
    return answer;
  }

  void check_inputs(const Request& request) const {
    for (std::size_t k = 0; k < in_.size(); ++k) {
      const auto source = static_cast<std::size_t>(source_of(request, static_cast<int>(k)));
      if (!equal_bits({values_[k].copy()}, {in_[source]})) wrong("changes its input ", k);
    }
  }

  void near(const std::string& what, const std::vector<float>& got, const Doubles& want) const {
    if (got.size() != want.size()) {
      wrong(what, " has ", got.size(), " elements, the reference has ", want.size());
    }
    const double allowed = c_.atol * rms(want) + c_.floor;
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (std::abs(got[i] - want[i]) <= allowed + c_.rtol * std::abs(want[i])) continue;
      wrong(what, '[', i, "] = ", got[i], ", the reference gives ", want[i]);
    }
  }

  Floats random_cotangent(std::uint64_t seed) const {
    Floats r;
    for (std::size_t k = 0; k < outputs64_.size(); ++k) {
      const Rng rng(c_.seed + seed, Purpose::kTest, 100 + k);
      r.emplace_back(differentiable_output_[k] ? outputs64_[k].size() : 0);
      for (std::size_t i = 0; i < r[k].size(); ++i) r[k][i] = static_cast<float>(rng.normal(i));
    }
    return r;
  }
  static Cotangent widen(const Floats& r, const std::vector<Doubles>& outputs) {
    Cotangent wide;
    for (std::size_t k = 0; k < r.size(); ++k) {
      wide.emplace_back(r[k].begin(), r[k].end());
      wide.back().resize(outputs[k].size(), 0.0);
    }
    return wide;
  }

  void run_all() {
    outputs64_ = c_.reference(in64_);
    check_forward();
    check_gradients();
    check_same_tensor_twice();
  }

  void check_forward() {
    set_thread_count(1);
    Tape tape(tape_config());
    std::vector<Param> params = make_params(Request{{}, differentiable_});
    const std::vector<Tensor> x = leaves(tape, params);
    const std::vector<Tensor> y = c_.op(tape, x);
    if (y.size() != outputs64_.size()) {
      wrong("gives ", y.size(), " outputs, the reference ", outputs64_.size());
    }
    Floats recorded, unrecorded;
    for (std::size_t k = 0; k < y.size(); ++k) {
      recorded.push_back(floats_of(y[k]));
      near(concat("output ", k), recorded[k], outputs64_[k]);
      differentiable_output_.push_back(y[k].dtype == DType::kF32 && y[k].id != kConstant);
    }
    check_inputs(Request{});
    const NoGrad off(tape);
    for (const Tensor& t : c_.op(tape, x)) unrecorded.push_back(floats_of(t));
    if (!equal_bits(recorded, unrecorded)) wrong("gives other bits where nothing is recorded");
    const bool any = std::any_of(differentiable_output_.begin(), differentiable_output_.end(),
                                 [](bool b) { return b; });
    if (!any) wrong("no output depends on an input that takes a gradient");
  }

  void compare_gradients(const std::string& what, const Answer& got, const std::set<int>& inputs,
                         std::size_t cotangent) const {
    for (const int k : inputs) {
      const Doubles& want = wanted_[cotangent][static_cast<std::size_t>(k)];
      const auto& grad = got.gradients[static_cast<std::size_t>(k)];
      // Not reached by this cotangent: no gradient at all is as good as zeros.
      if (grad.empty() && rms(want) == 0.0) continue;
      near(concat("gradient of input ", k, what), grad, want);
    }
  }

  void check_gradients() {
    // Cotangents: all outputs; all again, other numbers, for a second use; each output alone.
    const Floats first = random_cotangent(1), second = random_cotangent(2);
    std::vector<Floats> alone;
    if (outputs64_.size() > 1) {
      for (std::size_t k = 0; k < first.size(); ++k) {
        if (first[k].empty()) continue;
        alone.emplace_back(first.size());
        alone.back()[k] = first[k];
      }
    }
    std::vector<Cotangent> wide{widen(first, outputs64_), widen(second, outputs64_)};
    for (std::size_t k = 0; k < wide[1].size(); ++k) {
      for (std::size_t i = 0; i < wide[1][k].size(); ++i) wide[1][k][i] += wide[0][k][i];
    }
    for (const Floats& r : alone) wide.push_back(widen(r, outputs64_));
    wanted_.assign(wide.size(), std::vector<Doubles>(in_.size()));
    for (const int k : differentiable_) {
      std::vector<Doubles> all = finite_differences(c_, in64_, k, wide);
      for (std::size_t r = 0; r < wide.size(); ++r) {
        wanted_[r][static_cast<std::size_t>(k)] = std::move(all[r]);
      }
    }

    const Answer once = run({{first}, differentiable_});
    compare_gradients("", once, differentiable_, 0);
    const Answer twice = run({{first, second}, differentiable_});
    compare_gradients(" after two uses", twice, differentiable_, 1);
    for (std::size_t r = 0; r < alone.size(); ++r) {
      compare_gradients(concat(" from output ", r, " alone"), run({{alone[r]}, differentiable_}),
                        differentiable_, 2 + r);
    }
    if (differentiable_.size() > 1) {
      for (const int k : differentiable_) {
        compare_gradients(" as the only one", run({{first}, {k}}), {k}, 0);
      }
    }
    for (const int threads : {2, 3}) {
      const Answer other = run({{first}, differentiable_, {}, threads});
      const Answer other_twice = run({{first, second}, differentiable_, {}, threads});
      if (!equal_bits(other.outputs, once.outputs)) {
        wrong("output has other bits with ", threads, " threads");
      }
      if (!equal_bits(other.gradients, once.gradients) ||
          !equal_bits(other_twice.gradients, twice.gradients)) {
        wrong("gradient has other bits with ", threads, " threads");
      }
    }
  }

  // op(x, x): the second slot of x adds to what the first one wrote.
  void check_same_tensor_twice() {
    if (!c_.same_tensor) return;
    for (const int a : differentiable_) {
      for (const int b : differentiable_) {
        const auto plain = [&](int k) { return c_.values.count(k) == 0; };
        if (a >= b || !plain(a) || !plain(b)) continue;
        const auto at = [](int k) { return static_cast<std::size_t>(k); };
        if (c_.inputs[at(a)] != c_.inputs[at(b)]) continue;
        std::vector<Doubles> x = in64_;
        x[at(b)] = x[at(a)];
        const std::vector<Cotangent> r{widen(random_cotangent(1), outputs64_)};
        Doubles want = finite_differences(c_, x, a, r)[0];
        const Doubles more = finite_differences(c_, x, b, r)[0];
        for (std::size_t i = 0; i < want.size(); ++i) want[i] += more[i];
        const Answer got = run({{random_cotangent(1)}, {a}, {{a, b}}});
        near(concat("gradient of one tensor as inputs ", a, " and ", b), got.gradients[at(a)],
             want);
      }
    }
  }

  const GradCase& c_;
  Floats in_;
  std::vector<Doubles> in64_, outputs64_;
  std::set<int> differentiable_;
  std::vector<bool> differentiable_output_;
  std::vector<std::vector<Doubles>> wanted_;  // [cotangent][input]
  std::vector<AlignedFloats> values_, grads_;
  std::string problem_;
};

}  // namespace

std::vector<Doubles> finite_differences(const GradCase& c, const std::vector<Doubles>& at,
                                        int input, const std::vector<Cotangent>& cotangents) {
  constexpr double kFirstStep = 1e-3, kLastStep = 1e-7;
  struct Slope {
    double value;
    double doubt;  // a part of the terms' sizes, and what rounding of the outputs may do
  };
  const auto n = static_cast<std::size_t>(input);
  std::vector<Doubles> result(cotangents.size(), Doubles(at[n].size()));
  std::vector<Doubles> moved = at;
  // (f(x + h) - f(x - h)) / 2h for every cotangent; differences first, so that outputs which do
  // not depend on x add no rounding.
  const auto central = [&](std::size_t i, double h) {
    const double low = at[n][i] - h, high = at[n][i] + h;
    moved[n][i] = high;
    const std::vector<Doubles> up = c.reference(moved);
    moved[n][i] = low;
    const std::vector<Doubles> down = c.reference(moved);
    moved[n][i] = at[n][i];
    std::vector<Slope> slopes;
    for (const Cotangent& r : cotangents) {
      double sum = 0, size = 0, rounding = 0;
      for (std::size_t k = 0; k < r.size(); ++k) {
        for (std::size_t j = 0; j < r[k].size(); ++j) {
          const double term = r[k][j] * (up[k][j] - down[k][j]);
          sum += term;
          size += std::abs(term);
          if (term != 0)
            rounding += std::abs(r[k][j]) * (std::abs(up[k][j]) + std::abs(down[k][j]));
        }
      }
      slopes.push_back({sum / (high - low), (1e-5 * size + 1e-15 * rounding) / (high - low)});
    }
    return slopes;
  };
  for (std::size_t i = 0; i < at[n].size(); ++i) {
    double h = kFirstStep * std::max(0.1, std::abs(at[n][i]));
    auto coarse = central(i, h);
    for (bool agree = false; !agree; h /= 4) {
      if (h < kLastStep) {
        throw Error(concat("the reference has a kink at input ", input, '[', i, "] = ", at[n][i]));
      }
      const auto fine = central(i, h / 4);
      agree = true;
      for (std::size_t r = 0; r < fine.size(); ++r) {
        agree = agree && std::abs(fine[r].value - coarse[r].value) <= fine[r].doubt + 1e-12;
        // The error is proportional to h^2: the next term of the series is known, and goes.
        result[r][i] = (16 * fine[r].value - coarse[r].value) / 15;
      }
      coarse = fine;
    }
  }
  return result;
}

std::string gradient_problem(const GradCase& c) { return Checker(c).problem(); }
std::set<std::string> recorded_ops(const GradCase& c) { return Checker(c).ops(); }

std::vector<CaseList>& case_lists() {
  static std::vector<CaseList> lists;
  return lists;
}

}  // namespace shoal::testing
