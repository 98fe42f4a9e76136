"""`vecino bench` against a real server: its figures, its plot, and that it leaves nothing behind."""

import json
import random
import signal
import subprocess
import unittest
import xml.etree.ElementTree

import client_support
from client_support import BINARIES, vecino

KINDS = ["auto", "flat", "ivf-flat", "ivf-sq8", "ivf-pq", "hnsw", "lsh"]
SVG = "{http://www.w3.org/2000/svg}"
ROWS, DIMENSION = 1300, 16  # one shard of more than 1,000 rows is not kept flat


class BenchCommandTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.workspace = cls.enterClassContext(client_support.Workspace())
        cls.address = cls.workspace.server.address
        rng = random.Random(7)
        centres = [[rng.gauss(0, 1) for _ in range(DIMENSION)] for _ in range(30)]
        cls.lines = [
            json.dumps({"id": f"p{i}", "vector": [x + rng.gauss(0, 0.4) for x in centres[i % 30]]}) + "\n"
            for i in range(ROWS)
        ]
        cls.make("cosine", ROWS)

    @classmethod
    def make(cls, metric, rows):
        made = vecino(cls.address, "collection", "create", metric, "--dim", DIMENSION, "--metric", metric)
        loaded = vecino(cls.address, "load", metric, "-", stdin="".join(cls.lines[:rows]))
        assert made.returncode == 0 and loaded.returncode == 0, made.stderr + loaded.stderr

    def bench(self, *arguments):
        return vecino(self.address, "bench", *arguments)

    def names(self):
        listed = vecino(self.address, "--json", "collection", "list")
        return [json.loads(line)["id"] for line in listed.stdout.splitlines()]

    def tearDown(self):
        self.assertEqual([name for name in self.names() if "-bench-" in name], [])

    def test_compares_all_kinds_and_draws_them(self):
        plot = self.workspace.folder / "plot.svg"
        run = self.bench("cosine", "--queries", 50, "--plot", plot)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("cosine: 1,250 vectors, 50 others as queries, k = 10", run.stdout)
        header = run.stdout.splitlines()[2]
        for column in ["KIND", "SETTING", "RECALL", "QPS", "P50 MS", "P99 MS", "ALL B/VEC", "BUILD S"]:
            self.assertIn(column, header)
        for kind in KINDS:
            self.assertRegex(run.stdout, rf"(?m)^{kind} +[a-z]+ ?[.0-9]* +[01]\.\d{{4}} +[\d,]+ ")
        self.assertRegex(run.stdout, r"Best at a recall of \.95 or more: \S+, .* queries/s, recall (1\.000|0\.9[5-9])")
        root = xml.etree.ElementTree.parse(plot).getroot()
        self.assertEqual(root.tag, SVG + "svg")
        texts = [text.text for text in root.iter(SVG + "text")]
        for kind in KINDS:
            self.assertIn(kind, texts)
        # A mark for each row of the table, and one for each kind in the legend.
        rows = [line for line in run.stdout.splitlines() if line.split(" ")[0] in KINDS]
        self.assertEqual(len(list(root.iter(SVG + "circle"))), len(rows) + len(KINDS))

    def test_figures_are_right(self):
        self.make("l2", ROWS)
        for name in ["cosine", "l2"]:
            run = self.bench(name, "--json", "--queries", 40, "-k", 5, "--kinds", "ivf-flat,flat,hnsw,flat")
            self.assertEqual(run.returncode, 0, run.stderr)
            points = [json.loads(line) for line in run.stdout.splitlines()]
            self.assertEqual(list(dict.fromkeys(point["kind"] for point in points)), ["ivf-flat", "flat", "hnsw"])
            for point in points:
                self.assertEqual((point["rows"], point["queries"]), (ROWS - 40, 40))
                self.assertGreater(point["qps"], 0)
                self.assertLessEqual(point["p50_ms"], point["p99_ms"])
                self.assertGreaterEqual(point["memory_bytes_per_vector"], 4 * DIMENSION)
            flat = [point for point in points if point["kind"] == "flat"]
            self.assertEqual([(point["recall"], point["segments"]) for point in flat], [(1.0, "FLAT")])
            lists = [point for point in points if point["kind"] == "ivf-flat"]
            self.assertEqual((lists[0]["setting"], lists[0]["segments"]), ("nprobe 1", "IVF_FLAT"))
            self.assertLess(lists[0]["recall"], 1)
            self.assertGreater(lists[0]["recall"], 0.1)
            recalls = [point["recall"] for point in lists]
            self.assertEqual(recalls, sorted(recalls))
            self.assertGreaterEqual(recalls[-1], 0.99)

    def test_refuses_what_cannot_be_measured(self):
        self.make("dot", 150)
        small = self.bench("dot")
        self.assertEqual((small.returncode, small.stdout), (1, ""))
        self.assertIn("too small with 150 documents: 200 queries need more than 300", small.stderr)
        few = self.bench("cosine", "--rows", 200)
        self.assertIn("--rows 200 is too few", few.stderr)
        unknown = self.bench("cosine", "--kinds", "flat,tree")
        self.assertEqual((unknown.returncode, "tree not in {auto,flat," in unknown.stderr), (2, True))
        missing = self.bench("nothing", "--plot", self.workspace.folder / "none.svg")
        self.assertEqual((missing.returncode, "NOT_FOUND" in missing.stderr), (1, True))
        self.assertFalse((self.workspace.folder / "none.svg").exists())
        self.assertEqual(self.bench("cosine", "--plot", "/nowhere/plot.svg").returncode, 2)

    def test_leaves_what_was_there_before_and_what_is_kept(self):
        kept = self.bench("cosine", "--kinds", "lsh", "--queries", 10, "--keep")
        self.assertEqual(kept.returncode, 0, kept.stderr)
        self.assertIn("cosine-bench-lsh", self.names())
        again = self.bench("cosine", "--kinds", "flat,lsh")
        self.assertEqual((again.returncode, "ALREADY_EXISTS" in again.stderr), (1, True))
        self.assertIn("vecino collection delete cosine-bench-lsh", again.stderr)
        self.assertIn("cosine-bench-lsh", self.names())
        self.assertNotIn("cosine-bench-flat", self.names())
        self.assertEqual(vecino(self.address, "collection", "delete", "cosine-bench-lsh", "--yes").returncode, 0)

    def test_an_interrupt_deletes_what_was_made(self):
        # Once there is a temporary collection, seven kinds and 1,000 queries for each setting are still to come.
        command = [BINARIES / "vecino", "--server", self.address, "bench", "cosine", "--queries", "1000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as process:
            for line in process.stderr:
                if line.startswith("indexing cosine-bench-auto"):
                    break
            self.assertIn("cosine-bench-auto", self.names())
            process.send_signal(signal.SIGINT)
            process.communicate()
        self.assertEqual(process.returncode, 130)


if __name__ == "__main__":
    unittest.main()
