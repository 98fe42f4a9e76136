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
    "gpt2_unicode.tsv": "generate_gpt2_tables.py",
    "grapheme_unicode.tsv": "generate_grapheme_tables.py",
}


def changes(folder, table, recorder):
    """Lines of a diff from what is committed to what the reference says now."""
    with tempfile.TemporaryDirectory() as temporary:
        fresh = os.path.join(temporary, table)
        subprocess.run([sys.executable, os.path.join(folder, recorder), fresh], check=True)
        with open(os.path.join(folder, table), encoding="ascii") as old, open(
            fresh, encoding="ascii"
        ) as new:
            return list(
                difflib.unified_diff(old.readlines(), new.readlines(), "committed", "recorded now")
            )


def main():
    if importlib.util.find_spec("tokenizers") is None:
        print("SKIPPED: the Python package `tokenizers` is not installed for", sys.executable)
        sys.exit(77)
    folder = os.path.join(sys.argv[1], "encoder", "unicode")
    different = False
    for table, recorder in RECORDERS.items():
        lines = changes(folder, table, recorder)
        sys.stdout.writelines(lines[:100])
        print(table, f"DIFFERENT: run encoder/unicode/{recorder}" if lines else "the same", flush=True)
        different |= bool(lines)
    sys.exit(different)


if __name__ == "__main__":
    main()
