#!/usr/bin/env bash
# Builds every fuzz target (tests/fuzz) and runs each for SECONDS, from its seed corpus. What is found
# on the way stays in build/asan/fuzz/found, an input that fails in build/asan/fuzz/failures.
#
#   scripts/fuzz.sh [SECONDS [NAME...]]
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-20}
shift || true
cmake --preset asan >/dev/null
mkdir -p build/asan/fuzz
cmake --build --preset asan --target fuzzers -j "$(nproc)"

names=("$@")
if ((${#names[@]} == 0)); then
  for source in tests/fuzz/*_fuzz.cpp; do
    [[ -e $source ]] || { echo "fuzz: there is no target in tests/fuzz" >&2; exit 1; }
    names+=("$(basename "$source" _fuzz.cpp)")
  done
fi

fuzz_one() {
  local name=$1 seconds=$2 seeds=tests/fuzz/corpus/$1 log=build/asan/fuzz/$1.log
  [[ -n $(ls -A "$seeds" 2>/dev/null) ]] || { echo "fuzz: $seeds has no seeds" >&2; return 1; }
  mkdir -p "build/asan/fuzz/found/$name" build/asan/fuzz/failures
  if ! OMP_NUM_THREADS=1 "build/asan/tests/fuzz/${name}_fuzz" -max_total_time="$seconds" \
    -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="build/asan/fuzz/failures/$name-" "build/asan/fuzz/found/$name" "$seeds" >"$log" 2>&1; then
    tail -n 40 "$log"
    echo "fuzz: $name FAILED"
    return 1
  fi
  echo "fuzz: $name: $(awk '/number_of_executed_units/ { print $2 }' "$log") inputs, no failure"
}
export -f fuzz_one
printf '%s\0' "${names[@]}" | xargs -0 -n 1 -P "$(nproc)" bash -c 'fuzz_one "$1" '"$seconds" fuzz
