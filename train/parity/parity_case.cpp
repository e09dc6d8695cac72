#include "train/parity/parity_case.h"

#include <charconv>
#include <cmath>
#include <filesystem>
#include <utility>

#include "autograd/base/check.h"
#include "train/interop/json_file.h"

namespace shoal {
namespace {

using Dims = std::vector<std::int64_t>;

// Reads golden.json: its numbers, with the path of each for messages.
class GoldenReader {
 public:
  explicit GoldenReader(std::string file) : file_(std::move(file)) {}

  const nlohmann::json& object(const nlohmann::json& parent, const char* key,
                               const std::string& at = "") const {
    const nlohmann::json& value = child(parent, key, at);
    if (!value.is_object()) reject(Failure::kData, file_, ": ", at, key, ": needs an object");
    return value;
  }
  double number(const nlohmann::json& parent, const char* key, const std::string& at) const {
    const nlohmann::json& value = child(parent, key, at);
    if (!value.is_number()) reject(Failure::kData, file_, ": ", at, key, ": needs a number");
    return value.get<double>();
  }

  std::int64_t lag(const nlohmann::json& golden) const {
    if (!golden.contains("routing")) return 0;
    const double lag = number(object(golden, "routing"), "lag", "routing.");
    if (!(lag >= 0 && lag <= INT32_MAX) || lag != std::floor(lag)) {
      reject(Failure::kData, file_, ": routing.lag: ", lag, " is no number of steps");
    }
    return static_cast<std::int64_t>(lag);
  }

  GoldenLosses losses(const nlohmann::json& json, const std::string& at) const {
    return {number(json, "loss", at), number(json, "ce", at), number(json, "mtp", at),
            number(json, "balance", at), number(json, "index_kl", at)};
  }

  std::vector<GoldenStep> steps(const nlohmann::json& golden, const char* key) const {
    std::vector<GoldenStep> steps;
    if (!golden.contains(key)) return steps;
    if (!golden[key].is_array()) reject(Failure::kData, file_, ": ", key, ": needs a list");
    for (const nlohmann::json& step : golden[key]) {
      const std::string at = concat(key, '[', steps.size(), "].");
      if (!step.is_object()) reject(Failure::kData, file_, ": ", at, ": needs an object");
      steps.push_back({losses(step, at), {}});
      if (step.contains("grad_norm")) steps.back().grad_norm = number(step, "grad_norm", at);
    }
    return steps;
  }

  GoldenOptimizer optimizer(const nlohmann::json& golden) const {
    const std::string at = "optimizer.";
    const nlohmann::json& json = object(golden, "optimizer");
    const nlohmann::json& adamw = object(json, "adamw", at);
    const nlohmann::json& muon = object(json, "muon", at);
    GoldenOptimizer o;
    o.lr = number(json, "lr", at);
    o.weight_decay = number(json, "weight_decay", at);
    o.clip = number(json, "clip", at);
    o.bias_speed = number(json, "bias_speed", at);
    o.adamw_beta1 = number(adamw, "beta1", "optimizer.adamw.");
    o.adamw_beta2 = number(adamw, "beta2", "optimizer.adamw.");
    o.adamw_eps = number(adamw, "eps", "optimizer.adamw.");
    o.muon_momentum = number(muon, "momentum", "optimizer.muon.");
    o.muon_update_rms = number(muon, "update_rms", "optimizer.muon.");
    return o;
  }

 private:
  const nlohmann::json& child(const nlohmann::json& parent, const char* key,
                              const std::string& at) const {
    const auto found = parent.find(key);
    if (found == parent.end()) reject(Failure::kData, file_, ": ", at, key, " is missing");
    return *found;
  }

