#!/usr/bin/env python3
"""Vecino's encoder on a CUDA device beside sentence-transformers, on the same texts and model: speed, and what it costs in quality.

    cuda_peers.py --bench build/cuda/tests/bench/encoder_bench --tool build/cuda/tests/encoder/embed_lines \\
                  --models FOLDER --source SENTENCE_TRANSFORMERS_DIRECTORY --glosses FILE --long FILE [--repeat 25]

FILEs: one text a line. Each engine embeds all texts
`repeat` times, tokenising included: Vecino in packed batches, and by TorchScript, with 1 and 8 callers; sentence-transformers by
encode() in fp32, fp16 and bf16 with batch sizes of 128, 512 and 2,048, of which the best counts, after one pass to warm up. A lone
query of about 12 tokens: p50. The mean cosine to fp32 on the CPU stands beside each of Vecino's, and Spearman on STS-B, which
VECINO_SHARED_DATA must have. Needs a Python with sentence-transformers, torch and numpy; without, or with --no-peers, only Vecino's
rows. Not a timed test: it asserts nothing.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "encoder"))
from quality_test import spearman, stsb_pairs  # noqa: E402

MODEL = "all-MiniLM-L6-v2"
MODELS = (MODEL, f"{MODEL}@bf16")
QUERY = "which program lets me play chess against the computer"


def read_lines(path):
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()


def vecino_speed(options, executor, callers):
    """{model: {what: tokens a second, or p50 in µs}}; with several callers no latencies."""
    command = [options.bench, "--device", options.device, "--executor", executor, "--batch-tokens", "0", "--json",
               "--callers", str(callers), "--repeat", str(options.repeat), options.models, *MODELS]
    variables = {"VECINO_BENCH_GLOSSES": options.glosses, "VECINO_BENCH_LONG": options.long}
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | variables, check=False)
    if run.returncode:
        sys.exit(run.returncode)
    found = {model: {} for model in MODELS}
    for line in run.stdout.splitlines():
        entry = json.loads(line)
        found[entry["model"]][entry["what"]] = entry.get("tokens_per_s") or (entry["p50"], entry["p99"], entry.get("idle_p99"))
    return found


def embed(options, device, executor, model, texts):
    with tempfile.NamedTemporaryFile() as out:
        command = [options.tool, "--device", device, "--executor", executor, options.models, model, out.name]
        run = subprocess.run(command, input="\n".join(texts), capture_output=True, text=True, check=False)
        if run.returncode:
            sys.exit(run.stderr)
        return np.fromfile(out.name, dtype="<f4").reshape(len(texts), -1)


def peer_rows(options, texts):
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        print(f"no peer: {error}")
        return
    for name, kind in (("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)):
        model = SentenceTransformer(options.source, device=options.device).to(kind)
        tokenizer = model.tokenizer
        figures = []
        for what in ("glosses", "descriptions"):
            lines = texts[what]
            tokens = sum(min(len(ids), model.max_seq_length) for ids in tokenizer(lines)["input_ids"])
            model.encode(lines[:512], batch_size=512)
            best = (0, 0)
            for size in (128, 512, 2048):
                start = time.perf_counter()
                model.encode(lines * options.peer_repeat, batch_size=size, show_progress_bar=False)
                best = max(best, (tokens * options.peer_repeat / (time.perf_counter() - start), size))
            figures.append(best)
        times = []
        for _ in range(110):
            start = time.perf_counter()
            model.encode(QUERY)
            times.append(1e6 * (time.perf_counter() - start))
        p50 = sorted(times[10:])[50]
        print(f"| sentence-transformers {name} | {figures[0][0]:,.0f} ({figures[0][1]}) | {figures[1][0]:,.0f} ({figures[1][1]}) | {p50:,.0f} | | |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bench", "tool", "models", "glosses", "long"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--source")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repeat", type=int, default=25)
    parser.add_argument("--peer-repeat", type=int, default=2)
    parser.add_argument("--executors", default="auto,torchscript")
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    texts = {"glosses": read_lines(options.glosses), "descriptions": read_lines(options.long)}
    pairs, both = stsb_pairs()
    sample = (texts["glosses"][:1000] + texts["descriptions"][:1000])[:2000]
    expected = embed(options, "cpu", "auto", MODEL, sample)
    print(f"glosses: {len(texts['glosses'])} texts, descriptions: {len(texts['descriptions'])}; {os.cpu_count()} cores")
    print("| engine | glosses, tokens/s | descriptions, tokens/s | query p50 µs | mean (least) cosine to fp32 | STS-B |\n|---|---|---|---|---|---|")
    for executor in options.executors.split(","):
        speeds = {callers: vecino_speed(options, executor, callers) for callers in (1, 8)}
        for model in MODELS:
            vectors = embed(options, options.device, executor, model, sample + both)
            vectors, of_pairs = vectors[: len(sample)], vectors[len(sample) :]
            cosine = (vectors * expected).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(expected, axis=1)
            score = f"{spearman(of_pairs, pairs):.2f}"
            for callers, found in speeds.items():
                name = {"auto": "Vecino, packed", "torchscript": "Vecino, TorchScript"}[executor]
                kind = model.partition("@")[2] or "fp32"
                found = found[model]
                latency = f"{found['query'][0]:,.0f}" if "query" in found else ""
                print(f"| {name} {kind}, {callers} caller(s) | {found['glosses']:,.0f} | {found['descriptions']:,.0f} | {latency} "
                      f"| {cosine.mean():.6f} ({cosine.min():.5f}) | {score} |", flush=True)
                if "query beside bulk" in found:
                    _, busy, idle = found["query beside bulk"]
                    print(f"  a query every 10 ms: p99 {idle:,.0f} µs, beside bulk {busy:,.0f} µs", flush=True)
    if options.source and not options.no_peers:
        peer_rows(options, texts)


if __name__ == "__main__":
    main()
