#pragma once
#include <string>
#include <vector>

namespace shoal {

// A row of points with rising x. A y that is not finite is a gap, and marked as such.
struct Series {
  enum class Style { kLine, kFaint, kMarked };  // kMarked: a line with a dot on each point
  std::string name;                             // for the legend; may hold anything
  std::vector<double> x, y;
  Style style = Style::kLine;
  int color = 0;  // of the palette, modulo its size
};

inline constexpr std::size_t kMostPoints = 1500;  // a chart is less than that many pixels wide

// At most `most` points that look the same: each stretch gives its lowest and its highest point,
// so spikes and gaps survive.
Series thinned(const Series& series, std::size_t most = kMostPoints);

// Its course without the noise: medians (which a spike does not move) of windows of about a
// fortieth of the points, at no more than kMostCenters places. A window is shorter near the ends,
// so that it stays around its point; the first and the last point are the series' own. Short series
// stay as they are.
inline constexpr std::size_t kMostCenters = 400;
Series smoothed(const Series& series);

}  // namespace shoal
