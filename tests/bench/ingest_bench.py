#!/usr/bin/env python3
"""Vectors a second that `vecino load` brings into a real server over one IngestDocuments stream, nothing encoded.

    ingest_bench.py [--vectors 100000] [--dimension 384] [--passes 3] [--least 30000]

Each pass starts a server on an empty folder and loads the same .npy file into a new collection, with --overwrite: no
ids are looked up first. An item is acknowledged when it is durable and `load` ends when all are, so its wall time, with
its start and the reading of the file, is the time until everything is durable. Checked each time: the count, and, after
kill -9 and a start, the count again.

Prints each pass and the median; exit status 1 when the median is below --least vectors a second, or a count is wrong.
Needs VECINO_BINARY_DIR and numpy. 77: something is missing.
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

from client_support import BINARIES, Workspace, skip, vecino  # noqa: E402

try:
    import numpy
except ImportError as error:
    skip(f"{error}; pip install -r tests/bench/requirements.txt")


def checked(result):
    """What a command printed; ends the program when it failed."""
    if result.returncode != 0:
        sys.exit(f"{' '.join(result.args)} ended with {result.returncode}: {result.stderr}")
    return result.stdout


def run(path, options):
    """Seconds of one load into an empty server; what is wrong with what is there then, or an empty text."""
    with Workspace() as workspace:
        server = workspace.server
        checked(vecino(server.address, "collection", "create", "c", "--dim", options.dimension))
        start = time.monotonic()
        output = checked(vecino(server.address, "--json", "load", "c", path, "--overwrite"))
        seconds = time.monotonic() - start
        report = json.loads(output)
        if (report["loaded"], report["failed"]) != (options.vectors, 0):
            return seconds, f"not all was loaded: {output.strip()}"
        for when in ("after the load", "after kill -9 and a start"):
            count = int(checked(vecino(server.address, "count", "c")))
            if count != options.vectors:
                return seconds, f"{count:,} documents {when}, not {options.vectors:,}"
            if when == "after the load":
                server.kill()
                server.start()
    return seconds, ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--least", type=float, default=30_000, help="vectors a second; 0: whatever it is")
    options = parser.parse_args()
    if not (BINARIES / "vecinod").exists():
        skip(f"no vecinod in {BINARIES}; set VECINO_BINARY_DIR")
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "vectors.npy"
        random = numpy.random.default_rng(1)
        numpy.save(path, random.standard_normal((options.vectors, options.dimension), dtype=numpy.float32))
        for number in range(options.passes):
            seconds, wrong = run(path, options)
            if wrong:
                sys.exit(wrong)
            rates.append(options.vectors / seconds)
            print(f"pass {number + 1}: {options.vectors:,} vectors of {options.dimension} durable in {seconds:.2f} s, "
                  f"{rates[-1]:,.0f} a second", flush=True)  # fmt: skip
    rate = statistics.median(rates)
    print(f"median: {rate:,.0f} vectors a second, at least {options.least:,.0f} wanted")
    return 0 if rate >= options.least else 1


if __name__ == "__main__":
    sys.exit(main())
