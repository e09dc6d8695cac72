#!/usr/bin/env bash
# Exchange with Hugging Face's transformers, proved with transformers itself: a run is exported (one
# file and shards), loaded there, and its logits compared; what save_pretrained writes comes back
# bit for bit; the tokenizer gives the same ids.
#
#   scripts/interop_check.sh [RUN | CONFIG.yaml [key=value ...]]
#
# Without arguments: configs/replicas/ci.yaml with layers of every kind, hash and learned routing, YaRN.
# A configuration is trained for a few steps on the texts of this repository. Needs build/release, and
# about 6 GB for bench/reference/setup.sh's virtual environment.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly shoal=build/release/shoal python=bench/reference/.venv/bin/python
[[ -x $shoal ]] || { echo "interop: build first: cmake --build --preset release" >&2; exit 2; }
bench/reference/setup.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if (($# == 0)); then
  set -- configs/replicas/ci.yaml "model.layer_types=[sliding_attention, \
    compressed_sparse_attention, heavily_compressed_attention, compressed_sparse_attention]" \
    "model.mlp_layer_types=[hash_moe, moe, moe, moe]" model.max_position_embeddings=1024 \
    "model.compress_rates={compressed_sparse_attention: 4, heavily_compressed_attention: 16}" \
    model.index_n_heads=4 model.index_head_dim=32 model.index_topk=8 \
    "model.rope_scaling={type: yarn, factor: 4, original_max_position_embeddings: 256}"
fi
run=$1
if [[ ! -d $run ]]; then
  "$shoal" -q train "$run" "data.train=[README.md, CONTRIBUTING.md, docs/config.md]" \
    train.steps=60 train.sample_prompts='[]' train.eval_every=0 data.validation=0 "${@:2}" run.dir="$work/run"
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
