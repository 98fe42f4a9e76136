#!/usr/bin/env python3
"""Speed against recall of other vector indexes, and of one in a child process, on the data of make_minilm.py.

    ann_peers.py [DATA] [--engines hnswlib,usearch,...] [--child NAME=COMMAND] [--clock wall|cpu] [--passes 5]
                 [--json FILE]

One thread, one query at a time, the 10 nearest. Every engine is swept over its search settings; passes over all
queries go round the engines in turn (A, B, A, B, …), so that a machine's mood falls on all alike, and the median of
the passes counts. Recall counts ties (ann_data.py). Each engine is called as close to its C++ as its package allows.
The last table interpolates along each engine's best settings. With --clock cpu a query's time is its thread's CPU
time, for machines that do other work too: waiting for a core is left out, and QPS is queries a CPU second.

Indexes are kept in DATA/peers with what they cost to build, so a second run only searches. Build seconds are wall
time and CPU time of all threads; on a busy machine only the latter means anything.

A child is another program, such as Vecino's index_bench. It is started as COMMAND DATA K CLOCK, reads base.npy,
queries.npy, truth.npy and truth_scores.npy there, builds, and prints one JSON line:
    {"build_seconds": 6.1, "build_cpu_seconds": 6.0, "bytes_per_vector": 484, "settings": [{...}, ...]}
Settings that differ in their first member only must stand in order of rising recall. Then for each line
`search SETTING` on its stdin it answers all queries once, one at a time in one thread, after 100 untimed ones, and
prints one JSON line, times in microseconds:
    {"recall": 0.951, "qps": 9800, "p50": 95, "p99": 140}
With "ids": [[...], ...] in place of recall, recall is counted here. {"error": "…"} ends the run. The end of stdin ends
the child.

Needs tests/bench/requirements.txt. Not a timed test: it asserts nothing.
"""

import argparse
import gc
import json
import math
import os
import pathlib
import resource
import shlex
import statistics
import subprocess
import sys
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before the imports: searches take one thread
sys.dont_write_bytecode = True

import ann_data  # noqa: E402
import numpy as np  # noqa: E402

K = 10
CLOCKS = {"wall": time.perf_counter_ns, "cpu": time.thread_time_ns}
WARM_UP = 100  # queries before the timed ones: the engine before left its own data in the caches
LEVELS = (0.90, 0.95, 0.99)
LOWEST, HIGHEST = 0.85, 0.995  # recall outside is not measured again, but for the nearest settings
NEAR = 0.7  # a setting this much slower than a better one is measured once only
EF = (10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768)


class Engine:
    """One index. open() makes or loads it; then use(setting) and search(query) answer one query a time."""

    name = ""
    # Dictionaries. Those that differ in their first member only are a family, in order of rising recall.
    settings = ()

    def version(self):
        raise NotImplementedError

    def build(self, base, threads):
        """Fills the index with base; may use threads."""
        raise NotImplementedError

    def save(self, path):
        raise NotImplementedError

    def load(self, path, dimensions):
        raise NotImplementedError

    def use(self, setting):
        """Makes later searches use the setting."""
        raise NotImplementedError

    def search(self, query):
        """Ids of the K nearest of one row [D]; an array or sequence, good until the next search."""
        raise NotImplementedError

    def open(self, data, threads, clock):
        """Loads the index kept beside the data, or builds and keeps it. Sets facts."""
        folder = data.folder / "peers"
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.name}-{self.version()}.index"
        facts_path = path.with_suffix(".json")
        made_from = {"rows": len(data.base), "base_mtime": (data.folder / "base.npy").stat().st_mtime}
        if facts_path.exists():
            self.facts = json.loads(facts_path.read_text(encoding="utf-8"))
            if self.facts["made_from"] == made_from:
                self.load(str(path), data.base.shape[1])
                return
        wall, cpu = time.perf_counter(), cpu_seconds()
        self.build(np.ascontiguousarray(data.base), threads)
        self.facts = {
            "build_seconds": time.perf_counter() - wall,
            "build_cpu_seconds": cpu_seconds() - cpu,
            "build_threads": threads,
            "made_from": made_from,
        }
        self.save(str(path))
        self.facts["bytes_per_vector"] = path.stat().st_size / len(data.base)
        ann_data.save_json(facts_path, self.facts)

    def measure(self, data, setting, clock):
        """One pass over all queries: {"ids" or "recall", "qps", "p50", "p99"}, times in us."""
        self.use(setting)
        queries = data.queries
        for query in queries[-WARM_UP:]:
            self.search(query)
        found = np.full((len(queries), K), -1, np.int64)
        times = np.empty(len(queries))
        now = CLOCKS[clock]
        gc.disable()
        for i, query in enumerate(queries):
            start = now()
            ids = self.search(query)
            times[i] = now() - start
            found[i, : len(ids)] = ids
        gc.enable()
        times /= 1_000
        p50, p99 = np.percentile(times, (50, 99))
        return {"ids": found, "qps": 1e6 / float(times.mean()), "p50": float(p50), "p99": float(p99)}

    def close(self):
        pass


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Hnswlib(Engine):
    name = "hnswlib-M16-efC200"
    settings = [{"ef": ef} for ef in EF]

    def __init__(self):
        import hnswlib

        self.module = hnswlib

    def version(self):
        from importlib.metadata import version

        return version("hnswlib")

    def build(self, base, threads):
        self.index = self.module.Index("ip", base.shape[1])
        self.index.init_index(len(base), ef_construction=200, M=16)
        self.index.add_items(base, num_threads=threads)
        self.index.set_num_threads(1)

    def save(self, path):
        self.index.save_index(path)

    def load(self, path, dimensions):
        self.index = self.module.Index("ip", dimensions)
        self.index.load_index(path)
        self.index.set_num_threads(1)

    def use(self, setting):
        self.index.set_ef(setting["ef"])

    def search(self, query):
        return self.index.knn_query(query, K, 1)[0][0]


