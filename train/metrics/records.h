#pragma once
#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shoal {

// The lines of metrics.jsonl. Everything but `*_seconds`, `*_per_second`, `*_share` and `time` has
// the same bits for any thread count, world size and resume (events may differ). Floats are
// widened to double, which is exact, and printed so that they read back to the same bits.
using Json = nlohmann::ordered_json;  // fields come out in the order they were put in

// How many inputs of the clamped SwiGLU lay beyond its limit, of `clamp_inputs` pairs (gate, up).
struct ClampCounts {
  std::int64_t gate_high = 0, up_high = 0, up_low = 0;
  std::int64_t clamp_inputs = 0;
  double gate_max = 0, up_max = 0;  // the largest |gate| and |up| before the clamp
  // Shares of the pairs, 0 where nothing was counted.
  double share(std::int64_t count) const {
    return clamp_inputs > 0 ? static_cast<double>(count) / static_cast<double>(clamp_inputs) : 0.0;
  }
};

struct StepRecord {
  std::int64_t step = 0;    // 1-based: the number of updates done
  std::int64_t tokens = 0;  // seen so far
  double loss = 0;          // ce + mtp + balance + index_kl, nats per target
  double ce = 0, mtp = 0, balance = 0, index_kl = 0;  // weighted
  double lr = 0, grad_norm = 0;
  ClampCounts clamp;  // of all layers
  double step_seconds = 0, tokens_per_second = 0, matmul_peak_share = 0;
  double time = 0;  // seconds since 1970
};

// Of one of several sources of a validation.
struct SourceScore {
  std::string source;  // its name
  double loss = 0, bits_per_byte = 0;
  std::int64_t tokens = 0, bytes = 0;
};

struct EvalRecord {
  std::int64_t step = 0;
  double loss = 0;                     // mean cross-entropy per counted token, nats
  double bits_per_byte = 0;            // summed cross-entropy / ln 2 / bytes; null of a task
  std::int64_t tokens = 0, bytes = 0;  // counted tokens; bytes of text behind them
  // Share of a task's answer tokens that are the likeliest one; both absent where nothing is asked.
  double answer_accuracy = 0;
  std::int64_t answers = 0;
  std::vector<SourceScore> sources = {};  // where there are several; they add up to the whole
  double eval_seconds = 0;
  double time = 0;
};

struct LayerRecord {
  static constexpr std::int64_t kMtp = -1;
  std::int64_t step = 0;
  std::int64_t layer = 0;                 // 0-based, or kMtp, which is printed as "mtp"
  std::vector<std::int64_t> expert_load;  // tokens of the step that each routed expert got
  ClampCounts clamp;
  double bias_low = 0, bias_high = 0;  // range of the router's balancing bias
  // Of a CSA layer whose indexer learns: its loss, nats per row that is no padding, without the
  // weight (a step's index_kl is the sum over the layers, weighted); and the
  // share of the teacher that it has captured, 1 - loss / loss of a uniform guess. NaN elsewhere.
  double index_kl = std::numeric_limits<double>::quiet_NaN();
  double index_captured = std::numeric_limits<double>::quiet_NaN();
  // While FP4 rounds its indexer: share of the entries chosen that unrounded scores choose too.
  double index_recall = std::numeric_limits<double>::quiet_NaN();
  // While FP4 rounds its routed experts. NaN elsewhere.
  double fp4_zeros = std::numeric_limits<double>::quiet_NaN();     // share that rounds to zero
  double fp4_distance = std::numeric_limits<double>::quiet_NaN();  // |rounded - own| / |own|
  std::int64_t fp4_least_scale = 0, fp4_most_scale = 0;            // log2
  // Of expert_load; NaN of a dense layer.
  double load_cv = std::numeric_limits<double>::quiet_NaN();
  std::int64_t idle_experts = 0;
  // What one sequence says after the update: see fields.cpp and stability/health.h. NaN where the
  // layer has none of it.
  double stream_rms = std::numeric_limits<double>::quiet_NaN();
  double stream_max = std::numeric_limits<double>::quiet_NaN();
  double gain_forward = std::numeric_limits<double>::quiet_NaN();
  double gain_backward = std::numeric_limits<double>::quiet_NaN();
  double gain_backward_least = std::numeric_limits<double>::quiet_NaN();
  double attention_sink = std::numeric_limits<double>::quiet_NaN();
  double attention_window = std::numeric_limits<double>::quiet_NaN();
  double attention_entries = std::numeric_limits<double>::quiet_NaN();
  double attention_logit_max = std::numeric_limits<double>::quiet_NaN();
  double router_logit_max = std::numeric_limits<double>::quiet_NaN();
  double router_entropy = std::numeric_limits<double>::quiet_NaN();
  double mtp_taken = std::numeric_limits<double>::quiet_NaN();
};

// A group of parameters at one update.
struct GroupRecord {
  std::int64_t step = 0;
  std::string group;  // "embed", "attention" ...: see stability/group_health.h
  double grad_norm = 0, weight_rms = 0, update_ratio = 0;
  double momentum_rank = std::numeric_limits<double>::quiet_NaN();  // NaN: none of it is Muon's
};

struct EventRecord;  // train/metrics/event_record.h

// Load of the busiest expert relative to an even share; 1 where nobody was routed.
double imbalance(const LayerRecord& record);

// Numbers that JSON lacks become the strings "nan", "inf" and "-inf".
Json json_number(double value);
// The way back; `missing` for anything that is no number.
double number_of(const Json& value, double missing);

Json json_of(const StepRecord& record);
Json json_of(const EvalRecord& record);
Json json_of(const LayerRecord& record);
Json json_of(const GroupRecord& record);
Json json_of(const EventRecord& record);

// One line without its newline. Bytes that are no UTF-8 become U+FFFD.
std::string line_of(const Json& object);

// Nothing where `kind` differs or `step` is not a count. Fields that are missing or mistyped are
// NaN or 0, so a line of an older or newer program can still be read.
std::optional<StepRecord> step_of(const Json& object);
std::optional<EvalRecord> eval_of(const Json& object);
std::optional<LayerRecord> layer_of(const Json& object);
std::optional<GroupRecord> group_of(const Json& object);
std::optional<EventRecord> event_of(const Json& object);

// The object in a line; nothing if it is broken (a last line cut off by a crash) or nested deeper
// than any of ours.
std::optional<Json> parse_line(std::string_view line);

}  // namespace shoal
