#include "train/metrics/fields.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>

#include "autograd/base/check.h"

namespace shoal {
namespace {

constexpr const char* kClock = "seconds since 1970";

template <class Record>
std::vector<Field<Record>> begin_fields(const char* step) {
  return {{"step", "steps", step, nullptr}};
}

template <class Record>
void append(std::vector<Field<Record>>& fields, std::initializer_list<Field<Record>> more) {
  for (const Field<Record>& field : more) fields.push_back(field);
}

template <class Record>
void add_clamp(std::vector<Field<Record>>& fields) {
  append<Record>(fields,
                 {{"gate_high", "inputs",
                   "gates above `model.swiglu_limit`; where that is 0: above 10, V4's limit",
                   [](Record& r) -> FieldPlace { return &r.clamp.gate_high; }},
                  {"up_high", "inputs", "up-projections above it",
                   [](Record& r) -> FieldPlace { return &r.clamp.up_high; }},
                  {"up_low", "inputs", "up-projections below its negative",
                   [](Record& r) -> FieldPlace { return &r.clamp.up_low; }},
                  {"clamp_inputs", "pairs", "pairs (gate, up) that were looked at",
                   [](Record& r) -> FieldPlace { return &r.clamp.clamp_inputs; }},
                  {"gate_max", "", "the largest gate, in absolute value, before the clamp",
                   [](Record& r) -> FieldPlace { return &r.clamp.gate_max; }},
                  {"up_max", "", "the largest up-projection likewise",
                   [](Record& r) -> FieldPlace { return &r.clamp.up_max; }}});
}

// A number of a run's health: it is there unless it is NaN, and TensorBoard gets it too.
template <auto member, class Record>
Field<Record> health(const char* name, const char* unit, const char* meaning) {
  return {name,
          unit,
          meaning,
          [](Record& r) -> FieldPlace { return &(r.*member); },
          [](const Record& r) { return !std::isnan(r.*member); },
          "health"};
}

bool has_task(const EvalRecord& r) { return r.answers > 0; }

bool has_experts(const LayerRecord& r) { return !r.expert_load.empty(); }
bool learns_to_index(const LayerRecord& r) { return !std::isnan(r.index_kl); }
bool rounds_index(const LayerRecord& r) { return !std::isnan(r.index_recall); }
bool rounds_experts(const LayerRecord& r) { return !std::isnan(r.fp4_zeros); }

std::vector<Field<StepRecord>> make_step_fields() {
  using R = StepRecord;
  std::vector<Field<R>> fields = begin_fields<R>("updates done, this one included: 1, 2, 3 ...");
  append<R>(
      fields,
      {{"tokens", "tokens", "positions processed so far, padding included",
        [](R& r) -> FieldPlace { return &r.tokens; }},
       {"loss", "nats per target", "what is minimised: `ce + mtp + balance + index_kl`",
        [](R& r) -> FieldPlace { return &r.loss; }},
       {"ce", "nats per target", "mean cross-entropy of the next token",
        [](R& r) -> FieldPlace { return &r.ce; }},
       {"mtp", "nats per target",
        "cross-entropy of the token after next, times `loss.mtp` or `loss.mtp_late`",
        [](R& r) -> FieldPlace { return &r.mtp; }},
       {"balance", "per sequence", "the routers' balance loss of all layers, times `loss.balance`",
        [](R& r) -> FieldPlace { return &r.balance; }},
       {"index_kl", "nats per position",
        "the indexers' loss of all CSA layers, times `loss.index_kl`; padding counts not",
        [](R& r) -> FieldPlace { return &r.index_kl; }},
       {"lr", "", "learning rate of this update", [](R& r) -> FieldPlace { return &r.lr; }},
       {"grad_norm", "", "Euclidean norm of the whole gradient, before clipping",
        [](R& r) -> FieldPlace { return &r.grad_norm; }}});
  add_clamp(fields);
  append<R>(fields,
            {{"step_seconds", "seconds", "time of the step, update included",
              [](R& r) -> FieldPlace { return &r.step_seconds; }},
             {"tokens_per_second", "tokens per second", "positions of the step / `step_seconds`",
              [](R& r) -> FieldPlace { return &r.tokens_per_second; }},
             {"matmul_peak_share", "share of 1",
              "FLOPs of the products that the formulas need, forward and backward / "
              "`step_seconds` / peak, where `peak_gflops` of `start` is the peak",
              [](R& r) -> FieldPlace { return &r.matmul_peak_share; }},
             {"time", kClock, "the end of the step", [](R& r) -> FieldPlace { return &r.time; }}});
  return fields;
}

std::vector<Field<EvalRecord>> make_eval_fields() {
  using R = EvalRecord;
  std::vector<Field<R>> fields = begin_fields<R>("updates done before it");
  append<R>(fields,
            {{"loss", "nats per token", "mean cross-entropy of the counted tokens",
              [](R& r) -> FieldPlace { return &r.loss; }},
             {"bits_per_byte", "bits per byte",
              "summed cross-entropy / ln 2 / `bytes`; null where a task is validated",
              [](R& r) -> FieldPlace { return &r.bits_per_byte; }},
             {"tokens", "tokens", "counted tokens", [](R& r) -> FieldPlace { return &r.tokens; }},
             {"bytes", "bytes", "text behind them", [](R& r) -> FieldPlace { return &r.bytes; }},
             {"answer_accuracy", "share of 1",
              "a task's answer tokens whose likeliest guess is right; of tasks only",
              [](R& r) -> FieldPlace { return &r.answer_accuracy; }, has_task},
             {"answers", "tokens", "a task's answer tokens; of tasks only",
              [](R& r) -> FieldPlace { return &r.answers; }, has_task},
             {"sources", "",
              "list, where there are several: `source`, and its own `loss`, `bits_per_byte`, "
              "`tokens`, `bytes`",
              nullptr, [](const R& r) { return !r.sources.empty(); }},
             {"eval_seconds", "seconds", "time of the evaluation",
              [](R& r) -> FieldPlace { return &r.eval_seconds; }},
             {"time", kClock, "its end", [](R& r) -> FieldPlace { return &r.time; }}});
  return fields;
}

std::vector<Field<LayerRecord>> make_layer_fields() {
  using R = LayerRecord;
  std::vector<Field<R>> fields = begin_fields<R>("updates done, as of `step`");
  append<R>(fields, {{"layer", "", "0, 1, 2 ... or \"mtp\", the prediction block", nullptr},
                     {"expert_load", "tokens",
                      "list: how many of the step each routed expert got; empty of a dense layer",
                      [](R& r) -> FieldPlace { return &r.expert_load; }}});
  add_clamp(fields);
  append<R>(fields,
            {{"bias_low", "", "the router's lowest balancing bias; 0 where it has none",
              [](R& r) -> FieldPlace { return &r.bias_low; }},
             {"bias_high", "", "its highest", [](R& r) -> FieldPlace { return &r.bias_high; }},
             {"index_kl", "nats per position",
              "the indexer's loss without its weight; of CSA layers whose indexer learns",
              [](R& r) -> FieldPlace { return &r.index_kl; }, learns_to_index},
             {"index_captured", "share of 1",
              "what the indexer has learned of attention's choice: 1 - its loss / that of a "
              "uniform guess; of the same layers",
              [](R& r) -> FieldPlace { return &r.index_captured; }, learns_to_index},
             {"index_recall", "share of 1",
              "of the entries that FP4 scores choose, those that unrounded scores choose too, in "
              "the step's first micro-batch; of CSA layers while `model.fp4.indexer` rounds and "
              "some row has to choose",
              [](R& r) -> FieldPlace { return &r.index_recall; }, rounds_index},
             {"fp4_zeros", "share of 1",
              "routed experts' weights that FP4 rounds to zero; while `model.fp4.experts` rounds",
              [](R& r) -> FieldPlace { return &r.fp4_zeros; }, rounds_experts},
             {"fp4_distance", "",
              "Euclidean norm of what rounding changes / that of the weights; likewise",
              [](R& r) -> FieldPlace { return &r.fp4_distance; }, rounds_experts},
             {"fp4_least_scale", "log2", "the smallest scale of their blocks; likewise",
              [](R& r) -> FieldPlace { return &r.fp4_least_scale; }, rounds_experts},
             {"fp4_most_scale", "log2", "the largest",
              [](R& r) -> FieldPlace { return &r.fp4_most_scale; }, rounds_experts}});
  append<R>(
      fields,
      {health<&R::load_cv, R>(
           "load_cv", "",
           "standard deviation of `expert_load` / its mean: 0 is even, and above 1 few experts do "
           "all the work (the router's bias is to keep it low)"),
       {"idle_experts", "experts", "experts that no token of the step went to",
        [](R& r) -> FieldPlace { return &r.idle_experts; }, has_experts, "health"},
       health<&R::stream_rms, R>("stream_rms", "",
                                 "root mean square of the residual streams behind the layer: "
                                 "should grow slowly with depth, hardly with steps"),
       health<&R::stream_max, R>("stream_max", "", "their largest element"),
       health<&R::gain_forward, R>(
           "gain_forward", "",
           "the largest row sum, in absolute value, of the product of all mixing matrices from "
           "this layer to the end of the trunk: how much mixing alone can enlarge a stream. 1 of "
           "`mhc`; of `hc` it may explode, and the loss with it"),
       health<&R::gain_backward, R>(
           "gain_backward", "",
           "the largest column sum likewise: how much it can enlarge a gradient on its way back"),
       health<&R::gain_backward_least, R>(
           "gain_backward_least", "",
           "the smallest column sum: a stream that hardly learns any more"),
       health<&R::attention_sink, R>(
           "attention_sink", "share of 1",
           "attention's probability that goes to the sink, to nothing; mean of rows and heads"),
       health<&R::attention_window, R>("attention_window", "share of 1",
                                       "to the raw keys of the window; likewise"),
       health<&R::attention_entries, R>(
           "attention_entries", "share of 1",
           "to compressed entries: near 0 the layer has not learned to use them"),
       health<&R::attention_logit_max, R>("attention_logit_max", "",
                                          "the largest logit in absolute value: dozens mean a "
                                          "softmax that looks at one key alone"),
       health<&R::router_logit_max, R>("router_logit_max", "", "the router's largest likewise"),
       health<&R::router_entropy, R>(
           "router_entropy", "share of 1",
           "mean entropy of the router's scores, normalised to 1 in sum, / ln of the experts: 1 "
           "knows no preference, 0 no alternative"),
       health<&R::mtp_taken, R>(
           "mtp_taken", "share of 1",
           "of \"mtp\": likeliest tokens of the prediction block that the main head holds "
           "likeliest too, one position later: what speculative decoding would take")});
  return fields;
}

std::vector<Field<GroupRecord>> make_group_fields() {
  using R = GroupRecord;
  std::vector<Field<R>> fields = begin_fields<R>("updates done, as of `step`");
  append<R>(
      fields,
      {{"group", "",
        "embed, attention, compressor, indexer, router, experts, shared_experts (and dense "
        "layers), mixing (`hc_*`), norms, head or mtp (all of the module)",
        nullptr},
       health<&R::grad_norm, R>(
           "grad_norm", "",
           "Euclidean norm of the group's gradient, before clipping: who is behind a spike"),
       health<&R::weight_rms, R>(
           "weight_rms", "",
           "root mean square of the weights after the update: steady growth calls for decay"),
       health<&R::update_ratio, R>(
           "update_ratio", "",
           "norm of the update / norm of the weights before it: about the share that a step "
           "changes, 1e-3 to 1e-2 as a rule; far above it the rate is too high for the group"),
       health<&R::momentum_rank, R>(
           "momentum_rank", "",
           "effective rank of Muon's momentum M: |M|^4 / |M M^T|^2 (Frobenius) = (sum s^2)^2 "
           "/ sum s^4 of its singular values s, mean of the group's matrices that have any; "
           "1: one direction alone. Of groups with matrices of Muon's")});
  return fields;
}

template <class Item>
const Item* named(const std::vector<Item>& items, std::string_view name) {
  const auto at =
      std::find_if(items.begin(), items.end(), [&](const Item& item) { return name == item.name; });
  return at == items.end() ? nullptr : &*at;
}

template <class Item>
std::string unknown_fields(const Json& line, const std::string& what,
                           const std::vector<Item>& known, const char* const* always) {
  std::string out;
  for (const auto& [name, value] : line.items()) {
    bool found = named(known, name) != nullptr;
    for (const char* const* word = always; !found && *word != nullptr; ++word)
      found = name == *word;
    if (!found) out += (out.empty() ? what + ": no such field: " : ", ") + name;
  }
  return out;
}

template <class Item>
void put_table(std::ostream& out, const std::vector<Item>& fields) {
  out << "| field | unit | meaning |\n|---|---|---|\n";
  for (const Item& field : fields) {
    out << "| `" << field.name << "` | " << field.unit << " | " << field.meaning << " |\n";
  }
}

}  // namespace

const std::vector<Field<StepRecord>>& step_fields() {
  static const std::vector<Field<StepRecord>> fields = make_step_fields();
  return fields;
}
const std::vector<Field<EvalRecord>>& eval_fields() {
  static const std::vector<Field<EvalRecord>> fields = make_eval_fields();
  return fields;
}
const std::vector<Field<LayerRecord>>& layer_fields() {
  static const std::vector<Field<LayerRecord>> fields = make_layer_fields();
  return fields;
}
const std::vector<Field<GroupRecord>>& group_fields() {
  static const std::vector<Field<GroupRecord>> fields = make_group_fields();
  return fields;
}

std::string undocumented(const Json& line) {
  static constexpr const char* kHead[] = {"kind", nullptr};
  static constexpr const char* kEventHead[] = {"kind", "step", "event", "time", nullptr};
  const std::string kind = line.value("kind", "");
  if (kind == "step") return unknown_fields(line, kind, step_fields(), kHead);
  if (kind == "eval") return unknown_fields(line, kind, eval_fields(), kHead);
  if (kind == "layer") return unknown_fields(line, kind, layer_fields(), kHead);
  if (kind == "group") return unknown_fields(line, kind, group_fields(), kHead);
  if (kind != "event") return "no such kind: '" + kind + "'";
  const std::string name = line.value("event", "");
  const EventKind* event = named(event_kinds(), name);
  if (event == nullptr) return "no such event: '" + name + "'";
  return unknown_fields(line, "event " + name, event->fields, kEventHead);
}

std::string metrics_markdown() {
  std::ostringstream out;
  out << "# What a run records\n\n"
         "`metrics.jsonl` in a run's folder holds one JSON object a line. Its `kind` is `step`, "
         "`eval`, `layer`, `group`\nor `event`; a line that another program does not know can be "
         "passed "
         "over. Numbers are printed so that they read\nback to the same bits; those that JSON "
         "lacks are the strings \"nan\", \"inf\" and \"-inf\".\n\n"
         "Of `step`, `eval`, `layer` and `group` everything but `*_seconds`, `*_per_second`, "
         "`*_share` and "
         "`time` has the same\nbits for any number of threads, and for a run that was stopped and "
         "resumed. Events may differ. A resumed run\ndrops the lines of later steps than its "
         "checkpoint's and writes them again. The lines of a fork begin with its\nparent's, up to "
         "the step where it forked.\n\n"
         "A target is a position whose next token is predicted and counted; a pair is a gate and "
         "an up-projection that\nmeet in a SwiGLU.\n\n"
         "This page is generated from the tables in `train/metrics/`, which the program writes "
         "its lines by:\n`SHOAL_UPDATE_DOCS=1 metrics_test --gtest_filter='Fields.*'`.\n";
  out << "\n## step\n\nOne for every step.\n\n";
  put_table(out, step_fields());
  out << "\n## eval\n\nEvery `train.eval_every` steps and at the end.\n\n";
  put_table(out, eval_fields());
  out << "\n## layer\n\nOne for every layer, every `log.every` steps.\n\n";
  put_table(out, layer_fields());
  out << "\n`stream_rms` and what follows are of one sequence, the step's first, without its "
         "padding, "
         "run once more after the\nupdate.\n";
  out << "\n## group\n\nOne for every group of parameters, every `log.every` steps.\n\n";
  put_table(out, group_fields());
  out << "\n## event\n\nWhat happens now and then. Every event has `step` (updates done), `event` "
         "(its name) and `time` (seconds since\n1970).\n";
  for (const EventKind& event : event_kinds()) {
    out << "\n### " << event.name << "\n\n" << event.meaning << "\n";
    if (event.fields.empty()) continue;
    out << '\n';
    put_table(out, event.fields);
  }
  out << "\n## TensorBoard\n\n"
         "With `log.tensorboard` the folder `tensorboard/` gets the same: `train/*`, `optim/*` and "
         "`speed/*` of every step,\n`clamp/*` as shares of `clamp_inputs`, `validation/*` of "
         "every evaluation; of every layer\n`experts/imbalance_*`, the busiest expert's load "
         "against an even share, `indexers/captured_*`, `fp4/*` and `health/*`; of every\ngroup "
         "`health/*`; as text `sample/*`, `event/*` "
         "and "
         "`config`.\n";
  return out.str();
}

}  // namespace shoal
