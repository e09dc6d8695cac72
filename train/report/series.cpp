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

namespace {

// The median of the finite values at i - reach .. i + reach, of many a regular choice around i. As
// many lie on each side: so a slope does not move it, and on either side of a jump (a weight of the
// loss that changes) more than half of them are from that side.
double median_around(const std::vector<double>& y, std::size_t i, std::size_t reach,
                     std::vector<double>& window) {
  constexpr std::size_t kMostSamples = 100;  // a side; more would not move the median visibly
  const std::size_t stride = std::max<std::size_t>(1, (reach + kMostSamples - 1) / kMostSamples);
  window.assign(1, y[i]);
  for (std::size_t k = stride; k <= reach; k += stride) {
    for (const double side : {y[i - k], y[i + k]}) {
      if (std::isfinite(side)) window.push_back(side);
    }
  }
  const auto middle = window.begin() + static_cast<std::ptrdiff_t>(window.size() / 2);
  std::nth_element(window.begin(), middle, window.end());
  if (window.size() % 2 == 1) return *middle;
  return 0.5 * (*middle + *std::max_element(window.begin(), middle));
}

}  // namespace

Series smoothed(const Series& series) {
  const std::size_t n = series.y.size(), half = n / 80;
  if (half == 0) return series;
  Series out{series.name, {}, {}, series.style, series.color};
  const std::size_t centers = std::min(n, kMostCenters);
  std::vector<double> window;
  for (std::size_t c = 0; c < centers; ++c) {
    const std::size_t i = c * (n - 1) / (centers - 1);
    const std::size_t reach = std::min({half, i, n - 1 - i});
    const double y = series.y[i];
    out.x.push_back(series.x[i]);
    out.y.push_back(std::isfinite(y) ? median_around(series.y, i, reach, window) : y);
  }
  return out;
}

}  // namespace shoal
