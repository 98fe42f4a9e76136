#!/usr/bin/env python3
"""Tokens a second of Vecino's encoder beside onnxruntime and OpenVINO, on the same texts, ids and cores.

    encoder_peers.py --bench build/ci/tests/bench/encoder_bench --tool build/ci/tests/encoder/embed_lines \\
                     --models FOLDER --source SENTENCE_TRANSFORMERS_DIRECTORY [--passes 3]

(a) 4,000 WordNet glosses, (b) 1,500 long package descriptions, (c) one query of 12 tokens at a time. All engines embed the
same ids; Vecino tokenises besides. Engines in turn, medians of the passes. Peers run length-sorted batches of 1,024 padded
tokens, as Vecino does, one thread for each core; a lone query by one thread and by all, of which the better counts.
int8 of onnxruntime is its dynamic quantisation, per channel; of OpenVINO that same file. The mean cosine to fp32 stands beside each speed.
Needs tests/bench/requirements.txt, Debian's python3-torch for the peers' model, apt's translations and wordnet-base.
Not a timed test: it asserts nothing.
"""

import argparse
import concurrent.futures
import glob
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime
import openvino
from onnxruntime.quantization import QuantType, quantize_dynamic

HERE = pathlib.Path(__file__).resolve().parent
MODEL = "all-MiniLM-L6-v2"
CORES = os.cpu_count()
BATCH_TOKENS = 1024
QUERIES = 100


def glosses(count):
    texts = []
    for part in ("noun", "verb", "adj", "adv"):
        with open(f"/usr/share/wordnet/data.{part}", encoding="utf-8") as file:
            texts += [line.split(" | ", 1)[1].strip() for line in file if " | " in line]
    return random.Random(1).sample(texts, count)


def descriptions(count):
    """Long descriptions of Debian packages."""
    lists = sorted(glob.glob("/var/lib/apt/lists/*_main_i18n_Translation-en*"))
    cat = ["/usr/lib/apt/apt-helper", "cat-file", *lists]
    dump = subprocess.run(cat, capture_output=True, check=True).stdout.decode("utf-8") if lists else ""
    texts, current = [], None
    for line in dump.split("\n"):
        if line.startswith("Description-en: "):
            current = []
        elif current is not None and line.startswith(" "):
            current.append(line[1:] if line != " ." else "")
        elif current is not None:
            if len(current) > 2:
                texts.append(" ".join(" ".join(current).split()))
            current = None
    texts = sorted(set(texts))
    if len(texts) < count:
        sys.exit(f"{len(texts)} long descriptions: run apt-get -o Acquire::Languages=en update")
    return random.Random(1).sample(texts, count)


