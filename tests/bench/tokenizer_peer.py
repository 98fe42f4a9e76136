#!/usr/bin/env python3
"""Tokens a second of Hugging Face `tokenizers` on one core, and of tokenizer_bench beside it.

Usage: tokenizer_peer.py MODEL_FOLDER TEXTS [TOKENIZER_BENCH]

MODEL_FOLDER holds tokenizer.json and vocab.txt; TEXTS is a file with one text a line, or "wordnet"
for the glosses of the Debian package wordnet-base. With the path of tokenizer_bench, runs the two
by turns and prints the ratio.
"""

import glob
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # before the import: one core
import tokenizers  # noqa: E402

ROUNDS = 5


def glosses(path):
    with open(path, "w", encoding="utf-8") as out:
        for part in sorted(glob.glob("/usr/share/wordnet/data.*")):
            with open(part, encoding="utf-8") as f:
                out.writelines(
                    line.split("| ", 1)[1].strip() + "\n" for line in f if not line.startswith("  ")
                )


def main():
    model, texts_path, *bench = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        if texts_path == "wordnet":
            texts_path = os.path.join(folder, "wordnet.txt")
            glosses(texts_path)
        with open(texts_path, encoding="utf-8", newline="\n") as f:
            texts = f.read().removesuffix("\n").split("\n")
        reference = tokenizers.Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
        reference.no_padding()
        reference.enable_truncation(256)
        theirs, ours = [], []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            tokens = sum(
                len(e.ids)
                for i in range(0, len(texts), 1000)
                for e in reference.encode_batch_fast(texts[i : i + 1000])
            )
            theirs.append(tokens / (time.perf_counter() - start))
            if bench:
                line = subprocess.run(
                    [bench[0], os.path.join(model, "vocab.txt"), texts_path, "5"],
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
                ours.append(float(re.search(r"median (\d+)", line)[1]))
                assert f" {tokens} tokens" in line, f"the reference counts {tokens} tokens: {line}"
        print(
            f"tokenizers {tokenizers.__version__}: {len(texts)} texts, {tokens} tokens, "
            f"median {statistics.median(theirs):.0f} tokens/s of {ROUNDS} rounds"
        )
        if bench:
            print(
                f"vecino: median {statistics.median(ours):.0f} tokens/s, "
                f"{statistics.median(ours) / statistics.median(theirs):.1f} times the reference"
            )


if __name__ == "__main__":
    main()
