#!/usr/bin/env bash
# Installs the Debian 12 packages that building and running Shoal needs; with --dev also those of
# scripts/test.sh. Packages that are there already are left alone, so a second run does nothing.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: scripts/setup.sh [--dev]

Installs what is missing (as root, or through sudo):
  compiler   g++ cmake ninja-build ccache
  libraries  Eigen, OpenBLAS (OpenMP build), HDF5, Open MPI, OpenSSL, spdlog, CLI11, yaml-cpp,
             nlohmann-json, GoogleTest, Google Benchmark
  corpus     bible-kjv
  --dev      clang, clang-format, clang-tidy, libomp, HDF5 tools, git, Python: for scripts/test.sh
TEXT
}

packages=(
  g++ cmake ninja-build ccache
  libeigen3-dev libopenblas-openmp-dev libhdf5-dev libopenmpi-dev openmpi-bin libssl-dev
  libspdlog-dev libcli11-dev libyaml-cpp-dev nlohmann-json3-dev
  libgtest-dev libgmock-dev libbenchmark-dev
  bible-kjv
)
dev_packages=(
  clang clang-format clang-tidy libclang-rt-14-dev libomp-dev hdf5-tools git python3
)

say() { printf 'setup: %s\n' "$*" >&2; }

for argument in "$@"; do
  case $argument in
    --dev) packages+=("${dev_packages[@]}") ;;
    -h | --help) usage; exit 0 ;;
    *) say "unknown argument '$argument'; see scripts/setup.sh --help"; exit 2 ;;
  esac
done

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  say "this is not a Debian system: install the equivalents of these packages by hand:"
  say "  ${packages[*]}"
  exit 2
fi

is_installed() {
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}
missing=()
for package in "${packages[@]}"; do
  is_installed "$package" || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  say "all ${#packages[@]} packages are installed"
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    say "not root, and there is no sudo; run this as root, then come back:"
    say "  apt-get update && apt-get install --no-install-recommends ${missing[*]}"
    exit 2
  fi
  as_root=(sudo)
fi

say "installing ${#missing[@]} packages: ${missing[*]}"
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@" >&2
}
# A package list can be stale in one source of several; what counts is whether the install works.
apt update || say "apt-get update reported a problem; trying to install all the same"
if ! apt install -y --no-install-recommends "${missing[@]}"; then
  say "apt-get could not install the packages; its own words are above"
  exit 2
fi
say "installed ${#missing[@]} packages"
