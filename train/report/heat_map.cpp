#include "train/report/heat_map.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "autograd/base/check.h"
#include "autograd/base/quantity.h"
#include "train/report/html.h"
#include "train/report/line_chart.h"

namespace shoal {
namespace {

constexpr int kLevels = 4;  // on either side of even
constexpr std::size_t kMostRows = 64;

int level_of(double relative) {
  if (!(relative > 0.0)) return -kLevels;
  return std::clamp(static_cast<int>(std::lround(2.0 * std::log2(relative))), -kLevels, kLevels);
}

std::string class_of(int level) {
  return level < 0 ? fmt::format("cold{}", -level) : fmt::format("hot{}", level);
}

// Of a group of experts the one furthest from even is shown.
double furthest(const std::vector<double>& relative, std::size_t begin, std::size_t end) {
  double best = 1.0;
  for (std::size_t e = begin; e < end; ++e) {
    if (std::abs(level_of(relative[e])) > std::abs(level_of(best))) best = relative[e];
  }
  return best;
}

std::string column_text(const LoadColumn& column) {
  const auto& load = column.relative;
  const auto [low, high] = std::minmax_element(load.begin(), load.end());
  const std::string steps = column.first_step == column.last_step
                                ? fmt::format("step {}", column.first_step)
                                : fmt::format("steps {}-{}", column.first_step, column.last_step);
  return fmt::format("{}\nbusiest: expert {}, {} of an even share\nidlest: expert {}, {}", steps,
                     high - load.begin(), format_share(*high), low - load.begin(),
                     format_share(*low));
}

}  // namespace

std::vector<LoadColumn> load_columns(std::span<const LayerRecord> records, std::size_t most) {
  CHECK(most > 0, "load_columns: no columns");
  std::vector<LoadColumn> out;
  if (records.empty()) return out;
  const std::size_t experts = records.back().expert_load.size();
  std::vector<const LayerRecord*> usable;
  for (const LayerRecord& r : records) {
    if (experts > 0 && r.expert_load.size() == experts) usable.push_back(&r);
  }
  const std::size_t columns = std::min(most, usable.size());
  for (std::size_t c = 0; c < columns; ++c) {
    const std::size_t begin = usable.size() * c / columns, end = usable.size() * (c + 1) / columns;
    LoadColumn column{usable[begin]->step, usable[end - 1]->step,
                      std::vector<double>(experts, 0.0)};
    double total = 0.0;
    for (std::size_t i = begin; i < end; ++i) {
      for (std::size_t e = 0; e < experts; ++e) {
        const auto load = static_cast<double>(std::max<std::int64_t>(usable[i]->expert_load[e], 0));
        column.relative[e] += load;
        total += load;
      }
    }
    if (total <= 0.0) continue;
    for (double& r : column.relative) r *= static_cast<double>(experts) / total;
    out.push_back(std::move(column));
  }
  return out;
}

std::string heat_map_svg(std::span<const LoadColumn> columns, const std::string& label) {
  if (columns.empty()) return "<p class=\"none\">No loads recorded.</p>";
  const std::size_t experts = columns[0].relative.size();
  const std::size_t rows = std::min(experts, kMostRows);
  Frame frame;
  frame.bottom = frame.top + std::clamp(static_cast<double>(rows) * 11.0, 66.0, 220.0);
  frame.height = frame.bottom + 30;
  const double width = (frame.right - frame.left) / static_cast<double>(columns.size());
  const double height = (frame.bottom - frame.top) / static_cast<double>(rows);
  const auto x_of = [&](std::size_t c) { return frame.left + width * static_cast<double>(c); };

  // One path per level; equal neighbours of a row are one rectangle. Even cells are the ground.
  std::array<std::string, 2 * kLevels + 1> paths;
  const auto path_of = [&](int level) -> std::string& { return paths.begin()[level + kLevels]; };
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t begin = experts * row / rows, end = experts * (row + 1) / rows;
    const auto level = [&](std::size_t c) {
      return level_of(furthest(columns[c].relative, begin, end));
    };
    for (std::size_t c = 0; c < columns.size();) {
      std::size_t after = c + 1;
      while (after < columns.size() && level(after) == level(c)) ++after;
      if (level(c) != 0) {
        path_of(level(c)) += fmt::format("M{:.1f} {:.1f}h{:.1f}v{:.1f}H{:.1f}z", x_of(c),
                                         frame.top + height * static_cast<double>(row),
                                         x_of(after) - x_of(c), height, x_of(c));
      }
      c = after;
    }
  }

  std::string out = fmt::format(
      "<svg class=\"chart heat\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">"
      "<rect class=\"even\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
      frame.width, frame.height, html_text(label), frame.left, frame.top, frame.right - frame.left,
      frame.bottom - frame.top);
  for (int l = -kLevels; l <= kLevels; ++l) {
    const std::string& path = path_of(l);
    if (!path.empty()) out += fmt::format("<path class=\"{}\" d=\"{}\"/>", class_of(l), path);
  }
  for (const std::size_t row : {std::size_t{0}, rows - 1}) {
    out += fmt::format("<text x=\"{}\" y=\"{:.1f}\" dy=\".35em\" text-anchor=\"end\">{}</text>",
                       frame.left - 7, frame.top + height * (static_cast<double>(row) + 0.5),
                       row == 0 ? 0 : experts - 1);
    if (rows == 1) break;
  }
  const auto first = static_cast<double>(columns.front().first_step);
  out += x_ticks_svg(frame, first,
                     std::max(static_cast<double>(columns.back().last_step), first + 1.0));
  out += "<g class=\"hover\">";
  for (std::size_t c = 0; c < columns.size(); ++c) {
    out += fmt::format(
        "<g><rect x=\"{:.1f}\" y=\"{}\" width=\"{:.1f}\" height=\"{:.1f}\"/><path d=\"M{:.1f} "
        "{}V{:.1f}\"/><title>{}</title></g>",
        x_of(c), frame.top, width, frame.bottom - frame.top, x_of(c) + width / 2, frame.top,
        frame.bottom, html_text(column_text(columns[c])));
  }
  return out + "</g></svg>\n";
}

std::string heat_map_key_html() {
  std::string out = "<div class=\"legend scale\"><span>idle</span>";
  for (int l = -kLevels; l <= kLevels; ++l) {
    out += fmt::format("<i class=\"{}\"></i>", l == 0 ? "even" : class_of(l));
  }
  return out + "<span>4&times; an even share or more</span></div>";
}

std::string heat_map_style() {
  return R"(
.heat,.scale{--even:#f3f2ee;--cold:#2463b5;--hot:#d9480f}
@media(prefers-color-scheme:dark){.heat,.scale{--even:#262930;--cold:#6ea8fe;--hot:#ff8a3d}}
.heat .even{fill:var(--even)}.heat path{shape-rendering:crispEdges}
.heat .cold1,.heat .cold2,.heat .cold3,.heat .cold4{fill:var(--cold)}
.heat .hot1,.heat .hot2,.heat .hot3,.heat .hot4{fill:var(--hot)}
.cold1,.hot1{opacity:.2}.cold2,.hot2{opacity:.45}.cold3,.hot3{opacity:.7}
.scale{align-items:center;gap:0;margin:0 0 .8rem -.5em}.scale span{margin:0 .5em}
.scale i{width:1.3em;height:.8em;background:var(--even)}
.scale .cold1,.scale .cold2,.scale .cold3,.scale .cold4{background:var(--cold)}
.scale .hot1,.scale .hot2,.scale .hot3,.scale .hot4{background:var(--hot)}
)";
}

}  // namespace shoal
