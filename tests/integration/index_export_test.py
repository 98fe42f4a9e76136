"""`vecino index export` and `vecino load --faiss` against a real server and stock FAISS (PyPI's faiss-cpu)."""

import json
import os
import random
import signal
import struct
import subprocess
import time
import unittest

import client_support
from client_support import BINARIES, vecino

try:
    import faiss
    import numpy as np
except ImportError as error:
    client_support.skip(f"{error}; set VECINO_TEST_PYTHON to a Python with tests/requirements.txt")

KINDS = ["auto", "flat", "ivf-flat", "ivf-sq8", "ivf-pq", "hnsw", "lsh"]
APPROXIMATE = {"ivf-sq8", "ivf-pq", "lsh"}  # of those that are trained with so few rows
ROWS, DIMENSION, QUERIES, K = 2600, 18, 40, 5


def document_id(i):
    """Ids that a side file of plain lines would not survive."""
    return ['p{}', 'line\nbreak{}', '"quoted"{}', "é\u2028{}"][i % 4].format(i)


class IndexExportTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.workspace = cls.enterClassContext(client_support.Workspace(arguments=["--index-tail-capacity", "500"]))
        cls.address = cls.workspace.server.address
        rng = random.Random(7)
        cls.centres = [[rng.gauss(0, 1) for _ in range(DIMENSION)] for _ in range(30)]
        cls.rng = rng

    def point(self, i):
        return [x + self.rng.gauss(0, 0.4) for x in self.centres[i % 30]]

    def ok(self, *arguments, **options):
        result = vecino(self.address, *arguments, **options)
        self.assertEqual(result.returncode, 0, f"{arguments}: {result.stdout}{result.stderr}")
        return result.stdout

    def make(self, name, kind="flat", metric="cosine", rows=ROWS, shards=2):
        """A collection with replaced and deleted documents; returns id → vector of what is left."""
        self.ok("collection", "create", name, "--dim", DIMENSION, "--metric", metric, "--index", kind, "--shards", shards)
        kept = {}
        for first, last, overwrite in [(0, rows, False), (0, rows // 10, True)]:
            batch = {document_id(i): self.point(i) for i in range(first, last)}
            kept.update(batch)
            lines = "".join(json.dumps({"id": key, "vector": value}) + "\n" for key, value in batch.items())
            self.ok("load", name, "-", *(["--overwrite"] if overwrite else []), stdin=lines)
        for i in range(0, rows, rows // 20):
            self.ok("delete", name, document_id(i))
            del kept[document_id(i)]
        return kept

    def read(self, folder, shard):
        index = faiss.read_index(str(folder / f"shard-{shard:05d}.faiss"))
        lines = (folder / f"shard-{shard:05d}.ids").read_text(encoding="utf-8").split("\n")
        self.assertEqual(lines.pop(), "")
        return index, [json.loads(line) for line in lines]

    def search(self, name, vector, *arguments):
        found = self.ok("--json", "search", name, "--vector", "-", "-k", K, *arguments, stdin=json.dumps(vector))
        return [(hit["id"], hit["score"]) for hit in map(json.loads, found.split("\n")[:-1])]

    def queries(self, metric):
        queries = np.array([self.point(i) for i in range(QUERIES)], np.float32)
        if metric == "cosine":
            queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        return queries

    def answers(self, folder, metric, query):
        """The best of all shards' FAISS indexes, as ids and scores."""
        hits = []
        for shard in range(2):
            index, ids = self.read(folder, shard)
            scores, rows = index.search(query[None, :], K)
            hits += [(ids[row], float(score)) for row, score in zip(rows[0], scores[0]) if row >= 0]
        return sorted(hits, key=lambda hit: hit[1] if metric == "l2" else -hit[1])[:K]

    def test_every_kind_is_searched_by_faiss_and_loaded_again(self):
        for number, kind in enumerate(KINDS):
            metric = ["cosine", "l2", "dot"][number % 3]
            with self.subTest(kind=kind, metric=metric):
                name, folder = f"x-{kind}", self.workspace.folder / f"x-{kind}"
                kept = self.make(name, kind, metric)
                self.ok("index", "export", name, folder)
                manifest = json.loads((folder / "manifest.json").read_text())
                self.assertEqual((manifest["collection"], manifest["metric"], manifest["dimension"]), (name, metric, DIMENSION))
                self.assertEqual((manifest["kind"], manifest["shard_count"]), (kind, 2))
                exported = {}
                for shard in manifest["shards"]:
                    index, ids = self.read(folder, shard["shard"])
                    self.assertEqual((index.ntotal, index.d, shard["rows"]), (len(ids), DIMENSION, len(ids)))
                    self.assertEqual(os.path.getsize(folder / shard["index"]), shard["index_bytes"])
                    exported.update(dict.fromkeys(ids, shard["shard"]))
                    self.assertEqual("IndexRefineFlat" in shard["description"], kind in APPROXIMATE)
                self.assertEqual(exported.keys(), kept.keys())
                # A new collection, of what the files hold.
                self.ok("collection", "create", f"{name}-2", "--dim", DIMENSION, "--metric", metric, "--index", "flat")
                for shard in range(2):
                    files = ["--faiss", folder / f"shard-{shard:05d}.faiss", "--ids", folder / f"shard-{shard:05d}.ids"]
                    loaded = json.loads(self.ok("--json", "load", f"{name}-2", *files))
                    self.assertEqual((loaded["loaded"], loaded["failed"]), (manifest["shards"][shard]["rows"], 0))
                same, again = 0, 0
                for query in self.queries(metric):
                    exact = self.search(name, query.tolist(), "--exact")
                    theirs = dict(self.answers(folder, metric, query))
                    ours = dict(self.search(name, query.tolist()))
                    for key, score in theirs.items():
                        same += key in ours
                        if key in ours:
                            self.assertAlmostEqual(score, ours[key], delta=2e-3 * max(1, abs(score)))
                    reloaded = self.search(f"{name}-2", query.tolist(), "--exact")
                    again += len({key for key, _ in exact} & {key for key, _ in reloaded})
                self.assertGreaterEqual(again, QUERIES * K - 2)  # scores that are equal but for rounding
                least = 1.0 if kind in ("auto", "flat") else 0.9
                self.assertGreaterEqual(same, least * QUERIES * K - 2, f"{kind}: {same} of {QUERIES * K}")

    def test_options_and_refusals(self):
        self.make("o", "ivf-sq8", rows=2600)
        folder = self.workspace.folder / "o"
        self.ok("index", "export", "o", folder, "--shard", "1", "--no-vectors")
        self.assertEqual(sorted(os.listdir(folder)), ["manifest.json", "shard-00001.faiss", "shard-00001.ids"])
        small = os.path.getsize(folder / "shard-00001.faiss")
        index, ids = self.read(folder, 1)
        self.assertEqual((type(index).__name__, index.ntotal), ("IndexIVFScalarQuantizer", len(ids)))
        refused = vecino(self.address, "load", "o", "--faiss", folder / "shard-00001.faiss", "--ids", folder / "shard-00001.ids")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("IndexIVFScalarQuantizer, from which vectors cannot be read", refused.stderr)

        there = vecino(self.address, "index", "export", "o", folder)
        self.assertEqual((there.returncode, "--force" in there.stderr), (2, True))
        self.assertEqual(os.path.getsize(folder / "shard-00001.faiss"), small)
        told = json.loads(self.ok("--json", "index", "export", "o", folder, "--force"))
        self.assertEqual(told, json.loads((folder / "manifest.json").read_text()))
        self.assertGreater(os.path.getsize(folder / "shard-00001.faiss"), small)
        self.assertEqual(len(os.listdir(folder)), 5)

        none = vecino(self.address, "index", "export", "nothing", self.workspace.folder / "n")
        self.assertEqual((none.returncode, "NOT_FOUND" in none.stderr), (1, True))
        shard = vecino(self.address, "index", "export", "o", self.workspace.folder / "n", "--shard", "2")
        self.assertEqual((shard.returncode, "shards 0 to 1" in shard.stderr), (2, True))
        self.assertFalse((self.workspace.folder / "n").exists())

    def load(self, index, *arguments, ids=None):
        """Loads an index that FAISS wrote; returns the process and the collection's name."""
        name = f"l{random.randrange(10**9)}"
        self.ok("collection", "create", name, "--dim", DIMENSION, "--metric", "l2")
        path = self.workspace.folder / f"{name}.faiss"
        if isinstance(index, bytes):
            path.write_bytes(index)
        else:
            faiss.write_index(index, str(path))
        if ids is not None:
            (self.workspace.folder / f"{name}.ids").write_text(ids, encoding="utf-8")
            arguments = ["--ids", self.workspace.folder / f"{name}.ids", *arguments]
        return vecino(self.address, "load", name, "--faiss", path, *arguments), name

    def test_loads_what_faiss_itself_wrote(self):
        vectors = np.array([self.point(i) for i in range(400)], np.float32)

        def flat():
            return faiss.IndexFlatL2(DIMENSION)

        def mapped(inner, kind=faiss.IndexIDMap):
            inner.train(vectors)
            index = kind(inner)
            index.own_fields, _ = True, inner.this.disown()
            index.add_with_ids(vectors, np.arange(400)[::-1] * 3 + 10)
            return index

        def filled(index):
            index.train(vectors)
            index.add(vectors)
            return index

        def ivf(nlist=8):
            return faiss.index_factory(DIMENSION, f"IVF{nlist},Flat")

        plain, reverse = range(400), [(399 - i) * 3 + 10 for i in range(400)]
        cases = {
            "flat ip": (filled(faiss.IndexFlatIP(DIMENSION)), plain),
            "flat l1": (filled(faiss.IndexFlat(DIMENSION, faiss.METRIC_L1)), plain),
            "hnsw": (filled(faiss.IndexHNSWFlat(DIMENSION, 8)), plain),
            "ivf": (filled(ivf()), plain),
            "ivf, few lists used": (None, plain),
            "ivf with ids": (None, reverse),
            "ivf, hnsw quantizer": (filled(faiss.index_factory(DIMENSION, "IVF8_HNSW4,Flat")), plain),
            "idmap": (mapped(flat()), reverse),
            "idmap2": (mapped(flat(), faiss.IndexIDMap2), reverse),
            "idmap of hnsw": (mapped(faiss.IndexHNSWFlat(DIMENSION, 8)), reverse),
            "refined pq": (filled(faiss.index_factory(DIMENSION, "PQ6x4,RFlat")), plain),
            "refined sq": (filled(faiss.index_factory(DIMENSION, "IVF8,SQ8,RFlat")), plain),
            "idmap of refined": (mapped(faiss.index_factory(DIMENSION, "SQ8,RFlat")), reverse),
        }
        with_ids = ivf()
        with_ids.train(vectors)
        with_ids.set_direct_map_type(faiss.DirectMap.Hashtable)
        with_ids.add_with_ids(vectors, np.array(reverse))
        cases["ivf with ids"] = (with_ids, reverse)
        sparse = ivf(64)  # trained on much that is far away
        sparse.train(np.concatenate([vectors + 100 * i for i in range(4)]))
        sparse.add(vectors)
        cases["ivf, few lists used"] = (sparse, plain)
        for case, (index, ids) in cases.items():
            with self.subTest(case=case):
                result, name = self.load(index)
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertIn("loaded 400", result.stdout)
                for i in (0, 7, 399):
                    (hit,) = self.ok("--json", "get", name, ids[i], "--with-vector").splitlines()
                    np.testing.assert_array_equal(np.array(json.loads(hit)["vector"], np.float32), vectors[i])
        # Lines by FAISS id, plain and as JSON; with ids that skip numbers, lines that are not used.
        result, name = self.load(filled(flat()), ids="".join(f"doc {i}\n" for i in range(399)) + '"last\\nline"')
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(self.ok("--json", "get", name, "doc 0", "doc 398", "last\nline").splitlines()), 3)
        result, name = self.load(mapped(flat()), ids="".join(f"r{i}\n" for i in range(1300)))
        self.assertEqual(result.returncode, 0, result.stderr)
        (hit,) = self.ok("--json", "get", name, "r1207", "--with-vector").splitlines()
        np.testing.assert_array_equal(np.array(json.loads(hit)["vector"], np.float32), vectors[0])

    def test_what_cannot_be_loaded(self):
        vectors = np.array([self.point(i) for i in range(400)], np.float32)

        def filled(description):
            index = faiss.index_factory(DIMENSION, description)
            index.train(vectors)
            index.add(vectors)
            return index

        for description, kind in [("PQ6x4", "IndexPQ"), ("SQ8", "IndexScalarQuantizer"), ("IVF4,PQ6x4", "IndexIVFPQ"),
                                  ("LSH", "IndexLSH"), ("PCA4,Flat", "IndexPreTransform")]:  # fmt: skip
            result, _ = self.load(filled(description))
            self.assertEqual(result.returncode, 2, result.stdout)
            self.assertIn(f"holds {kind}, from which vectors cannot be read", result.stderr)
        wide = faiss.IndexFlatL2(DIMENSION + 1)
        result, _ = self.load(wide)
        self.assertEqual((result.returncode, f"{DIMENSION + 1} floats" in result.stderr), (2, True))
        for ids, message in [("a\nb\n", "2 ids for 400 rows"), ("x\n" * 401, "401 ids for 400 rows")]:
            result, _ = self.load(filled("Flat"), ids=ids)
            self.assertEqual((result.returncode, message in result.stderr), (2, True), result.stderr)
        result, _ = self.load(b"PK\x03\x04 something else")
        self.assertEqual((result.returncode, "no FAISS index file" in result.stderr), (2, True))

    def test_damaged_files_are_refused(self):
        vectors = np.array([self.point(i) for i in range(60)], np.float32)
        rng = random.Random(5)
        for description in ["Flat", "HNSW4", "IVF4,Flat", "IDMap,Flat", "SQ8,RFlat", "IVF4_HNSW4,Flat"]:
            index = faiss.index_factory(DIMENSION, description)
            index.train(vectors)
            index.add_with_ids(vectors, np.arange(60)) if "IDMap" in description else index.add(vectors)
            whole = bytes(faiss.serialize_index(index))
            path = self.workspace.folder / "damaged.faiss"
            cuts = sorted(rng.sample(range(len(whole) - 1), 12)) + [0, 3, len(whole) - 1]
            huge = [(whole[:at] + struct.pack("<Q", 1 << rng.randrange(20, 64)) + whole[at + 8 :]) for at in range(4, 120, 9)]
            for content in [whole[:cut] for cut in cuts] + huge:
                path.write_bytes(content)
                result = vecino("127.0.0.1:1", "--timeout", "0.05", "load", "c", "--faiss", path)
                # 3: the file was fine, as where a value changed that is not looked at; there is no server.
                self.assertIn(result.returncode, (2, 3), (description, result))
                if len(content) < len(whole):
                    self.assertEqual(result.returncode, 2, (description, len(content), len(whole), result.stderr))

    def test_a_server_that_stops_ends_an_export(self):
        # More than gRPC's windows and the sockets hold between them (they took 10 MB whole once).
        rows, dimension = 60000, 384
        with client_support.Workspace() as workspace:
            np.save(workspace.folder / "v.npy", np.random.default_rng(1).random((rows, dimension), np.float32))
            for command in [["collection", "create", "s", "--dim", dimension, "--shards", "1", "--index", "flat"],
                            ["load", "s", workspace.folder / "v.npy"]]:  # fmt: skip
                done = vecino(workspace.server.address, *command)
                self.assertEqual(done.returncode, 0, done.stderr)
            folder = workspace.folder / "out"
            folder.mkdir()
            os.mkfifo(folder / "shard-00000.faiss.part")
            command = [BINARIES / "vecino", "--server", workspace.server.address, "index", "export", "s", folder]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as process:
                with open(folder / "shard-00000.faiss.part", "rb") as pipe:
                    pipe.read(1)
                    begin = time.monotonic()
                    self.assertEqual(workspace.server.stop(), 0)
                    self.assertLess(time.monotonic() - begin, 15)
                    self.assertLess(len(pipe.read()), rows * dimension * 4)
                _, errors = process.communicate(timeout=60)
            self.assertIn(process.returncode, (1, 3), errors)
            self.assertEqual(os.listdir(folder), [])

    def test_an_interrupt_leaves_nothing(self):
        self.make("i", "flat", rows=1000, shards=1)
        folder = self.workspace.folder / "i"
        folder.mkdir()
        # A full pipe in place of the file: the command stands still in the middle of it.
        os.mkfifo(folder / "shard-00000.faiss.part")
        command = [BINARIES / "vecino", "--server", self.address, "index", "export", "i", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as process:
            with open(folder / "shard-00000.faiss.part", "rb"):
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=60)
        self.assertEqual((process.returncode, "interrupted" in errors), (130, True), errors)
        self.assertEqual(os.listdir(folder), [])


if __name__ == "__main__":
    unittest.main()
