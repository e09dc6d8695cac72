#!/bin/bash
# Makes the default corpus from Debian's King James Bible (package bible-kjv): a chapter is a
# document, so blank lines separate chapters; a verse is a line, without its reference.
#   scripts/make_kjv.sh [OUT.txt]      default: corpora/kjv.txt
# OUT appears complete or not at all; nothing is done when it is there and right.
set -euo pipefail
export LC_ALL=C

readonly kVerses=31102 kChapters=1189
out=${1:-corpora/kjv.txt}

fail() {
  echo "make_kjv: $*" >&2
  exit 1
}

# Prints "verses chapters" of a corpus.
count() {
  awk '/^$/ { open = 0; next } { ++verses; if (!open) ++chapters; open = 1 }
       END { print verses + 0, chapters + 0 }' "$1"
}

# A reference such as "Ge1:1 " is left, or a byte that is no printable ASCII character.
malformed() {
  grep -nE '^[1-3]?[A-Za-z]+[0-9]+:[0-9]+ |[^ -~]|^ | $' "$1" | head -n 1
}

is_right() {
  [ "$(count "$1")" = "$kVerses $kChapters" ] && [ -z "$(malformed "$1")" ]
}

report() {
  echo "$out: $(stat -c %s "$out") bytes, $kChapters documents"
}

if [ -e "$out" ]; then
  { [ -f "$out" ] && is_right "$out"; } || fail "$out exists and is not this corpus; move it away"
  report
  exit 0
fi
command -v bible > /dev/null ||
  fail "the program 'bible' is missing; install it: apt-get install bible-kjv"

mkdir -p "$(dirname "$out")"
temporary=$(mktemp "$(dirname "$out")/.kjv.XXXXXX")
trap 'rm -f "$temporary"' EXIT
# A verse is printed as "1Cor13:4 Charity suffereth long, ...".
bible -f 'Gen1:1-Rev22:21' < /dev/null | awk '
  {
    reference = $1
    if (reference !~ /^[1-3]?[A-Za-z]+[0-9]+:[0-9]+$/) {
      print "make_kjv: line " NR " begins with no reference: " $0 > "/dev/stderr"
      exit 1
    }
    chapter = reference
    sub(/:.*/, "", chapter)
    if (NR > 1 && chapter != last) print ""
    last = chapter
    verse = substr($0, index($0, reference) + length(reference))
    gsub(/^ +| +$/, "", verse)
    print verse
  }' > "$temporary"
is_right "$temporary" ||
  fail "got $(count "$temporary") verses and chapters, not $kVerses and $kChapters;" \
    "first odd line: $(malformed "$temporary")"
chmod 644 "$temporary"
sync "$temporary"
mv "$temporary" "$out"
report
