#!/usr/bin/env python3
"""Records the Unicode tables from the reference again and compares them with the committed ones.

Usage: check_tables.py SOURCE_ROOT
Exit status: 0 the same, 1 different, 77 the reference is not installed.
"""

import difflib
import importlib.util
import os
import subprocess
import sys
import tempfile

RECORDERS = {
    "bert_unicode.tsv": "generate_tables.py",
    "grapheme_unicode.tsv": "generate_grapheme_tables.py",
}


def main():
    if importlib.util.find_spec("tokenizers") is None:
        print("SKIPPED: the Python package `tokenizers` is not installed for", sys.executable)
        sys.exit(77)
    folder = os.path.join(sys.argv[1], "encoder", "unicode")
    different = False
    for name, recorder in RECORDERS.items():
        with tempfile.TemporaryDirectory() as temporary:
            fresh = os.path.join(temporary, name)
            subprocess.run([sys.executable, os.path.join(folder, recorder), fresh], check=True)
            with open(os.path.join(folder, name), encoding="ascii") as old, open(
                fresh, encoding="ascii"
            ) as new:
                changes = list(
                    difflib.unified_diff(old.readlines(), new.readlines(), "committed", "recorded now")
                )
        sys.stdout.writelines(changes[:100])
        print(name, f"DIFFERENT: run encoder/unicode/{recorder}" if changes else "the same")
        different |= bool(changes)
    sys.exit(different)


if __name__ == "__main__":
    main()
