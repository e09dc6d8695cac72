#include "train/report/line_chart.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

#include "autograd/base/quantity.h"
#include "train/report/axis.h"
#include "train/report/html.h"

namespace shoal {
namespace {

constexpr int kColors = 8;  // of chart_style()
constexpr std::size_t kHoverStrips = 160;

std::string value_text(const LineChart& chart, double value) {
  if (!std::isfinite(value)) return fmt::format("{}", value);
  if (chart.y_format == "share") return format_share(value);
  return std::fabs(value) >= 10000.0 ? format_count(value) : format_short(value, 4);
}

// A view of one chart: where values are on the picture.
class Plot {
 public:
  Plot(const LineChart& chart, const Frame& frame) : chart_(chart), frame_(frame) {
    std::vector<double> xs, ys;
    for (const Series& s : chart.series) {
      xs.insert(xs.end(), s.x.begin(), s.x.end());
      ys.insert(ys.end(), s.y.begin(), s.y.end());
    }
    y_ = axis_over(ys, chart.log_y);
    const auto [low, high] = std::minmax_element(xs.begin(), xs.end());
    if (xs.empty()) return;
    // From the start of the run, so that charts above each other agree, unless that wastes room.
    const double begin = *low < 0.3 * *high ? 0.0 : *low;
    x_ = {begin, *high > begin ? *high : begin + 1.0, false};
  }

  std::string svg() const {
    std::string out = y_ticks() + x_ticks_svg(frame_, x_.low, x_.high);
    for (const LineChart::Mark& m : chart_.marks) out += mark(m);
    for (const Series& s : chart_.series) out += line(s);
    return out + hover_strips();
  }

 private:
  double px(double x) const { return frame_.left + x_.place(x) * (frame_.right - frame_.left); }
  double py(double y) const { return frame_.bottom - y_.place(y) * (frame_.bottom - frame_.top); }

  std::string y_ticks() const {
    std::string out;
    for (const Tick& t : ticks(y_, 5)) {
      const std::string text =
          chart_.y_format == "share" ? format_short(t.value * 100.0, 4) + "%" : t.label;
      out += fmt::format(
          "<path class=\"grid\" d=\"M{0} {1:.1f}H{2}\"/><text x=\"{3}\" y=\"{1:.1f}\" dy=\".35em\" "
          "text-anchor=\"end\">{4}</text>",
          frame_.left, py(t.value), frame_.right, frame_.left - 7, html_text(text));
    }
    return out;
  }

  std::string mark(const LineChart::Mark& m) const {
    if (chart_.series.empty() || m.x < x_.low || m.x > x_.high) return "";
    const double x = px(m.x);
    const bool left = x > (frame_.left + frame_.right) / 2;  // of the line, where there is room
    return fmt::format(
        "<path class=\"mark\" d=\"M{:.1f} {}V{}\"/><text x=\"{:.1f}\" y=\"{}\"{}>{}</text>", x,
        frame_.top, frame_.bottom, left ? x - 5 : x + 5, frame_.bottom - 7,
        left ? " text-anchor=\"end\"" : "", html_text(m.text));
  }

  std::string line(const Series& series) const {
    std::string path, dots, gaps;
    bool pen_down = false;
    const std::size_t n = series.x.size();
    // One point makes no line, and a few make one that hides where they are.
    const bool dotted = n == 1 || (series.style == Series::Style::kMarked && n <= 80);
    for (std::size_t i = 0; i < n; ++i) {
      const double x = px(series.x[i]);
      if (!drawable(series.y[i], chart_.log_y)) {
        pen_down = false;
        if (!std::isfinite(series.y[i])) {
          gaps += fmt::format(
              "<path class=\"bad\" d=\"M{:.1f} {}l5 8h-10z\"><title>step {}: {} is "
              "{}</title></path>",
              x, frame_.top, static_cast<std::int64_t>(series.x[i]), html_text(series.name),
              series.y[i]);
        }
        continue;
      }
      const double y = py(series.y[i]);
      path += fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M", x, y);
      // A point between two gaps would be an invisible line.
      const bool alone = !pen_down && (i + 1 == n || !drawable(series.y[i + 1], chart_.log_y));
      pen_down = true;
      if (dotted || alone)
        dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"/>", x, y);
    }
    const char* style = series.style == Series::Style::kFaint ? " faint" : "";
    return fmt::format("<g class=\"s{}{}\"><path d=\"{}\"/>{}</g>{}", series.color % kColors, style,
                       path, dots, gaps);
  }

