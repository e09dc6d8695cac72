#include "train/report/head.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <numeric>

#include "autograd/base/quantity.h"
#include "train/report/html.h"
#include "train/report/run_charts.h"

namespace shoal {
namespace {

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

}  // namespace

std::string utc(double time) {
  if (!(time > 0.0 && time < 2e11)) return "";
  const auto seconds = static_cast<std::time_t>(time);
  std::tm parts{};
  if (gmtime_r(&seconds, &parts) == nullptr) return "";
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string field_text(const EventRecord& event, const char* name) {
  const auto at = event.fields.find(name);
  if (at == event.fields.end()) return "";
  return at->is_string() ? at->get<std::string>() : line_of(*at);
}

std::string changes_text(const Json& changed) {
  std::string out;
  for (const auto& [key, values] : changed.items()) {
    const auto value = [&, &values = values](const char* name) {
      if (!values.is_object() || !values.contains(name)) return std::string("?");
      return values[name].is_string() ? values[name].get<std::string>() : line_of(values[name]);
    };
    out += fmt::format("{}{}: {} -> {}", out.empty() ? "" : ", ", key, value("old"), value("new"));
  }
  return out;
}

namespace {

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

std::string alarm(const std::string& text) {
  return "<p class=\"alarm\">" + html_text(text) + "</p>\n";
}

std::string not_finite(const RunHistory& history) {
  std::string steps;
  int count = 0;
  for (const StepRecord& r : history.steps) {
    if (std::isfinite(r.loss) && std::isfinite(r.grad_norm)) continue;
    if (++count <= 5) steps += fmt::format("{}{}", count > 1 ? ", " : "", r.step);
  }
  if (count == 0) return "";
  return alarm(fmt::format("Loss or gradient norm was not finite at {} step{}: {}{}.", count,
                           count == 1 ? "" : "s", steps, count > 5 ? " and more" : ""));
}

const EventRecord* last_event(const RunHistory& history, std::string_view name) {
  const auto at = std::find_if(history.events.rbegin(), history.events.rend(),
                               [&](const EventRecord& e) { return e.event == name; });
  return at == history.events.rend() ? nullptr : &*at;
}

// What the newest process says: an earlier one's remark may have been put right since.
std::string alarms(const RunHistory& history) {
  std::string out = not_finite(history);
  const EventRecord* begin = last_event(history, "start");
  if (begin == nullptr && !history.events.empty()) begin = &history.events.front();
  for (const EventRecord* e = begin; e != nullptr && e <= &history.events.back(); ++e) {
    for (const char* name : {"warning", "bad_numbers", "gave_up", "undecayed", "diverged"}) {
      const std::string reason = e->event == name ? field_text(*e, "reason") : "";
      if (reason.empty()) continue;
      out += alarm(e->event == "bad_numbers" || e->event == "gave_up"
                       ? fmt::format("Ended after step {}: {}", e->step, reason)
                       : reason);
    }
  }
  return out;
}

double number_in(const EventRecord& event, const char* name) {
  const auto at = event.fields.find(name);
  return at == event.fields.end() ? std::nan("") : number_of(*at, std::nan(""));
}

std::string mebibytes(double bytes) { return fmt::format("{:.0f} MiB", bytes / (1 << 20)); }

// 55022 -> 55,022
std::string grouped(double count) {
  std::string digits = fmt::format("{:.0f}", count);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return digits;
}

std::string times(const EventRecord& end) {
  const auto time = [&](const char* name) { return format_duration(number_in(end, name)); };
  return fmt::format(
      "{}: {} in training steps, {} in evaluations and samples, {} in saving; {} tokens per second "
      "over all of it",
      time("run_seconds"), time("train_seconds"), time("eval_seconds"), time("save_seconds"),
      format_count(number_in(end, "tokens_per_second")));
}

// "3 seen; went back 2 times: from step 120 to 50, from 130 to 50"; "" if there was none.
std::string recoveries_of(const RunHistory& history) {
  int spikes = 0, rollbacks = 0;
  std::string back;
  for (const EventRecord& e : history.events) {
    if (e.event == "spike") ++spikes;
    if (e.event != "rollback") continue;
    back += fmt::format("{} step {} to {}", rollbacks++ > 0 ? ", from" : ": from",
                        field_text(e, "attempted_step"), e.step);
  }
  if (spikes + rollbacks == 0) return "";
  if (rollbacks == 0) return fmt::format("{} seen", spikes);
  return fmt::format("{} seen; went back {} time{}{}", spikes, rollbacks, rollbacks == 1 ? "" : "s",
                     back);
}

// Which program, model and machine; what the end adds is there once the run has ended.
std::string facts(const RunHistory& history) {
  std::string out;
  const auto fact = [&](const char* name, const std::string& text) {
    out += fmt::format("<dt>{}</dt><dd>{}</dd>", name, html_text(text));
  };
  if (const EventRecord* fork = last_event(history, "fork")) {
    std::string text = fmt::format("{}, at step {}", field_text(*fork, "parent"), fork->step);
    const auto changed = fork->fields.find("changed");
    if (changed != fork->fields.end()) text += "; " + changes_text(*changed);
    fact("Forked from", text);
  }
  const EventRecord* start = last_event(history, "start");
  if (start != nullptr) {
    const auto text = [&](const char* name) { return field_text(*start, name); };
    fact("Model", grouped(number_in(*start, "parameters")) + " parameters");
    fact("Machine",
         fmt::format("{}; threads: {}, cores: {}; {}, products with {}", text("cpu"),
                     text("threads"), text("cores"), text("instruction_set"), text("products")));
    fact("Program",
         fmt::format("{}, commit {}, {}", text("program"), text("commit"), text("compiler")));
    fact("Settings", "SHA-256 " + text("config_hash").substr(0, 16));
  }
  if (const std::string recoveries = recoveries_of(history); !recoveries.empty()) {
    fact("Spikes", recoveries);
  }
  const EventRecord* end = last_event(history, "end");
  if (end != nullptr && (start == nullptr || end > start)) {
    fact("Memory", mebibytes(number_in(*end, "peak_resident_bytes")) + " at the most");
    fact("Time", times(*end));
  }
  return out.empty() ? "" : "<dl class=\"facts\">" + out + "</dl>\n";
}

}  // namespace

std::string head_html(const RunHistory& history) {
  return "<p class=\"lead\">" + when(history) + "Charts go by step; hover for numbers.</p>\n" +
         alarms(history) + tiles(history) + facts(history);
}

}  // namespace shoal
