#!/usr/bin/env python3
"""Checks that includes point one way, and that only certain folders know the outside world.

Reads every .h and .cpp file that git knows or would add; no compiler, well under a second. Prints
one `file:line: what; what would be right` per offence and exits 1 if there is one.
`--self-test` runs the check on small wrong trees first and fails if one of them passes.
"""
import pathlib
import re
import subprocess
import sys

# What a folder may include beside itself. The first prefix that fits a file names its part.
PARTS = ["autograd/base", "autograd/kernels", "autograd/ops", "autograd", "layers", "optim", "data",
         "train", "tests", "bench"]
MAY_INCLUDE = {
    "autograd/base": set(),
    "autograd/kernels": {"autograd/base"},
    "autograd": {"autograd/base"},
    "autograd/ops": {"autograd/base", "autograd/kernels", "autograd"},
    "layers": {"autograd/base", "autograd/kernels", "autograd", "autograd/ops"},
    "optim": {"autograd/base", "autograd/kernels", "autograd"},
    "data": {"autograd/base"},
    "train": {"autograd/base", "autograd/kernels", "autograd", "autograd/ops", "layers", "optim",
              "data"},
    "tests": set(PARTS) - {"bench"},
    "bench": set(PARTS) - {"tests"},
}
# A model consumes batches: plain data, which needs nothing of the folder it lies in.
EXCEPTIONS = {("layers", "data/batch.h")}

# The rooms of train/, from the roof down: each may include itself and what lies below. The longest
# name that fits a file is its room.
ROOMS = ["train/main", "train/cli", "train/trainer", "train/report", "train/parity", "train/run",
         "train/stability", "train/interop", "train/generate", "train/step", "train/plan",
         "train/checkpoint", "train/metrics", "train/config", "train/config/published", "train/config/schema",
         "train/config/run_config.h", "train/config/document", "train/dist", "train/require_cpu"]

# Headers of the outside world, and the only folders that may include them (tests may, always).
OUTSIDE = [
    (r"mpi\.h", "MPI", ["train/dist/"]),
    (r"yaml-cpp/.*", "yaml-cpp", ["train/config/"]),
    (r"(hdf5|H5\w*)\.h", "HDF5", ["train/checkpoint/", "data/"]),
    (r"omp\.h", "OpenMP", ["autograd/base/"]),
    (r"CLI/.*", "CLI11", ["train/cli/", "train/main.cpp"]),
    # Files are opened by read_file.h and write_file.h, which ask what is there: a pipe, a link.
    (r"fstream", "a stream of a file", ["autograd/base/"]),
    (r"fcntl\.h", "open()", ["autograd/base/", "train/checkpoint/posix_io.cpp",
                             "train/cli/cli.cpp"]),
]
X86_HEADER = re.compile(r"(\w*intrin|cpuid)\.h")
X86_GUARD = re.compile(r"__x86_64__|__AVX|__SSE|__FMA__|__F16C__|__BMI")
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
CONDITION = re.compile(r"\s*#\s*(if|ifdef|ifndef|elif|else|endif)\b(.*)")


def part_of(path):
    return next((part for part in PARTS if path.startswith(part + "/")), None)


def room_of(path):
    fitting = [room for room in ROOMS if path.startswith(room)]
    return max(fitting, key=len, default=None)


def includes(text):
    """Yields (line number, quoted, header, inside an x86 guard)."""
    guards = []
    for number, line in enumerate(text.splitlines(), 1):
        if condition := CONDITION.match(line):
            word, rest = condition.groups()
            if word == "endif":
                if guards:
                    guards.pop()
                continue
            is_guard = bool(X86_GUARD.search(rest)) and word != "ifndef" and "!" not in rest
            if word in ("elif", "else") and guards:
                guards[-1] = is_guard
            else:
                guards.append(is_guard)
        elif include := INCLUDE.match(line):
            yield number, include[1] == '"', include[2], any(guards)


