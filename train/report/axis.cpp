#include "train/report/axis.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/base/quantity.h"

namespace shoal {
namespace {

// 5e-4: shorter than 0.0005, which matters on a telephone.
std::string short_scientific(double value) {
  const auto power = static_cast<int>(std::floor(std::log10(std::fabs(value)) + 1e-9));
  return fmt::format("{}e{}", format_short(value * std::pow(10.0, -power), 4), power);
}

// Labels of ticks that lie `step` apart: as many decimals as tell them apart.
std::string label_of(double value, double step) {
  const double size = std::fabs(value);
  if (size < step * 1e-6) return "0";
  if (size >= 1e13) return short_scientific(value);
  if (size >= 10000.0 && step >= 1.0) {
    const double unit = size >= 1e9 ? 1e9 : size >= 1e6 ? 1e6 : 1e3;
    const char* suffix = size >= 1e9 ? "G" : size >= 1e6 ? "M" : "k";
    return format_short(value / unit, 7) + suffix;
  }
  if (step < 1e-3 && size < 1e-2) return short_scientific(value);
  const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
  return fmt::format("{:.{}f}", value, decimals);
}

std::vector<Tick> linear_ticks(const Axis& axis, int count) {
  const double raw = (axis.high - axis.low) / count;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  const double rest = raw / power;
  const double step = power * (rest <= 1.0 ? 1 : rest <= 2.0 ? 2 : rest <= 5.0 ? 5 : 10);
  std::vector<Tick> out;
  const double first = std::ceil(axis.low / step - 1e-9);
  const double last = std::floor(axis.high / step + 1e-9);
  for (double i = first; i <= last && out.size() < 100; ++i) {
    // + 0.0 turns minus zero into zero.
    out.push_back({i * step + 0.0, label_of(i * step, step)});
  }
  return out;
}

std::vector<Tick> log_ticks(const Axis& axis, int count) {
  const int first = static_cast<int>(std::floor(std::log10(axis.low)));
  const int last = static_cast<int>(std::ceil(std::log10(axis.high)));
  const double decades = std::log10(axis.high / axis.low);
  if (decades < 0.6) return linear_ticks(axis, count);
  const int every = std::max(1, static_cast<int>(std::ceil(decades / (count + 2))));
  std::vector<double> factors{1.0};
  if (decades < count / 2.0) factors = {1.0, 3.0};
  if (decades < count / 3.0) factors = {1.0, 2.0, 5.0};
  if (decades < 1.0) factors = {1.0, 1.5, 2.0, 3.0, 4.0, 6.0};
  std::vector<Tick> out;
  for (int p = first; p <= last; ++p) {
    if (every > 1 && p % every != 0) continue;
    for (const double factor : factors) {
      const double value = factor * std::pow(10.0, p);
      if (value < axis.low * (1 - 1e-9) || value > axis.high * (1 + 1e-9)) continue;
      const bool plain = value < 1e4 && value > 0.99e-3;
      out.push_back({value, plain ? format_short(value, 4) : short_scientific(value)});
    }
  }
  return out;
}

}  // namespace

double Axis::place(double value) const {
  if (log) return std::log(value / low) / std::log(high / low);
  return (value - low) / (high - low);
}

bool drawable(double value, bool log) {
  return std::fabs(value) <= 1e30 && (!log || value >= 1e-30);
}

Axis axis_over(const std::vector<double>& values, bool log) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const double v : values) {
    if (!drawable(v, log)) continue;
    low = std::min(low, v);
    high = std::max(high, v);
  }
  if (low > high) return log ? Axis{0.1, 1.0, true} : Axis{};
  if (log) {
    const double room = std::max(std::pow(high / low, 0.05), 1.02);
    return {low / room, high * room, true};
  }
  double room = (high - low) * 0.05;
  if (room <= std::fabs(high) * 1e-9) room = std::max(std::fabs(high) * 0.05, 1e-9);
  // Zero is a natural end: do not step over it for nothing.
  return {low >= 0.0 && low - room < 0.0 ? 0.0 : low - room, high + room, false};
}

std::vector<Tick> ticks(const Axis& axis, int count) {
  return axis.log ? log_ticks(axis, count) : linear_ticks(axis, count);
}

}  // namespace shoal
