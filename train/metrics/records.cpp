#include "train/metrics/records.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "autograd/base/check.h"
#include "train/metrics/event_record.h"

namespace shoal {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::int64_t kLastStep = std::int64_t{1} << 53;  // charts count in doubles
// Copying and printing JSON recurses; a line from a stranger must not use up the stack.
constexpr int kDeepest = 32;

// Each list of fields is walked by the writer and by the reader, so the two cannot disagree.
template <class Clamp, class Visit>
void visit_clamp(Clamp& c, const Visit& visit) {
  visit("gate_high", c.gate_high);
  visit("up_high", c.up_high);
  visit("up_low", c.up_low);
  visit("clamp_inputs", c.clamp_inputs);
}

template <class Visit, class Record>
void visit_step(Record& r, const Visit& visit) {
  visit("tokens", r.tokens);
  visit("loss", r.loss);
  visit("ce", r.ce);
  visit("mtp", r.mtp);
  visit("balance", r.balance);
  visit("index_kl", r.index_kl);
  visit("lr", r.lr);
  visit("grad_norm", r.grad_norm);
  visit_clamp(r.clamp, visit);
  visit("step_seconds", r.step_seconds);
  visit("tokens_per_second", r.tokens_per_second);
  visit("matmul_peak_share", r.matmul_peak_share);
  visit("time", r.time);
}

template <class Visit, class Record>
void visit_eval(Record& r, const Visit& visit) {
  visit("loss", r.loss);
  visit("bits_per_byte", r.bits_per_byte);
  visit("tokens", r.tokens);
  visit("bytes", r.bytes);
  visit("answer_accuracy", r.answer_accuracy);
  visit("answers", r.answers);
  visit("eval_seconds", r.eval_seconds);
  visit("time", r.time);
}

template <class Visit, class Score>
void visit_source(Score& s, const Visit& visit) {
  visit("loss", s.loss);
  visit("bits_per_byte", s.bits_per_byte);
  visit("tokens", s.tokens);
  visit("bytes", s.bytes);
}

template <class Visit, class Record>
void visit_layer(Record& r, const Visit& visit) {
  visit_clamp(r.clamp, visit);
  visit("bias_low", r.bias_low);
  visit("bias_high", r.bias_high);
}

template <class Visit, class Record>
void visit_index(Record& r, const Visit& visit) {
  visit("index_kl", r.index_kl);
  visit("index_captured", r.index_captured);
}

struct Writer {
  Json& out;
  void operator()(const char* name, std::int64_t value) const { out[name] = value; }
  void operator()(const char* name, double value) const { out[name] = json_number(value); }
};

std::optional<std::int64_t> integer_of(const Json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
    return std::nullopt;
  }
  return value.get<std::int64_t>();
}

struct Reader {
  const Json& in;
  void operator()(const char* name, std::int64_t& value) const {
    const auto at = in.find(name);
    value = at == in.end() ? 0 : integer_of(*at).value_or(0);
  }
  void operator()(const char* name, double& value) const {
    const auto at = in.find(name);
    value = at == in.end() ? kNaN : number_of(*at, kNaN);
  }
};

Json begin_object(const char* kind, std::int64_t step) {
  Json out = Json::object();
  out["kind"] = kind;
  out["step"] = step;
  return out;
}

std::optional<std::int64_t> step_of_kind(const Json& object, std::string_view kind) {
  if (!object.is_object()) return std::nullopt;
  const auto k = object.find("kind");
  const auto s = object.find("step");
  if (k == object.end() || s == object.end() || !k->is_string()) return std::nullopt;
  if (k->get_ref<const std::string&>() != kind) return std::nullopt;
  const std::optional<std::int64_t> step = integer_of(*s);
  if (!step || *step < 0 || *step > kLastStep) return std::nullopt;
  return step;
}

int depth_of(std::string_view line) {
  int depth = 0, deepest = 0;
  bool in_text = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (in_text && c == '\\') {
      ++i;  // the next character is no quote that ends the text
    } else if (c == '"') {
      in_text = !in_text;
    } else if (!in_text && (c == '[' || c == '{')) {
      deepest = std::max(deepest, ++depth);
    } else if (!in_text && (c == ']' || c == '}')) {
      --depth;
    }
  }
  return deepest;
}

}  // namespace

Json json_number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

