#include "train/run/run_events.h"

#include "autograd/base/check.h"
#include "autograd/base/parallel.h"
#include "autograd/kernels/blas.h"
#include "autograd/kernels/gemm.h"
#include "train/config/load_config.h"
#include "train/config/schema/schema.h"
#include "train/config/show_config.h"
#include "train/run/machine.h"
#include "train/run/version.h"

namespace shoal {

Json start_fields(const RunConfig& config, std::int64_t parameters, std::size_t planned_bytes,
                  double peak_gflops) {
  return {{"program", program_version()}, {"commit", build_commit()},
          {"compiler", compiler()},       {"config_hash", config_hash(config)},
          {"parameters", parameters},     {"planned_bytes", planned_bytes},
          {"threads", thread_count()},    {"cores", allowed_cores()},
          {"cpu", cpu_model()},           {"instruction_set", cpu_features()},
          {"products", gemm_kernel()},    {"blas", blas_description()},
          {"peak_gflops", peak_gflops}};
}

Json end_fields(const std::string& reason, const RunClock& clock, std::int64_t tokens) {
  return {{"reason", reason},
          {"run_seconds", clock.seconds()},
          {"train_seconds", clock.seconds(RunClock::kTraining)},
          {"eval_seconds", clock.seconds(RunClock::kEvaluation)},
          {"save_seconds", clock.seconds(RunClock::kSaving)},
          {"tokens_per_second", clock.tokens_per_second(tokens)},
          {"peak_resident_bytes", peak_resident_bytes()}};
}

Json changed_fields(const std::string& yaml, const RunConfig& now) {
  RunConfig before;
  try {
    before = parse_config(yaml, "earlier configuration", {}, {.needs_data = false});
  } catch (const Error&) {
    return Json::object();  // of a program with other keys
  }
  Json changed = Json::object();
  for (const Key& key : schema()) {
    if (key.path == "checkpoint.step") continue;  // a wish of one resume
    const Json old_value = Json(key.value(before)), new_value = Json(key.value(now));
    if (old_value != new_value) changed[key.path] = {{"old", old_value}, {"new", new_value}};
  }
  if (changed.empty()) return Json::object();
  return {{"changed", changed}};
}

Json fork_fields(const std::string& parent, const std::string& yaml, const RunConfig& now) {
  Json fields = {{"parent", parent}};
  Json changed = changed_fields(yaml, now);
  if (!changed.contains("changed")) return fields;
  changed["changed"].erase("run.dir");  // a fork has another by its nature
  if (!changed["changed"].empty()) fields.update(changed);
  return fields;
}

}  // namespace shoal
