"""The data of the index benchmark: where it lies, exact neighbours, and how recall is counted.

A data folder holds base.npy [N, D] and queries.npy [Q, D], float32 unit rows; truth.npy int32 [Q, 100], the rows of
base nearest to each query by dot product, best first; and truth_scores.npy float32 [Q, 100], their scores.
make_minilm.py writes such folders, ann_peers.py reads them.
"""

import json
import os
import pathlib

import numpy as np

TRUTH = 100  # neighbours kept of each query
TIES = 1e-6  # a row this close to the true k-th score is as good as it: real texts repeat
DEFAULT = pathlib.Path(os.environ.get("VECINO_CACHE", pathlib.Path.home() / ".cache" / "vecino")) / "bench"


def save(path, array):
    """Writes a .npy whole or not at all."""
    partial = pathlib.Path(f"{path}.part")
    with open(partial, "wb") as file:
        np.save(file, array)
    os.replace(partial, path)


def save_json(path, value):
    partial = pathlib.Path(f"{path}.part")
    partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


def exact_neighbours(base, queries, k=TRUTH, block=16_384, spare=32):
    """(ids int32, scores float32), both [Q, k]: the k best rows by dot product, of equal ones the first.

    fp32 products choose k + spare candidates, whose scores are then computed in double, so that neither the order
    nor the score depends on the BLAS.
    """
    kept = min(k + spare, len(base))
    best_scores = np.empty((len(queries), 0), np.float32)
    best_ids = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(base), block):
        rows = base[start : start + block]
        scores = np.concatenate([best_scores, queries @ rows.T], axis=1)
        ids = np.concatenate(
            [best_ids, np.broadcast_to(np.arange(start, start + len(rows)), (len(queries), len(rows)))], axis=1
        )
        if scores.shape[1] > kept:
            chosen = np.argpartition(scores, -kept, axis=1)[:, -kept:]
            scores, ids = np.take_along_axis(scores, chosen, 1), np.take_along_axis(ids, chosen, 1)
        best_scores, best_ids = scores, ids
    k = min(k, len(base))
    truth = np.empty((len(queries), k), np.int32)
    truth_scores = np.empty((len(queries), k), np.float32)
    for i, query in enumerate(queries):
        exact = base[best_ids[i]].astype(np.float64) @ query.astype(np.float64)
        order = np.lexsort((best_ids[i], -exact))[:k]
        truth[i], truth_scores[i] = best_ids[i][order], exact[order]
    return truth, truth_scores


class Data:
    """A data folder, read; base and queries are memory-mapped."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        missing = [n for n in ("base", "queries", "truth", "truth_scores") if not (self.folder / f"{n}.npy").exists()]
        if missing:
            raise SystemExit(f"{self.folder} has no {', '.join(missing)} (.npy): make it with make_minilm.py")
        self.base = np.load(self.folder / "base.npy", mmap_mode="r")
        self.queries = np.ascontiguousarray(np.load(self.folder / "queries.npy"))
        self.truth_scores = np.load(self.folder / "truth_scores.npy")

    def recall(self, ids, k):
        """Mean over queries of the share of k that is as good as the true k best, ties included.

        ids: one row of ids a query; ids below 0, repeated or beyond k do not count.
        """
        good = 0
        for i, row in enumerate(ids):
            row = np.asarray(row[:k])
            row = np.unique(row[row >= 0])
            scores = self.base[row].astype(np.float64) @ self.queries[i].astype(np.float64)
            good += int((scores >= self.truth_scores[i, k - 1] - TIES).sum())
        return good / (k * len(ids))
