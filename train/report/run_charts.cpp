#include "train/report/run_charts.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "autograd/base/quantity.h"
#include "train/metrics/event_record.h"

namespace shoal {
namespace {

// Of the palette: what is the same thing has the same colour in every chart.
enum Color { kTrain = 0, kValidation = 1, kThird = 2, kFourth = 3 };

template <class Record, class Value>
Series series_of(const std::vector<Record>& records, const std::string& name, int color,
                 const Value& value) {
  Series s;
  s.name = name;
  s.color = color;
  for (const Record& r : records) {
    s.x.push_back(static_cast<double>(r.step));
    s.y.push_back(value(r));
  }
  return s;
}

// A noisy series: its points, faint, and their smoothed course.
void add_noisy(LineChart& chart, const Series& series) {
  if (series.x.empty()) return;
  const Series course = smoothed(series);
  if (course.y != series.y) {
    Series points = thinned(series);
    points.style = Series::Style::kFaint;
    chart.series.push_back(std::move(points));
  }
  chart.series.push_back(thinned(course));
}

bool says_something(const Series& series) {
  return std::any_of(series.y.begin(), series.y.end(),
                     [](double y) { return y != 0.0 && !std::isnan(y); });
}

// Powers of ten apart: a linear axis would show the largest only.
bool spans_decades(const Series& series) {
  double low = 1e300, high = 0.0;
  for (const double y : series.y) {
    if (!std::isfinite(y) || y <= 0.0) continue;
    low = std::min(low, y);
    high = std::max(high, y);
  }
  return high > 20.0 * low;
}

Series validation(const RunHistory& history, double EvalRecord::*field) {
  Series s = series_of(history.evals, "validation", kValidation,
                       [&](const EvalRecord& r) { return r.*field; });
  s.style = Series::Style::kMarked;
  return thinned(s);
}

}  // namespace

namespace {

// What a rollback undid, as it was recorded there: each stretch a series of its own.
void add_undone(LineChart& chart, const RunHistory& history, const char* field) {
  for (const EventRecord& e : history.events) {
    const auto values = e.fields.find(field);
    if (e.event != "rollback" || values == e.fields.end() || !values->is_array()) continue;
    Series undone;
    undone.name = "undone";
    undone.color = kFourth;
    undone.style = Series::Style::kFaint;
    for (const Json& value : *values) {
      undone.x.push_back(static_cast<double>(e.step) + 1.0 + static_cast<double>(undone.x.size()));
      undone.y.push_back(number_of(value, std::nan("")));
    }
    if (!undone.x.empty()) chart.series.push_back(thinned(undone));
  }
}

}  // namespace

LineChart cross_entropy_chart(const RunHistory& history) {
  LineChart chart;
  chart.label = "Cross-entropy of training and validation by step";
  chart.log_y = true;  // else the first steps leave no room for all that follows
  add_noisy(chart,
            series_of(history.steps, "train", kTrain, [](const StepRecord& r) { return r.ce; }));
  if (!history.evals.empty()) chart.series.push_back(validation(history, &EvalRecord::loss));
  add_undone(chart, history, "undone_ce");
  return chart;
}

bool has_answers(const RunHistory& history) {
  return !history.evals.empty() && history.evals.back().answers > 0;
}

LineChart bits_per_byte_chart(const RunHistory& history) {
  LineChart chart;
  chart.label = "Validation bits per byte by step";
  if (!history.evals.empty() && !has_answers(history)) {
    chart.series.push_back(validation(history, &EvalRecord::bits_per_byte));
  }
  return chart;
}

LineChart answer_accuracy_chart(const RunHistory& history) {
  LineChart chart;
  chart.label = "Share of held-out answer tokens predicted right by step";
  chart.y_format = "share";
  if (has_answers(history)) {
    chart.series.push_back(validation(history, &EvalRecord::answer_accuracy));
  }
  return chart;
}

LineChart loss_parts_chart(const RunHistory& history) {
  LineChart chart;
  chart.label = "Weighted parts of the training loss by step";
  chart.log_y = true;
  struct Part {
    const char* name;
    double StepRecord::*field;
  };
  int color = 0;
  for (const Part part :
       {Part{"cross-entropy", &StepRecord::ce}, Part{"MTP", &StepRecord::mtp},
        Part{"balance", &StepRecord::balance}, Part{"index KL", &StepRecord::index_kl}}) {
    const Series s = series_of(history.steps, part.name, color++,
                               [&](const StepRecord& r) { return r.*part.field; });
    if (says_something(s)) chart.series.push_back(thinned(smoothed(s)));
  }
  return chart;
}

LineChart grad_norm_chart(const RunHistory& history) {
  LineChart chart;
  chart.label = "Gradient norm before clipping by step";
  const Series s =
      series_of(history.steps, "norm", kTrain, [](const StepRecord& r) { return r.grad_norm; });
  chart.log_y = spans_decades(s);
  add_noisy(chart, s);
  add_undone(chart, history, "undone_grad_norm");
  return chart;
}

LineChart lr_chart(const RunHistory& history) {
  LineChart chart;
  chart.label = "Learning rate by step";
  const Series s =
      series_of(history.steps, "rate", kTrain, [](const StepRecord& r) { return r.lr; });
  if (!s.x.empty()) chart.series.push_back(thinned(s));
  return chart;
}

LineChart throughput_chart(const RunHistory& history) {
  LineChart chart;
  chart.label = "Tokens per second by step";
  add_noisy(chart, series_of(history.steps, "tokens/s", kThird,
                             [](const StepRecord& r) { return r.tokens_per_second; }));
  return chart;
}

LineChart peak_share_chart(const RunHistory& history) {
  LineChart chart;
  chart.label = "Share of the machine's peak by step";
  chart.y_format = "share";
  const Series s = series_of(history.steps, "of peak", kThird,
                             [](const StepRecord& r) { return r.matmul_peak_share; });
  if (says_something(s)) add_noisy(chart, s);
  return chart;
}

LineChart clamp_chart(const RunHistory& history) {
  LineChart chart;
  chart.label = "Share of SwiGLU inputs beyond the clamp by step";
  chart.y_format = "share";
  struct Counter {
    const char* name;
    std::int64_t ClampCounts::*field;
  };
  int color = 0;
  for (const Counter c :
       {Counter{"gate high", &ClampCounts::gate_high}, Counter{"up high", &ClampCounts::up_high},
        Counter{"up low", &ClampCounts::up_low}}) {
    const Series s = series_of(history.steps, c.name, color++, [&](const StepRecord& r) {
      return r.clamp.share(r.clamp.*c.field);
    });
    if (says_something(s)) add_noisy(chart, s);
  }
  return chart;
}

std::vector<LayerLoads> loads_by_layer(const RunHistory& history) {
  std::map<std::int64_t, LayerLoads> layers;
  for (const LayerRecord& r : history.layers) {
    if (r.expert_load.empty()) continue;
    LayerLoads& layer = layers[r.layer];
    layer.records.push_back(r);
  }
  std::vector<LayerLoads> out;
  for (auto& [index, layer] : layers) {
    if (index == LayerRecord::kMtp) continue;
    layer.name = "Layer " + std::to_string(index);
    out.push_back(std::move(layer));
  }
  if (const auto mtp = layers.find(LayerRecord::kMtp); mtp != layers.end()) {
    mtp->second.name = "MTP";
    out.push_back(std::move(mtp->second));
  }
  return out;
}

LineChart imbalance_chart(const RunHistory& history) {
  LineChart chart;
  chart.label = "Load of the busiest expert relative to an even share by step";
  const std::vector<LayerLoads> layers = loads_by_layer(history);
  if (layers.size() <= 8) {
    int color = 0;
    for (const LayerLoads& layer : layers) {
      chart.series.push_back(
          thinned(smoothed(series_of(layer.records, layer.name, color++, imbalance))));
    }
    return chart;
  }
  std::map<std::int64_t, std::vector<double>> by_step;
  for (const LayerLoads& layer : layers) {
    for (const LayerRecord& r : layer.records) by_step[r.step].push_back(imbalance(r));
  }
  Series worst{"worst layer", {}, {}, Series::Style::kLine, 1}, mean{"mean of layers", {}, {}};
  for (const auto& [step, loads] : by_step) {
    worst.x.push_back(static_cast<double>(step));
    mean.x.push_back(static_cast<double>(step));
    worst.y.push_back(*std::max_element(loads.begin(), loads.end()));
    mean.y.push_back(std::accumulate(loads.begin(), loads.end(), 0.0) /
                     static_cast<double>(loads.size()));
  }
  chart.series = {thinned(smoothed(mean)), thinned(smoothed(worst))};
  return chart;
}

std::vector<LineChart::Mark> event_marks(const RunHistory& history) {
  std::vector<LineChart::Mark> marks;
  for (const EventRecord& e : history.events) {
    if (e.event == "fork") marks.push_back({static_cast<double>(e.step), "fork"});
    const bool answered = e.event == "rollback";
    if (e.event != "spike" && !answered) continue;
    const auto at = e.fields.find("attempted_step");
    const double step = at == e.fields.end() ? std::nan("") : number_of(*at, std::nan(""));
    if (!std::isfinite(step)) continue;
    if (answered && !marks.empty() && marks.back().x == step) marks.pop_back();  // of its spike
    marks.push_back({step, e.event});
  }
  return marks;
}

namespace {

// A curve for every layer that has the number.
LineChart by_layer(const RunHistory& history, const char* label, double LayerRecord::*field) {
  LineChart chart;
  chart.label = label;
  std::map<std::int64_t, std::vector<LayerRecord>> layers;
  for (const LayerRecord& r : history.layers) {
    if (!std::isnan(r.*field)) layers[r.layer].push_back(r);
  }
  int color = 0;
  for (const auto& [layer, records] : layers) {
    const std::string name =
        layer == LayerRecord::kMtp ? std::string("MTP") : "Layer " + std::to_string(layer);
    const auto value = [field](const LayerRecord& r) { return r.*field; };
    chart.series.push_back(thinned(smoothed(series_of(records, name, color++, value))));
  }
  return chart;
}

}  // namespace

LineChart indexer_chart(const RunHistory& history) {
  LineChart chart = by_layer(history, "Share of attention that each indexer has captured by step",
                             &LayerRecord::index_captured);
  chart.y_format = "share";
  return chart;
}

LineChart index_recall_chart(const RunHistory& history) {
  LineChart chart =
      by_layer(history, "Share of FP4's chosen entries that unrounded scores choose too by step",
               &LayerRecord::index_recall);
  chart.y_format = "share";
  return chart;
}

LineChart fp4_distance_chart(const RunHistory& history) {
  return by_layer(history, "Distance of FP4 experts from their weights, relative, by step",
                  &LayerRecord::fp4_distance);
}

LineChart fp4_zeros_chart(const RunHistory& history) {
  LineChart chart = by_layer(history, "Share of expert weights that FP4 rounds to zero by step",
                             &LayerRecord::fp4_zeros);
  chart.y_format = "share";
  return chart;
}

namespace {

// A curve for every group that has the number.
LineChart by_group(const RunHistory& history, const char* label, double GroupRecord::*field) {
  LineChart chart;
  chart.label = label;
  std::map<std::string, std::vector<GroupRecord>> groups;
  for (const GroupRecord& r : history.groups) {
    if (!std::isnan(r.*field)) groups[r.group].push_back(r);
  }
  int color = 0;
  for (const auto& [group, records] : groups) {
    const auto value = [field](const GroupRecord& r) { return r.*field; };
    chart.series.push_back(thinned(smoothed(series_of(records, group, color++, value))));
  }
  return chart;
}

}  // namespace

std::vector<NamedChart> health_charts(const RunHistory& history) {
  using L = LayerRecord;
  using G = GroupRecord;
  const auto layer = [&](const char* label, double L::*field) {
    LineChart chart = by_layer(history, label, field);
    std::erase_if(chart.series, [](const Series& s) { return !says_something(s); });
    return chart;
  };
  const auto share = [&](const char* label, double L::*field) {
    LineChart chart = layer(label, field);
    chart.y_format = "share";
    return chart;
  };
  // Where the curves of one chart, or a single one, lie powers of ten apart.
  const auto wide = [](LineChart chart) {
    Series all;
    for (const Series& s : chart.series) all.y.insert(all.y.end(), s.y.begin(), s.y.end());
    chart.log_y = spans_decades(all);
    return chart;
  };
  std::vector<NamedChart> charts = {
      {"Gain forward", "what mixing can enlarge from a layer to the end",
       wide(layer("Composite gain of the residual mixing, forward, by step", &L::gain_forward))},
      {"Gain backward", "likewise, of a gradient",
       wide(layer("Composite gain of the residual mixing, backward, by step", &L::gain_backward))},
      {"Least gain backward", "the stream that learns least",
       layer("Smallest column sum of the composite mixing by step", &L::gain_backward_least)},
      {"Streams", "root mean square behind each layer",
       wide(layer("Root mean square of the streams behind each layer by step", &L::stream_rms))},
      {"Attention to the sink", "share of its probability",
       share("Share of attention that goes to the sink by step", &L::attention_sink)},
      {"Attention to the window", "share of its probability",
       share("Share of attention that goes to the window by step", &L::attention_window)},
      {"Attention to entries", "share of its probability",
       share("Share of attention that goes to compressed entries by step", &L::attention_entries)},
      {"Attention logits", "the largest, in absolute value",
       layer("Largest attention logit by step", &L::attention_logit_max)},
      {"Router logits", "the largest, in absolute value",
       layer("Largest router logit by step", &L::router_logit_max)},
      {"Router entropy", "of its scores; 1 has no preference",
       share("Entropy of the routers' scores by step", &L::router_entropy)},
      {"Load variation", "standard deviation of the experts' loads / their mean",
       layer("Coefficient of variation of the experts' loads by step", &L::load_cv)},
      {"Gradient norm by group", "before clipping",
       wide(by_group(history, "Gradient norm of each group by step", &G::grad_norm))},
      {"Update ratio", "norm of the update / norm of the weights",
       wide(by_group(history, "Update of each group against its weights by step",
                     &G::update_ratio))},
      {"Weights", "root mean square",
       wide(by_group(history, "Root mean square of each group's weights by step", &G::weight_rms))},
      {"Momentum rank", "effective rank of Muon's momentum",
       by_group(history, "Effective rank of Muon's momentum by step", &G::momentum_rank)},
      {"MTP taken", "its likeliest tokens that the main head confirms",
       share("Share of MTP's likeliest tokens that the main head confirms by step",
             &L::mtp_taken)}};
  std::erase_if(charts, [](const NamedChart& c) { return c.chart.series.empty(); });
  return charts;
}

LineChart learning_curve(const RunHistory& history) {
  LineChart chart;
  chart.label = "Bits per byte of training and validation by step";
  chart.log_y = true;
  double ratio = 0.0;  // bits per byte of one nat per token
  for (const EvalRecord& e : history.evals) {
    if (std::isfinite(e.loss) && e.loss > 0.0 && std::isfinite(e.bits_per_byte)) {
      ratio = e.bits_per_byte / e.loss;
    }
  }
  if (ratio > 0.0) {
    add_noisy(chart, series_of(history.steps, "train", kTrain,
                               [&](const StepRecord& r) { return r.ce * ratio; }));
    chart.series.push_back(validation(history, &EvalRecord::bits_per_byte));
  }
  return chart;
}

}  // namespace shoal
