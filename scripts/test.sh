#!/usr/bin/env bash
# Set-up, build, every check and test; a line per stage, logs in build/logs. See --help.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
usage: scripts/test.sh [--quick | --full] [STAGE...]

  (default)  setup format includes build install replica tests asan-build fuzz asan
  --quick    setup format includes build tests
  --full     the default, with every kill and damage (SHOAL_TEST_FULL=1), long fuzzing, and
             tidy clang-build clang tsan-build tsan
  STAGE...   only these stages

All together may take SHOAL_TEST_MINUTES (85; with --full 720).
The last line counts tests: every ctest case of every build, and each other check as one.
TEXT
}

quick=(setup format includes build tests)
# What is cheap comes first.
default=(setup format includes build install replica tests asan-build fuzz asan)
full=("${default[@]}" tidy clang-build clang tsan-build tsan)
stages=("${default[@]}")
export SHOAL_TEST_FULL=${SHOAL_TEST_FULL:-0} fuzz_seconds=20
chosen=()
for argument in "$@"; do
  case $argument in
    --quick) stages=("${quick[@]}") ;;
    --full) stages=("${full[@]}") SHOAL_TEST_FULL=1 fuzz_seconds=300 ;;
    -h | --help) usage; exit 0 ;;
    *)
      if [[ $argument == -* || " ${full[*]} " != *" $argument "* ]]; then
        echo "test: unknown argument '$argument'; see scripts/test.sh --help" >&2
        exit 2
      fi
      chosen+=("$argument")
      ;;
  esac
done
((${#chosen[@]} == 0)) || stages=("${chosen[@]}")

# --- the environment of every stage ---------------------------------------------------------------
jobs=$(nproc)
export jobs
# Two test programs at a time share the cores, so waiting threads must sleep, not spin.
export OMP_WAIT_POLICY=passive
# A clone elsewhere finds what another folder's build left in the cache.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
# Leaks and errors leave with codes of their own: 1 would pass for "a comparison failed". Ten frames
# tell where a block came from; thirty cost a quarter of the time.
export ASAN_OPTIONS=exitcode=99:malloc_context_size=10:strict_string_checks=1:check_initialization_order=1:strict_init_order=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export LSAN_OPTIONS=exitcode=98
# Only what we compile is watched; the OpenMP runtime's own locks look like races from outside.
export TSAN_OPTIONS=exitcode=97:second_deadlock_stack=1:ignore_noninstrumented_modules=1
if ((EUID == 0)); then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export OMPI_MCA_rmaps_base_oversubscribe=1

# --- the stages: stage_NAME runs in a shell of its own ----------------------------------------------
# What hangs must end, what is slow must not: no stage has a cap of its own, which another machine
# would run into. A single test ends after ten minutes (tests/CMakeLists.txt), and everything
# together before CI's own limit of 90 minutes does away with the summary.
declare -A needs=(
  [tests]=build [install]=build [replica]=build [asan]=asan-build [fuzz]=asan-build
  [clang]=clang-build
  [tsan]=tsan-build
)
minutes=${SHOAL_TEST_MINUTES:-85}
[[ $minutes =~ ^[1-9][0-9]{0,5}$ ]] || { echo "test: SHOAL_TEST_MINUTES: give minutes" >&2; exit 2; }
((SHOAL_TEST_FULL == 0)) || minutes=${SHOAL_TEST_MINUTES:-720}

# A folder that another compiler configured is begun anew.
build_preset() {
  { cmake --preset "$1" || cmake --fresh --preset "$1"; } && cmake --build --preset "$1" -j "$jobs"
}
run_ctest() { ctest --preset "$1" -j "$jobs" --no-tests=error; }
stage_setup() { scripts/setup.sh --dev; }
stage_format() {
  git ls-files --cached --others --exclude-standard '*.h' '*.cpp' |
    xargs -d '\n' clang-format --dry-run -Werror
}
stage_includes() { scripts/check_includes.py --self-test; }
stage_build() { build_preset release; }
stage_tests() { run_ctest release; }
stage_install() { scripts/check_install.sh; }
stage_replica() { scripts/check_replica.sh; }
stage_asan-build() { build_preset asan; }
stage_asan() { run_ctest asan; }
stage_fuzz() { scripts/fuzz.sh "$fuzz_seconds"; }
stage_tidy() { scripts/tidy.sh; }
stage_clang-build() { build_preset clang; }
stage_clang() { run_ctest clang; }
stage_tsan-build() { build_preset tsan; }
stage_tsan() { run_ctest tsan; }
is_ctest() { [[ $1 == tests || $1 == asan || $1 == clang || $1 == tsan ]]; }
is_preparation() { [[ $1 == setup || $1 == build || $1 == *-build ]]; }

# --- running them ---------------------------------------------------------------------------------
green='' red='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'; fi
passed=0 failed=0 running=''
declare -A broken=()
mkdir -p build/logs
trap '[[ -z $running ]] || kill -TERM "$running" 2>/dev/null; exit 130' INT TERM

count_ctest() {  # LOG: adds what finished, also in a run that was cut off
  local good bad
  good=$(grep -cE '^ *[0-9]+/[0-9]+ Test +#[0-9]+: .* Passed ' "$1" || true)
  bad=$(grep -E '^ *[0-9]+/[0-9]+ Test +#[0-9]+: .*\*\*\*' "$1" | grep -cv Skipped || true)
  passed=$((passed + good)) failed=$((failed + bad))
  ((bad > 0))
}

run_stage() {
  local name=$1 log=build/logs/$1.log left=$((minutes * 60 - SECONDS)) status=0 begin=$SECONDS note=''
  ((left > 1)) || left=1
  if [[ -n ${needs[$name]:-} && -n ${broken[${needs[$name]}]:-} ]]; then
    printf '%sskip%s  %-11s       %s failed\n' "$red" "$plain" "$name" "${needs[$name]}"
    failed=$((failed + 1)) broken[$name]=1
    return
  fi
  # shellcheck disable=SC2163  # the name of a function, computed
  export -f "stage_$name" build_preset run_ctest
  timeout --kill-after=20 "$left" bash -euo pipefail -c "stage_$name" >"$log" 2>&1 </dev/null &
  running=$!
  wait "$running" || status=$?
  running=''
  if is_ctest "$name"; then
    count_ctest "$log" || ((status == 0)) || failed=$((failed + 1))
  elif ((status != 0)); then
    failed=$((failed + 1))
  elif ! is_preparation "$name"; then
    passed=$((passed + 1))
  fi
  if ((status == 0)); then
    printf '%sok%s    %-11s %4d s\n' "$green" "$plain" "$name" $((SECONDS - begin))
    return
  fi
  broken[$name]=1
  ((status != 124)) || note="  stopped: all together may take $minutes min (SHOAL_TEST_MINUTES)"
  printf '%sFAIL%s  %-11s %4d s  exit %d, %s%s\n' "$red" "$plain" "$name" $((SECONDS - begin)) \
    "$status" "$log" "$note"
  tail -n 60 "$log" | sed 's/^/    | /'
}

for stage in "${stages[@]}"; do
  run_stage "$stage"
  [[ $stage != setup || -z ${broken[setup]:-} ]] || break
done
printf 'total %d s\n' "$SECONDS"
printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0 && ${#broken[@]} == 0))
