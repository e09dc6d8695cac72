#pragma once
#include <string>
#include <vector>

namespace shoal {

struct Tick {
  double value;
  std::string label;
};

// A stretch of numbers laid along a line.
struct Axis {
  double low = 0.0, high = 1.0;
  bool log = false;

  double place(double value) const;  // 0 at low, 1 at high
};

// Values that can be drawn: finite, of a size whose square still has room, positive if log.
bool drawable(double value, bool log);

// The axis that holds all drawable values, a little wider. Without any it is 0 to 1 (log: 0.1 to
// 1).
Axis axis_over(const std::vector<double>& values, bool log);

// Round values inside the axis: multiples of 1, 2 or 5 times a power of ten, about `count` of
// them; on a log axis powers of ten, with 2 and 5 times them where there is room.
std::vector<Tick> ticks(const Axis& axis, int count);

}  // namespace shoal
