#include "train/report/report.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <numeric>
#include <sstream>

#include "autograd/base/atomic_file.h"
#include "autograd/base/check.h"
#include "autograd/base/quantity.h"
#include "autograd/base/read_file.h"
#include "train/report/heat_map.h"
#include "train/report/html.h"
#include "train/report/page_style.h"
#include "train/report/run_charts.h"
#include "train/report/sources_table.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostEvents = 200;
constexpr std::size_t kMostSampleSteps = 12;
constexpr std::size_t kMostHeatCells = 120000;  // of all layers, so that a page stays below some MB

template <class Record, class Value>
double median(const std::vector<Record>& records, const Value& value) {
  std::vector<double> values;
  for (const Record& r : records) {
    if (std::isfinite(value(r))) values.push_back(value(r));
  }
  if (values.empty()) return std::nan("");
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// --- the head of the page

std::string utc(double time) {
  if (!(time > 0.0 && time < 2e11)) return "";
  const auto seconds = static_cast<std::time_t>(time);
  std::tm parts{};
  if (gmtime_r(&seconds, &parts) == nullptr) return "";
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

// When it was trained, as far as the lines say.
std::string when(const RunHistory& history) {
  if (history.steps.empty()) return "";
  const StepRecord &first = history.steps.front(), &last = history.steps.back();
  const std::string begin = utc(first.time - first.step_seconds), end = utc(last.time);
  if (begin.empty() || end.empty()) return "";
  return fmt::format(
      "Trained from {} to {} UTC. ", begin.substr(0, 16),
      begin.substr(0, 10) == end.substr(0, 10) ? end.substr(11, 5) : end.substr(0, 16));
}

std::string tile(const std::string& name, const std::string& value, const std::string& detail) {
  return fmt::format("<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>", name, html_text(value),
                     html_text(detail));
}

std::string decimals(double value) {
  return std::isfinite(value) ? fmt::format("{:.4f}", value) : fmt::format("{}", value);
}

std::string bits_per_byte_tile(const RunHistory& history) {
  const EvalRecord& last = history.evals.back();
  const auto best = std::min_element(
      history.evals.begin(), history.evals.end(),
      [](const EvalRecord& a, const EvalRecord& b) { return a.bits_per_byte < b.bits_per_byte; });
  return tile("Bits per byte", decimals(last.bits_per_byte),
              best->bits_per_byte < last.bits_per_byte
                  ? fmt::format("best {} at step {}", decimals(best->bits_per_byte), best->step)
                  : fmt::format("validation, step {}", last.step));
}

std::string tiles(const RunHistory& history) {
  std::string out;
  if (!history.evals.empty()) {
    const EvalRecord& last = history.evals.back();
    out += has_answers(history) ? tile("Answer accuracy", format_share(last.answer_accuracy),
                                       fmt::format("held out, step {}", last.step))
                                : bits_per_byte_tile(history);
    out += tile("Validation loss", decimals(last.loss), "nats per token");
  }
  if (!history.steps.empty()) {
    const std::vector<StepRecord>& steps = history.steps;
    const auto tail = static_cast<std::ptrdiff_t>(std::min<std::size_t>(steps.size(), 20));
    const double loss =
        std::accumulate(steps.end() - tail, steps.end(), 0.0,
                        [](double sum, const StepRecord& r) { return sum + r.ce; }) /
        static_cast<double>(tail);
    out += tile("Training loss", decimals(loss),
                tail > 1 ? fmt::format("mean of last {} steps", tail) : "of the only step");
    const double seconds =
        std::accumulate(steps.begin(), steps.end(), 0.0, [](double sum, const StepRecord& r) {
          return sum + (std::isfinite(r.step_seconds) ? r.step_seconds : 0.0);
        });
    out += tile("Steps", fmt::format("{}", steps.back().step),
                fmt::format("{} in steps", format_duration(seconds)));
    out +=
        tile("Tokens", format_count(static_cast<double>(steps.back().tokens)), "seen in training");
    const double rate = median(steps, [](const StepRecord& r) { return r.tokens_per_second; });
    if (std::isfinite(rate)) out += tile("Tokens per second", format_count(rate), "median");
    const double share = median(steps, [](const StepRecord& r) { return r.matmul_peak_share; });
    if (share > 0) out += tile("Share of peak", format_share(share), "matrix products, median");
  }
  return out.empty() ? "<p class=\"none\">No step has been recorded yet.</p>"
                     : "<dl class=\"tiles\">" + out + "</dl>";
}

std::string alarm(const RunHistory& history) {
  std::string steps;
  int count = 0;
  for (const StepRecord& r : history.steps) {
    if (std::isfinite(r.loss) && std::isfinite(r.grad_norm)) continue;
    if (++count <= 5) steps += fmt::format("{}{}", count > 1 ? ", " : "", r.step);
  }
  if (count == 0) return "";
  return fmt::format(
      "<p class=\"alarm\">Loss or gradient norm was not finite at {} step{}: {}{}.</p>", count,
      count == 1 ? "" : "s", steps, count > 5 ? " and more" : "");
}

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

std::string learning_section(const RunHistory& history) {
  const LineChart clamp = clamp_chart(history), indexer = indexer_chart(history);
  return "<h2>Learning</h2>\n<div class=\"grid\">" +
         figure("Loss", "cross-entropy, nats per token, log scale", cross_entropy_chart(history)) +
         (has_answers(history)
              ? figure("Answer accuracy", "held-out answer tokens predicted right",
                       answer_accuracy_chart(history))
              : figure("Bits per byte", "validation text", bits_per_byte_chart(history))) +
         figure("Parts of the loss", "weighted, smoothed, log scale", loss_parts_chart(history)) +
         figure("Gradient norm", "before clipping", grad_norm_chart(history)) +
         figure("Learning rate", "as scheduled", lr_chart(history)) +
         (clamp.series.empty() ? figure("SwiGLU clamp", "inputs beyond the limit", "",
                                        "<p class=\"none\">No input has gone beyond it.</p>")
                               : figure("SwiGLU clamp", "inputs beyond the limit", clamp)) +
         (indexer.series.empty()
              ? ""
              : figure("Indexers", "attention's choice that they have learned", indexer)) +
         "</div>\n";
}

std::string speed_section(const RunHistory& history) {
  return "<h2>Speed</h2>\n<div class=\"grid\">" +
         figure("Throughput", "tokens per second", throughput_chart(history)) +
         figure("Use of the machine", "needed products against the machine's peak",
                peak_share_chart(history)) +
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
             imbalance_chart(history));
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

std::string text_field(const EventRecord& event, const char* name) {
  const auto at = event.fields.find(name);
  if (at == event.fields.end()) return "";
  return at->is_string() ? at->get<std::string>() : line_of(*at);
}

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
        fmt::format("<div class=\"sample\"><b>{}</b>{}</div>", html_text(text_field(e, "prompt")),
                    html_text(text_field(e, "text")));
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
    out += name + ": " + (value.is_string() ? value.get<std::string>() : line_of(value));
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
         "</style></head>\n<body><main>\n<h1>" + name + "</h1><p class=\"lead\">" + when(history) +
         "Charts go by step; hover for numbers.</p>\n" + alarm(history) + tiles(history) +
         learning_section(history) + sources_section(history) + speed_section(history) +
         experts_section(history) + samples_section(history) + events_section(history) +
         config_section(input.config) +
         fmt::format("<footer>From metrics.jsonl, {} lines{}.</footer>\n</main></body></html>\n",
                     history.lines, broken);
}

std::string render_curve(const ReportInput& input) {
  return standalone_svg(learning_curve(input.history), input.name, "bits per byte");
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
