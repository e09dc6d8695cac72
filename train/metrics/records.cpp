#include "train/metrics/records.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <variant>

#include "autograd/base/check.h"
#include "train/metrics/event_record.h"
#include "train/metrics/fields.h"

namespace shoal {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::int64_t kLastStep = std::int64_t{1} << 53;  // charts count in doubles
// Copying and printing JSON recurses; a line from a stranger must not use up the stack.
constexpr int kDeepest = 32;

std::optional<std::int64_t> integer_of(const Json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
    return std::nullopt;
  }
  return value.get<std::int64_t>();
}

// Put into a line, and read from one. The tables name the fields for both, so that the two cannot
// disagree.
struct Writer {
  Json& out;
  void operator()(const std::int64_t* value) const { out = *value; }
  void operator()(const double* value) const { out = json_number(*value); }
  void operator()(const std::vector<std::int64_t>* values) const { out = *values; }
};

struct Reader {
  const Json* in;  // null: the line lacks it
  void operator()(std::int64_t* value) const {
    *value = in == nullptr ? 0 : integer_of(*in).value_or(0);
  }
  void operator()(double* value) const { *value = in == nullptr ? kNaN : number_of(*in, kNaN); }
  void operator()(std::vector<std::int64_t>* values) const {
    values->clear();
    if (in == nullptr || !in->is_array()) return;
    for (const Json& value : *in) values->push_back(integer_of(value).value_or(0));
  }
};

// Of one source of an evaluation, for writing and for reading.
template <class Visit, class Score>
void visit_source(Score& s, const Visit& visit) {
  visit("loss", s.loss);
  visit("bits_per_byte", s.bits_per_byte);
  visit("tokens", s.tokens);
  visit("bytes", s.bytes);
}

template <class Record>
void write_fields(const std::vector<Field<Record>>& fields, const Record& record, Json& out) {
  Record copy = record;  // a place is where one can also read into
  for (const Field<Record>& field : fields) {
    if (field.at == nullptr || (field.is_there != nullptr && !field.is_there(record))) continue;
    std::visit(Writer{out[field.name]}, field.at(copy));
  }
}

template <class Record>
void read_fields(const std::vector<Field<Record>>& fields, const Json& in, Record& record) {
  for (const Field<Record>& field : fields) {
    if (field.at == nullptr) continue;
    const auto at = in.find(field.name);
    std::visit(Reader{at == in.end() ? nullptr : &*at}, field.at(record));
  }
}

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

double imbalance(const LayerRecord& r) {
  const double total = std::accumulate(r.expert_load.begin(), r.expert_load.end(), 0.0);
  if (!(total > 0.0)) return 1.0;
  const auto most =
      static_cast<double>(*std::max_element(r.expert_load.begin(), r.expert_load.end()));
  return most * static_cast<double>(r.expert_load.size()) / total;
}

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
  write_fields(step_fields(), record, out);
  return out;
}

Json json_of(const EvalRecord& record) {
  Json out = begin_object("eval", record.step);
  write_fields(eval_fields(), record, out);
  if (record.answers > 0) out["bits_per_byte"] = nullptr;
  for (const SourceScore& score : record.sources) {
    Json one = {{"source", score.source}};
    visit_source(score, [&](const char* name, auto& value) { Writer{one[name]}(&value); });
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
  write_fields(layer_fields(), record, out);
  return out;
}

Json json_of(const GroupRecord& record) {
  Json out = begin_object("group", record.step);
  out["group"] = record.group;
  write_fields(group_fields(), record, out);
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
  read_fields(step_fields(), object, record);
  return record;
}

std::optional<EvalRecord> eval_of(const Json& object) {
  const auto step = step_of_kind(object, "eval");
  if (!step) return std::nullopt;
  EvalRecord record;
  record.step = *step;
  read_fields(eval_fields(), object, record);
  if (const auto sources = object.find("sources"); sources != object.end() && sources->is_array()) {
    for (const Json& one : *sources) {
      const auto name = one.is_object() ? one.find("source") : one.end();
      if (!one.is_object() || name == one.end() || !name->is_string()) continue;
      SourceScore score;
      score.source = name->get<std::string>();
      visit_source(score, [&](const char* field, auto& value) {
        const auto at = one.find(field);
        Reader{at == one.end() ? nullptr : &*at}(&value);
      });
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
  read_fields(layer_fields(), object, record);
  return record;
}

std::optional<GroupRecord> group_of(const Json& object) {
  const auto step = step_of_kind(object, "group");
  if (!step) return std::nullopt;
  const auto group = object.find("group");
  if (group == object.end() || !group->is_string()) return std::nullopt;
  GroupRecord record;
  record.step = *step;
  record.group = group->get<std::string>();
  read_fields(group_fields(), object, record);
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