def batches(rows):
    """Indexes of rows, longest first, in batches of at most BATCH_TOKENS padded tokens."""
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    out = []
    while order:
        size = max(1, BATCH_TOKENS // len(rows[order[0]]))
        out.append(order[:size])
        order = order[size:]
    return out


def arrays(rows):
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    ids = np.zeros((len(rows), lengths.max()), dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
    return {"ids": ids, "lengths": lengths}


class Onnx:
    def __init__(self, path):
        self.path = path

    def runner(self, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        return lambda rows: session.run(None, arrays(rows))[0]


class OpenVino:
    def __init__(self, path, hint):
        self.path, self.hint = path, hint

    def runner(self, threads):
        core = openvino.Core()
        config = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": self.hint, "ENABLE_CPU_PINNING": False}
        request = core.compile_model(self.path, "CPU", config).create_infer_request()
        return lambda rows: request.infer(arrays(rows))[0].copy()


def throughput(engine, rows):
    """Tokens a second, and the vectors."""
    runners = [engine.runner(1) for _ in range(CORES)]
    for run in runners:
        run(rows[:4])
    work = batches(rows)
    vectors = np.empty((len(rows), 384), dtype=np.float32)
    queue = iter(work)

    def drain(run):
        for batch in iter(lambda: next(queue, None), None):
            vectors[batch] = run([rows[i] for i in batch])

    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(CORES) as pool:
        list(pool.map(drain, runners))
    return sum(map(len, rows)) / (time.perf_counter() - start), vectors


def latency(engine, row):
    """p50 and p99 in µs, by one thread or by all."""
    best = None
    for threads in (1, CORES):
        run, times = engine.runner(threads), []
        for _ in range(QUERIES + 10):
            start = time.perf_counter()
            run([row])
            times.append(1e6 * (time.perf_counter() - start))
        times = sorted(times[10:])
        best = min(best or (1e9, 0), (times[len(times) // 2], times[len(times) * 99 // 100]))
    return best


def write(path, texts):
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(texts) + "\n")


def embed(options, model, path, folder):
    """Ids and vectors of the lines of a file, by Vecino."""
    vectors, ids = os.path.join(folder, "vectors"), os.path.join(folder, "ids")
    with open(path, "rb") as lines:
        subprocess.run([options.tool, options.models, model, vectors, ids], stdin=lines, check=True, stderr=subprocess.DEVNULL)
    with open(ids, encoding="ascii") as file:
        rows = [list(map(int, line.split())) for line in file]
    return rows, np.fromfile(vectors, dtype="<f4").reshape(len(rows), -1)


def cosine(a, b):
    return float((a * b).sum(1).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bench", "tool", "models", "source"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--passes", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = {"glosses": f"{folder}/glosses", "descriptions": f"{folder}/descriptions"}
        write(paths["glosses"], glosses(4000))
        write(paths["descriptions"], descriptions(1500))
        write(f"{folder}/query", ["which program lets me play chess against the computer"])
        data = {name: embed(options, MODEL, path, folder) for name, path in paths.items()}
        query = embed(options, MODEL, f"{folder}/query", folder)[0][0]
        for name, (rows, _) in data.items():
            print(f"# {name}: {len(rows)} texts, {sum(map(len, rows)) / len(rows):.1f} tokens each")
        fp32, int8 = f"{folder}/model.onnx", f"{folder}/int8.onnx"
        subprocess.run(["/usr/bin/python3", HERE / "export_onnx.py", options.source, fp32], check=True)
        quantize_dynamic(fp32, int8, per_channel=True, weight_type=QuantType.QInt8)
        engines = {
            "onnxruntime fp32": Onnx(fp32),
            "onnxruntime int8": Onnx(int8),
            "openvino f32": OpenVino(fp32, "f32"),
            "openvino bf16": OpenVino(fp32, "bf16"),
            "openvino int8": OpenVino(int8, "f32"),
        }
        ours = [(MODEL, "vecino fp32"), (f"{MODEL}@bf16", "vecino bf16"), (f"{MODEL}@int8", "vecino int8")]
        figures, cosines = {}, {}
        environment = dict(
            os.environ, VECINO_BENCH_GLOSSES=paths["glosses"], VECINO_BENCH_LONG=paths["descriptions"],
            OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

        def add(engine, what, figure):
            figures.setdefault((engine, what), []).append(figure)

        for number in range(options.passes):
            names = dict((model, name) for model, name in ours)
            output = subprocess.run(
                [options.bench, "--json", "--batch-tokens", str(BATCH_TOKENS), options.models, *names],
                env=environment, check=True, capture_output=True, text=True).stdout
            for line in map(json.loads, output.splitlines()):
                add(names[line["model"]], line["what"], line.get("tokens_per_s") or (line["p50"], line["p99"]))
            output = subprocess.run(
                [options.bench, "--json", "--executor", "torchscript", "--batch-tokens", str(BATCH_TOKENS), options.models, MODEL],
                env=environment, check=True, capture_output=True, text=True).stdout
            for line in map(json.loads, output.splitlines()):
                add("vecino torchscript", line["what"], line.get("tokens_per_s") or (line["p50"], line["p99"]))
            for engine, peer in engines.items():
                for what, (rows, expected) in data.items():
                    speed, vectors = throughput(peer, rows)
                    add(engine, what, speed)
                    cosines[engine, what] = cosine(vectors, expected)
                add(engine, "query", latency(peer, query))
            print(f"# pass {number + 1} of {options.passes}", file=sys.stderr)
        for model, name in ours:
            for what, path in paths.items():
                cosines[name, what] = cosine(embed(options, model, path, folder)[1], data[what][1])
        print(f"{'engine':20} {'(a) tokens/s':>13} {'(b) tokens/s':>13} {'(c) p50/p99 ms':>16}  mean cosine to fp32 (b)")
        for engine in ["vecino torchscript", *(name for _, name in ours), *engines]:
            a, b = (statistics.median(figures[engine, what]) for what in paths)
            p50, p99 = (statistics.median(run[i] for run in figures[engine, "query"]) / 1000 for i in (0, 1))
            print(f"{engine:20} {a:13,.0f} {b:13,.0f} {p50:9.2f}/{p99:5.2f}  {cosines.get((engine, 'descriptions'), 1):.5f}")


if __name__ == "__main__":
    main()
