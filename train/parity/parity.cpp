#include "train/parity/parity.h"

#include <algorithm>
#include <vector>

#include "train/config/published/model_json.h"
#include "train/interop/load_weights.h"
#include "train/stability/anticipatory.h"
#include "train/step/step_runner.h"

namespace shoal {
namespace {

Batch batch_of(const std::int64_t* tokens, std::int64_t B, std::int64_t T) {
  Batch batch;
  batch.B = B;
  batch.T = T;
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t t = 0; t < T; ++t) {
      batch.tokens.push_back(static_cast<std::int32_t>(tokens[b * (T + 1) + t]));
      batch.targets.push_back(static_cast<std::int32_t>(tokens[b * (T + 1) + t + 1]));
      batch.first.push_back(static_cast<std::int32_t>(b * T));
    }
  }
  return batch;
}

GoldenLosses losses_of(const StepOutcome& out) {
  return {out.loss(), out.parts.ce, out.mtp_mean, out.parts.balance, out.parts.index_kl};
}

// What a layer's rows looked at, [N, width] entries of their own sequence, -1 for none.
std::vector<std::int64_t> chosen_of(const Model::Activations& got, std::size_t layer,
                                    const Batch& batch, std::int64_t width) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(batch.rows() * width), -1);
  const Tensor& chosen = got.chosen[layer];
  for (std::int64_t n = 0; n < batch.rows(); ++n) {
    const std::int64_t begin = got.sparse.begin.as<std::int32_t>()[n];
    const std::int64_t visible = got.sparse.count.as<std::int32_t>()[n];
    const std::int64_t slots = chosen ? std::min(chosen.shape.cols(), visible) : visible;
    for (std::int64_t i = 0; i < std::min(slots, width); ++i) {
      all[static_cast<std::size_t>(n * width + i)] =
          chosen ? chosen.as<std::int32_t>()[n * chosen.shape.cols() + i] - begin : i;
    }
  }
  return all;
}

std::span<const float> values_of(const Tensor& t) {
  return {t.as<float>(), static_cast<std::size_t>(t.shape.numel())};
}

class Runner {
 public:
  Runner(const ParityCase& want, const ModelConfig& config, const StepRunner::Options& options)
      : want_(want), model_(config) {
    model_.allocate();
    load_weights(model_, ModelWeights(SafetensorsFile::open(want.model.path())));
    model_.set_precision(config.precision_at(0));
    runner_ = std::make_unique<StepRunner>(model_, tape_, options);
  }
  StepPlan plan() const {
    return {.loss = {want_.mtp_weight, want_.balance_weight, want_.index_kl_weight},
            .precision = model_.config().precision_at(0)};
  }

  void compare_forward(ParityComparison& to, const Batch& batch) {
    const Model::Activations got = model_.activations(tape_, batch, want_.mtp_logits.has_value());
    if (want_.logits) to.logits(values_of(got.logits));
    if (want_.mtp_logits && got.mtp_logits) to.mtp_logits(values_of(got.mtp_logits));
    for (std::size_t l = 0; l < want_.streams.size() && l < got.streams.size(); ++l) {
      to.streams(static_cast<int>(l), values_of(got.streams[l]));
    }
    for (const auto& [layer, wanted] : want_.topk) {
      to.topk(layer, chosen_of(got, static_cast<std::size_t>(layer), batch, wanted.shape[2]));
    }
    tape_.end_microbatch();
  }

  void compare_gradients(ParityComparison& to, const Batch& batch) {
    const StepOutcome out = runner_->gradients(std::span<const Batch>(&batch, 1), plan());
    if (want_.losses) to.losses(losses_of(out));
    for_each_gradient(want_.grad, [&](const std::string& name, std::span<const float> got) {
      to.gradient(name, got);
    });
    if (want_.grad_ce.empty()) return;
    StepPlan cross_entropy_alone = plan();
    cross_entropy_alone.loss = {{}, 0.0, 0.0};
    runner_->gradients(std::span<const Batch>(&batch, 1), cross_entropy_alone);
    for_each_gradient(want_.grad_ce, [&](const std::string& name, std::span<const float> got) {
      to.gradient_ce(name, got);
    });
  }

