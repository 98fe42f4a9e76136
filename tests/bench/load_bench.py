#!/usr/bin/env python3
"""How much of the encoder's own rate `vecino load` has, end to end: server, store, index and client on the same cores.

    load_bench.py [--documents 20000] [--models all-MiniLM-L6-v2@int8,all-MiniLM-L6-v2] [--passes 3]

Takes the first documents of both demo collections (deploy/demo). In turn: encoder_bench embeds their texts in one
process, and `vecino load` loads them into a new collection of a real server. Prints documents a second of both and
the ratio, medians of the passes. Not a timed test: it asserts nothing.

Needs VECINO_BINARY_DIR (a build with benchmarks) and VECINO_MODEL_ROOT.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from client_support import BINARIES, Server, model_root  # noqa: E402

BENCH = BINARIES.parent / "tests" / "bench" / "encoder_bench"


def documents(maker, count, path):
    subprocess.run([sys.executable, str(ROOT / "deploy" / "demo" / maker), str(path)], check=True, capture_output=True)
    return path.read_text(encoding="utf-8").splitlines()[:count]


def own_rate(model, texts):
    run = subprocess.run([str(BENCH), "--texts", str(texts), model_root(), model], check=True, capture_output=True)
    return json.loads(run.stdout)["texts_per_s"]


def load_rate(server, name, model, path, count):
    vecino = [str(BINARIES / "vecino"), "--server", server.address]
    subprocess.run(vecino + ["collection", "create", name, "--model", model], check=True, capture_output=True)
    start = time.monotonic()
    subprocess.run(vecino + ["load", name, str(path)], check=True, capture_output=True)
    return count / (time.monotonic() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20000)
    parser.add_argument("--models", default="all-MiniLM-L6-v2@int8,all-MiniLM-L6-v2")
    parser.add_argument("--passes", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temp:
        temp = pathlib.Path(temp)
        for what, maker in (("packages", "make_packages.py"), ("words", "make_words.py")):
            lines = documents(maker, options.documents, temp / "all.jsonl")
            path, texts = temp / f"{what}.jsonl", temp / f"{what}.txt"
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            texts.write_text("\n".join(" ".join(json.loads(x)["text"].split()) for x in lines) + "\n", encoding="utf-8")
            for model in options.models.split(","):
                own, load = [], []
                for number in range(options.passes):
                    own.append(own_rate(model, texts))
                    server = Server(temp / f"data{what}{model}{number}", models=model_root())
                    server.start()
                    try:
                        load.append(load_rate(server, "c", model, path, len(lines)))
                    finally:
                        server.stop()
                a, b = statistics.median(load), statistics.median(own)
                print(f"{what}, {model}, {len(lines)} documents: load {a:.0f} a second, encoder alone {b:.0f}:"
                      f" {100 * a / b:.0f}%  (passes: {[round(x) for x in load]} and {[round(x) for x in own]})", flush=True)


if __name__ == "__main__":
    main()
