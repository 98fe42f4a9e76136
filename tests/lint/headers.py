#!/usr/bin/env python3
"""Small rules that reviews forget: #pragma once, file sizes, no stray TODO, no committed weights or generated code.

Usage: headers.py SOURCE_DIR. Exit status 1 when a rule is broken."""
import pathlib
import re
import subprocess
import sys

MOST_LINES = 600
MOST_BYTES = 1 << 20


def tracked(source):
    out = subprocess.run(["git", "-C", str(source), "-c", "safe.directory=*", "ls-files", "-z"], capture_output=True)
    if out.returncode == 0 and out.stdout:
        return [name for name in out.stdout.decode().split("\0") if name]
    return [str(p.relative_to(source)) for p in source.rglob("*")
            if p.is_file() and not {"build", ".git", ".cache"} & set(p.relative_to(source).parts)]


def main():
    source = pathlib.Path(sys.argv[1])
    problems = []
    names = tracked(source)
    for name in names:
        path = source / name
        if not path.is_file():
            continue
        if re.search(r"\.(pb\.(h|cc)|pt|safetensors|bin|so|o|a)$", name):
            problems.append(f"{name}: generated code, weights and binaries are not committed")
        if path.stat().st_size > MOST_BYTES:
            problems.append(f"{name}: {path.stat().st_size} bytes, more than {MOST_BYTES}")
        if not re.search(r"\.(h|cc)$", name):
            continue
        lines = path.read_text(errors="replace").splitlines()
        if len(lines) > MOST_LINES:
            problems.append(f"{name}: {len(lines)} lines, more than {MOST_LINES}")
        if name.endswith(".h") and "#pragma once" not in lines:
            problems.append(f"{name}: no #pragma once")
        if name.endswith(".h") and not lines[0].startswith("//"):
            problems.append(f"{name}: the first line does not say what the file is")
        for number, line in enumerate(lines, 1):
            if re.search(r"\b(TODO|FIXME|XXX)\b", line):
                problems.append(f"{name}:{number}: unfinished business: {line.strip()}")
    for problem in problems:
        print(problem)
    print(f"headers: {len(names)} files, {len(problems)} problems")
    return 1 if problems or not names else 0


if __name__ == "__main__":
    sys.exit(main())