  std::vector<GoldenStep> train(std::size_t steps) {
    std::vector<GoldenStep> done;
    const std::vector<std::int64_t>& shape = want_.steps_tokens->shape;
    const std::int64_t B = shape[1], T = shape[2] - 1;
    const auto batches_at = [&](std::int64_t i, std::vector<Batch>& into) {
      into = {batch_of(want_.steps_tokens->values.data() + i * B * (T + 1), B, T)};
    };
    const auto end = static_cast<std::int64_t>(steps);
    AnticipatoryRouting routing(model_, tape_,
                                {.mode = AnticipatoryMode::kAlways, .lag = want_.lag},
                                {[&](std::int64_t) { return plan(); }, batches_at, end});
    routing.update(0);
    std::vector<Batch> batches;
    for (std::int64_t i = 0; i < end; ++i) {
      batches_at(i, batches);
      routing.look_ahead(i, batches);
      StepPlan of_step = plan();
      of_step.number = i + 1;
      of_step.lr = want_.optimizer->lr;
      of_step.given_ids = routing.given_ids();
      const StepOutcome out = runner_->step(batches, of_step);
      routing.batches_used();
      done.push_back({losses_of(out), out.grads.norm});
    }
    return done;
  }

 private:
  template <class Fn>
  void for_each_gradient(const std::map<std::string, GoldenTensor>& wanted, const Fn& fn) {
    for (const ParamSlice& slice : runner_->optimizer().slices()) {
      if (wanted.contains(slice.name)) {
        fn(slice.name, runner_->flat_gradients().subspan(static_cast<std::size_t>(slice.offset),
                                                         static_cast<std::size_t>(slice.size)));
      }
    }
  }

  const ParityCase& want_;
  Model model_;
  Tape tape_;
  std::unique_ptr<StepRunner> runner_;
};

StepRunner::Options options_for(const ParityCase& want, bool muon) {
  StepRunner::Options options;
  options.optimizer.muon = muon;
  if (want.optimizer) {
    const GoldenOptimizer& o = *want.optimizer;
    options.optimizer.weight_decay = o.weight_decay;
    options.optimizer.beta1 = o.adamw_beta1;
    options.optimizer.beta2 = o.adamw_beta2;
    options.optimizer.eps = o.adamw_eps;
    options.optimizer.momentum = o.muon_momentum;
    options.optimizer.update_rms = o.muon_update_rms;
    options.clip = o.clip;
    options.router_bias_speed = o.bias_speed;
  }
  return options;
}

}  // namespace

ParityRun run_parity(const std::string& folder) {
  ParityRun run;
  run.want = std::make_unique<ParityCase>(load_parity_case(folder));
  const ParityCase& want = *run.want;
  run.comparison = std::make_unique<ParityComparison>(want);
  ModelConfig config = model_from_json(want.config, folder + "/config.json", nullptr);
  config.finish(folder + "/config.json");
  if (want.tokens) {
    const Batch batch =
        batch_of(want.tokens->values.data(), want.tokens->shape[0], want.tokens->shape[1] - 1);
    Runner runner(want, config, options_for(want, false));
    runner.compare_forward(*run.comparison, batch);
    runner.compare_gradients(*run.comparison, batch);
  }
  if (want.steps_tokens && want.optimizer) {
    if (!want.adamw.empty()) {
      run.comparison->adamw(
          Runner(want, config, options_for(want, false)).train(want.adamw.size()));
    }
    if (!want.muon.empty()) {
      run.comparison->muon(Runner(want, config, options_for(want, true)).train(want.muon.size()));
    }
  }
  return run;
}

}  // namespace shoal
