#include "train/report/series.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/check.h"

namespace shoal {

Series thinned(const Series& series, std::size_t most) {
  CHECK(series.x.size() == series.y.size(), "series ", series.name);
  CHECK(most >= 6, "thinned: room for ", most, " points");
  const std::size_t n = series.x.size();
  if (n <= most) return series;
  Series out{series.name, {}, {}, series.style, series.color};
  const auto keep = [&](std::size_t i) {
    out.x.push_back(series.x[i]);
    out.y.push_back(series.y[i]);
  };
  keep(0);  // both ends are exact
  const std::size_t stretches = (most - 2) / 3;
  for (std::size_t s = 0; s < stretches; ++s) {
    const std::size_t begin = 1 + (n - 2) * s / stretches, end = 1 + (n - 2) * (s + 1) / stretches;
    // kNone: every point is finite, or none is.
    constexpr std::size_t kNone = ~std::size_t{0};
    std::size_t low = kNone, high = kNone, gap = kNone;
    for (std::size_t i = begin; i < end; ++i) {
      if (!std::isfinite(series.y[i])) {
        if (gap == kNone) gap = i;
        continue;
      }
      if (low == kNone || series.y[i] < series.y[low]) low = i;
      if (high == kNone || series.y[i] > series.y[high]) high = i;
    }
    std::vector<std::size_t> chosen{low, high, gap};
    std::sort(chosen.begin(), chosen.end());
    chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
    for (const std::size_t i : chosen) {
      if (i != kNone) keep(i);
    }
  }
  keep(n - 1);
  return out;
}

Series smoothed(const Series& series) {
  const std::size_t n = series.y.size(), half = n / 80;
  if (half == 0) return series;
  constexpr std::size_t kMostSamples = 201;  // of a window; more would not move the median visibly
  Series out{series.name, {}, {}, series.style, series.color};
  const std::size_t centers = std::min(n, kMostCenters);
  std::vector<double> window;
  for (std::size_t c = 0; c < centers; ++c) {
    const std::size_t i = c * (n - 1) / (centers - 1);
    // At the steep start the window stays around its point; at the end it may look back.
    const std::size_t begin = i - std::min(half, i);
    const std::size_t end = std::min({i + half, 2 * i, n - 1}) + 1;
    const std::size_t stride = (end - begin + kMostSamples - 1) / kMostSamples;
    window.clear();
    for (std::size_t k = begin; k < end; k += stride) {
      if (std::isfinite(series.y[k])) window.push_back(series.y[k]);
    }
    double y = series.y[i];
    if (std::isfinite(y)) {
      const auto middle = window.begin() + static_cast<std::ptrdiff_t>(window.size() / 2);
      if (!window.empty()) {
        std::nth_element(window.begin(), middle, window.end());
        y = *middle;
      }
    }
    out.x.push_back(series.x[i]);
    out.y.push_back(y);
  }
  return out;
}

}  // namespace shoal