  std::string file_;
};

std::string shown(const Dims& dims) {
  std::string text = "[";
  for (const std::int64_t d : dims) {
    text += (text.size() > 1 ? ", " : "") + (d < 0 ? std::string("any") : std::to_string(d));
  }
  return text + "]";
}

constexpr std::int64_t kAny = -1;

// `want` may hold kAny.
void check_shape(const SafetensorsFile& file, const std::string& name, const Dims& want) {
  const Dims& got = file.info(name).shape;
  bool fits = got.size() == want.size();
  for (std::size_t i = 0; fits && i < got.size(); ++i) fits = want[i] == kAny || want[i] == got[i];
  if (!fits) {
    reject(Failure::kData, file.path(), ": tensor ", in_quotes(name), " has shape ", shown(got),
           ", this case needs ", shown(want));
  }
}

GoldenTensor floats(const SafetensorsFile& file, const std::string& name, const Dims& want) {
  check_shape(file, name, want);
  return {file.info(name).shape, file.read_f32(name)};
}

// Values from `lowest` to below `limit`.
GoldenIndices indices(const SafetensorsFile& file, const std::string& name, const Dims& want,
                      std::int64_t lowest, std::int64_t limit) {
  check_shape(file, name, want);
  GoldenIndices result{file.info(name).shape, file.read_i64(name)};
  for (const std::int64_t v : result.values) {
    if (v < lowest || v >= limit) {
      reject(Failure::kData, file.path(), ": tensor ", in_quotes(name), " holds ", v,
             ", this case needs ", lowest, " to ", limit - 1);
    }
  }
  return result;
}

std::int64_t config_number(const nlohmann::json& config, const std::string& file, const char* key) {
  const auto found = config.find(key);
  if (found == config.end() || !found->is_number_unsigned() || *found == 0 || *found > INT32_MAX) {
    reject(Failure::kData, file, ": ", key, " needs a positive whole number");
  }
  return found->get<std::int64_t>();
}

// The number behind "streams." or "topk."; nothing where it is no plain number.
std::optional<int> index_after(const std::string& name, const std::string& prefix) {
  int index = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + prefix.size(), end, index);
  const bool plain = error == std::errc() && stop == end && index >= 0;
  return plain && name == prefix + std::to_string(index) ? std::optional(index) : std::nullopt;
}

void read_gradient(const SafetensorsFile& golden, const SafetensorsFile& model,
                   const std::string& entry, std::size_t prefix,
                   std::map<std::string, GoldenTensor>& out) {
  const std::string name = entry.substr(prefix);
  if (!model.has(name)) {
    reject(Failure::kData, golden.path(), ": tensor ", in_quotes(entry),
           " belongs to no tensor of ", model.path());
  }
  out.emplace(name, floats(golden, entry, model.info(name).shape));
}

void read_tensors(const SafetensorsFile& golden, const std::string& config_file, ParityCase& c) {
  const std::int64_t V = config_number(c.config, config_file, "vocab_size");
  const std::int64_t C = config_number(c.config, config_file, "hidden_size");
  const std::int64_t L = config_number(c.config, config_file, "num_hidden_layers");
  Dims BT{kAny, kAny};
  if (golden.has("tokens")) {
    c.tokens = indices(golden, "tokens", {kAny, kAny}, 0, V);
    if (c.tokens->shape[0] < 1 || c.tokens->shape[1] < 2) {
      reject(Failure::kData, golden.path(), ": tensor \"tokens\" needs [B, T+1] with B, T of 1 up");
    }
    BT = {c.tokens->shape[0], c.tokens->shape[1] - 1};
  }
  std::map<int, GoldenTensor> streams;
  for (const auto& [name, tensor] : golden.tensors()) {
    const auto starts = [&name = name](const char* prefix) { return name.rfind(prefix, 0) == 0; };
    if (starts("grad/")) {
      read_gradient(golden, c.model, name, 5, c.grad);
    } else if (starts("grad_ce/")) {
      read_gradient(golden, c.model, name, 8, c.grad_ce);
    } else if (name == "logits" || name == "mtp_logits") {
      (name == "logits" ? c.logits : c.mtp_logits) = floats(golden, name, {BT[0], BT[1], V});
    } else if (name == "steps.tokens") {
      c.steps_tokens = indices(golden, name, {kAny, kAny, kAny}, 0, V);
    } else if (const auto l = starts("streams.") ? index_after(name, "streams.") : std::nullopt) {
      streams.emplace(*l, floats(golden, name, {BT[0], BT[1], kAny, C}));
    } else if (const auto l = starts("topk.") ? index_after(name, "topk.") : std::nullopt) {
      if (*l >= L)
        reject(Failure::kData, golden.path(), ": ", name, ": the model has ", L, " layers");
      const std::int64_t T = BT[1] == kAny ? INT64_MAX : BT[1];
      c.topk.emplace(*l, indices(golden, name, {BT[0], BT[1], kAny}, -1, T));
    } else if (name != "tokens") {
      c.ignored.push_back(name);
    }
  }
  for (auto& [l, tensor] : streams) {
    if (l != static_cast<int>(c.streams.size())) {
      reject(Failure::kData, golden.path(), ": streams.", c.streams.size(), " is missing");
    }
    c.streams.push_back(std::move(tensor));
  }
  if (!c.streams.empty() && static_cast<std::int64_t>(c.streams.size()) != L + 1) {
    reject(Failure::kData, golden.path(), ": ", c.streams.size(), " tensors streams.l, ", L,
           " layers need ", L + 1);
  }
  if (!c.tokens && (c.logits || c.mtp_logits || !c.streams.empty() || !c.topk.empty() ||
                    !c.grad.empty() || !c.grad_ce.empty())) {
    reject(Failure::kData, golden.path(), ": tensor \"tokens\" is missing");
  }
}

// A weight without a golden gradient would pass unseen. Integers and router biases take none.
void check_every_gradient_is_there(const ParityCase& c, const std::string& golden) {
  if (c.grad.empty()) return;
  for (const auto& [name, tensor] : c.model.tensors()) {
    const std::string bias = ".gate.bias";
    const bool router_bias = name.size() >= bias.size() &&
                             name.compare(name.size() - bias.size(), bias.size(), bias) == 0;
    if (tensor.dtype[0] == 'I' || router_bias || c.grad.count(name) > 0) continue;
    reject(Failure::kData, golden, ": tensor ", in_quotes("grad/" + name), " is missing");
  }
}

}  // namespace

