#!/usr/bin/env python3
"""What drift does to recall and cost, with repair off and on, through a real server.

    drift_bench.py [--data ~/.cache/vecino/bench/demo/limit-100000] [--first 16000] [--rate 400] [--every 10]

Rows: descriptions of Debian packages, on which the index is trained; then words of WordNet, then sentences of STS-B,
until 80% of the rows are new (texts.jsonl and base.npy of make_minilm.py --texts demo; STS-B is embedded by the server's
own model). Queries are held out, and those asked at any moment are of the kinds that stand in the collection, in
their shares. They ask for the collection's recall target, .95, k = 10.

Prints, for `--index-repair` off and auto: recall and rows compared each --every seconds of the load, the worst minute,
then both after it, beside those of a fresh build of the same rows in a new collection. Not a timed test: it asserts
nothing.

Needs VECINO_BINARY_DIR and VECINO_MODEL_ROOT.
"""

import argparse
import gzip
import json
import pathlib
import subprocess
import sys
import time
import urllib.request

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
sys.path.insert(0, str(ROOT / "tests" / "bench"))

import ann_data  # noqa: E402
import numpy as np  # noqa: E402
from client_support import MODEL, Workspace, model_root  # noqa: E402

ASKED = 400  # queries of one measurement
BATCH = 100
TARGET = 0.95