def find_cycle(graph):
    """Returns one cycle of file names, or None."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node):] + [node]
        if node in done:
            return None
        path.append(node)
        for target in graph.get(node, []):
            if cycle := visit(target):
                return cycle
        done.add(path.pop())
        return None

    return next((cycle for node in sorted(graph) if (cycle := visit(node))), None)


def check(files):
    """files: path -> text. Returns the offences."""
    offences, graph = [], {}
    for path, text in sorted(files.items()):
        part = part_of(path)
        if part is None:
            offences.append(f"{path}:1: C++ outside of the known folders; one of {', '.join(PARTS)}")
            continue
        if part == "train" and room_of(path) is None:
            offences.append(f"{path}:1: in no room of train/; one of {', '.join(ROOMS)}")
        if path.endswith(".h") and "#pragma once" not in text:
            offences.append(f"{path}:1: header can be included twice; begin it with #pragma once")
        for line, quoted, header, guarded in includes(text):
            at = f"{path}:{line}:"
            if not quoted:
                for pattern, name, homes in OUTSIDE:
                    if (re.fullmatch(pattern, header) and part != "tests"
                            and not any(path.startswith(home) for home in homes)):
                        offences.append(f"{at} <{header}>; {name} is for {' and '.join(homes)}")
                if X86_HEADER.fullmatch(header) and not guarded:
                    offences.append(f"{at} <{header}> unguarded; put it under #ifdef __x86_64__")
                continue
            if header not in files:
                offences.append(f'{at} "{header}" is no file of ours; write its path from the root')
                continue
            graph.setdefault(path, []).append(header)
            target = part_of(header)
            if part == target == "train" and room_of(path) and room_of(header):
                if ROOMS.index(room_of(header)) < ROOMS.index(room_of(path)):
                    offences.append(f'{at} {room_of(path)} includes "{header}", which lies above '
                                    "it; move what both need down, or the caller up")
            if (target != part and target not in MAY_INCLUDE[part]
                    and (part, header) not in EXCEPTIONS):
                allowed = ", ".join(sorted(MAY_INCLUDE[part])) or "nothing else"
                offences.append(f'{at} {part} includes "{header}"; it may include {allowed}')
    if cycle := find_cycle(graph):
        offences.append(f"{cycle[0]}:1: include cycle {' -> '.join(cycle)}; cut one of them")
    return offences


def self_test():
    good = {"autograd/base/a.h": "#pragma once\n", "train/dist/c.cpp": "#include <mpi.h>\n",
            "autograd/ops/b.h": '#pragma once\n#include "autograd/base/a.h"\n',
            "autograd/kernels/k.cpp": "#if defined(__AVX2__)\n#include <immintrin.h>\n#endif\n",
            "train/plan/p.h": '#pragma once\n#include "train/config/run_config.h"\n',
            "train/config/run_config.h": "#pragma once\n",
            "train/config/schema/s.h": '#pragma once\n#include "train/config/run_config.h"\n',
            "train/config/load.cpp": '#include "train/config/schema/s.h"\n',
            "train/trainer.cpp": '#include "train/plan/p.h"\n'}
    assert check(good) == [], check(good)
    base = "autograd/base/a.h"
    wrong = {
        "upward": {base: '#pragma once\n#include "autograd/ops/b.h"\n',
                   "autograd/ops/b.h": "#pragma once\n"},
        "sideways": {"optim/o.cpp": '#include "data/d.h"\n', "data/d.h": "#pragma once\n"},
        "only the batch is excepted": {"layers/l.cpp": '#include "data/d.h"\n',
                                       "data/d.h": "#pragma once\n"},
        "mpi": {"train/metrics/m.cpp": "#include <mpi.h>\n"},
        "yaml": {"train/cli/m.cpp": "#include <yaml-cpp/yaml.h>\n"},
        "hdf5": {"train/interop/m.cpp": "  #  include <hdf5.h>\n"},
        "omp": {"autograd/kernels/k.cpp": "#include <omp.h>\n"},
        "a file of unknown kind": {"data/d.cpp": "#include <fstream>\n"},
        "an open of unknown kind": {"train/run/r.cpp": "#include <fcntl.h>\n"},
        "intrinsics": {"autograd/kernels/k.cpp": "#include <immintrin.h>\n"},
        "intrinsics in the else": {"autograd/kernels/k.cpp":
                                   "#ifdef __AVX2__\n#else\n#include <immintrin.h>\n#endif\n"},
        "relative": {"train/cli/a.cpp": '#include "b.h"\n', "train/cli/b.h": "#pragma once\n"},
        "a room looks up": {"train/plan/p.cpp": '#include "train/step/s.h"\n',
                            "train/step/s.h": "#pragma once\n"},
        "a room inside a room looks up": {
            "train/config/document/d.cpp": '#include "train/config/schema/s.h"\n',
            "train/config/schema/s.h": "#pragma once\n"},
        "formats know no runs": {"train/interop/i.cpp": '#include "train/run/r.h"\n',
                                 "train/run/r.h": "#pragma once\n"},
        "no room": {"train/helpers/h.cpp": "\n"},
        "twice": {base: "\n"},
        "cycle": {"data/x.h": '#pragma once\n#include "data/y.h"\n',
                  "data/y.h": '#pragma once\n#include "data/x.h"\n'},
        "stray": {"lost.cpp": "\n"},
        "program needs a test": {"train/cli/a.cpp": '#include "tests/t.h"\n',
                                 "tests/t.h": "#pragma once\n"},
    }
    for name, files in wrong.items():
        if len(check(files)) != 1:
            raise SystemExit(f"self-test: '{name}' should be one offence, got {check(files)}")


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    if "--self-test" in sys.argv[1:]:
        self_test()
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.h", "*.cpp"],
        cwd=root, check=True, capture_output=True, text=True).stdout.split("\n")
    files = {name: (root / name).read_text(encoding="utf-8")
             for name in names if name and (root / name).exists()}
    offences = check(files)
    print("\n".join(offences + [f"{len(files)} files, {len(offences)} offences"]))
    return 1 if offences or not files else 0


if __name__ == "__main__":
    sys.exit(main())
