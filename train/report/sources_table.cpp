#include "train/report/sources_table.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

#include "autograd/base/quantity.h"
#include "train/report/html.h"

namespace shoal {
namespace {

constexpr std::size_t kMostTableRows = 64;

struct Row {
  std::string name;
  Json data = Json::object();  // of the event
  const SourceScore* score = nullptr;
};

Row& row_of(std::vector<Row>& rows, const std::string& name) {
  const auto found =
      std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.name == name; });
  return found != rows.end() ? *found : rows.emplace_back(Row{name});
}

void add_list(const Json& fields, const char* list, std::vector<Row>& rows) {
  const auto found = fields.find(list);
  if (found == fields.end() || !found->is_array() || found->size() < 2) return;
  for (const Json& one : *found) {
    if (!one.is_object() || !one.contains("source") || !one.at("source").is_string()) continue;
    row_of(rows, one.at("source").get<std::string>()).data.update(one);
  }
}

std::string number(const Json& data, const char* name, const auto& format) {
  const auto found = data.find(name);
  const double value = found == data.end() ? NAN : number_of(*found, NAN);
  return fmt::format("<td class=\"number\">{}</td>", std::isfinite(value) ? format(value) : "");
}

}  // namespace

std::string sources_section(const RunHistory& history) {
  std::vector<Row> rows;
  const auto last = std::find_if(history.events.rbegin(), history.events.rend(),
                                 [](const EventRecord& e) { return e.event == "data"; });
  if (last != history.events.rend()) {
    add_list(last->fields, "sources", rows);
    add_list(last->fields, "corpora", rows);
  }
  if (!history.evals.empty()) {
    for (const SourceScore& score : history.evals.back().sources) {
      row_of(rows, score.source).score = &score;
    }
  }
  if (rows.size() < 2) return "";
  std::string out =
      "<h2>Sources</h2>\n<div class=\"scroll\"><table><tr><th>Source</th><th class=\"number\">"
      "Documents</th><th class=\"number\">Sequences</th><th class=\"number\">Share of samples</th>"
      "<th class=\"number\">Epochs</th><th class=\"number\">Bits per byte</th></tr>";
  const auto count = [](double value) { return format_count(value); };
  for (std::size_t i = 0; i < std::min(rows.size(), kMostTableRows); ++i) {
    const Row& row = rows[i];
    out += fmt::format("<tr><td>{}</td>", html_text(row.name)) +
           number(row.data, "documents", count) + number(row.data, "sequences", count) +
           number(row.data, "samples", [](double value) { return format_share(value); }) +
           number(row.data, "epochs", [](double value) { return format_short(value); }) +
           fmt::format("<td class=\"number\">{}</td></tr>",
                       row.score != nullptr && std::isfinite(row.score->bits_per_byte)
                           ? fmt::format("{:.4f}", row.score->bits_per_byte)
                           : "");
  }
  return out + "</table></div>\n";
}

}  // namespace shoal
