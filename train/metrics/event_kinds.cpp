#include "train/metrics/fields.h"

namespace shoal {

const std::vector<EventKind>& event_kinds() {
  static const std::vector<EventKind> kinds = {
      {"checkpoint", "A checkpoint of this step was saved.", {{"bytes", "bytes", "of its files"}}},
      {"checkpoint_failed",
       "It could not be saved; the older ones are whole, and the run goes on.",
       {{"reason", "", "why"}}},
      {"data",
       "What the run reads, after every `start`.",
       {{"documents", "", "to train on"},
        {"text_bytes", "bytes", "their text"},
        {"sequences", "", "that they fill; of `train.stages` the first length's"},
        {"held_out_documents", "", "to validate with"},
        {"held_out_bytes", "bytes", "their text"},
        {"held_out_asked", "share of 1", "`data.validation`; absent where it names files"},
        {"held_out", "share of 1", "of the documents, what came of it; likewise"},
        {"sources", "",
         "list: `source`, its `documents` and `sequences`, `samples` (its share of them), "
         "`epochs` over the whole run (null where a clock ends it)"},
        {"corpora", "",
         "list, where one source holds several: `source`, `documents`, `text_bytes`"}}},
      {"validation_changed",
       "On resuming, data.validation holds other text than when the checkpoint was saved: "
       "evaluations do not compare\nacross this line.",
       {}},
      {"sample",
       "What the model writes after one of `train.sample_prompts`, at an evaluation.",
       {{"prompt", "", "the prompt"}, {"text", "", "what follows it"}}},
      {"stage",
       "The next step is the first with these sizes (`train.stages`).",
       {{"sequence_length", "tokens", "`data.sequence_length` from here on"},
        {"batch_tokens", "tokens", "`train.batch_tokens` from here on"},
        {"micro_batch", "sequences", "`train.micro_batch` from here on"}}},
      {"spike",
       "Loss or gradient norm lie far above what was to be expected (`stability.spike`), or are "
       "not "
       "finite. The detector\npredicts the cross-entropy, and the logarithm of the gradient norm "
       "before clipping, by Holt's level and trend; a\nscore is the distance to the prediction in "
       "standard deviations of what it usually is.",
       {{"attempted_step", "steps", "the step that it was seen in"},
        {"signal", "", "loss, grad_norm or \"not finite\""},
        {"ce", "nats per target", "cross-entropy of that step"},
        {"grad_norm", "", "norm of its gradient"},
        {"predicted", "", "what the signal should have been; absent where it is not finite"},
        {"score", "standard deviations", "above that; likewise"},
        {"onset", "steps", "the first of the steps in a row that were suspect already"},
        {"action", "", "report, skip, rollback or stop (the run ends)"}}},
      {"rollback",
       "The run went back to this step, because of the `spike` before this line. The lines of the "
       "steps after it were\ndropped; of them stay what is here, and the events `spike`, `skip`, "
       "`provoked` and `rollback`, as events of this step.\nA rollback takes back the whole state, "
       "data position and detector included, but for two numbers: how many there\nwere, and which "
       "provoked faults are over. The same batches come again.",
       {{"attempted_step", "steps", "the step that could not be kept"},
        {"rollback", "", "1, 2, 3 ... of the run"},
        {"reason", "", "what happened there"},
        {"undone_ce", "nats per target", "list: `ce` of the steps that were undone, in order"},
        {"undone_grad_norm", "", "list: their `grad_norm`"}}},
      {"gave_up",
       "A spike, or numbers that are not finite, end the run: it has gone back as often as it may, "
       "or "
       "nothing is there\nto go back to.",
       {{"attempted_step", "steps", "the step that failed"},
        {"rollbacks", "", "how many there were"},
        {"reason", "", "what happened, and what to try"}}},
      {"provoked",
       "A fault of `stability.provoke` strikes. Each does so once: it is over where its step is "
       "skipped or undone.",
       {{"fault", "", "lr_pulse, bad_batch or expert_shock"},
        {"attempted_step", "steps",
         "the first step with it; an expert is shocked after its update"},
        {"steps", "steps", "how many in a row; not of expert_shock"},
        {"factor", "", "of the rate, or of the expert's weights; not of bad_batch"},
        {"layer", "", "of the expert"},
        {"expert", "", "its number there"}}},
      {"anticipatory_on",
       "From the next step on experts are chosen by the parameters of `lag` steps before it, or of "
       "this step where that\nis later (`stability.anticipatory`).",
       {{"lag", "steps", "`stability.anticipatory.lag`"},
        {"until", "steps", "updates done when it ends; absent under `always`"}}},
      {"anticipatory_off", "From the next step on routing is normal again.", {}},
      {"skip",
       "A step whose loss or gradient was not finite, or a spike: the weights stay as they are, "
       "its "
       "data is passed over\n(`stability.on_bad_numbers` or `stability.spike.action: skip`).",
       {{"attempted_step", "steps", "the step that it would have been"},
        {"reason", "", "where it began: op, layer and tensor"}}},
      {"bad_numbers",
       "Numbers that are not finite end the run.",
       {{"attempted_step", "steps", "the step that failed"},
        {"reason", "", "where it began, and what was saved"}}},
      {"signal",
       "A signal ends the run after saving.",
       {{"signal", "", "its number: 2 is Ctrl-C, 10 SIGUSR1, 15 SIGTERM"}}},
      {"start",
       "A process begins to train: the first line of a run, and the first after each resume.",
       {{"program", "", "its version"},
        {"commit", "",
         "what it was built from, \"-dirty\" behind it where files had been edited; or "
         "\"unknown\""},
        {"compiler", "", "what built it"},
        {"config_hash", "",
         "SHA-256 of all settings that decide the run's numbers: equal hashes, "
         "equal numbers"},
        {"parameters", "", "numbers that are trained"},
        {"planned_bytes", "bytes", "memory that a step was estimated to take"},
        {"threads", "", "threads in use"},
        {"cores", "", "cores that the process may use"},
        {"cpu", "", "the processor's name"},
        {"instruction_set", "", "what the program was compiled for"},
        {"products", "", "the kernel of matrix products: avx512 or generic"},
        {"blas", "", "OpenBLAS and its kernels"},
        {"peak_gflops", "GFLOP/s", "the machine's peak as `matmul_peak_share` counts it"}}},
      {"resume",
       "The run goes on from its checkpoint of this step, or begins where it has none.",
       {{"changed", "",
         "settings that differ from the checkpoint's: {key: {old, new}}; absent if "
         "none does"}}},
      {"fork",
       "The run began here, from another run's checkpoint of this step. The lines before are that "
       "run's.",
       {{"parent", "", "its folder"},
        {"changed", "", "settings that differ from its, as in `resume`"}}},
      {"warning",
       "Settings that train other numbers than they seem to say.",
       {{"reason", "", "which, and what happens instead"}}},
      {"undecayed",
       "`train.minutes` ended the run before the learning rate had decayed, or risen.",
       {{"lr", "", "rate of the last step"},
        {"end_lr", "", "`optim.end_lr`"},
        {"planned_steps", "steps", "where it would have been reached"},
        {"reason", "", "the same as a sentence"}}},
      {"diverged",
       "At the run's end the loss is no better than a guess, or far above its best.\n\n"
       "The end is the last tenth of the steps, but at least 20; of fewer than 40 steps the second "
       "half. Its loss is\nthe median of `ce`, which single batches do not move. A uniform guess "
       "over the vocabulary of V tokens costs ln V.\nThe run has diverged if that loss is\n\n"
       "- at least 0.999 ln V. Every run begins there, so it counts only where the end lies after "
       "warm-up and there are\n  40 steps, or where some step cost 2 ln V, which no beginning "
       "does;\n"
       "- or above the lowest median of an earlier stretch of the same length by a quarter of what "
       "that had gained on\n  ln V, and by a tenth of ln V at least; this takes 40 steps.\n\n"
       "Of a fork its own steps count. The exit code stays 0, since every number is finite; with "
       "`--strict` it is 4.",
       {{"loss", "nats per target", "at the end"},
        {"uniform_guess", "nats per target", "ln V"},
        {"best", "nats per target", "lowest median of a stretch"},
        {"best_step", "steps", "the last step of that stretch"},
        {"steps", "steps", "length of the end"},
        {"reason", "", "the same as a sentence"}}},
      {"end",
       "The process ends in order. A killed one leaves none. Seconds are of the whole run, in all "
       "its processes; of a\nfork without its parent's.",
       {{"reason", "",
         "done (`train.steps` or `train.tokens`), minutes, signal, bad_numbers or spike (the run "
         "gave up)"},
        {"run_seconds", "seconds", "all of it, as `train.minutes` counts"},
        {"train_seconds", "seconds", "in training steps"},
        {"eval_seconds", "seconds", "in evaluations and samples"},
        {"save_seconds", "seconds", "in saving checkpoints"},
        {"tokens_per_second", "tokens per second", "trained on / `run_seconds`"},
        {"peak_resident_bytes", "bytes", "the most memory that this process has had in RAM"}}},
  };
  return kinds;
}

}  // namespace shoal
