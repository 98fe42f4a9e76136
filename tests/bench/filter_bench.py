#!/usr/bin/env python3
"""Searches under filters: a real vecinod over gRPC, beside hnswlib, Chroma and LanceDB where they are installed.

Every row has a number `p`, its place in a random order from 0 to 999 999 parts of a million, so that `p < 100000` lets 10%
pass, whatever the vector. For each share: recall@10 with ties against exact scores, hits returned, p50 and p99 of one client, and
queries a second, as a ratio to the same engine without a filter (medians of rounds, in each of which every share has its turn). Vecino's `cold` column is the first query of a filter that was
never asked before.

Usage: filter_bench.py --binaries BUILD/bin [--data FOLDER] [--rows N] [--queries N] [--engines vecino,hnswlib,chroma,lancedb]
                       [--rounds N] [--seconds S] [--traffic S]
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time

import numpy as np

import ann_data

SHARES = [1.0, 0.5, 0.1, 0.01, 0.001]
PARTS = 1_000_000
K = 10


def truth_scores(base, queries, p, share):
    """The k-th best score of each query among the rows that pass."""
    rows = base[p < share * PARTS]
    kth = np.empty(len(queries), np.float64)
    for start in range(0, len(queries), 64):
        scores = queries[start : start + 64] @ rows.T
        kth[start : start + 64] = -np.partition(-scores, K - 1, axis=1)[:, K - 1]
    return kth


class Vecino:
    def __init__(self, base, p, arguments):
        os.environ["VECINO_BINARY_DIR"] = str(pathlib.Path(arguments.binaries).parent)
        sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
        import client_support
        import grpc
        import grpc_stubs

        grpc_stubs.generate()
        self.documents = grpc_stubs.load("document_service_pb2")
        self.searches = grpc_stubs.load("search_service_pb2")
        collections = grpc_stubs.load("collection_service_pb2")
        self.folder = tempfile.TemporaryDirectory(prefix="vecino-filter-")
        self.server = client_support.Server(os.path.join(self.folder.name, "data"))
        self.server.start()
        channel = grpc.insecure_channel(self.server.address)
        self.collection = grpc_stubs.load("collection_service_pb2_grpc").CollectionServiceStub(channel)
        self.store = grpc_stubs.load("document_service_pb2_grpc").DocumentServiceStub(channel)
        self.search = grpc_stubs.load("search_service_pb2_grpc").SearchServiceStub(channel)
        self.collection.CreateCollection(
            collections.CreateCollectionRequest(
                collection_id="f", collection={"dimension": base.shape[1], "shard_count": arguments.shards}
            )
        )
        begin = time.monotonic()
        for start in range(0, len(base), 500):
            request = self.documents.BatchUpsertDocumentsRequest(parent="collections/f")
            for row in range(start, min(start + 500, len(base))):
                document = request.documents.add(id=str(row))
                document.vector.float32_le = base[row].tobytes()
                document.metadata["p"] = int(p[row])
            reply = self.store.BatchUpsertDocuments(request)
            assert all(result.status.code == 0 for result in reply.results), reply
        self.load_seconds = time.monotonic() - begin
        self.settle()

    def settle(self):
        """Until maintenance leaves the processor alone for longer than the minute that it waits before it builds graphs."""
        ticks = os.sysconf("SC_CLK_TCK")
        quiet = 0
        while quiet < 70:
            before = self.processor_time() / ticks
            time.sleep(1)
            quiet = quiet + 1 if self.processor_time() / ticks - before < 0.1 else 0

    def processor_time(self):
        with open(f"/proc/{self.server.process.pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])  # utime, stime

    def request(self, query, filter_text):
        request = self.searches.SearchDocumentsRequest(parent="collections/f", top_k=K, filter=filter_text)
        request.vector.float32_le = query.tobytes()
        request.read_mask.paths.append("id")
        return request

    def query(self, query, share):
        text = "" if share == 1 else f"p < {int(share * PARTS)}"
        reply = self.search.SearchDocuments(self.request(query, text))
        return [int(hit.document.id) for hit in reply.hits]

    def cold(self, query, share):
        """Milliseconds of filters of about this share, each for the first time."""
        times = []
        for i in range(15):
            request = self.request(query, f"p < {int(share * PARTS)} AND p != {PARTS + i}")
            begin = time.perf_counter()
            self.search.SearchDocuments(request)
            times.append((time.perf_counter() - begin) * 1e3)
        return float(np.median(times))

    def close(self):
        self.server.stop()


class Hnswlib:
    def __init__(self, base, p, arguments):
        import hnswlib

        self.p = p
        self.index = hnswlib.Index(space="ip", dim=base.shape[1])
        self.index.init_index(max_elements=len(base), M=16, ef_construction=200)
        begin = time.monotonic()
        self.index.add_items(base, num_threads=2)
        self.load_seconds = time.monotonic() - begin
        self.index.set_ef(32)  # .95 without a filter

    def query(self, query, share):
        if share == 1:
            labels, _ = self.index.knn_query(query, k=K, num_threads=1)
            return labels[0].tolist()
        limit = int(share * PARTS)
        p = self.p
        try:
            labels, _ = self.index.knn_query(query, k=K, num_threads=1, filter=lambda label: p[label] < limit)
        except RuntimeError:  # it found fewer than k
            return []
        return labels[0].tolist()

    def close(self):
        pass


class Chroma:
    def __init__(self, base, p, arguments):
        import chromadb

        self.folder = tempfile.TemporaryDirectory(prefix="chroma-filter-")
        self.client = chromadb.PersistentClient(self.folder.name)
        self.collection = self.client.create_collection("filters", metadata={"hnsw:space": "ip"})
        begin = time.monotonic()
        for start in range(0, len(base), 5000):
            rows = range(start, min(start + 5000, len(base)))
            self.collection.add(
                ids=[str(row) for row in rows],
                embeddings=base[rows.start : rows.stop],
                metadatas=[{"p": int(p[row])} for row in rows],
            )
        self.load_seconds = time.monotonic() - begin

    def query(self, query, share):
        where = None if share == 1 else {"p": {"$lt": int(share * PARTS)}}
        found = self.collection.query(query_embeddings=[query], n_results=K, where=where, include=[])
        return [int(one) for one in found["ids"][0]]

    def close(self):
        pass


class LanceDb:
    def __init__(self, base, p, arguments):
        import lancedb
        import pyarrow as pa

        self.folder = tempfile.TemporaryDirectory(prefix="lance-filter-")
        database = lancedb.connect(self.folder.name)
        begin = time.monotonic()
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(base.reshape(-1)), base.shape[1])
        data = pa.table({"id": pa.array(np.arange(len(base))), "p": pa.array(p), "vector": vectors})
        self.table = database.create_table("f", data)
        self.table.create_index(metric="dot", num_partitions=512, num_sub_vectors=base.shape[1] // 4)
        self.table.create_scalar_index("p")
        self.load_seconds = time.monotonic() - begin

    def query(self, query, share):
        search = self.table.search(query).distance_type("dot").nprobes(40).refine_factor(5).limit(K).select(["id"])
        if share < 1:
            search = search.where(f"p < {int(share * PARTS)}", prefilter=True)
        return [row["id"] for row in search.to_list()]

    def close(self):
        pass


ENGINES = {"vecino": Vecino, "hnswlib": Hnswlib, "chroma": Chroma, "lancedb": LanceDb}


class Share:
    """What was measured of one share of one engine."""

    def __init__(self):
        self.times, self.rates = [], []  # milliseconds of each query; queries a second of each round
        self.good = self.hits = 0

    def ask(self, engine, share, numbered, base, p, kth, seconds):
        """One round; seconds: after which it ends early."""
        start = len(self.times)
        begin = time.monotonic()
        for i, query in numbered:
            asked = time.perf_counter()
            found = engine.query(query, share)
            self.times.append((time.perf_counter() - asked) * 1e3)
            assert all(p[row] < share * PARTS for row in found), "a hit does not pass the filter"
            self.good += min(K, int(np.sum(base[found] @ query >= kth[i] - ann_data.TIES))) if found else 0
            self.hits += len(found)
            if time.monotonic() - begin > seconds:
                break
        self.rates.append(1e3 / np.mean(self.times[start:]))


def traffic(engine, queries, seconds):
    """Queries of all shares in turn that nobody measures: an engine that learns from what it is asked has so long to."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for i, query in enumerate(queries):
            engine.query(query, SHARES[i % len(SHARES)])