ParityCase load_parity_case(const std::string& folder) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(folder)) {
    reject(Failure::kData, folder, ": is no folder with config.json and model.safetensors");
  }
  const fs::path root(folder);
  const std::string config_file = (root / "config.json").string();
  const std::string golden_file = (root / "golden.json").string();
  const std::string tensor_file = (root / "golden.safetensors").string();
  ParityCase c{.name = fs::canonical(root).filename().string(),
               .config = read_json_object(config_file, kMostConfigBytes),
               .model = SafetensorsFile::open((root / "model.safetensors").string())};
  if (fs::exists(golden_file)) {
    const nlohmann::json golden = read_json_object(golden_file);
    const GoldenReader reader(golden_file);
    if (golden.contains("losses"))
      c.losses = reader.losses(reader.object(golden, "losses"), "losses.");
    if (golden.contains("optimizer")) c.optimizer = reader.optimizer(golden);
    c.lag = reader.lag(golden);
    c.adamw = reader.steps(golden, "adamw");
    c.muon = reader.steps(golden, "muon");
    if (c.losses || !c.adamw.empty() || !c.muon.empty()) {
      const nlohmann::json& weights = reader.object(golden, "weights");
      c.mtp_weight = reader.number(weights, "mtp", "weights.");
      c.balance_weight = reader.number(weights, "balance", "weights.");
      c.index_kl_weight = reader.number(weights, "index_kl", "weights.");
    }
  }
  if (fs::exists(tensor_file)) {
    read_tensors(SafetensorsFile::open(tensor_file), config_file, c);
    check_every_gradient_is_there(c, tensor_file);
  }
  if (c.losses && !c.tokens) {
    reject(Failure::kData, golden_file, ": losses need tensor \"tokens\" in ", tensor_file);
  }
  for (const auto* steps : {&c.adamw, &c.muon}) {
    if (steps->empty()) continue;
    if (!c.optimizer) reject(Failure::kData, golden_file, ": optimizer is missing");
    const std::int64_t have = c.steps_tokens ? c.steps_tokens->shape[0] : 0;
    if (have < static_cast<std::int64_t>(steps->size())) {
      reject(Failure::kData, tensor_file, ": tensor \"steps.tokens\" has ", have,
             " batches, golden.json has ", steps->size(), " steps");
    }
  }
  return c;
}

}  // namespace shoal
