#!/usr/bin/env bash
# From a bare Debian 12 to a trained replica: packages, build, corpus, training, evaluation, sample,
# report. Runs from any folder. Stopped or killed at any instant, run it again: it goes on where it was.
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/.."

readonly config=configs/replicas/tiny.yaml run=runs/tiny shoal=build/release/shoal
readonly corpus=corpora/kjv.txt

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  cat <<TEXT
usage: scripts/quickstart.sh

Installs what is missing (as root, or through sudo), builds, trains $config on the King James
Bible, evaluates, samples, and writes $run/report.html. 10 to 20 minutes on two cores.
TEXT
  exit 0
elif (($# > 0)); then
  echo "quickstart: it takes no arguments; see scripts/quickstart.sh --help" >&2
  exit 2
fi

bold='' plain=''
if [[ -t 2 && -z ${NO_COLOR:-} ]]; then bold=$'\e[1m' plain=$'\e[0m'; fi
say() { printf '%s\n' "$@" >&2; }

times=()
stage() {  # NAME WHAT COMMAND...
  local name=$1 what=$2 begin=$SECONDS status=0
  shift 2
  say "" "${bold}== $name: $what${plain}"
  "$@" || status=$?
  if ((status == 75)); then
    say "quickstart: stopped on request, everything is saved; run scripts/quickstart.sh again to go on"
    exit 75
  elif ((status != 0)); then
    say "quickstart: $name failed (exit $status); the reason is in the lines above." \
      "  the command was: $*" "  when it is mended, run scripts/quickstart.sh again: finished work is kept"
    exit "$status"
  fi
  times+=("$(printf '%-9s %4d s' "$name" $((SECONDS - begin)))")
}

build() {
  cmake --preset release && cmake --build --preset release --target shoal_program -j "$(nproc)"
}

train() {
  if [[ -e $run ]]; then
    "$shoal" resume "$run"
  else
    "$shoal" train "$config"
  fi
}

stage packages "what the build needs" scripts/setup.sh
stage build "build/release/shoal" build
stage corpus "the King James Bible, a chapter a document" scripts/make_kjv.sh "$corpus"
stage train "$config into $run (Ctrl-C saves and stops)" train
stage evaluate "loss and bits per byte on held-out chapters" "$shoal" eval "$run"
stage sample "what it writes" \
  "$shoal" generate "$run" --prompt "In the beginning" --tokens 300 --temperature 0.8 --seed 1
stage report "curves in one page" "$shoal" report "$run"

prefix=
[[ $here == "$PWD" ]] || prefix="cd $PWD && "
say "" "${bold}== done in $SECONDS s${plain}"
printf '  %s\n' "${times[@]}" >&2
cat >&2 <<TEXT

The run is the folder $PWD/$run:
  report.html      open it in a browser
  metrics.jsonl    every step, one JSON object a line
  checkpoints/     the newest states, in HDF5

Three things to try next:
  $prefix$shoal generate $run --prompt "And the LORD said" --tokens 300
  $prefix$shoal train $config run.name=plain run.dir=runs/plain model.residual=plain
  $prefix$shoal resume runs/plain     # after kill -9 at any instant: the same bits as without
TEXT