  // Invisible stripes over the plot; one shows itself and the values at its middle when hovered.
  std::string hover_strips() const {
    const Series* longest = nullptr;
    for (const Series& s : chart_.series) {
      if (longest == nullptr || s.x.size() > longest->x.size()) longest = &s;
    }
    if (longest == nullptr || longest->x.empty()) return "";
    const std::size_t count = std::min(longest->x.size(), kHoverStrips);
    std::vector<double> at;
    for (std::size_t i = 0; i < count; ++i) {
      at.push_back(longest->x[count == 1 ? 0 : i * (longest->x.size() - 1) / (count - 1)]);
    }
    std::string out = "<g class=\"hover\">";
    for (std::size_t i = 0; i < count; ++i) {
      const double begin = i == 0 ? frame_.left : (px(at[i - 1]) + px(at[i])) / 2;
      const double end = i + 1 == count ? frame_.right : (px(at[i]) + px(at[i + 1])) / 2;
      out += fmt::format(
          "<g><rect x=\"{:.1f}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\"/><path d=\"M{:.1f} "
          "{}V{}\"/><title>{}</title></g>",
          begin, frame_.top, std::max(end - begin, 0.0), frame_.bottom - frame_.top, px(at[i]),
          frame_.top, frame_.bottom, hover_text(at[i]));
    }
    return out + "</g>";
  }

  std::string hover_text(double x) const {
    std::string out = fmt::format("step {}", static_cast<std::int64_t>(x));
    for (const Series& s : chart_.series) {
      const auto after = std::upper_bound(s.x.begin(), s.x.end(), x);
      if (after == s.x.begin()) continue;
      const auto i = static_cast<std::size_t>(after - s.x.begin()) - 1;
      out += fmt::format("\n{}: {}", s.name, value_text(chart_, s.y[i]));
      if (s.x[i] != x) out += fmt::format(" (step {})", static_cast<std::int64_t>(s.x[i]));
    }
    return html_text(out);
  }

  const LineChart& chart_;
  const Frame& frame_;
  Axis x_, y_;
};

std::string view_box(const Frame& frame, const std::string& label) {
  return fmt::format("viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\"", frame.width,
                     frame.height, html_text(label));
}

bool has_points(const LineChart& chart) {
  return std::any_of(chart.series.begin(), chart.series.end(),
                     [](const Series& s) { return !s.x.empty(); });
}

}  // namespace

std::string x_ticks_svg(const Frame& frame, double low, double high) {
  std::string out = fmt::format("<path class=\"axis\" d=\"M{0} {1}H{2}\"/>", frame.left,
                                frame.bottom, frame.right);
  const Axis axis{low, high, false};
  for (const Tick& t : ticks(axis, 6)) {
    if (t.value != std::floor(t.value)) continue;  // there is no step 2.5
    const double x = frame.left + axis.place(t.value) * (frame.right - frame.left);
    const bool at_end = x > frame.right - 14;
    out += fmt::format(
        "<path class=\"axis\" d=\"M{0:.1f} {1}v4\"/><text x=\"{2:.1f}\" y=\"{3}\" dy=\".95em\" "
        "text-anchor=\"{4}\">{5}</text>",
        x, frame.bottom, at_end ? frame.right + 6 : x, frame.bottom + 6, at_end ? "end" : "middle",
        t.label);
  }
  return out;
}

std::string line_chart_svg(const LineChart& chart) {
  const Frame frame;
  if (!has_points(chart)) return "<p class=\"none\">Nothing recorded yet.</p>";
  return fmt::format("<svg class=\"chart\" {}>{}</svg>\n", view_box(frame, chart.label),
                     Plot(chart, frame).svg());
}

std::string legend_html(const LineChart& chart) {
  std::string out;
  for (const Series& s : chart.series) {
    if (s.style == Series::Style::kFaint || s.y.empty()) continue;
    out += fmt::format("<span class=\"key\"><i class=\"k{}\"></i>{} <b>{}</b></span>",
                       s.color % kColors, html_text(s.name), value_text(chart, s.y.back()));
  }
  return out.empty() ? out : "<div class=\"legend\">" + out + "</div>";
}

