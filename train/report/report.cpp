#include "train/report/report.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "autograd/base/atomic_file.h"
#include "autograd/base/check.h"
#include "autograd/base/read_file.h"
#include "train/report/head.h"
#include "train/report/heat_map.h"
#include "train/report/html.h"
#include "train/report/page_style.h"
#include "train/report/run_charts.h"
#include "train/report/sources_table.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostEvents = 200;
constexpr std::size_t kMostListed = 8;
constexpr std::size_t kMostSampleSteps = 12;
constexpr std::size_t kMostHeatCells = 120000;  // of all layers, so that a page stays below some MB

// --- charts

std::string figure(const std::string& title, const std::string& unit, const std::string& legend,
                   const std::string& picture) {
  return fmt::format(
      "<figure><figcaption><div><h3>{}</h3><p>{}</p></div>{}</figcaption>{}</figure>\n", title,
      unit, legend, picture);
}

std::string figure(const std::string& title, const std::string& unit, const LineChart& chart) {
  return figure(title, unit, legend_html(chart), line_chart_svg(chart));
}

// The same, with lines where the run was forked, spiked or went back.
std::string figure(const std::string& title, const std::string& unit, LineChart chart,
                   const RunHistory& history) {
  chart.marks = event_marks(history);
  return figure(title, unit, chart);
}

// Only of what has curves.
std::string figure_of(const std::string& title, const std::string& unit, const LineChart& chart,
                      const RunHistory& history) {
  return chart.series.empty() ? "" : figure(title, unit, chart, history);
}

std::string learning_section(const RunHistory& history) {
  const LineChart clamp = clamp_chart(history);
  return "<h2>Learning</h2>\n<div class=\"grid\">" +
         figure("Loss", "cross-entropy, nats per token, log scale", cross_entropy_chart(history),
                history) +
         (has_answers(history)
              ? figure("Answer accuracy", "held-out answer tokens predicted right",
                       answer_accuracy_chart(history), history)
              : figure("Bits per byte", "validation text", bits_per_byte_chart(history), history)) +
         figure("Parts of the loss", "weighted, smoothed, log scale", loss_parts_chart(history),
                history) +
         figure("Gradient norm", "before clipping", grad_norm_chart(history), history) +
         figure("Learning rate", "as scheduled", lr_chart(history), history) +
         (clamp.series.empty()
              ? figure("SwiGLU clamp", "inputs beyond the limit", "",
                       "<p class=\"none\">No input has gone beyond it.</p>")
              : figure("SwiGLU clamp", "inputs beyond the limit", clamp, history)) +
         figure_of("Indexers", "attention's choice that they have learned", indexer_chart(history),
                   history) +
         "</div>\n";
}

std::string fp4_section(const RunHistory& history) {
  const std::string figures =
      figure_of("Index recall", "FP4's choice that unrounded scores share",
                index_recall_chart(history), history) +
      figure_of("Rounding", "what FP4 changes of the experts, relative",
                fp4_distance_chart(history), history) +
      figure_of("Zeros", "expert weights that round to zero", fp4_zeros_chart(history), history);
  return figures.empty() ? "" : "<h2>FP4</h2>\n<div class=\"grid\">" + figures + "</div>\n";
}

std::string health_section(const RunHistory& history) {
  std::string figures;
  for (const NamedChart& c : health_charts(history)) {
    figures += figure(c.title, c.unit, c.chart, history);
  }
  return figures.empty() ? "" : "<h2>Health</h2>\n<div class=\"grid\">" + figures + "</div>\n";
}

std::string speed_section(const RunHistory& history) {
  return "<h2>Speed</h2>\n<div class=\"grid\">" +
         figure("Throughput", "tokens per second", throughput_chart(history), history) +
         figure("Use of the machine", "needed products against the machine's peak",
                peak_share_chart(history), history) +
         "</div>\n";
}

std::string experts_section(const RunHistory& history) {
  const std::vector<LayerLoads> layers = loads_by_layer(history);
  if (layers.empty()) return "";
  std::string out =
      "<h2>Experts</h2>\n<p class=\"note\">Share of the tokens that each expert got: a row is an "
      "expert, blank is an even share.</p>" +
      heat_map_key_html() + "<div class=\"grid\">" +
      figure("Imbalance", "busiest expert against an even share, smoothed",
             imbalance_chart(history), history);
  for (const LayerLoads& layer : layers) {
    const std::size_t experts = layer.records.back().expert_load.size();
    const std::size_t columns = std::clamp<std::size_t>(
        kMostHeatCells / layers.size() / std::clamp<std::size_t>(experts, 1, 64), 24, 120);
    out += figure(
        layer.name, fmt::format("{} experts", experts), "",
        heat_map_svg(load_columns(layer.records, columns), "Expert load over time, " + layer.name));
  }
  return out + "</div>\n";
}

// --- text

