#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "autograd/base/rng.h"
#include "autograd/kernels/rotate.h"
#include "tests/autograd/gradcheck.h"

namespace shoal::testing {

using Integers = std::vector<std::int32_t>;

inline Tensor integers(Tape& tape, const Integers& values, Shape shape) {
  const Tensor t = tape.alloc(shape, DType::kI32);
  CHECK(shape.numel() == static_cast<std::int64_t>(values.size()));
  std::copy(values.begin(), values.end(), t.as<std::int32_t>());
  return t;
}
inline Tensor integers(Tape& tape, const Integers& values) {
  return integers(tape, values, {static_cast<std::int64_t>(values.size())});
}

inline Integers random_integers(std::int64_t count, std::int32_t below, std::uint64_t seed) {
  const Rng rng(seed, Purpose::kTest, 1000);
  Integers values;
  for (std::int64_t i = 0; i < count; ++i) {
    values.push_back(static_cast<std::int32_t>(
        rng.below(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(below))));
  }
  return values;
}

// Normal numbers times `factor` around `centre`.
inline std::function<double(std::int64_t)> normal(double factor, double centre = 0.0,
                                                  std::uint64_t seed = 11) {
  return [=](std::int64_t i) {
    return centre + factor * Rng(seed, Purpose::kTest, 2000).normal(static_cast<std::uint64_t>(i));
  };
}

// Parameters of normal numbers. Gradients begin as ones, so that what is not written shows.
struct Leaves {
  explicit Leaves(std::vector<Shape> shapes_) : shapes(std::move(shapes_)), params(shapes.size()) {
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      const auto value = normal(1.0, 0.0, i);
      std::vector<float>& to = values.emplace_back();
      for (std::int64_t k = 0; k < shapes[i].numel(); ++k) {
        to.push_back(static_cast<float>(value(k)));
      }
      grads.emplace_back(to.size(), 1.0F);
    }
  }
  std::vector<Tensor> on(Tape& tape) {
    std::vector<Tensor> in;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      params[i].value = {values[i].data(), shapes[i], DType::kF32, kConstant};
      params[i].grad = {grads[i].data(), shapes[i], DType::kF32, kConstant};
      in.push_back(tape.leaf(params[i]));
    }
    return in;
  }

  std::vector<Shape> shapes;
  std::vector<Param> params;
  std::vector<std::vector<float>> values, grads;
};

// Angles position * 0.7^i, as float32 for the op; the reference reads the same rounded table.
struct Rope {
  std::vector<float> cos_sin;
  std::int64_t pairs = 0, positions = 0;

  Rope(std::int64_t pairs_, std::int64_t positions_) : pairs(pairs_), positions(positions_) {
    for (std::int64_t p = 0; p < positions; ++p) {
      for (std::int64_t i = 0; i < pairs; ++i) {
        const double angle = static_cast<double>(p) * std::pow(0.7, static_cast<double>(i));
        cos_sin.push_back(static_cast<float>(std::cos(angle)));
        cos_sin.push_back(static_cast<float>(std::sin(angle)));
      }
    }
  }
  RopeTable table() const { return {cos_sin.data(), pairs, positions}; }

  // The last 2 * pairs of the D values at v, turned by sign * position.
  void turn(double* v, std::int64_t D, std::int64_t position, double sign) const {
    for (std::int64_t i = 0; i < pairs; ++i) {
      const auto at = static_cast<std::size_t>((position * pairs + i) * 2);
      const double c = cos_sin[at], s = sign * cos_sin[at + 1];
      double* pair = v + D - 2 * pairs + 2 * i;
      const double a = pair[0], b = pair[1];
      pair[0] = a * c - b * s;
      pair[1] = a * s + b * c;
    }
  }
};

inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// sum_i a[i * step_a] * b[i * step_b]
inline double dot(const double* a, const double* b, std::int64_t n, std::int64_t step_a = 1,
                  std::int64_t step_b = 1) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < n; ++i) sum += a[i * step_a] * b[i * step_b];
  return sum;
}

inline Doubles zeros(std::int64_t count) { return Doubles(static_cast<std::size_t>(count), 0.0); }

}  // namespace shoal::testing
