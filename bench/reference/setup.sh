#!/usr/bin/env bash
# A virtual environment with the framework to beat, at pinned versions: bench/reference/.venv.
# About 5 GB of disk when the registry's torch is the build with GPU libraries; nothing here uses them.
set -euo pipefail
cd "$(dirname "$0")"

readonly torch=2.15.0 transformers=5.23.0 yaml=6.0.2

installed() {
  [[ -x .venv/bin/python ]] && .venv/bin/python - <<PYTHON
from importlib.metadata import PackageNotFoundError, version
want = {"torch": "$torch", "transformers": "$transformers", "PyYAML": "$yaml"}
try:
    same = all(version(name).split("+")[0] == number for name, number in want.items())
except PackageNotFoundError:
    same = False
raise SystemExit(0 if same else 1)
PYTHON
}

if installed; then
  echo "setup: bench/reference/.venv has torch $torch and transformers $transformers" >&2
  exit 0
fi
if ! python3 -c 'import ensurepip' 2>/dev/null; then
  echo "setup: python3 cannot make virtual environments; install python3-venv" >&2
  exit 2
fi
python3 -m venv .venv
.venv/bin/python -m pip install --quiet "torch==$torch" "transformers==$transformers" "PyYAML==$yaml"
installed
echo "setup: bench/reference/.venv has torch $torch and transformers $transformers" >&2