def call(server, method, body):
    request = urllib.request.Request(
        f"http://{server.admin}/v1/{method}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=600) as reply:
        return json.load(reply)


def sources(folder, server):
    """(kind, rows, queries) of packages, words and sentences."""
    names = set(subprocess.run(["apt-cache", "pkgnames"], check=True, capture_output=True, text=True).stdout.split())
    with open(folder / "texts.jsonl", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    queries, base = np.load(folder / "queries.npy"), np.load(folder / "base.npy")
    package = np.array([text.split(": ")[0] in names for text in texts])
    asks, holds = package[: len(queries)], package[len(queries) :]
    with gzip.open(ROOT.parent / "shared/data/stsb/stsbenchmark.tsv.gz", "rt", encoding="utf-8") as file:
        cells = [line.rstrip("\n").split("\t") for line in file]
    sentences = sorted({cell for row in cells for cell in row[-2:] if len(cell) > 10})
    vectors = []
    for start in range(0, len(sentences), 64):
        texts = sentences[start : start + 64]
        reply = call(server, "EmbeddingService/EmbedText", {"model": f"models/{MODEL}", "texts": texts})
        vectors += [embedding["vector"]["values"] for embedding in reply["embeddings"]]
    vectors = np.array(vectors, np.float32)[np.random.default_rng(5).permutation(len(vectors))]
    return [
        ("packages", base[holds], queries[asks]),
        ("words", base[~holds], queries[~asks]),
        ("sentences", vectors[400:], vectors[:400]),
    ]


def write(server, name, rows, first):
    for start in range(0, len(rows), 200):
        documents = [
            {"name": f"collections/{name}/documents/{first + start + i}", "vector": {"values": row.tolist()}}
            for i, row in enumerate(rows[start : start + 200])
        ]
        call(server, "DocumentService/BatchUpsertDocuments", {"parent": f"collections/{name}", "documents": documents})


def settle(server, name):
    """Waits until maintenance has had nothing to do for 10 s."""
    seen, since = None, time.monotonic()
    while time.monotonic() - since < 10:
        stats = call(server, "CollectionService/GetCollectionStats", {"name": f"collections/{name}"})
        shards = stats["stats"]["shards"]
        now = json.dumps([[s.get(key) for key in ("generation", "segments", "tailRows", "lastChoice")] for s in shards])
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.5)


def measure(server, name, rows, queries):
    """(recall, rows compared a search) of queries among rows, by brute force here."""
    truth, scores = ann_data.exact_neighbours(rows, queries, k=10)
    del truth
    found, compared = 0, 0
    for start in range(0, len(queries), BATCH):
        part = queries[start : start + BATCH]
        body = {
            "parent": f"collections/{name}",
            "requests": [{"parent": f"collections/{name}", "vector": {"values": q.tolist()}, "topK": 10} for q in part],
        }
        for i, result in enumerate(call(server, "SearchService/BatchSearchDocuments", body)["results"]):
            answer = result["response"]
            found += sum(hit["score"] >= scores[start + i, -1] - 1e-5 for hit in answer["hits"])
            compared += int(answer["effort"].get("rowsScanned", 0))
    return found / (10 * len(queries)), compared / len(queries)


def mix(kinds, counts, rng):
    """Held-out queries in the shares of the rows."""
    total = sum(counts)
    return np.concatenate(
        [q[rng.permutation(len(q))[: round(ASKED * n / total)]] for (_, _, q), n in zip(kinds, counts)]
    )


def run(repair, options, folder):
    rng = np.random.default_rng(1)
    with Workspace(model_root(), ["--index-repair", repair]) as workspace:
        server = workspace.server
        kinds = sources(folder, server)
        first = kinds[0][1][: options.first]
        third = kinds[2][1]
        second = kinds[1][1][: max(0, 4 * len(first) - len(third))]
        new = np.concatenate([second, third])
        call(server, "CollectionService/CreateCollection",
             {"collectionId": "drift", "collection": {"dimension": 384}})  # fmt: skip
        write(server, "drift", first, 0)
        settle(server, "drift")
        recall, compared = measure(server, "drift", first, mix(kinds, [1, 0, 0], rng))
        print(f"repair {repair}: {len(first):,} packages: recall {recall:.3f}, {compared:,.0f} rows compared", flush=True)
        begin, done, series = time.monotonic(), 0, []
        due = options.every
        while done < len(new):
            step = min(len(new) - done, 200)
            write(server, "drift", new[done : done + step], len(first) + done)
            done += step
            time.sleep(max(0, begin + done / options.rate - time.monotonic()))
            passed = time.monotonic() - begin
            if passed < due and done < len(new):
                continue
            due = passed + options.every
            counts = [len(first), min(done, len(second)), max(0, done - len(second))]
            rows = np.concatenate([first, new[:done]])
            recall, compared = measure(server, "drift", rows, mix(kinds, counts, rng))
            series.append((passed, recall, compared))
            print(f"  {passed:5.0f} s, {len(rows):7,} rows: recall {recall:.3f}, {compared:7,.0f} rows compared", flush=True)
        minutes = {}
        for passed, recall, _ in series:
            minutes.setdefault(int(passed // 60), []).append(recall)
        worst = min(sum(values) / len(values) for values in minutes.values())
        settle(server, "drift")
        rows = np.concatenate([first, new])
        queries = np.concatenate([mix(kinds, [len(first), len(second), len(third)], rng) for _ in range(4)])
        recall, compared = measure(server, "drift", rows, queries)
        call(server, "CollectionService/CreateCollection",
             {"collectionId": "fresh", "collection": {"dimension": 384}})  # fmt: skip
        write(server, "fresh", rows[rng.permutation(len(rows))], 0)
        settle(server, "fresh")
        operation = call(server, "CollectionService/RetrainIndex", {"name": "collections/fresh"})
        while not call(server, "Operations/GetOperation", {"name": operation["name"]}).get("done"):
            time.sleep(0.5)
        settle(server, "fresh")
        fresh_recall, fresh = measure(server, "fresh", rows, queries)
        print(f"  worst minute {worst:.3f}; after the load recall {recall:.3f}, {compared:,.0f} rows compared;"
              f" fresh build {fresh_recall:.3f}, {fresh:,.0f}: {compared / fresh:.2f} times its cost", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(ann_data.DEFAULT / "demo" / "limit-100000"))
    parser.add_argument("--first", type=int, default=16_000)
    parser.add_argument("--rate", type=float, default=400)
    parser.add_argument("--every", type=float, default=10)
    options = parser.parse_args()
    for repair in ("off", "auto"):
        run(repair, options, pathlib.Path(options.data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
