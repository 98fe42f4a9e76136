"""Stock FAISS (PyPI's faiss-cpu) opens what we export and answers as we do.

Usage: faiss_peer_test.py FAISS_PEER, the path of the tool of tests/server/index/faiss_peer.cc."""

import os
import subprocess
import sys
import tempfile

try:
    import faiss
    import numpy as np
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

QUERIES, K = 100, 10
# The least share of answers that must be the same. The same rows are compared and the same codes
# scanned, so all but rounding is equal; AUTO scans tables of 8 bits, FAISS such of floats, and
# FAISS breaks off its search of a graph a little differently.
SAME = {"FLAT": 1.0, "IVF_FLAT": 1.0, "IVF_SQ8": 0.99, "IVF_PQ": 0.99, "LSH": 0.95, "HNSW": 0.95, "AUTO": 0.9}


def check(folder, name, description):
    path = os.path.join(folder, name)
    index = faiss.read_index(path + ".faiss")
    labels = np.fromfile(path + ".labels", np.uint64)
    queries = np.fromfile(path + ".queries", np.float32).reshape(QUERIES, -1)
    found = np.fromfile(path + ".found", np.uint64).reshape(QUERIES, K)
    scores = np.fromfile(path + ".scores", np.float32).reshape(QUERIES, K)
    assert index.is_trained and index.ntotal == len(labels) and index.d == queries.shape[1], name
    assert (np.diff(labels.astype(np.int64)) > 0).all(), f"{name}: labels do not ascend"
    their_scores, ids = index.search(queries, K)
    assert (ids >= 0).all() and (ids < len(labels)).all(), f"{name}: a hole or a strange id"
    same = 0
    for ours, our_scores, theirs, theirs_scores in zip(found, scores, labels[ids], their_scores):
        by_label = dict(zip(ours.tolist(), our_scores.tolist()))
        for label, score in zip(theirs.tolist(), theirs_scores.tolist()):
            if label not in by_label:
                continue
            same += 1
            assert abs(score - by_label[label]) <= 1e-3 * max(1, abs(score)), (name, label, score, by_label[label])
    share = same / (QUERIES * K)
    print(f"{name}: {share:.4f} the same; {description}")
    kind = name.rsplit("_", 1)[0]
    return [] if share >= SAME[kind] else [f"{name}: only {share:.4f} of the answers are the same, not {SAME[kind]}"]


def main():
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run([sys.argv[1], folder], check=True, stdout=subprocess.PIPE, text=True).stdout
        names = [line.split("\t") for line in made.splitlines()]
        assert len(names) == 21, names
        for name, description in names:
            failures += check(folder, name, description)
    for failure in failures:
        print("FAILED", failure)
    sys.exit(1 if failures else 0)


main()
