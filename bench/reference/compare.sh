#!/usr/bin/env bash
# Tokens per second of a training step: Shoal against transformers + torch, same model, same threads,
# alternating in one run on one machine, so that both see the same machine.
#
#   bench/reference/compare.sh CONFIG.yaml [key=value ...]
#
# AdamW and no prediction of the token after the next on both sides: torch has no Muon for
# this model, transformers no such head. Environment: ROUNDS (3), STEPS (5), THREADS (all cores).
set -euo pipefail
cd "$(dirname "$0")/../.."

if (($# == 0)); then
  sed -n '2,8s/^# \{0,1\}//p' bench/reference/compare.sh >&2
  exit 2
fi
config=$1
shift
readonly shoal=build/release/shoal python=bench/reference/.venv/bin/python
readonly rounds=${ROUNDS:-3} steps=${STEPS:-5} threads=${THREADS:-$(nproc)}
[[ -x $shoal ]] || { echo "compare: build first: cmake --build --preset release" >&2; exit 2; }
[[ -x $python ]] || { echo "compare: run bench/reference/setup.sh first" >&2; exit 2; }

overrides=("$@" optim.matrices=adamw model.num_nextn_predict_layers=0)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" bench/reference/config_json.py "$config" "${overrides[@]}" >"$work/config.json"
read -r sequences length < <("$python" bench/reference/config_json.py --batch "$config" \
  "${overrides[@]}")

for ((round = 1; round <= rounds; ++round)); do
  OMP_NUM_THREADS=$threads "$shoal" bench step "$config" "${overrides[@]}" --steps "$steps" --json |
    tr -d '\n' >>"$work/shoal.jsonl"
  echo >>"$work/shoal.jsonl"
  "$python" bench/reference/step.py "$work/config.json" --sequences "$sequences" \
    --length "$length" --threads "$threads" --steps "$steps" >>"$work/torch.jsonl"
done
"$python" - "$work" "$config" "$sequences" "$length" "$threads" <<'PYTHON'
import json
import statistics
import sys

work, config, sequences, length, threads = sys.argv[1:]
rates = {}
for name in ("shoal", "torch"):
    with open(f"{work}/{name}.jsonl", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    rates[name] = [r["tokens_per_second"] for r in records]
    rounds = " ".join(f"{rate:.0f}" for rate in rates[name])
    median = statistics.median(rates[name])
    print(f"{name}: {median:.1f} tokens/s (rounds: {rounds}), {records[-1]['parameters']} parameters")
ratios = [ours / theirs for ours, theirs in zip(rates["shoal"], rates["torch"])]
print(f"{config}: {sequences} x {length} tokens a step, {threads} threads: "
      f"{statistics.median(ratios):.2f} times torch (rounds: "
      f"{' '.join(f'{ratio:.2f}' for ratio in ratios)})")
PYTHON
