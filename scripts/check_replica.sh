#!/usr/bin/env bash
# Trains configs/replicas/ci.yaml from nothing and holds it to a bound on held-out text; then the run
# must verify, and be finished for `resume`. Needs build/release.
set -euo pipefail
cd "$(dirname "$0")/.."

# Bits per byte after 0.49 MB of text. Seen: 2.70. The same shape in
# another framework with AdamW: 2.89. What the byte before alone can tell: 3.26.
readonly bound=2.80
readonly shoal=build/release/shoal
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run=$work/run

scripts/make_kjv.sh corpora/kjv.txt
"$shoal" train configs/replicas/ci.yaml run.dir="$run"
python3 - "$run/metrics.jsonl" "$bound" <<'PYTHON'
import json
import math
import sys

path, bound = sys.argv[1], float(sys.argv[2])
with open(path, encoding="utf-8") as lines:
    records = [json.loads(line) for line in lines]
steps = [r["step"] for r in records if r["kind"] == "step"]
evals = [r for r in records if r["kind"] == "eval"]
if not steps or steps != list(range(1, len(steps) + 1)):
    sys.exit(f"replica: the steps of {path} are not 1, 2, 3 ...: {steps[:10]}")
if not evals or evals[-1]["step"] != steps[-1]:
    sys.exit(f"replica: {path} has no evaluation at its last step {steps[-1]}")
got = evals[-1]["bits_per_byte"]
if not math.isfinite(got) or got > bound:
    sys.exit(f"replica: {got:.3f} bits per byte after {steps[-1]} steps; it should be at most {bound}")
print(f"replica: {got:.3f} bits per byte after {steps[-1]} steps (bound {bound})")
PYTHON
"$shoal" verify "$run"/checkpoints/step-*
cp "$run/metrics.jsonl" "$work/before.jsonl"
"$shoal" resume "$run"
# A finished run stays as it is: at most an event may be added.
cmp --bytes="$(stat -c %s "$work/before.jsonl")" "$work/before.jsonl" "$run/metrics.jsonl"
