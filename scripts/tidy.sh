#!/usr/bin/env bash
# clang-tidy (.clang-tidy) over our sources, with the compile commands of build/clang.
#
#   scripts/tidy.sh [FILE.cpp ...]      all of them without an argument
set -euo pipefail
cd "$(dirname "$0")/.."
[[ -s build/clang/compile_commands.json ]] || cmake --preset clang
files=("$@")
if ((${#files[@]} == 0)); then
  mapfile -t files < <(git ls-files --cached --others --exclude-standard \
    'autograd/*.cpp' 'layers/*.cpp' 'optim/*.cpp' 'data/*.cpp' 'train/*.cpp')
fi
# clang-tidy shows what it holds back ("N warnings generated") on stderr: noise.
printf '%s\0' "${files[@]}" |
  xargs -0 -n 1 -P "$(nproc)" clang-tidy -p build/clang --quiet 2> >(grep -v 'warnings\? generated' >&2)