double number_of(const Json& value, double missing) {
  if (value.is_number()) return value.get<double>();
  if (!value.is_string()) return missing;
  const std::string& text = value.get_ref<const std::string&>();
  if (text == "nan") return kNaN;
  if (text == "inf") return std::numeric_limits<double>::infinity();
  if (text == "-inf") return -std::numeric_limits<double>::infinity();
  return missing;
}

Json json_of(const StepRecord& record) {
  Json out = begin_object("step", record.step);
  visit_step(record, Writer{out});
  return out;
}

Json json_of(const EvalRecord& record) {
  Json out = begin_object("eval", record.step);
  visit_eval(record, Writer{out});
  if (record.answers > 0) {
    out["bits_per_byte"] = nullptr;
  } else {
    out.erase("answer_accuracy");
    out.erase("answers");
  }
  for (const SourceScore& score : record.sources) {
    Json one = {{"source", score.source}};
    visit_source(score, Writer{one});
    out["sources"].push_back(std::move(one));
  }
  return out;
}

Json json_of(const LayerRecord& record) {
  Json out = begin_object("layer", record.step);
  if (record.layer == LayerRecord::kMtp) {
    out["layer"] = "mtp";
  } else {
    out["layer"] = record.layer;
  }
  out["expert_load"] = record.expert_load;
  visit_layer(record, Writer{out});
  if (!std::isnan(record.index_kl)) visit_index(record, Writer{out});
  return out;
}

Json json_of(const EventRecord& record) {
  Json out = begin_object("event", record.step);
  out["event"] = record.event;
  CHECK(record.fields.is_object(), "event ", record.event, ": fields must be an object");
  for (const auto& [name, value] : record.fields.items()) {
    CHECK(name != "kind" && name != "step" && name != "event" && name != "time", "event ",
          record.event, ": the field name ", name, " is taken");
    out[name] = value.is_number_float() ? json_number(value.get<double>()) : value;
  }
  out["time"] = json_number(record.time);
  return out;
}

std::string line_of(const Json& object) {
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<StepRecord> step_of(const Json& object) {
  const auto step = step_of_kind(object, "step");
  if (!step) return std::nullopt;
  StepRecord record;
  record.step = *step;
  visit_step(record, Reader{object});
  return record;
}

std::optional<EvalRecord> eval_of(const Json& object) {
  const auto step = step_of_kind(object, "eval");
  if (!step) return std::nullopt;
  EvalRecord record;
  record.step = *step;
  visit_eval(record, Reader{object});
  if (const auto sources = object.find("sources"); sources != object.end() && sources->is_array()) {
    for (const Json& one : *sources) {
      const auto name = one.is_object() ? one.find("source") : one.end();
      if (!one.is_object() || name == one.end() || !name->is_string()) continue;
      SourceScore score;
      score.source = name->get<std::string>();
      visit_source(score, Reader{one});
      record.sources.push_back(std::move(score));
    }
  }
  return record;
}

std::optional<LayerRecord> layer_of(const Json& object) {
  const auto step = step_of_kind(object, "layer");
  if (!step) return std::nullopt;
  LayerRecord record;
  record.step = *step;
  const auto layer = object.find("layer");
  if (layer == object.end()) return std::nullopt;
  if (*layer == "mtp") {
    record.layer = LayerRecord::kMtp;
  } else {
    const auto index = integer_of(*layer);
    if (!index || *index < 0) return std::nullopt;
    record.layer = *index;
  }
  if (const auto load = object.find("expert_load"); load != object.end() && load->is_array()) {
    for (const Json& count : *load) record.expert_load.push_back(integer_of(count).value_or(0));
  }
  visit_layer(record, Reader{object});
  visit_index(record, Reader{object});
  return record;
}

std::optional<EventRecord> event_of(const Json& object) {
  const auto step = step_of_kind(object, "event");
  if (!step) return std::nullopt;
  const auto event = object.find("event");
  if (event == object.end() || !event->is_string()) return std::nullopt;
  EventRecord record;
  record.step = *step;
  record.event = event->get<std::string>();
  for (const auto& [name, value] : object.items()) {
    if (name == "time") {
      record.time = number_of(value, 0.0);
    } else if (name != "kind" && name != "step" && name != "event") {
      record.fields[name] = value;
    }
  }
  return record;
}

std::optional<Json> parse_line(std::string_view line) {
  if (depth_of(line) > kDeepest) return std::nullopt;
  Json object = Json::parse(line, nullptr, false);
  if (object.is_discarded() || !object.is_object()) return std::nullopt;
  return object;
}

}  // namespace shoal
