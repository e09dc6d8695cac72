#include "train/metrics/tensorboard.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "autograd/base/check.h"
#include "train/metrics/event_record.h"
#include "train/metrics/fields.h"

namespace shoal {
namespace {

constexpr std::array<std::uint32_t, 256> kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0x82F63B78U : 0U);
    table[i] = crc;
  }
  return table;
}();

// A CRC stored beside its data is rotated and shifted by a constant, so that the CRC of bytes that
// hold CRCs stays useful.
std::uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xA282EAD8U;
}

template <class Word>
void put_little_endian(std::string& out, Word word) {
  for (std::size_t i = 0; i < sizeof(Word); ++i) {
    out += static_cast<char>((word >> (8 * i)) & 0xFFU);
  }
}

// Protobuf's wire format: a key is (field << 3 | type), with type 0 varint, 1 eight bytes, 2 a
// length and bytes, 5 four bytes.
void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7FU) | 0x80U);
  out += static_cast<char>(value);
}
void put_key(std::string& out, std::uint32_t field, std::uint32_t type) {
  put_varint(out, field << 3U | type);
}
void put_integer(std::string& out, std::uint32_t field, std::int64_t value) {
  put_key(out, field, 0);
  put_varint(out, static_cast<std::uint64_t>(value));
}
void put_double(std::string& out, std::uint32_t field, double value) {
  put_key(out, field, 1);
  put_little_endian(out, std::bit_cast<std::uint64_t>(value));
}
void put_float(std::string& out, std::uint32_t field, float value) {
  put_key(out, field, 5);
  put_little_endian(out, std::bit_cast<std::uint32_t>(value));
}
void put_bytes(std::string& out, std::uint32_t field, std::string_view bytes) {
  put_key(out, field, 2);
  put_varint(out, bytes.size());
  out += bytes;
}

// message Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary
// = 5; SessionLog session_log = 7; }
std::string begin_event(double time, std::int64_t step) {
  std::string event;
  put_double(event, 1, time);
  put_integer(event, 2, step);
  return event;
}

std::string framed(std::string_view event) {
  std::string record;
  put_little_endian(record, std::uint64_t{event.size()});
  put_little_endian(record, masked_crc(record));
  record += event;
  put_little_endian(record, masked_crc(event));
  return record;
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "host";
  std::string clean;
  for (const char c : std::string_view(name.data())) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    clean += plain || c == '-' || c == '_' || c == '.' ? c : '_';
  }
  return clean.empty() ? "host" : clean;
}

std::unique_ptr<AppendFile> create_event_file(const std::string& folder) {
  make_folder(folder);
  const std::string stem = concat((std::filesystem::path(folder) / "events.out.tfevents.").string(),
                                  static_cast<std::int64_t>(now()), '.', host_name());
  // Two starts within a second get two files.
  std::string path = stem;
  std::error_code ignored;
  const auto taken = [&] {
    return std::filesystem::exists(std::filesystem::symlink_status(path, ignored));
  };
  for (int i = 1; taken(); ++i) path = concat(stem, '.', i);
  return std::make_unique<AppendFile>(path, Write::kNew);
}

// What the table of a record's fields wants here: BOARD/FIELD_WHOSE.
template <class Record>
void add_fields(std::vector<TensorboardWriter::Scalar>& scalars,
                const std::vector<Field<Record>>& fields, const Record& record,
                const std::string& whose) {
  Record copy = record;
  for (const Field<Record>& field : fields) {
    if (field.board == nullptr || !field.is_there(record)) continue;
    const FieldPlace at = field.at(copy);
    const auto* whole = std::get_if<std::int64_t*>(&at);
    scalars.emplace_back(concat(field.board, '/', field.name, '_', whose),
                         whole != nullptr ? static_cast<double>(**whole) : *std::get<double*>(at));
  }
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = ~0U;
  for (const char c : bytes) {
    crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xFFU];
  }
  return ~crc;
}

TensorboardWriter::TensorboardWriter(const std::string& folder, std::int64_t last_step)
    : file_(create_event_file(folder)) {
  std::string version = begin_event(now(), 0);
  put_bytes(version, 3, "brain.Event:2");
  file_->append(framed(version));
  if (last_step > 0) rewind(last_step);
}

bool TensorboardWriter::rewind(std::int64_t last_step) {
  std::string start;  // message SessionLog { SessionStatus status = 1; }, START = 1
  put_integer(start, 1, 1);
  std::string event = begin_event(now(), last_step + 1);
  put_bytes(event, 7, start);
  return file_->append(framed(event));
}

bool TensorboardWriter::write(std::int64_t step, double time, const std::vector<Scalar>& scalars) {
  std::string summary;
  for (const auto& [tag, value] : scalars) {
    std::string entry;  // message Value { string tag = 1; float simple_value = 2; }
    put_bytes(entry, 1, tag);
    put_float(entry, 2, static_cast<float>(value));
    put_bytes(summary, 1, entry);
  }
  std::string event = begin_event(time, step);
  put_bytes(event, 5, summary);
  return file_->append(framed(event));
}

