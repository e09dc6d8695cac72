#!/usr/bin/env bash
# Tokens per second of a training step: Shoal against transformers + torch, same model, same threads,
# alternating in one run on one machine, so that both see the same machine.
#
#   bench/reference/compare.sh CONFIG.yaml [key=value ...]
#
# The comparison is AdamW without a prediction of the token after the next on both sides: torch has no
# Muon for this model, transformers no such head. transformers runs eagerly and through torch.compile.
# `shipped` is Shoal with the optimizer and the prediction block that the config names.
# Environment: SHAPES ("4x512 1x2048 1x8192": sequences x length of a step), ROUNDS (3), STEPS (5),
# THREADS (all cores), WAYS ("shoal shipped eager compiled").
set -euo pipefail
cd "$(dirname "$0")/../.."

if (($# == 0)); then
  sed -n '2,12s/^# \{0,1\}//p' bench/reference/compare.sh >&2
  exit 2
fi
config=$1
shift
readonly shoal=build/release/shoal python=bench/reference/.venv/bin/python
readonly rounds=${ROUNDS:-3} steps=${STEPS:-5} threads=${THREADS:-$(nproc)}
readonly shapes=${SHAPES:-4x512 1x2048 1x8192} ways=${WAYS:-shoal shipped eager compiled}
[[ -x $shoal ]] || { echo "compare: build first: cmake --build --preset release" >&2; exit 2; }
[[ -x $python ]] || { echo "compare: run bench/reference/setup.sh first" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

measure() {  # WAY SEQUENCES LENGTH OVERRIDE...: one JSON object on a line
  local way=$1 sequences=$2 length=$3
  shift 3
  local plain=(optim.matrices=adamw model.num_nextn_predict_layers=0) torch=()
  case $way in
    shipped) plain=() ;;
    compiled) torch=(--compile) ;;
  esac
  case $way in
    shoal | shipped)
      OMP_NUM_THREADS=$threads "$shoal" bench step "$config" "$@" "${plain[@]}" --steps "$steps" --json |
        tr -d '\n'
      echo
      ;;
    *)
      "$python" bench/reference/config_json.py "$config" "$@" >"$work/config.json"
      "$python" bench/reference/step.py "$work/config.json" --sequences "$sequences" \
        --length "$length" --threads "$threads" --steps "$steps" "${torch[@]}"
      ;;
  esac
}

for shape in $shapes; do
  sequences=${shape%x*} length=${shape#*x}
  overrides=("$@" "data.sequence_length=$length" "train.batch_tokens=$((sequences * length))"
    "train.micro_batch=$sequences")
  rm -f "$work"/*.jsonl
  for ((round = 1; round <= rounds; ++round)); do
    for way in $ways; do
      measure "$way" "$sequences" "$length" "${overrides[@]}" >>"$work/$way.jsonl"
    done
  done
  echo "$config: $sequences x $length tokens a step, $threads threads"
  "$python" - "$work" "$ways" <<'PYTHON'
import json
import statistics
import sys

work, ways = sys.argv[1], sys.argv[2].split()
rates = {}
for way in ways:
    with open(f"{work}/{way}.jsonl", encoding="utf-8") as lines:
        rates[way] = [json.loads(line)["tokens_per_second"] for line in lines]
for way in ways:
    line = f"  {way:9} {statistics.median(rates[way]):9.1f} tokens/s"
    if way in ("eager", "compiled") and "shoal" in rates:
        ratios = [ours / theirs for ours, theirs in zip(rates["shoal"], rates[way])]
        line += (f"; shoal {statistics.median(ratios):.2f} times as many (rounds: "
                 f"{' '.join(f'{ratio:.2f}' for ratio in ratios)})")
    else:
        line += f" (rounds: {' '.join(f'{rate:.0f}' for rate in rates[way])})"
    print(line, flush=True)
PYTHON
done
