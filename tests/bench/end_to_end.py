#!/usr/bin/env python3
"""Text in, neighbours out: Vecino over gRPC beside the same work in Python with onnxruntime and faiss.

    end_to_end.py --binaries build/release/bin --search-bench build/ci/tests/bench/search_bench \\
                  --models FOLDER --source SENTENCE_TRANSFORMERS_DIRECTORY [--documents 10000] [--queries 500]

Both embed the same texts (Debian package descriptions) with the same all-MiniLM-L6-v2 in fp32 on the same cores, and
answer the same held-out descriptions with the 10 nearest. Vecino does so as a server: gRPC, RocksDB synced before each
reply. The peer does so inside one process, without network or disk: its figures are the floor of what a server made of
these parts would take. Recall is counted against an exact search over the peer's own vectors, ties included.
Needs tests/bench/requirements.txt, and Debian's python3-torch for the peer's model. Not a timed test: it asserts nothing.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import faiss  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import tokenizers  # noqa: E402

K = 10
MODEL = "all-MiniLM-L6-v2"
TIES = 1e-4  # two scores this close are equal: the vectors of both sides differ by rounding


class Peer:
    """all-MiniLM-L6-v2 in onnxruntime, and faiss' exact index."""

    def __init__(self, source, onnx_path, max_tokens):
        self.tokenizer = tokenizers.Tokenizer.from_file(str(pathlib.Path(source) / "tokenizer.json"))
        self.tokenizer.enable_truncation(max_tokens)
        self.tokenizer.no_padding()
        self.onnx_path = onnx_path
        self.index = None
        faiss.omp_set_num_threads(1)  # parallel over queries, not inside one

    def session(self, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return onnxruntime.InferenceSession(self.onnx_path, options, providers=["CPUExecutionProvider"])

    def encode(self, session, texts):
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        ids = np.zeros((len(rows), lengths.max()), dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        return session.run(None, {"ids": ids, "lengths": lengths})[0]

    def encode_all(self, texts, threads, workers, batch=32):
        """As sentence-transformers does it: sorted by length, in batches of 32, on all cores."""
        session = self.session(threads)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        parts = [order[i : i + batch] for i in range(0, len(order), batch)]
        vectors = None
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            encoded = pool.map(lambda part: self.encode(session, [texts[i] for i in part]), parts)
            for part, rows in zip(parts, encoded, strict=True):
                if vectors is None:
                    vectors = np.empty((len(texts), rows.shape[1]), dtype=np.float32)
                vectors[part] = rows
        return vectors

    def load(self, texts):
        """Embeds and indexes; returns the vectors and the seconds. Takes the quicker way to use the cores."""
        cores = os.cpu_count()
        ways = [(cores, 1), (1, cores)]
        probe = texts[:320]
        timed = {}
        for way in ways:
            self.encode_all(probe[:64], *way)
            begin = time.perf_counter()
            self.encode_all(probe, *way)
            timed[way] = time.perf_counter() - begin
        begin = time.perf_counter()
        vectors = self.encode_all(texts, *min(timed, key=timed.get))
        self.index = faiss.IndexFlatIP(vectors.shape[1])
        self.index.add(vectors)
        return vectors, time.perf_counter() - begin

    def search(self, queries, clients):
        """Each client sends one query after another; returns (qps, p50 ms, p99 ms)."""
        session = self.session(os.cpu_count() if clients == 1 else 1)

        def one(query):
            begin = time.perf_counter()
            self.index.search(self.encode(session, [query]), K)
            return (time.perf_counter() - begin) * 1e3

        for query in queries[:20]:
            one(query)
        begin = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            taken = sorted(pool.map(one, queries))
        seconds = time.perf_counter() - begin
        return len(queries) / seconds, statistics.median(taken), taken[int(0.99 * len(taken))]


def make_texts(folder, documents, queries):
    """A sample of the packages as documents, and descriptions of others as queries."""
    path = folder / "packages.jsonl"
    script = HERE.parents[1] / "deploy" / "demo" / "make_packages.py"
    subprocess.run(["/usr/bin/python3", str(script), str(path)], check=True, stdout=subprocess.DEVNULL)
    with open(path, encoding="utf-8") as file:
        lines = file.readlines()
    random.Random(12).shuffle(lines)
    sample = folder / "sample.jsonl"
    sample.write_text("".join(lines[:documents]), encoding="utf-8")
    texts = [json.loads(line)["text"] for line in lines[:documents]]
    ids = [json.loads(line)["id"] for line in lines[:documents]]
    others = [json.loads(line)["text"].partition(": ")[2] for line in lines[documents : documents + 2 * queries]]
    held_out = [text for text in others if text][:queries]
    (folder / "queries.txt").write_text("".join(text + "\n" for text in held_out), encoding="utf-8")
    return sample, texts, ids, held_out


def recall(vectors, ids, queries, hits):
    """The part of the hits that belong to an exact answer, ties included."""
    place = {name: i for i, name in enumerate(ids)}
    scores = queries @ vectors.T
    bounds = np.partition(scores, -K, axis=1)[:, -K] - TIES
    good = sum(scores[q, place[name]] >= bounds[q] for q, names in enumerate(hits) for name in set(names))
    return good / (K * len(hits))


def run_vecino(options, folder, sample, vectors):
    """Load and search figures of a real server."""
    os.environ["VECINO_BINARY_DIR"] = str(pathlib.Path(options.binaries).resolve().parent)
    import client_support

    server = client_support.Server(folder / "data", options.models)
    server.start()
    try:
        made = client_support.vecino(server.address, "collection", "create", "bench", "--model", MODEL)
        assert made.returncode == 0, made.stderr
        loaded = client_support.vecino(server.address, "--json", "load", "bench", sample, "--quiet")
        assert loaded.returncode == 0, loaded.stderr
        figures = {"load": json.loads(loaded.stdout)["seconds"]}
        vectors.astype("<f4").tofile(folder / "queries.f32")
        for kind, extra in (("text", []), ("vector", ["--dim", str(vectors.shape[1])])):
            for clients in (1, 8):
                path = folder / ("queries.txt" if kind == "text" else "queries.f32")
                command = [
                    options.search_bench, "--server", server.address, "--collection", "bench",
                    "--queries", str(path), "--clients", str(clients), "--hits", *extra,
                ]  # fmt: skip
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # warm
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                figures[kind, clients] = json.loads(done.stdout)
    finally:
        server.stop()
    return figures


def peer_vector_search(peer, vectors, clients):
    def one(row):
        begin = time.perf_counter()
        peer.index.search(row[None, :], K)
        return (time.perf_counter() - begin) * 1e3

    begin = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        taken = sorted(pool.map(one, vectors))
    seconds = time.perf_counter() - begin
    return len(vectors) / seconds, statistics.median(taken), taken[int(0.99 * len(taken))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", required=True, help="folder of vecinod and vecino")
    parser.add_argument("--search-bench", required=True)
    parser.add_argument("--models", required=True, help="the server's model root")
    parser.add_argument("--source", required=True, help="the model as sentence-transformers has it")
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=500)
    options = parser.parse_args()
    with open(pathlib.Path(options.models) / MODEL / "manifest.json", encoding="utf-8") as file:
        max_tokens = json.load(file)["max_tokens"]
    with tempfile.TemporaryDirectory(prefix="vecino-bench-") as name:
        folder = pathlib.Path(name)
        sample, texts, ids, queries = make_texts(folder, options.documents, options.queries)
        onnx_path = str(folder / "model.onnx")
        subprocess.run(
            ["/usr/bin/python3", str(HERE / "export_onnx.py"), options.source, onnx_path],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        peer = Peer(options.source, onnx_path, max_tokens)
        vectors, peer_load = peer.load(texts)
        session = peer.session(1)
        query_vectors = np.vstack([peer.encode(session, [query]) for query in queries])
        ours = run_vecino(options, folder, sample, query_vectors)

        load = os.getloadavg()[0]
        print(f"{len(texts):,} documents, {len(queries)} queries, k = {K}, {os.cpu_count()} cores, load {load:.1f}\n")
        print(f"{'':34}{'Vecino':>12}{'peer':>12}{'ratio':>8}")

        def line(what, mine, theirs, form, higher):
            ratio = mine / theirs if higher else theirs / mine
            print(f"{what:34}{mine:>12{form}}{theirs:>12{form}}{ratio:>7.2f}x")

        line("load, docs/s", len(texts) / ours["load"], len(texts) / peer_load, ",.0f", True)
        for kind in ("text", "vector"):
            for clients in (1, 8):
                mine = ours[kind, clients]
                theirs = peer.search(queries, clients) if kind == "text" else peer_vector_search(peer, query_vectors, clients)
                who = f"{kind} search, {clients} client{'s' if clients > 1 else ''}"
                line(f"{who}: QPS", mine["qps"], theirs[0], ",.0f", True)
                line(f"{who}: p50 ms", mine["p50_ms"], theirs[1], ".2f", False)
                line(f"{who}: p99 ms", mine["p99_ms"], theirs[2], ".2f", False)
                found = recall(vectors, ids, query_vectors, mine["hits"])
                print(f"{who + ': recall':34}{found:>12.4f}{1:>12.4f}")
        print("\nratio above 1: Vecino is quicker")


if __name__ == "__main__":
    main()
