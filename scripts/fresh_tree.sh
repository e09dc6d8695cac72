#!/usr/bin/env bash
# Runs a command in a fresh minimal Debian 12 that holds nothing but a clean clone of the committed
# tree: proof that the scripts install all they need. Needs root, debootstrap and about 4 GB of disk.
#
#   scripts/fresh_tree.sh scripts/quickstart.sh
#   scripts/fresh_tree.sh scripts/test.sh --quick
#
# The base system is made once and kept as a tarball (SHOAL_FRESH_CACHE, default /tmp/shoal-fresh);
# the tree is removed at the end unless KEEP=1. Packages come from the mirror this machine uses.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

say() { printf 'fresh_tree: %s\n' "$*" >&2; }
die() { say "$@"; exit 2; }

(($# > 0)) || die "usage: scripts/fresh_tree.sh COMMAND [ARGUMENT...]"
((EUID == 0)) || die "chroot needs root"
for tool in debootstrap git tar; do
  command -v "$tool" >/dev/null || die "$tool is missing: apt-get install $tool"
done

cache=${SHOAL_FRESH_CACHE:-/tmp/shoal-fresh}
mkdir -p "$cache"
base=$cache/base.tar

# What apt on this machine would ask for Debian's own archive: "URI suite component" lines.
apt_sources() {
  apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' |
    awk '$4 == "Debian" && $2 ~ /^bookworm/ { print $1, $2, $3 }' | sort -u
}

if [[ ! -s $base ]]; then
  sources=$(apt_sources)
  mirror=$(awk '$2 == "bookworm" { print $1; exit }' <<<"$sources")
  [[ -n $mirror ]] || die "apt on this machine has no source for bookworm; run apt-get update first"
  say "making the base system (once)"
  rm -rf "$cache/base"
  debootstrap --variant=minbase bookworm "$cache/base" "$mirror" >"$cache/debootstrap.log" 2>&1 ||
    die "debootstrap failed: $cache/debootstrap.log"
  awk '{ print "deb", $1, $2, $3 }' <<<"$sources" >"$cache/base/etc/apt/sources.list"
  # How packages are reached is this machine's matter: proxies and certificates come along.
  { apt-config dump Acquire::http::Proxy; apt-config dump Acquire::https::Proxy; } \
    >"$cache/base/etc/apt/apt.conf.d/90machine"
  rm -rf "$cache/base/var/cache/apt/archives"/*.deb
  tar -C "$cache/base" -cf "$base.part" .
  mv "$base.part" "$base"
  rm -rf "$cache/base"
fi

tree=$(mktemp -d "$cache/tree.XXXXXX")
mounted=()
clean_up() {
  local at
  for at in "${mounted[@]}"; do umount "$at" || umount -l "$at" || true; done
  # A mount that stayed must not be emptied: rm keeps to this file system.
  [[ -n ${KEEP:-} ]] && say "kept $tree" || rm -rf --one-file-system "$tree"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

tar -C "$tree" -xf "$base"
cp /etc/resolv.conf /etc/hosts "$tree/etc/"
git clone --quiet --no-hardlinks "$root" "$tree/root/shoal"
mount -t proc proc "$tree/proc" && mounted+=("$tree/proc")
mkdir -p "$tree/dev/shm"
for device in null zero full random urandom tty; do
  [[ -e $tree/dev/$device ]] || touch "$tree/dev/$device"
  mount --bind "/dev/$device" "$tree/dev/$device" && mounted+=("$tree/dev/$device")
done
mount -t tmpfs -o size=2g tmpfs "$tree/dev/shm" && mounted+=("$tree/dev/shm")
[[ -e $tree/dev/fd ]] || ln -s /proc/self/fd "$tree/dev/fd"

say "commit $(git -C "$root" rev-parse --short HEAD) in a fresh tree: $*"
before=$SECONDS
status=0
# A clean environment: what this machine's user has set must not help.
chroot "$tree" /usr/bin/env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 \
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  ${NO_COLOR:+NO_COLOR="$NO_COLOR"} ${OMP_NUM_THREADS:+OMP_NUM_THREADS="$OMP_NUM_THREADS"} \
  bash -c 'cd /root/shoal && exec "$@"' fresh "$@" || status=$?
say "exit $status after $((SECONDS - before)) s: $*"
exit "$status"
