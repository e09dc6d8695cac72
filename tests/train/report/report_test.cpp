#include "train/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/base/check.h"
#include "tests/support/temporary_folder.h"
#include "train/metrics/metrics_log.h"
#include "train/report/heat_map.h"
#include "train/report/html.h"
#include "train/report/run_charts.h"

namespace shoal {
namespace {

using testing::HasSubstr;
using testing::Not;

// Elements open and close in order, attributes are quoted, and nothing can run or load: enough to
// see that no text of a run became markup.
void expect_well_formed(const std::string& page) {
  std::vector<std::string> open;
  for (std::size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at + 1)) {
    const std::size_t end = page.find('>', at);
    ASSERT_NE(end, std::string::npos);
    const std::string tag = page.substr(at + 1, end - at - 1);
    ASSERT_EQ(tag.find('<'), std::string::npos) << tag;
    ASSERT_FALSE(tag.empty());
    if (tag[0] == '!') continue;
    const std::string name = tag.substr(0, tag.find_first_of(" /", 1));
    if (tag[0] == '/') {
      ASSERT_FALSE(open.empty()) << tag;
      ASSERT_EQ("/" + open.back(), name);
      open.pop_back();
    } else if (tag.back() != '/' && name != "meta") {
      open.push_back(name);
    }
    ASSERT_EQ(std::count(tag.begin(), tag.end(), '"') % 2, 0) << tag;
    for (const char* word : {"script", "iframe", " on", "href", "src=", "javascript"}) {
      ASSERT_EQ(tag.find(word), std::string::npos) << tag;
    }
  }
  EXPECT_TRUE(open.empty()) << open.back();
  for (const char* number : {"nan\"", "inf\"", "nan ", "\"inf", " inf", "Mnan", "Lnan"}) {
    EXPECT_EQ(page.find(std::string("d=\"") + number), std::string::npos);
  }
  EXPECT_EQ(page.find('\0'), std::string::npos);
  EXPECT_EQ(page.find('\x1b'), std::string::npos);
}

ReportInput small_run(std::int64_t steps) {
  ReportInput input;
  input.name = "tiny";
  input.config = "# made by a test\noptim:\n  lr: 1.0e-3\n";
  RunHistory& h = input.history;
  for (std::int64_t n = 1; n <= steps; ++n) {
    StepRecord s;
    s.step = n;
    s.tokens = n * 100;
    s.ce = 5.0 / std::sqrt(static_cast<double>(n));
    s.mtp = 0.3 * s.ce;
    s.loss = s.ce + s.mtp;
    s.grad_norm = 1.0;
    s.lr = 1e-3;
    s.step_seconds = 0.5;
    s.tokens_per_second = 200;
    s.matmul_peak_share = 0.6;
    s.clamp = {.gate_high = n, .clamp_inputs = 100000};
    h.steps.push_back(s);
    for (const std::int64_t layer : {std::int64_t{0}, LayerRecord::kMtp}) {
      h.layers.push_back({.step = n, .layer = layer, .expert_load = {30, 10, 0, 0}, .clamp = {}});
    }
  }
  h.lines = 3 * steps;
  return input;
}

std::size_t count(const std::string& page, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = page.find(what); at != std::string::npos; at = page.find(what, at + 1)) ++n;
  return n;
}

TEST(Html, EscapesMarkupAndControls) {
  EXPECT_EQ(html_text("<a href=\"x\">&'\n\x1b\xff"),
            "&lt;a href=&quot;x&quot;&gt;&amp;&#39;\n\\x1b\\xff");
}

