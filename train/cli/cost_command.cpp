// cost: what a model costs, without making one.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "autograd/base/printable.h"
#include "layers/cost.h"
#include "layers/flops.h"
#include "layers/model.h"
#include "train/cli/commands.h"
#include "train/config/load_config.h"
#include "train/config/published/model_json.h"
#include "train/interop/json_file.h"
#include "train/metrics/records.h"
#include "train/run/memory_estimate.h"
#include "train/step/step_runner.h"
#include "train/trainer.h"

namespace shoal {
namespace {

// A config.json says nothing of training: the rest is as by default.
RunConfig read(const CostArguments& args) {
  if (!args.config.ends_with(".json")) {
    return load_config(args.config, args.overrides, {.needs_data = false});
  }
  if (!args.overrides.empty()) {
    reject(Failure::kUsage, args.overrides.front(),
           ": a config.json takes no settings; give a YAML file");
  }
  RunConfig config;
  std::vector<std::string> warnings;
  nlohmann::json json = read_json_object(args.config, kMostConfigBytes);
  for (const char* format : {"expert_dtype", "quantization_config", "fp4"}) {
    if (json.erase(format) > 0) {
      spdlog::warn("{}: {}: how numbers are stored changes nothing here", printable(args.config),
                   format);
    }
  }
  config.model = model_from_json(json, args.config, &warnings);
  for (const std::string& warning : warnings) spdlog::warn("{}", printable(warning));
  config.model.finish(args.config);
  return config;
}

// Walking through a step takes up to a KiB for every token in every layer: so many are enough for a
// published model, and no mere number in a file takes more than 2 GiB.
constexpr double kMostWalked = 0x1.0p21;

// Of a step of the configuration, its largest sizes; nothing where this machine could not even walk
// through it.
std::optional<MemoryEstimate> step_memory(Model& model, const RunConfig& config) {
  const std::vector<BatchSizes> sizes = sizes_of(config);
  const BatchSizes& most = largest(sizes);
  const double walked = static_cast<double>(config.model.num_hidden_layers) *
                        static_cast<double>(most.micro_batch) *
                        static_cast<double>(most.sequence_length);
  if (walked > kMostWalked) return {};
  if (static_cast<double>(model.store().flat_size()) * sizeof(float) > 0x1.0p45) return {};
  try {
    model.allocate();
    return estimate_memory(model, config, sizes);
  } catch (const Error& error) {
    spdlog::info("no memory of a step: {}", printable(error.what()));
    return std::nullopt;
  }
}

// The same model with full attention in every layer: what the others save is measured by it.
ModelConfig with_full_attention(const ModelConfig& config) {
  ModelConfig full = config;
  std::fill(full.layer_types.begin(), full.layer_types.end(), AttentionKind::kFull);
  return full;
}

// It has neither compressors nor indexers.
ParameterCount with_full_attention(const ParameterCount& count) {
  ParameterCount full = count;
  for (const Part part : {Part::kCompressor, Part::kIndexer, Part::kIndexerWeights}) {
    full.parts[static_cast<std::size_t>(part)] = full.active[static_cast<std::size_t>(part)] = 0;
  }
  return full;
}

// Forward and backward, of a token in whole sequences of the first stage, as `bench step` counts;
// null where one is too long to be walked through.
Json training_flops(const RunConfig& config) {
  const RunPlan plan(config);
  const std::int64_t T = plan.sizes().front().sequence_length;
  if (static_cast<double>(T) > kMostWalked) return nullptr;
  return step_flops(config.model, plan.at(0).parts(),
                    shape_batch(1, T, config.model.vocab_size, 0)) /
         static_cast<double>(T);
}

Json cost_json(const RunConfig& config, Model& model, const std::vector<std::int64_t>& contexts) {
  const ParameterCount count = count_parameters(model);
  const ModelConfig full = with_full_attention(config.model);
  const ParameterCount full_count = with_full_attention(count);
  Json json;
  json["parameters"] = count.total();
  json["parameters_with_mtp"] = count.with_mtp();
  json["active_parameters"] = count.total_active();
  for (std::size_t i = 0; i < kCostParts; ++i) {
    json["parameters_by_part"][name_of(static_cast<Part>(i))] = count.parts[i];
  }
  json["training_flops_per_token"] = training_flops(config);
  json["contexts"] = Json::array();
  for (const std::int64_t n : contexts) {
    const DecodeFlops flops = decode_flops(config.model, count, n);
    Json entry;
    entry["context"] = n;
    entry["flops_per_token"] = flops.total();
    entry["flops_by_part"] = {
        {"linear", flops.linear}, {"attention", flops.attention}, {"indexer", flops.indexer}};
    entry["kv_bytes"] = kv_bytes(config.model, n);
    for (const Convention c : kConventions) {
      entry["flops_of_v32"][name_of(c)] =
          equivalent_flops(config.model, count, n, c) / v32::equivalent_flops(n, c);
    }
    entry["kv_of_v32"] = kv_bytes(config.model, n) / v32::kv_bytes(n);
    entry["flops_of_full_attention"] = flops.total() / decode_flops(full, full_count, n).total();
    entry["kv_of_full_attention"] = kv_bytes(config.model, n) / kv_bytes(full, n);
    json["contexts"].push_back(std::move(entry));
  }
  json["step_bytes"] = nullptr;
  if (const auto memory = step_memory(model, config)) {
    json["step_bytes"] = memory->total();
    json["step_bytes_by_part"] = {{"parameters", memory->parameters},
                                  {"gradients", memory->gradients},
                                  {"optimizer", memory->optimizer},
                                  {"arena", memory->tape.bytes()}};
  }
  return json;
}

std::string with_unit(double value, double base, std::initializer_list<const char*> units) {
  auto unit = units.begin();
  while (value >= base && unit + 1 != units.end()) {
    value /= base;
    ++unit;
  }
  std::ostringstream out;
  out << std::fixed
      << std::setprecision(value < 10    ? 3
                           : value < 100 ? 2
                                         : 1)
      << value << ' ' << *unit;
  return out.str();
}
std::string size_text(const Json& bytes) {
  return with_unit(bytes.get<double>(), 1024, {"B", "KiB", "MiB", "GiB", "TiB"});
}
std::string count_text(const Json& count) {
  return with_unit(count.get<double>(), 1000, {"", "K", "M", "G", "T"});
}

std::string grouped(const Json& number) {
  std::string text = number.dump();
  for (std::size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

void print(const Json& json) {
  const auto line = [](const std::string& what, const std::string& value) {
    std::cout << std::left << std::setw(26) << what << value << '\n';
  };
  line("parameters", grouped(json.at("parameters")));
  line("  with MTP", grouped(json.at("parameters_with_mtp")));
  line("  of one token", grouped(json.at("active_parameters")));
  for (const auto& [part, n] : json.at("parameters_by_part").items()) {
    if (n != 0) line("  " + part, grouped(n));
  }
  if (json.at("step_bytes").is_null()) {
    line("memory of a step", "too large to measure here");
  } else {
    line("memory of a step", size_text(json.at("step_bytes")));
    for (const auto& [part, n] : json.at("step_bytes_by_part").items()) {
      line("  " + part, size_text(n));
    }
  }
  if (const Json& flops = json.at("training_flops_per_token"); !flops.is_null()) {
    line("FLOPs of training", count_text(flops) + " a token, forward and backward");
  }
  // Beside a replica V3.2 says nothing: a hundredth of its 671 billion parameters.
  const bool large = json.at("parameters").get<double>() > 6.71e9;
  std::cout
      << "\nDecoding a token, forward alone; as a share of the same model with full attention "
         "in every layer"
      << (large ? ",\nand of DeepSeek-V3.2 (D, E, H: how formats count)" : "") << '\n'
      << "   context       FLOPs     linear  attention    indexer         cache   full: FLOPs"
         "   cache"
      << (large ? "   V3.2: D      E      H   cache" : "") << '\n';
  for (const Json& c : json.at("contexts")) {
    const Json& by = c.at("flops_by_part");
    const auto share = [&](const char* of, int width) {
      std::cout << std::setw(width) << c.at(of).get<double>();
    };
    std::cout << std::right << std::setw(10) << c.at("context").dump() << std::setw(12)
              << count_text(c.at("flops_per_token")) << std::setw(11) << count_text(by.at("linear"))
              << std::setw(11) << count_text(by.at("attention")) << std::setw(11)
              << count_text(by.at("indexer")) << std::setw(14) << size_text(c.at("kv_bytes"))
              << std::fixed << std::setprecision(4);
    share("flops_of_full_attention", 14);
    share("kv_of_full_attention", 8);
    if (large) {
      std::cout << "   ";
      for (const auto& [name, of_v32] : c.at("flops_of_v32").items()) {
        std::cout << std::setw(7) << of_v32.get<double>();
      }
      share("kv_of_v32", 8);
    }
    std::cout << '\n';
  }
}

}  // namespace

int cost_command(const CostArguments& args) {
  const RunConfig config = read(args);
  std::vector<std::int64_t> contexts = args.contexts;
  if (contexts.empty()) contexts = {4096, 65536, 1048576};
  Model model(config.model);
  const Json json = cost_json(config, model, contexts);
  if (args.json) {
    std::cout << line_of(json) << '\n';
  } else {
    print(json);
  }
  return 0;
}

}  // namespace shoal
