#!/usr/bin/env python3
"""Every .proto file of ours names the packages that its stubs have in Go, Java, C#, PHP and Ruby (AIP-191)."""

import pathlib
import re
import sys


def expected(path):
    outer = "".join(word.capitalize() for word in path.stem.split("_"))
    return {
        "csharp_namespace": "Vecino.V1", "go_package": "github.com/vecino/vecino/gen/go/vecino/v1;vecinov1",
        "java_multiple_files": "true", "java_outer_classname": f"{outer}Proto", "java_package": "io.vecino.v1",
        "php_namespace": r"Vecino\\V1", "ruby_package": "Vecino::V1",
    }  # fmt: skip


def main():
    files = sorted((pathlib.Path(sys.argv[1]) / "proto" / "vecino").rglob("*.proto"))
    faults = []
    for path in files:
        text = path.read_text(encoding="utf-8")
        found = {name: value.strip('"') for name, value in re.findall(r"^option (\w+) = (.+);$", text, re.MULTILINE)}
        for name, value in expected(path).items():
            if found.get(name) != value:
                faults.append(f"{path}: option {name} is {found.get(name)}, should be {value}")
    print("\n".join(faults) or f"{len(files)} files name their packages in other languages")
    return 1 if faults or not files else 0


if __name__ == "__main__":
    sys.exit(main())
