#!/usr/bin/env bash
# Installs the release build into a scratch prefix; builds and runs a program outside of the tree that
# finds the package there, and the installed `shoal`. Needs build/release.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$root/build/release" --prefix "$work/prefix" >"$work/install.log" ||
  { cat "$work/install.log"; exit 1; }
# The program's sources leave the tree too, so that no header can be found by accident.
cp -r "$root/tests/install" "$work/source"
cmake -S "$work/source" -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix"
cmake --build "$work/build"
"$work/build/uses_shoal"
"$work/prefix/bin/shoal" --version
