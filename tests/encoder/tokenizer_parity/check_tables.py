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


def main():
    if importlib.util.find_spec("tokenizers") is None:
        print("SKIPPED: the Python package `tokenizers` is not installed for", sys.executable)
        sys.exit(77)
    folder = os.path.join(sys.argv[1], "encoder", "unicode")
    with tempfile.TemporaryDirectory() as temporary:
        fresh = os.path.join(temporary, "bert_unicode.tsv")
        subprocess.run(
            [sys.executable, os.path.join(folder, "generate_tables.py"), fresh], check=True
        )
        with open(os.path.join(folder, "bert_unicode.tsv"), encoding="ascii") as old, open(
            fresh, encoding="ascii"
        ) as new:
            changes = list(
                difflib.unified_diff(old.readlines(), new.readlines(), "committed", "recorded now")
            )
    sys.stdout.writelines(changes[:100])
    print("DIFFERENT: run encoder/unicode/generate_tables.py" if changes else "the same")
    sys.exit(bool(changes))


if __name__ == "__main__":
    main()
