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
  const auto n = static_cast<std::ptrdiff_t>(series.y.size());
  const std::ptrdiff_t half = n / 80;
  if (half == 0) return series;
  Series out = series;
  double sum = 0.0;
  std::ptrdiff_t begin = 0, end = 0, finite = 0;
  const auto take = [&](std::ptrdiff_t i, int sign) {
    const double y = series.y[static_cast<std::size_t>(i)];
    if (!std::isfinite(y) || std::fabs(y) > 1e30) return;
    sum += sign * y;
    finite += sign;
  };
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    // The window shrinks at both ends alike, so that it stays around its point.
    const std::ptrdiff_t reach = std::min({half, i, n - 1 - i});
    for (; end <= i + reach; ++end) take(end, 1);
    for (; begin < i - reach; ++begin) take(begin, -1);
    const double own = series.y[static_cast<std::size_t>(i)];
    out.y[static_cast<std::size_t>(i)] =
        std::isfinite(own) && finite > 0 ? sum / static_cast<double>(finite) : own;
  }
  return out;
}

}  // namespace shoal