bool TensorboardWriter::write(const StepRecord& r) {
  return write(r.step, r.time,
               {{"train/loss", r.loss},
                {"train/ce", r.ce},
                {"train/mtp", r.mtp},
                {"train/balance", r.balance},
                {"train/index_kl", r.index_kl},
                {"optim/lr", r.lr},
                {"optim/grad_norm", r.grad_norm},
                {"speed/step_seconds", r.step_seconds},
                {"speed/tokens_per_second", r.tokens_per_second},
                {"speed/matmul_peak_share", r.matmul_peak_share},
                {"clamp/gate_high", r.clamp.share(r.clamp.gate_high)},
                {"clamp/up_high", r.clamp.share(r.clamp.up_high)},
                {"clamp/up_low", r.clamp.share(r.clamp.up_low)},
                {"clamp/gate_max", r.clamp.gate_max},
                {"clamp/up_max", r.clamp.up_max}});
}

bool TensorboardWriter::write(const EvalRecord& r) {
  std::vector<Scalar> scalars = {{"validation/loss", r.loss}};
  if (r.answers > 0) {
    scalars.emplace_back("validation/answer_accuracy", r.answer_accuracy);
  } else {
    scalars.emplace_back("validation/bits_per_byte", r.bits_per_byte);
  }
  return write(r.step, r.time, scalars);
}

bool TensorboardWriter::write(const LayerRecord& r, double time) {
  const std::string layer = r.layer == LayerRecord::kMtp ? "mtp" : concat("layer_", r.layer);
  std::vector<Scalar> scalars;
  if (!r.expert_load.empty()) scalars.emplace_back("experts/imbalance_" + layer, imbalance(r));
  if (!std::isnan(r.index_captured)) {
    scalars.emplace_back("indexers/captured_" + layer, r.index_captured);
  }
  if (!std::isnan(r.index_recall)) scalars.emplace_back("fp4/recall_" + layer, r.index_recall);
  if (!std::isnan(r.fp4_zeros)) {
    scalars.emplace_back("fp4/zeros_" + layer, r.fp4_zeros);
    scalars.emplace_back("fp4/distance_" + layer, r.fp4_distance);
  }
  add_fields(scalars, layer_fields(), r, layer);
  return scalars.empty() || write(r.step, time, scalars);
}

bool TensorboardWriter::write(const GroupRecord& r, double time) {
  std::vector<Scalar> scalars;
  add_fields(scalars, group_fields(), r, r.group);
  return write(r.step, time, scalars);
}

bool TensorboardWriter::write(const EventRecord& r) {
  const auto text_of = [](const Json& value) {
    return value.is_string() ? value.get<std::string>() : line_of(value);
  };
  if (r.event == "sample" && r.fields.contains("prompt") && r.fields.contains("text")) {
    const std::string prompt = text_of(r.fields["prompt"]);
    return write_text(r.step, r.time, "sample/" + prompt, prompt + text_of(r.fields["text"]));
  }
  std::string text;
  for (const auto& [name, value] : r.fields.items()) text += name + ": " + text_of(value) + '\n';
  return write_text(r.step, r.time, "event/" + r.event, text);
}

// The text plugin takes a tensor of strings and shows it as markdown, where indented lines stay as
// they are.
bool TensorboardWriter::write_text(std::int64_t step, double time, const std::string& tag,
                                   const std::string& text) {
  std::string block = "    ";
  for (const char c : text) block += c == '\n' ? std::string("\n    ") : std::string(1, c);
  const auto utf8 = [](const std::string& bytes) {  // others become U+FFFD, as in metrics.jsonl
    return Json::parse(line_of(Json(bytes))).get<std::string>();
  };
  std::string size, shape, tensor;  // TensorShapeProto { Dim dim = 2; }, Dim { int64 size = 1; }
  put_integer(size, 1, 1);
  put_bytes(shape, 2, size);
  put_integer(tensor, 1, 7);          // TensorProto { DataType dtype = 1; }, DT_STRING = 7
  put_bytes(tensor, 2, shape);        // TensorShapeProto tensor_shape = 2
  put_bytes(tensor, 8, utf8(block));  // bytes string_val = 8
  std::string plugin, metadata;       // PluginData { string plugin_name = 1; }
  put_bytes(plugin, 1, "text");
  put_bytes(metadata, 1, plugin);  // SummaryMetadata { PluginData plugin_data = 1; }
  std::string entry, summary;      // Value { tag = 1; tensor = 8; metadata = 9; }
  put_bytes(entry, 1, utf8(tag));
  put_bytes(entry, 8, tensor);
  put_bytes(entry, 9, metadata);
  put_bytes(summary, 1, entry);
  std::string event = begin_event(time, step);
  put_bytes(event, 5, summary);
  return file_->append(framed(event));
}

}  // namespace shoal