def measure(name, engine, base, queries, p, truths, seconds, rounds):
    """The shares in turn, each with a part of the queries, `rounds` times: so what the machine's mood does, it does to all."""
    print(f"\n{name}: loaded in {engine.load_seconds:.1f} s")
    print(f"{'passes':>8} {'recall':>7} {'hits':>6} {'p50 ms':>8} {'p99 ms':>8} {'QPS':>8} {'of none':>8} {'cold ms':>8}")
    shares = {share: Share() for share in SHARES}
    for share in SHARES:
        for query in queries[:5]:
            engine.query(query, share)
    numbered = list(enumerate(queries))
    for turn in range(rounds):
        part = numbered[turn::rounds]
        for share in SHARES if turn % 2 == 0 else reversed(SHARES):
            shares[share].ask(engine, share, part, base, p, truths[share], seconds / rounds)
    for share, of in shares.items():
        asked = len(of.times)
        ratio = np.median([one / without for one, without in zip(of.rates, shares[1.0].rates)])
        cold = f"{engine.cold(queries[0], share):8.2f}" if hasattr(engine, "cold") and share < 1 else f"{'':8}"
        print(
            f"{share:8.1%} {of.good / (asked * K):7.4f} {of.hits / asked:6.2f} {np.percentile(of.times, 50):8.3f} "
            f"{np.percentile(of.times, 99):8.3f} {np.median(of.rates):8.0f} {ratio:8.2f} {cold}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", required=True, help="folder with vecinod")
    parser.add_argument("--data", type=pathlib.Path, default=ann_data.DEFAULT)
    parser.add_argument("--rows", type=int, default=0, help="only so many rows of the data; 0: all")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10, help="for one share of one engine")
    parser.add_argument("--rounds", type=int, default=10, help="parts that the queries of a share are asked in")
    parser.add_argument("--traffic", type=float, default=0, help="seconds of other queries, of no known answer, before")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--engines", default="vecino,hnswlib,chroma,lancedb")
    arguments = parser.parse_args()
    base = np.ascontiguousarray(np.load(arguments.data / "base.npy")[: arguments.rows or None])
    every = np.load(arguments.data / "queries.npy")
    queries, others = every[: arguments.queries], every[arguments.queries :]
    if arguments.traffic and not len(others):
        parser.error("the data has no queries left for traffic; take fewer --queries")
    p = np.random.default_rng(1).permutation(len(base)).astype(np.int64) * PARTS // len(base)
    truths = {share: truth_scores(base, queries, p, share) for share in SHARES}
    print(f"{len(base)} rows of {base.shape[1]} floats, {len(queries)} queries, k = {K}")
    for name in arguments.engines.split(","):
        try:
            engine = ENGINES[name](base, p, arguments)
        except ImportError as error:
            print(f"\n{name}: left out: {error}")
            continue
        try:
            traffic(engine, others, arguments.traffic)
            measure(name, engine, base, queries, p, truths, arguments.seconds, arguments.rounds)
        finally:
            engine.close()


if __name__ == "__main__":
    main()