TEST(Report, HoldsEveryChartOfARun) {
  ReportInput input = small_run(200);
  input.history.evals = {{.step = 100, .loss = 0.6, .bits_per_byte = 0.87},
                         {.step = 200, .loss = 0.5, .bits_per_byte = 0.7213}};
  input.history.events = {
      {.step = 200, .event = "checkpoint", .fields = {{"seconds", 0.25}}, .time = 1.7e9}};
  const std::string page = render_report(input);
  expect_well_formed(page);
  EXPECT_EQ(count(page, "<svg"), 11U);  // eight lines, imbalance, two heat maps
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  EXPECT_THAT(page, HasSubstr("<dd>0.7213<small>validation, step 200"));
  EXPECT_THAT(page, HasSubstr("<dd>20.0k<small>seen in training"));
  EXPECT_THAT(page, HasSubstr("0:01:40 in steps"));
  EXPECT_THAT(page, HasSubstr("<h3>MTP</h3>"));
  EXPECT_THAT(page, HasSubstr("<td>checkpoint</td><td class=\"number\">2023-11-14 22:13:20</td>"
                              "<td>seconds: 0.25</td>"));
  EXPECT_THAT(page, HasSubstr("<i># made by a test</i>"));
  EXPECT_THAT(page, HasSubstr("  <b>lr</b>: 1.0e-3"));
  EXPECT_THAT(page, Not(HasSubstr("not finite")));
}

TEST(Report, AnEmptyRunIsAPage) {
  const std::string page = render_report({.name = "new", .history = {}, .config = ""});
  expect_well_formed(page);
  EXPECT_THAT(page, HasSubstr("No step has been recorded yet"));
  EXPECT_EQ(count(page, "<svg"), 0U);
  expect_well_formed(render_curve({.name = "new", .history = {}, .config = ""}));
}

TEST(Report, ARunOfOneStepShowsADot) {
  const std::string page = render_report(small_run(1));
  expect_well_formed(page);
  EXPECT_THAT(page, HasSubstr("<circle"));
  EXPECT_THAT(page, HasSubstr("of the only step"));
}

TEST(Report, NumbersThatWentBadAreShownNotDrawn) {
  ReportInput input = small_run(20);
  StepRecord& bad = input.history.steps[9];
  bad.loss = bad.ce = std::nan("");
  bad.grad_norm = std::numeric_limits<double>::infinity();
  input.history.evals = {{.step = 20, .loss = std::nan(""), .bits_per_byte = std::nan("")}};
  const std::string page = render_report(input);
  expect_well_formed(page);
  EXPECT_THAT(page, HasSubstr("was not finite at 1 step: 10."));
  EXPECT_THAT(page, HasSubstr("<title>step 10: train is nan</title>"));
  EXPECT_THAT(page, HasSubstr("<title>step 10: norm is inf</title>"));
  for (StepRecord& s : input.history.steps) {
    s.loss = s.ce = s.mtp = s.grad_norm = s.lr = s.step_seconds = s.tokens_per_second =
        s.matmul_peak_share = std::nan("");
  }
  const std::string worse = render_report(input);
  expect_well_formed(worse);
  EXPECT_THAT(worse, HasSubstr("at 20 steps: 1, 2, 3, 4, 5 and more"));
}