std::string standalone_svg(const LineChart& chart, const std::string& title,
                           const std::string& y_label) {
  const Frame frame{
      .left = 54, .right = 626, .top = 62, .bottom = 312, .width = 640, .height = 352};
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" width=\"{}\" height=\"{}\" {}>"
      "<style>{}</style><rect class=\"paper\" width=\"100%\" height=\"100%\" rx=\"6\"/>"
      "<text class=\"title\" x=\"20\" y=\"27\">{}</text>",
      frame.width, frame.height, view_box(frame, chart.label), chart_style(), html_text(title));
  // Legend, from the right; text is about 6.4 units wide a letter.
  double x = frame.right;
  for (auto s = chart.series.rbegin(); s != chart.series.rend(); ++s) {
    if (s->style == Series::Style::kFaint || s->y.empty()) continue;
    const std::string text = s->name + ' ' + value_text(chart, s->y.back());
    out += fmt::format("<text x=\"{}\" y=\"27\" text-anchor=\"end\">{}</text>", x, html_text(text));
    x -= 6.4 * static_cast<double>(text.size()) + 8;
    out += fmt::format("<g class=\"s{}\"><path d=\"M{} 23h-14\"/></g>", s->color % kColors, x);
    x -= 32;
  }
  out += fmt::format("<text x=\"20\" y=\"48\">{}</text>", html_text(y_label));
  if (has_points(chart)) {
    out += Plot(chart, frame).svg();
    out += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">step</text>",
                       (frame.left + frame.right) / 2, frame.height - 8);
  }
  return out + "</svg>\n";
}

std::string chart_style() {
  return R"(
.chart,.legend{--paper:#fff;--ink:#1d1f23;--soft:#6b7079;--grid:#ecebe7;--axis:#b9b8b2;--bad:#c92a2a;
--c0:#2463b5;--c1:#d9660a;--c2:#238551;--c3:#7a4cc0;--c4:#c2377a;--c5:#0c8599;--c6:#946b00;--c7:#5c6370;}
.chart{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif;font-size:12px}
@media(prefers-color-scheme:dark){.chart,.legend{--paper:#1b1d22;--ink:#e8e6e3;--soft:#9a9fa8;--grid:#2a2d34;
--axis:#555a64;--bad:#ff6b6b;--c0:#6ea8fe;--c1:#ff9f4a;--c2:#5fcf8e;--c3:#b794f4;--c4:#f783ac;--c5:#4fc9da;
--c6:#e0b84c;--c7:#a5abb6}}
.chart text{fill:var(--soft);font-variant-numeric:tabular-nums}
.chart .title{fill:var(--ink);font-size:15px;font-weight:600}
.chart .paper{fill:var(--paper)}
.chart path{fill:none;vector-effect:non-scaling-stroke}
.chart .grid{stroke:var(--grid)}.chart .axis{stroke:var(--axis)}
.chart .bad{fill:var(--bad)}.chart .mark{stroke:var(--soft);stroke-dasharray:4 4}
.chart g>path{stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.chart .faint>path{stroke-width:1;opacity:.35}
.chart .hover rect{fill:transparent}.chart .hover path{stroke:none}
.chart .hover g:hover path{stroke:var(--soft);stroke-width:1}
.s0{stroke:var(--c0)}.s1{stroke:var(--c1)}.s2{stroke:var(--c2)}.s3{stroke:var(--c3)}
.s4{stroke:var(--c4)}.s5{stroke:var(--c5)}.s6{stroke:var(--c6)}.s7{stroke:var(--c7)}
.k0{background:var(--c0)}.k1{background:var(--c1)}.k2{background:var(--c2)}.k3{background:var(--c3)}
.k4{background:var(--c4)}.k5{background:var(--c5)}.k6{background:var(--c6)}.k7{background:var(--c7)}
.s0 circle{fill:var(--c0)}.s1 circle{fill:var(--c1)}.s2 circle{fill:var(--c2)}.s3 circle{fill:var(--c3)}
.s4 circle{fill:var(--c4)}.s5 circle{fill:var(--c5)}.s6 circle{fill:var(--c6)}.s7 circle{fill:var(--c7)}
)";
}

}  // namespace shoal