class Usearch(Engine):
    """With dtype None the package takes bf16 where the processor has it. No second look at fp32 rows."""

    settings = [{"expansion_search": ef} for ef in EF]

    def __init__(self, name, dtype):
        import usearch
        from usearch.index import Index

        self.name, self.dtype, self.usearch, self.type = name, dtype, usearch, Index

    def version(self):
        return self.usearch.__version__

    def make(self, dimensions):
        return self.type(ndim=dimensions, metric="cos", dtype=self.dtype)

    def build(self, base, threads):
        self.index = self.make(base.shape[1])
        self.index.add(np.arange(len(base)), base, threads=threads)

    def save(self, path):
        self.index.save(path)

    def load(self, path, dimensions):
        self.index = self.make(dimensions)
        self.index.load(path)

    def use(self, setting):
        self.index.expansion_search = setting["expansion_search"]
        self.compiled = self.index._compiled  # search() of the wrapper costs 5 us more

    def search(self, query):
        keys, _, counts, *_ = self.compiled.search_many(query[None], K, threads=1)
        return keys[0, : counts[0]]


class Faiss(Engine):
    def __init__(self):
        import faiss

        self.faiss = faiss
        faiss.omp_set_num_threads(1)
        self.ids, self.scores = np.empty((1, K), np.int64), np.empty((1, K), np.float32)
        self.to_ids, self.to_scores = faiss.swig_ptr(self.ids), faiss.swig_ptr(self.scores)

    def version(self):
        return self.faiss.__version__

    def make(self, base):
        """The empty index."""
        raise NotImplementedError

    def build(self, base, threads):
        self.faiss.omp_set_num_threads(threads)
        self.index = self.make(base)
        self.index.train(base)
        self.index.add(base)
        self.faiss.omp_set_num_threads(1)

    def save(self, path):
        self.faiss.write_index(self.index, path)

    def load(self, path, dimensions):
        self.index = self.faiss.read_index(path)

    def search(self, query):
        self.index.search_c(1, self.faiss.swig_ptr(query), K, self.to_scores, self.to_ids, self.parameters)
        return self.ids[0]


class FaissHnsw(Faiss):
    settings = [{"ef": ef} for ef in EF]

    def __init__(self, name, code):
        super().__init__()
        self.name, self.code = name, code

    def make(self, base):
        inner = self.faiss.METRIC_INNER_PRODUCT
        if self.code is None:
            return self.faiss.IndexHNSWFlat(base.shape[1], 32, inner)
        return self.faiss.IndexHNSWSQ(base.shape[1], getattr(self.faiss.ScalarQuantizer, self.code), 32, inner)

    def use(self, setting):
        self.parameters = self.faiss.SearchParametersHNSW(efSearch=setting["ef"])