TEST(Report, TheHeadSaysWhatWasRunAndHowItEnded) {
  ReportInput input = small_run(50);
  const EventRecord start = {.step = 0,
                             .event = "start",
                             .fields = {{"program", "shoal 9"},
                                        {"commit", "abc-dirty"},
                                        {"compiler", "GNU 12"},
                                        {"config_hash", std::string(64, 'f')},
                                        {"parameters", 1234567},
                                        {"threads", 4},
                                        {"cores", 8},
                                        {"cpu", "A <fast> one"},
                                        {"instruction_set", "x86-64-v3"},
                                        {"products", "avx512"}}};
  const EventRecord warning = {.step = 0, .event = "warning", .fields = {{"reason", "early"}}};
  const EventRecord fork = {
      .step = 20,
      .event = "fork",
      .fields = {{"parent", "/runs/<a>"},
                 {"changed", {{"optim.lr", {{"old", 0.1}, {"new", 0.2}}}, {"odd", 3}}}}};
  const EventRecord end = {.step = 50,
                           .event = "end",
                           .fields = {{"reason", "done"},
                                      {"run_seconds", 100.0},
                                      {"train_seconds", 90.0},
                                      {"eval_seconds", 5.0},
                                      {"save_seconds", 3.0},
                                      {"tokens_per_second", 4100.0},
                                      {"peak_resident_bytes", 300 << 20}}};
  const EventRecord diverged = {
      .step = 50, .event = "diverged", .fields = {{"reason", "it <did>"}}};
  input.history.events = {start, warning, fork, diverged, end};
  std::string page = render_report(input);
  expect_well_formed(page);
  for (const char* text :
       {"1,234,567 parameters",
        "A &lt;fast&gt; one; threads: 4, cores: 8; x86-64-v3, products with "
        "avx512",
        "shoal 9, commit abc-dirty, GNU 12", "SHA-256 ffffffffffffffff<",
        "/runs/&lt;a&gt;, at step 20; optim.lr: 0.1 -&gt; 0.2, odd: ? -&gt; ?",
        "300 MiB at the most", "0:01:40: 0:01:30 in training steps", "4.10k tokens per second",
        "<p class=\"alarm\">it &lt;did&gt;</p>", "<p class=\"alarm\">early</p>", ">fork</text>"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
  // What an earlier process said may have been put right since, and this one has not ended.
  input.history.events.push_back(start);
  page = render_report(input);
  EXPECT_THAT(page, Not(HasSubstr("class=\"alarm\"")));
  EXPECT_THAT(page, Not(HasSubstr("300 MiB at the most")));
}

TEST(Report, TextOfTheRunStaysText) {
  const std::string evil = "</style><script>alert(1)</script>\x1b[2J\"' onload=x \xff";
  ReportInput input = small_run(3);
  input.name = evil;
  input.config = "run: {name: " + evil + "}\n" + evil + ": 1\n# " + evil;
  input.history.events = {
      {.step = 1, .event = "sample", .fields = {{"prompt", evil}, {"text", evil}}},
      {.step = 3, .event = "sample", .fields = {{"prompt", evil}, {"text", 7}}},
      {.step = 3, .event = evil, .fields = {{evil, evil}}}};
  const std::string page = render_report(input);
  expect_well_formed(page);
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J&quot;&#39; onload=x "
                              "\\xff</b>7</div>"));
  EXPECT_THAT(page, HasSubstr("Earlier samples"));
  const std::string curve = render_curve(input);
  expect_well_formed(curve);
  EXPECT_THAT(curve, HasSubstr("&lt;script&gt;"));
}

TEST(Report, ALongRunStaysAFewMegabytes) {
  ReportInput input = small_run(60000);
  input.history.layers.clear();
  for (std::int64_t n = 0; n < 1000; ++n) {
    for (std::int64_t layer = 0; layer < 43; ++layer) {
      LayerRecord r{.step = n, .layer = layer, .expert_load = {}, .clamp = {}};
      for (std::int64_t e = 0; e < 256; ++e) r.expert_load.push_back((e * 7919 + n * 104729) % 97);
      input.history.layers.push_back(r);
    }
  }
  const std::string page = render_report(input);
  expect_well_formed(page);
  EXPECT_LT(page.size(), std::size_t{8} << 20);
}

TEST(Report, CurvePutsTrainingOnTheScaleOfValidation) {
  ReportInput input = small_run(10);
  EXPECT_TRUE(learning_curve(input.history).series.empty());  // the scale is not known yet
  input.history.evals = {{.step = 10, .loss = 2.0, .bits_per_byte = 3.0}};
  const LineChart chart = learning_curve(input.history);
  ASSERT_EQ(chart.series.size(), 2U);
  EXPECT_DOUBLE_EQ(chart.series[0].y[3], 1.5 * 2.5);
  const std::string svg = render_curve(input);
  expect_well_formed(svg);
  EXPECT_THAT(svg, HasSubstr("xmlns=\"http://www.w3.org/2000/svg\""));
  EXPECT_THAT(svg, HasSubstr(">bits per byte<"));
}

