#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "train/report/series.h"

namespace shoal {

struct LineChart {
  std::string label;  // what it shows, for readers who cannot see it
  std::vector<Series> series;
  bool log_y = false;
  std::string y_format;  // "share": per cent; else plain numbers
  struct Mark {          // a dashed line from top to bottom
    double x = 0.0;
    std::string text;
  };
  std::vector<Mark> marks = {};
};

// The chart as an <svg> element whose colours and fonts come from chart_style(). Hovering shows the
// values at a step. No legend: legend_html() makes one.
std::string line_chart_svg(const LineChart& chart);

// Names with their colours and last values, as HTML.
std::string legend_html(const LineChart& chart);

// The same as a file of its own, with a title, a legend and its style inside.
std::string standalone_svg(const LineChart& chart, const std::string& title,
                           const std::string& y_label);

// The style sheet of charts, light and dark.
std::string chart_style();

// Shared with the heat map: the frame in units of the view box, and ticks below it.
struct Frame {
  double left = 54, right = 632, top = 8, bottom = 236;  // the plot
  double width = 640, height = 266;                      // the picture
};
std::string x_ticks_svg(const Frame& frame, double low, double high);

}  // namespace shoal