std::string samples_section(const RunHistory& history) {
  struct Group {
    std::int64_t step;
    std::string html;
  };
  std::vector<Group> groups;
  for (const EventRecord& e : history.events) {
    if (e.event != "sample") continue;
    if (groups.empty() || groups.back().step != e.step) groups.push_back({e.step, ""});
    groups.back().html +=
        fmt::format("<div class=\"sample\"><b>{}</b>{}</div>", html_text(field_text(e, "prompt")),
                    html_text(field_text(e, "text")));
  }
  if (groups.empty()) return "";
  std::string out =
      fmt::format("<h2>Samples at step {}</h2>\n{}", groups.back().step, groups.back().html);
  groups.pop_back();
  if (groups.empty()) return out + "\n";
  out += "\n<details><summary>Earlier samples</summary>";
  // Newest first; of many an even choice that holds the first and the last.
  const std::size_t shown = std::min(groups.size(), kMostSampleSteps);
  for (std::size_t i = 0; i < shown; ++i) {
    const std::size_t at = shown == 1 ? 0 : (shown - 1 - i) * (groups.size() - 1) / (shown - 1);
    out += fmt::format("<h3>step {}</h3>{}", groups[at].step, groups[at].html);
  }
  return out + "</details>\n";
}

std::string details_of(const EventRecord& event) {
  std::string out;
  for (const auto& [name, value] : event.fields.items()) {
    if (!out.empty()) out += ", ";
    if (name == "changed") {
      out += changes_text(value);
    } else if (value.is_array() && value.size() > kMostListed && value[0].is_number()) {
      out += fmt::format("{}: {} numbers", name, value.size());  // a chart has them
    } else {
      out += name + ": " + field_text(event, name.c_str());
    }
    if (out.size() > 2000) return out.substr(0, 2000) + " ...";
  }
  return out;
}

std::string events_section(const RunHistory& history) {
  std::vector<const EventRecord*> events;
  for (const EventRecord& e : history.events) {
    if (e.event != "sample") events.push_back(&e);
  }
  if (events.empty()) return "";
  const std::size_t hidden = events.size() > kMostEvents ? events.size() - kMostEvents : 0;
  std::string out =
      "<h2>Events</h2>\n<div class=\"scroll\"><table><tr><th class=\"number\">Step</th>"
      "<th>Event</th><th class=\"number\">Time (UTC)</th><th>Details</th></tr>";
  for (std::size_t i = hidden; i < events.size(); ++i) {
    const EventRecord& e = *events[i];
    out += fmt::format(
        "<tr><td class=\"number\">{}</td><td>{}</td><td class=\"number\">{}</td><td>{}</td></tr>",
        e.step, html_text(e.event), utc(e.time), html_text(details_of(e)));
  }
  out += "</table></div>\n";
  if (hidden > 0)
    out += fmt::format("<p class=\"note\">{} earlier events are left out.</p>", hidden);
  return out;
}

// Keys stand out, comments step back; no more YAML than that.
std::string config_section(const std::string& config) {
  if (config.empty()) return "";
  std::string out = "<h2>Configuration</h2>\n<pre>";
  std::istringstream lines(config);
  std::string line;
  while (std::getline(lines, line)) {
    const std::size_t begin = line.find_first_not_of(" -");
    const std::size_t colon = line.find(':');
    if (begin != std::string::npos && line[begin] == '#') {
      out += "<i>" + html_text(line) + "</i>\n";
    } else if (begin != std::string::npos && colon != std::string::npos && colon > begin) {
      out += html_text(line.substr(0, begin)) + "<b>" +
             html_text(line.substr(begin, colon - begin)) + "</b>" + html_text(line.substr(colon)) +
             "\n";
    } else {
      out += html_text(line) + "\n";
    }
  }
  return out + "</pre>\n";
}

constexpr std::uint64_t kMostConfig = std::uint64_t{16} << 20;  // bytes; no more is stored

std::string read_text(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error) && !error) return "";
  return read_file(path.string(), Failure::kDisk, kMostConfig);
}

}  // namespace

std::string render_report(const ReportInput& input) {
  const RunHistory& history = input.history;
  const std::string name = html_text(input.name);
  std::string broken;
  if (history.broken_lines > 0) {
    broken = fmt::format(", {} of them unreadable", history.broken_lines);
  }
  return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
         "style-src 'unsafe-inline'\">"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
         "<title>" +
         name + "</title>\n<style>" + page_style() + chart_style() + heat_map_style() +
         "</style></head>\n<body><main>\n<h1>" + name + "</h1>" + head_html(history) +
         learning_section(history) + sources_section(history) + speed_section(history) +
         experts_section(history) + fp4_section(history) + health_section(history) +
         samples_section(history) + events_section(history) + config_section(input.config) +
         fmt::format("<footer>From metrics.jsonl, {} lines{}.</footer>\n</main></body></html>\n",
                     history.lines, broken);
}

std::string render_curve(const ReportInput& input) {
  LineChart chart = learning_curve(input.history);
  chart.marks = event_marks(input.history);
  return standalone_svg(chart, input.name, "bits per byte");
}

std::string write_report(const std::string& run_dir, const GiveUp& give_up) {
  const fs::path folder(run_dir);
  std::error_code error;
  if (!fs::exists(folder / "metrics.jsonl", error) && !fs::exists(folder / "config.yaml", error)) {
    reject(Failure::kUsage, run_dir,
           ": holds no run: neither metrics.jsonl nor config.yaml is there; give a run's folder");
  }
  ReportInput input;
  input.name = fs::absolute(folder).lexically_normal().filename().string();
  if (input.name.empty()) {  // a trailing slash
    input.name = fs::absolute(folder).lexically_normal().parent_path().filename().string();
  }
  input.history = read_history((folder / "metrics.jsonl").string(), give_up);
  input.config = read_text(folder / "config.yaml");
  if (!(give_up && give_up())) {
    replace_file(folder / "curve.svg", render_curve(input));
    replace_file(folder / "report.html", render_report(input));
  }
  return (folder / "report.html").string();
}

}  // namespace shoal