TEST(HeatMap, ColumnsAddUpStretchesOfSteps) {
  std::vector<LayerRecord> records;
  records.push_back(
      {.step = 1, .expert_load = {9, 9, 9}, .clamp = {}});  // another count of experts
  for (std::int64_t n = 2; n <= 5; ++n) {
    records.push_back({.step = n, .expert_load = {n, 0}, .clamp = {}});
  }
  records.back().expert_load = {0, 4};
  const auto columns = load_columns(records, 2);
  ASSERT_EQ(columns.size(), 2U);
  EXPECT_EQ(columns[0].first_step, 2);
  EXPECT_EQ(columns[0].last_step, 3);
  EXPECT_EQ(columns[0].relative, (std::vector<double>{2.0, 0.0}));
  EXPECT_EQ(columns[1].relative, (std::vector<double>{1.0, 1.0}));
  EXPECT_THAT(heat_map_svg(columns, "x"), HasSubstr("class=\"hot2\""));
  EXPECT_THAT(heat_map_svg(columns, "x"), HasSubstr("class=\"cold4\""));
  EXPECT_TRUE(load_columns({}, 2).empty());
}

TEST(WriteReport, ReadsAFolderWithATornLineAndReplacesTheOldReport) {
  const TemporaryFolder folder;
  const std::string run = folder / "my run";
  std::filesystem::create_directory(run);
  write_file(run + "/report.html", "old");
  {
    MetricsLog log(run + "/metrics.jsonl");
    for (const StepRecord& s : small_run(5).history.steps) log.write(s);
  }
  write_file(run + "/metrics.jsonl", contents(run + "/metrics.jsonl") + "{\"kind\":\"st");
  write_file(run + "/config.yaml", "run: {name: x}\n");
  EXPECT_EQ(write_report(run + "/"), run + "/report.html");
  const std::string page = contents(run + "/report.html");
  expect_well_formed(page);
  EXPECT_THAT(page, HasSubstr("<h1>my run</h1>"));
  EXPECT_THAT(page, HasSubstr("6 lines, 1 of them unreadable"));
  EXPECT_THAT(contents(run + "/curve.svg"), HasSubstr("<svg"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(run), {}), 4);
}

TEST(WriteReport, AFolderWithoutARunIsRefused) {
  const TemporaryFolder folder;
  try {
    write_report(folder.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.why(), Failure::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("holds no run"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Report, HealthIsShownWhereItWasMeasured) {
  ReportInput input = small_run(40);
  EXPECT_THAT(render_report(input), Not(HasSubstr("<h2>Health</h2>")));
  for (LayerRecord& layer : input.history.layers) {
    layer.gain_backward = static_cast<double>(layer.step);
    layer.attention_sink = 0.25;
    if (layer.layer == LayerRecord::kMtp) layer.mtp_taken = 0.5;
  }
  for (std::int64_t n = 1; n <= 40; ++n) {
    for (const char* group : {"router", "norms"}) {
      input.history.groups.push_back({n, group, 0.5, 1.0, 1e-3});
    }
  }
  const std::string page = render_report(input);
  expect_well_formed(page);
  EXPECT_THAT(page, HasSubstr("<h2>Health</h2>"));
  for (const char* title :
       {"Gain backward", "Attention to the sink", "Update ratio", "MTP taken"}) {
    EXPECT_EQ(count(page, concat("<h3>", title, "</h3>")), 1U) << title;
  }
  for (const char* title : {"Gain forward", "Momentum rank", "Router entropy"}) {
    EXPECT_EQ(count(page, concat("<h3>", title, "</h3>")), 0U) << title;
  }
  const std::vector<NamedChart> charts = health_charts(input.history);
  EXPECT_TRUE(charts.at(0).chart.log_y);            // 1 to 40
  EXPECT_EQ(charts.at(0).chart.series.size(), 2U);  // a layer and MTP
}

}  // namespace
}  // namespace shoal
