#!/usr/bin/env bash
# Exchange with Hugging Face's transformers, proved with transformers itself: a run is exported (one
# file and shards), loaded there, and its logits compared; what save_pretrained writes comes back
# bit for bit; the tokenizer gives the same ids.
#
#   scripts/interop_check.sh [RUN | CONFIG.yaml [key=value ...]]      default: configs/replicas/ci.yaml
#
# A configuration is trained for a few steps on the texts of this repository. Needs build/release, and
# about 6 GB for bench/reference/setup.sh's virtual environment.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly shoal=build/release/shoal python=bench/reference/.venv/bin/python
[[ -x $shoal ]] || { echo "interop: build first: cmake --build --preset release" >&2; exit 2; }
bench/reference/setup.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

run=${1:-configs/replicas/ci.yaml}
if [[ ! -d $run ]]; then
  "$shoal" -q train "$run" "data.train=[README.md, CONTRIBUTING.md, docs/config.md]" \
    train.steps=12 train.sample_prompts='[]' "${@:2}" run.dir="$work/run"
  run=$work/run
fi

"$shoal" export "$run" "$work/whole"
"$shoal" export "$run" "$work/shards" --shard-size 300KB
"$python" scripts/interop_check.py transformers "$work"

# Logits, the other way round: the case is the exported folder and what transformers makes of it.
"$shoal" parity "$work/case" --json >"$work/parity.json" || true
"$python" scripts/interop_check.py parity "$work/parity.json"
prompt=$(cat "$work/prompt.txt")
"$shoal" generate "$run" --prompt "$prompt" --tokens 40 --temperature 0 --json >"$work/greedy.json"
"$python" scripts/interop_check.py greedy "$work"

for folder in whole shards saved saved-shards saved-inner; do
  "$shoal" -q import "$work/$folder" "$work/run-$folder"
  "$shoal" verify "$work/run-$folder"
  "$shoal" -q export "$work/run-$folder" "$work/again-$folder" --shard-size 100GB
done
diff -r "$work/whole" "$work/again-whole"
diff -r "$work/whole" "$work/again-shards"
"$python" scripts/interop_check.py same "$work/whole" "$work"/again-saved*
echo "interop: passed"