class FaissIvf(Faiss):
    """4-bit product codes, one per four dimensions, of the rows themselves, then the best k x k_factor by fp32."""

    settings = [
        {"nprobe": nprobe, "k_factor": k_factor}
        for k_factor in (4, 8, 12, 20, 32)
        for nprobe in (16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
    ]

    def __init__(self, lists):
        super().__init__()
        self.lists = lists
        self.name = f"faiss-IVF{lists}-PQ96x4fs-refine"

    def make(self, base):
        dimensions = base.shape[1]
        inner = self.faiss.METRIC_INNER_PRODUCT
        self.coarse = self.faiss.IndexFlatIP(dimensions)  # held: the index does not own it
        codes = self.faiss.IndexIVFPQFastScan(self.coarse, dimensions, self.lists, dimensions // 4, 4, inner)
        codes.by_residual = False
        self.codes = codes
        return self.faiss.IndexRefineFlat(codes)

    def use(self, setting):
        self.of_codes = self.faiss.SearchParametersIVF(nprobe=setting["nprobe"])
        self.parameters = self.faiss.IndexRefineSearchParameters(
            k_factor=setting["k_factor"], base_index_params=self.of_codes
        )


class Child(Engine):
    """A program that speaks the protocol above."""

    def __init__(self, name, command):
        self.name, self.command = name, command

    def open(self, data, threads, clock):
        self.process = subprocess.Popen(
            [*shlex.split(self.command), str(data.folder), str(K), clock],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ, OMP_NUM_THREADS=str(threads)),
        )
        self.facts = self.answer()
        self.settings = self.facts.pop("settings")

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"ann_peers.py: {self.name} ended with {self.process.wait()}: {self.command}")
        value = json.loads(line)
        if "error" in value:
            sys.exit(f"ann_peers.py: {self.name}: {value['error']}")
        return value

    def measure(self, data, setting, clock):
        self.process.stdin.write(f"search {json.dumps(setting)}\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def engines(rows):
    """Every peer: {short name: how to make it}. Lists of IVF: the power of two nearest to 2 sqrt(rows)."""
    lists = 2 ** round(math.log2(2 * math.sqrt(rows)))
    return {
        "hnswlib": Hnswlib,
        "usearch": lambda: Usearch("usearch", None),
        "usearch-i8": lambda: Usearch("usearch-i8", "i8"),
        "faiss-hnsw": lambda: FaissHnsw("faiss-HNSW32-fp32", None),
        "faiss-hnsw-bf16": lambda: FaissHnsw("faiss-HNSW32-bf16", "QT_bf16"),
        "faiss-ivf": lambda: FaissIvf(lists),
    }


class Curve:
    """What is known of one engine: a point a setting."""

    def __init__(self, engine):
        self.engine = engine
        self.points = []  # {"setting", "recall", "passes": [{"qps", "p50", "p99"}, ...]}

    def first_pass(self, data, clock):
        """Every setting once, leaving out those behind a setting of the same family that found nearly all."""
        done = set()
        for setting in self.engine.settings:
            family = json.dumps({key: value for key, value in list(setting.items())[1:]})
            if family in done:
                continue
            timing = self.engine.measure(data, setting, clock)
            ids = timing.pop("ids", None)
            recall = timing.pop("recall", None) if ids is None else data.recall(ids, K)
            self.points.append({"setting": setting, "recall": recall, "passes": [timing]})
            if recall >= HIGHEST:
                done.add(family)

    def keep_best(self):
        """Marks the points that later passes measure: of useful recall, and near the frontier."""
        below = [p["recall"] for p in self.points if p["recall"] <= LEVELS[0]]
        lowest = min(LOWEST, max(below)) if below else 0.0
        for point in self.points:
            better = [p["passes"][0]["qps"] for p in self.points if p["recall"] >= point["recall"]]
            point["kept"] = point["recall"] >= lowest and point["passes"][0]["qps"] >= NEAR * max(better)

    def next_pass(self, data, clock):
        for point in self.points:
            if point["kept"]:
                timing = self.engine.measure(data, point["setting"], clock)
                point["passes"].append({key: timing[key] for key in ("qps", "p50", "p99")})

    def settle(self):
        """Medians of the passes."""
        for point in self.points:
            for key in ("qps", "p50", "p99"):
                point[key] = statistics.median(timing[key] for timing in point["passes"])

    def frontier(self):
        """Measured points than which none has both more recall and more speed, by rising recall."""
        best = []
        for point in sorted((p for p in self.points if p["kept"]), key=lambda p: (-p["recall"], -p["qps"])):
            if not best or point["qps"] > best[-1]["qps"]:
                best.append(point)
        return best[::-1]

    def at(self, level):
        """qps, p50 and p99 at that recall: logarithms interpolated over the logarithm of what is missed."""
        points = self.frontier()
        for low, high in zip(points, points[1:], strict=False):
            if low["recall"] <= level <= high["recall"]:
                missed = [math.log(max(1 - r, 1e-4)) for r in (low["recall"], level, high["recall"])]
                share = (missed[1] - missed[0]) / (missed[2] - missed[0])
                return {
                    key: math.exp((1 - share) * math.log(low[key]) + share * math.log(high[key]))
                    for key in ("qps", "p50", "p99")
                }
        return None


def print_tables(curves):
    print(f"\n{'engine':<32} {'setting':<36} {'recall':>7} {'QPS':>8} {'p50 us':>8} {'p99 us':>8}")
    for curve in curves:
        for point in curve.frontier():
            setting = " ".join(f"{key}={value}" for key, value in point["setting"].items())
            print(
                f"{curve.engine.name:<32} {setting:<36} {point['recall']:>7.4f} {point['qps']:>8,.0f}"
                f" {point['p50']:>8,.0f} {point['p99']:>8,.0f}"
            )
    head = "".join(f" {f'QPS, p50/p99 at {level:.2f}':>24}" for level in LEVELS)
    print(f"\n{'engine':<32}{head} {'build s':>8} {'CPU s':>7} {'B/vector':>9}")
    for curve in curves:
        cells = ""
        for level in LEVELS:
            value = curve.at(level)
            text = f"{value['qps']:,.0f}, {value['p50']:,.0f}/{value['p99']:,.0f}" if value else "-"
            cells += f" {text:>24}"
        facts = curve.engine.facts
        print(
            f"{curve.engine.name:<32}{cells} {facts['build_seconds']:>8,.0f}"
            f" {facts.get('build_cpu_seconds', float('nan')):>7,.0f} {facts['bytes_per_vector']:>9,.0f}"
        )


def as_json(data, curves, passes, clock):
    return {
        "data": str(data.folder),
        "rows": len(data.base),
        "queries": len(data.queries),
        "k": K,
        "passes": passes,
        "clock": clock,
        "load_average": os.getloadavg(),
        "engines": [
            {
                "name": curve.engine.name,
                **curve.engine.facts,
                "at_recall": {f"{level:.2f}": curve.at(level) for level in LEVELS},
                "frontier": [point["setting"] for point in curve.frontier()],
                "points": curve.points,
            }
            for curve in curves
        ],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="?", default=ann_data.DEFAULT, help="folder of make_minilm.py (%(default)s)")
    parser.add_argument("--engines", help=f"which peers, by commas; '' for none (all: {','.join(engines(1))})")
    parser.add_argument("--child", action="append", default=[], metavar="NAME=COMMAND", help="a program to measure too")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="which times a query (%(default)s)")
    parser.add_argument("--passes", type=int, default=5, help="over all queries (%(default)s)")
    parser.add_argument("--build-threads", type=int, default=os.cpu_count(), help="of the peers (%(default)s)")
    parser.add_argument("--build-only", action="store_true", help="make the indexes, measure nothing")
    parser.add_argument("--json", type=pathlib.Path, help="write everything measured here")
    arguments = parser.parse_args()
    data = ann_data.Data(arguments.data)
    known = engines(len(data.base))
    names = known if arguments.engines is None else [name for name in arguments.engines.split(",") if name]
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"no engine {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [Child(*child.partition("=")[::2]) for child in arguments.child] + [known[name]() for name in names]
    for engine in chosen:
        engine.open(data, arguments.build_threads, arguments.clock)
        facts = engine.facts
        print(f"{engine.name}: {facts['build_seconds']:.0f} s, {facts['bytes_per_vector']:.0f} B a vector", flush=True)
    if arguments.build_only:
        return
    curves = [Curve(engine) for engine in chosen]
    for number in range(arguments.passes):
        for curve in curves:
            if number == 0:
                curve.first_pass(data, arguments.clock)
                curve.keep_best()
            else:
                curve.next_pass(data, arguments.clock)
        print(f"pass {number + 1} of {arguments.passes} done, load {os.getloadavg()[0]:.1f}", flush=True)
    for curve in curves:
        curve.settle()
        curve.engine.close()
    print_tables(curves)
    if arguments.json:
        ann_data.save_json(arguments.json, as_json(data, curves, arguments.passes, arguments.clock))


if __name__ == "__main__":
    main()
