"""The command line against a real server: every command, exit codes, and loading what is good, bad or cut short."""

import array
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

import client_support
from client_support import BINARIES, vecino


def npy(rows, columns, values, kind="f"):
    """A .npy file, format 1, of little-endian floats (kind f) or doubles (d)."""
    header = f"{{'descr': '<{kind and {'f': 'f4', 'd': 'f8'}[kind]}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}"
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + array.array(kind, values).tobytes()


class CommandLineTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.workspace = cls.enterClassContext(client_support.Workspace())
        cls.address = cls.workspace.server.address
        cls.numbered = 0

    def vecino(self, *arguments, **options):
        return vecino(self.address, *arguments, **options)

    def ok(self, *arguments, **options):
        result = self.vecino(*arguments, **options)
        self.assertEqual(result.returncode, 0, f"{arguments}: {result.stdout}{result.stderr}")
        return result.stdout

    def rows(self, *arguments):
        return [json.loads(line) for line in self.ok("--json", *arguments).splitlines()]

    def collection(self, dimension=2, metric="l2"):
        """A new collection's name."""
        type(self).numbered += 1
        name = f"c{self.numbered}"
        self.ok("collection", "create", name, "--dim", dimension, "--metric", metric)
        return name

    def file(self, name, content):
        path = self.workspace.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def jsonl(self, documents):
        return "".join(json.dumps(document) + "\n" for document in documents)

    def points(self, count, first=0):
        return [{"id": f"p{i}", "vector": [i, 0], "metadata": {"n": i}} for i in range(first, first + count)]

    def test_collections(self):
        name = self.collection(metric="cosine")
        shown = self.rows("collection", "show", name)[0]
        self.assertEqual((shown["id"], shown["dimension"], shown["metric"]), (name, 2, "cosine"))
        self.assertIn(name, [row["id"] for row in self.rows("collection", "list")])
        self.assertRegex(self.ok("collection", "list"), rf"NAME +DIMENSION +METRIC.*\n(?s:.*){name} +2 +cosine")
        self.assertEqual(self.rows("collection", "stats", name)[0]["live_documents"], 0)
        again = self.vecino("collection", "create", name, "--dim", 2)
        self.assertEqual(again.returncode, 1)
        self.assertIn("ALREADY_EXISTS", again.stderr)
        for asks_nobody in (("collection", "delete", name), ("snapshot", "delete", name)):
            refused = self.vecino(*asks_nobody)
            self.assertEqual((refused.returncode, "say --yes" in refused.stderr), (2, True), refused.stderr)
        self.ok("collection", "show", name)
        wrong = self.vecino("collection", "delete", name, "--etag", "nonsense", "--yes")
        self.assertEqual((wrong.returncode, "ABORTED" in wrong.stderr), (1, True))
        self.ok("collection", "delete", name, "-y")
        gone = self.vecino("collection", "show", name)
        self.assertEqual((gone.returncode, "NOT_FOUND" in gone.stderr), (1, True))
        self.assertEqual(gone.stdout, "")

    def test_recall(self):
        name = self.collection(metric="l2")
        self.ok("load", name, "-", stdin=self.jsonl(self.points(120)))
        row = self.rows("collection", "recall", name, "-k", 5, "--samples", 80)[0]
        self.assertEqual((row["id"], row["recall"]["recall"], row["recall"]["samples"]), (name, 1, 80))
        self.assertEqual(row["recall"]["source"], "stored_documents")
        self.assertEqual([shard["recall"] for shard in row["shards"]], [1] * len(row["shards"]))
        self.assertRegex(self.ok("collection", "recall", name), r"recall +1\.000 \(0\.9\d\d to 1\.000\), 120 searches")
        few = self.ok("collection", "recall", name, "--queries", "-", "--filter", "n < 30", stdin="[1, 2]\n\n[3, 4]\n")
        self.assertRegex(few, r"not enough: 2 searches measured of the 50 it takes\n +of these +1\.000")
        for queries, message in (("[1, 2\n", "is no JSON array"), ("", "holds no queries"), ('["a"]\n', "line 1")):
            wrong = self.vecino("collection", "recall", name, "--queries", "-", stdin=queries)
            self.assertEqual(wrong.returncode, 2, queries)
            self.assertIn(message, wrong.stderr)
        wrong = self.vecino("collection", "recall", name, "--queries", "-", stdin="some text\n")
        self.assertEqual((wrong.returncode, "FAILED_PRECONDITION" in wrong.stderr), (1, True))
        stats = self.rows("collection", "stats", name)[0]
        self.assertIn("by_kind", stats["recall"])
        self.assertRegex(self.ok("collection", "stats", name), r"recall +not enough: \d+ search(es)? measured of the 50")

    def test_index_kinds_and_their_parameters(self):
        for kind, options in [("auto", ["--recall", ".9", "--no-graph"]), ("flat", []), ("ivf-flat", ["--nlist", 8]),
                              ("ivf-sq8", ["--nprobe", 3]), ("ivf-pq", ["--pq-m", 2, "--pq-bits", 6]),
                              ("hnsw", ["--hnsw-m", 8, "--ef-construction", 40, "--ef-search", 50]),
                              ("lsh", ["--lsh-bits", 64])]:
            name = f"kind-{kind}"
            self.ok("collection", "create", name, "--dim", 4, "--index", kind, *options)
            shown = self.rows("collection", "show", name)[0]
            self.assertEqual(shown["index_kind"], kind)
            for flag, value in zip(options[::2], options[1::2]):
                key = flag[2:].replace("-", "_")
                stored = shown["recall_target"] if key == "recall" else shown["index_parameters"][key]
                self.assertEqual(stored, float(value))
            self.ok("load", name, "-", stdin=self.jsonl([{"id": f"p{i}", "vector": [i, 1, 2, 3]} for i in range(50)]))
            for effort in [[], ["--recall", ".99"], ["--exact"], ["--nprobe", 4, "--index-rerank", 20], ["--ef", 30]]:
                found = self.rows("search", name, "--id", "p7", "-k", 3, *effort)
                self.assertEqual(len(found), 3, (kind, effort))
        self.assertFalse(self.rows("collection", "show", "kind-auto")[0]["index_parameters"]["graph"])
        self.assertIn("pq-m 2, pq-bits 6", self.ok("collection", "show", "kind-ivf-pq"))
        wrong = self.vecino("collection", "create", "wrong", "--dim", 4, "--index", "ivf-pq", "--pq-m", 3)
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("does not divide the dimension 4", wrong.stderr)
        self.assertIn("has no such parameter",
                      self.vecino("collection", "create", "wrong", "--dim", 4, "--index", "lsh", "--nlist", 3).stderr)
        self.assertEqual(self.vecino("search", "kind-lsh", "--id", "p7", "--exact", "--recall", ".9").returncode, 2)

    def test_a_collection_is_changed(self):
        self.ok("collection", "create", "changed", "--dim", 4, "--index", "ivf-flat", "--nlist", 8)
        before = self.rows("collection", "show", "changed")[0]
        row = self.rows("collection", "update", "changed", "--recall", ".9", "--nprobe", 3, "--etag", before["etag"])[0]
        self.assertEqual((row["recall_target"], row["index_parameters"]["nprobe"]), (0.9, 3))
        self.assertEqual(self.rows("collection", "show", "changed")[0], row)
        late = self.vecino("collection", "update", "changed", "--recall", ".8", "--etag", before["etag"])
        self.assertEqual((late.returncode, "ABORTED" in late.stderr), (1, True))
        self.assertIn("recall 0.8, nlist 8, nprobe 3", self.ok("collection", "update", "changed", "--recall", ".8", "--validate-only"))
        self.assertIn("recall 0.9, nlist 8\n", self.ok("collection", "update", "changed", "--nprobe", 0))
        wrong = self.vecino("collection", "update", "changed", "--ef-search", 5)
        self.assertEqual((wrong.returncode, "has no such parameter" in wrong.stderr), (1, True))
        self.assertEqual(self.vecino("collection", "update", "changed").returncode, 2)
        self.ok("collection", "create", "drawn", "--dim", 4)
        self.assertIn("no graph", self.ok("collection", "update", "drawn", "--no-graph"))
        self.assertNotIn("no graph", self.ok("collection", "update", "drawn", "--graph"))

    def test_retrain_compact_and_operations(self):
        name = "worked-on"
        self.ok("collection", "create", name, "--dim", 4, "--shards", 2)
        self.ok("load", name, "-", stdin=self.jsonl([{"id": f"p{i}", "vector": [i, 1, i % 7, 3]} for i in range(500)]))
        self.vecino("delete", name, *[f"p{i}" for i in range(100)])
        self.assertIn("would take about", self.ok("collection", "retrain", name, "--dry-run"))
        estimate = self.rows("collection", "retrain", name, "--dry-run")[0]["estimate"]
        self.assertEqual(estimate["rows"], 400)
        self.assertEqual(self.rows("operation", "list", name), [])
        retrained = self.ok("collection", "retrain", name, "--wait", "--min-recall", "0.5")
        self.assertRegex(retrained, r"retrained worked-on: 2 shards in ")
        self.assertRegex(retrained, r"shard 1: not needed; its \d+ rows are compared one by one, which is exact")
        self.assertEqual(self.vecino("collection", "retrain", name, "--min-recall", "1.5").returncode, 2)
        self.assertRegex(self.ok("collection", "compact", name, "--wait", "--shards", "1"), r": 1 shards in ")
        started = self.rows("collection", "compact", name)[0]
        done = self.rows("collection", "compact", name, "--wait")[0]
        self.assertEqual(done["state"], "done")
        self.assertIn("cancel", self.vecino("operation", "--help").stdout)
        operations = self.rows("operation", "list", name)
        self.assertEqual([row["type"] for row in operations][:2], ["retrain", "compact"])
        self.assertIn(started["id"], [row["id"] for row in operations])
        self.assertRegex(self.ok("operation", "get", name, done["id"]), r"state +done")
        self.assertEqual(self.rows("operation", "cancel", name, done["id"])[0]["state"], "done")
        missing = self.vecino("operation", "get", name, "nothing")
        self.assertEqual((missing.returncode, "NOT_FOUND" in missing.stderr), (1, True))
        stats = self.rows("collection", "stats", name)[0]
        self.assertEqual((stats["live_documents"], stats["deleted_rows"]), (400, 0))
        self.assertEqual([shard["segments"] for shard in stats["shards"]], [1, 1])
        self.assertRegex(self.ok("collection", "stats", name), r"SHARD +DOCUMENTS +DELETED")
        flat = self.collection()
        self.ok("collection", "delete", flat, "--yes")
        self.ok("collection", "create", flat, "--dim", 2, "--index", "flat")
        refused = self.vecino("collection", "retrain", flat)
        self.assertEqual((refused.returncode, "FAILED_PRECONDITION" in refused.stderr), (1, True))

    def test_validate_only_makes_nothing(self):
        self.ok("collection", "create", "tried", "--dim", "3", "--validate-only")
        self.assertEqual(self.vecino("collection", "show", "tried").returncode, 1)

    def test_documents(self):
        name = self.collection()
        documents = [
            {"id": "a/b c", "text": "one", "metadata": {"z": [1, {"y": None}], "é": "ü"}, "vector": [1, 2.5]},
            {"id": "x", "vector": [-1, 0]},
        ]
        self.ok("load", name, "-", stdin=self.jsonl(documents))
        self.assertEqual(self.ok("count", name), "2\n")
        self.assertEqual(self.rows("count", name), [{"collection": name, "count": 2}])
        got = self.rows("get", name, "a/b c", "--with-vector")[0]
        self.assertEqual({key: got[key] for key in documents[0]}, documents[0])
        self.assertGreater(got["version"], 0)
        missing = self.vecino("get", name, "x", "nobody")
        self.assertEqual(missing.returncode, 1)
        self.assertIn("nobody: NOT_FOUND", missing.stderr)
        self.assertIn("x\n", missing.stdout)
        exported = [json.loads(line) for line in self.ok("export", name, "--with-vector").splitlines()]
        self.assertCountEqual(exported, documents)
        copy = self.collection()
        self.ok("load", copy, "-", stdin=self.ok("export", name, "--with-vector"))
        self.assertEqual(self.ok("count", copy), "2\n")
        self.assertEqual(len(self.rows("list", name, "-n", 1)), 1)
        deleted = self.vecino("delete", name, "x", "nobody")
        self.assertEqual((deleted.returncode, deleted.stdout), (1, "deleted 1\n"))
        self.assertIn("nobody: NOT_FOUND", deleted.stderr)

    def test_search(self):
        name = self.collection()
        self.ok("load", name, "-", stdin=self.jsonl(self.points(30)))
        query = self.file("query.json", "[7.25, 0]")
        hits = self.rows("search", name, "--vector", query, "-k", 3)
        self.assertEqual([hit["id"] for hit in hits], ["p7", "p8", "p6"])
        self.assertEqual([hit["rank"] for hit in hits], [1, 2, 3])
        self.assertAlmostEqual(hits[0]["score"], 0.0625)
        self.assertEqual(hits[0]["metadata"], {"n": 7})
        table = self.ok("search", name, "--vector", "-", "-k", 1, stdin="[7, 0]")
        self.assertRegex(table, r"SCORE +ID +TEXT\n0\.000 +p7\n")
        self.assertEqual([hit["id"] for hit in self.rows("search", name, "--id", "p0", "-k", 2)], ["p1", "p2"])
        self.assertEqual(self.rows("search", name, "--id", "p0", "-k", 1, "--with-vector")[0]["vector"], [1, 0])
        for arguments in ((name,), (name, "text", "--id", "p0"), (name, "--vector", "/no/such")):
            self.assertEqual(self.vecino("search", *arguments).returncode, 2, arguments)
        refused = self.vecino("search", name, "--vector", query, "-k", 0)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("top_k", refused.stderr)
        self.assertIn("FAILED_PRECONDITION", self.vecino("search", name, "words").stderr)

    def test_search_explains_itself(self):
        name = self.collection()
        self.ok("load", name, "-", stdin=self.jsonl(self.points(40)))
        query = self.file("explain.json", "[7.25, 0]")
        near = ("search", name, "--vector", query, "-k", 3)
        self.assertEqual(len(self.rows(*near)), 3)  # without --explain hits alone
        *hits, last = self.rows(*near, "--filter", "n < 10", "--explain", "--verify")
        self.assertEqual([hit["id"] for hit in hits], ["p7", "p8", "p6"])
        told = last["explanation"]
        self.assertEqual((told["exact"], told["verified_recall"], told["expected_recall"]), (True, 1, 1))
        self.assertEqual((told["selectivity"], told["recall_target"]), (0.25, 0.95))
        self.assertEqual(list(told["stages"]), ["filter", "scan", "fetch", "verify"])
        self.assertEqual(sum(shard["passing_rows"] for shard in told["shards"]), 10)
        self.assertEqual([shard["shard"] for shard in told["shards"]], list(range(len(told["shards"]))))
        self.assertGreater(told["rows_scanned"], 0)
        self.assertNotIn("shortfall_reason", told)
        few = self.rows("search", name, "--vector", query, "--filter", "n < 2", "--explain")[-1]["explanation"]
        self.assertEqual(few["shortfall_reason"], "no_more_documents")
        self.assertNotIn("verified_recall", few)
        text = self.ok("search", name, "--vector", query, "--filter", "n < 2", "--explain", "--verify")
        self.assertRegex(text, r"\nSHARD +MAY BE FOUND +SCANNED +EXPECTED +PLAN\n")
        self.assertRegex(text, r"\n  looked at +[\d,]+ rows, .*; the filter lets 5% pass\n")
        self.assertRegex(text, r"\n  recall +exact: every document that may be found was compared; verified: 1\.000\n")
        self.assertIn("\n  fewer than asked for: no_more_documents\n", text)

    def test_search_of_an_index_explains_itself(self):
        name = "explained"
        self.ok("collection", "create", name, "--dim", 2, "--metric", "l2", "--shards", 1, "--index", "ivf-flat", "--nlist", 16)
        self.ok("load", name, "-", stdin=self.jsonl(self.points(3000)))
        self.ok("collection", "compact", name, "--wait")
        near = ("search", name, "--vector", self.file("explain-index.json", "[1500.25, 0]"), "-k", 3)
        *hits, last = self.rows(*near, "--nprobe", 2, "--explain", "--verify")
        self.assertEqual([hit["id"] for hit in hits], ["p1500", "p1501", "p1499"])
        told = last["explanation"]
        self.assertEqual((told["effective_nprobe"], told["exact"], told["recall_target"]), (2, False, 0))
        # On a line the nearest rows stand in the two nearest lists.
        self.assertEqual(told["verified_recall"], 1)
        self.assertEqual((told["shards"][0]["nprobe"], told["shards"][0]["nlist"]), (2, 16))
        self.assertIn("IVF_FLAT", told["shards"][0]["plan"])
        self.assertGreaterEqual(told["rows_scanned"], 3)
        self.assertLess(told["rows_scanned"], 3000)
        self.assertEqual(told["rows_scanned"], told["shards"][0]["rows_scanned"])

    def test_status_health_and_models(self):
        self.assertEqual(self.ok("health"), "SERVING\n")
        self.assertEqual(self.vecino("health", "--service", "no.such").returncode, 1)
        self.assertIn("documents", self.rows("status")[0])
        self.assertIn(self.address, self.ok("status"))
        self.assertEqual(self.rows("models"), [])

    def test_exit_codes(self):
        self.assertEqual(self.vecino().returncode, 2)
        self.assertEqual(self.vecino("no-such-command").returncode, 2)
        self.assertEqual(self.vecino("count").returncode, 2)
        self.assertEqual(self.vecino("--help").returncode, 0)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            nobody = vecino(f"127.0.0.1:{free.getsockname()[1]}", "count", "c")
        self.assertEqual(nobody.returncode, 3)
        self.assertIn("cannot connect", nobody.stderr)
        self.assertIn("VECINO_SERVER", nobody.stderr)

    def test_server_from_the_environment(self):
        result = subprocess.run(
            [str(BINARIES / "vecino"), "health"],
            env=dict(os.environ, VECINO_SERVER=self.address), capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.assertEqual(result.stdout, "SERVING\n")

    def test_bad_lines_are_told_and_the_rest_is_loaded(self):
        name = self.collection()
        lines = [
            '{"id": "a", "vector": [1, 2]}',
            '{"id": "b", "vector": [1, 2',
            "",
            '{"id": "c", "vector": [1, 2, 3]}',
            '{"id": "", "vector": [1, 2]}',
            '{"id": "d", "vector": [3, 4]}',
            '{"id": "e", "vector": "none"}',
            '{"id": "' + "x" * 600 + '", "vector": [1, 2]}',
            '{"id": "f", "vector": [1e39, 0]}',
            '{"id": "g", "vector": [5, 6], "metadata": {"big": 12345678901234567}}',
        ]
        result = self.vecino("load", name, self.file("bad.jsonl", "\n".join(lines)))
        self.assertEqual(result.returncode, 1)
        told = {int(n): reason for n, reason in re.findall(r"bad\.jsonl: line (\d+): (.*)", result.stderr)}
        self.assertEqual(sorted(told), [2, 4, 5, 7, 8, 9, 10], result.stderr)
        self.assertIn("parse error", told[2])
        for line, word in ((4, "3"), (5, "id"), (7, "vector"), (8, "512"), (9, "vector"), (10, "metadata.big")):
            self.assertIn(word, told[line])
        self.assertIn("loaded 2, skipped 0 already stored, failed 7", result.stdout)
        self.assertEqual(self.ok("count", name), "2\n")
        again = self.vecino("--json", "load", name, self.file("bad.jsonl", "\n".join(lines)))
        report = json.loads(again.stdout)
        self.assertEqual((report["loaded"], report["skipped"], report["failed"]), (0, 2, 7))

    def test_nan_in_a_row_of_npy_names_the_row(self):
        name = self.collection()
        nan = float("nan")
        path = self.file("v.npy", npy(4, 2, [0, 1, nan, 0, 2, 3, 4, float("inf")]))
        result = self.vecino("load", name, path)
        self.assertEqual(result.returncode, 1)
        self.assertEqual(re.findall(r"row (\d+):", result.stderr), ["1", "3"])
        self.assertEqual(sorted(row["id"] for row in self.rows("list", name)), ["0", "2"])

    def test_npy_with_ids_and_doubles(self):
        name = self.collection()
        path = self.file("w.npy", npy(2, 2, [0.5, 1, 2, 3], "d"))
        self.ok("load", name, path, "--ids", self.file("w.ids", "first\nsecond\n"))
        self.assertEqual(self.rows("get", name, "second", "--with-vector")[0]["vector"], [2, 3])
        few = self.vecino("load", name, path, "--ids", self.file("few.ids", "first\n"))
        self.assertEqual(few.returncode, 2)
        self.assertIn("1 ids for 2 rows", few.stderr)
        # Also where all of its rows are stored ids, which would be skipped.
        wide = self.vecino("load", name, self.file("wide.npy", npy(1, 3, [1, 2, 3])))
        self.assertEqual(wide.returncode, 2)
        self.assertIn("wide.npy has vectors of 3 floats, and", wide.stderr)

    def test_names_are_shown_without_control_characters(self):
        unknown = self.vecino("count", "q\033[31m")
        self.assertEqual(unknown.returncode, 1)
        self.assertNotIn("\033", unknown.stderr)

    def test_csv(self):
        name = self.collection()
        content = 'key,body,vector,year,lang\r\na,"two\r\nlines, ""quoted""","[1, 2]",2020,en\r\nb,x,[1],,\r\n'
        result = self.vecino(
            "load", name, self.file("d.csv", content), "--id-column", "key", "--text-column", "body",
            "--number-columns", "year",
        )  # fmt: skip
        self.assertEqual(result.returncode, 1)
        self.assertIn("d.csv: line 4:", result.stderr)  # one float where two belong
        got = self.rows("get", name, "a")[0]
        self.assertEqual(got["text"], 'two\r\nlines, "quoted"')
        self.assertEqual(got["metadata"], {"year": 2020, "lang": "en"})

    def test_usage_of_load(self):
        name = self.collection()
        self.assertEqual(self.vecino("load", name, "/no/such.jsonl").returncode, 2)
        self.assertEqual(self.vecino("load", name, self.file("data.xyz", "")).returncode, 2)
        self.assertEqual(self.vecino("load", name, self.file("bad.npy", "nonsense")).returncode, 2)
        self.assertEqual(self.vecino("load", "no-such", self.file("e.jsonl", "")).returncode, 1)
        self.assertIn("loaded 0", self.ok("load", name, self.file("e.jsonl", "")))

    def test_load_is_resumable_and_can_overwrite(self):
        name = self.collection()
        half = self.file("half.jsonl", self.jsonl(self.points(1500)))
        whole = self.file("whole.jsonl", self.jsonl(self.points(3000)))
        self.assertIn("loaded 1,500, skipped 0", self.ok("load", name, half))
        self.assertIn("loaded 1,500, skipped 1,500", self.ok("load", name, whole))
        version = self.rows("get", name, "p0")[0]["version"]
        self.assertIn("loaded 3,000", self.ok("load", name, whole, "--overwrite"))
        self.assertGreater(self.rows("get", name, "p0")[0]["version"], version)
        self.assertEqual(self.ok("count", name), "3000\n")

    def test_interrupt_finishes_what_is_in_flight_and_a_second_run_goes_on(self):
        name = self.collection()
        process = subprocess.Popen(
            [str(BINARIES / "vecino"), "--server", self.address, "--json", "load", name, "-"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        documents = self.points(700)
        process.stdin.write(self.jsonl(documents))
        process.stdin.flush()
        while int(self.ok("count", name)) < 512:  # two full batches; the rest waits for more input
            self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, stderr)
        report = json.loads(stdout)
        self.assertTrue(report["interrupted"])
        self.assertEqual(report["loaded"], report["last_line"])
        self.assertEqual(int(self.ok("count", name)), report["loaded"])
        again = self.ok("load", name, "-", stdin=self.jsonl(documents))
        self.assertIn(f"skipped {report['loaded']} already stored", again)
        self.assertEqual(self.ok("count", name), "700\n")

    def test_quiet_pipes_and_a_bar_on_a_terminal(self):
        name = self.collection()
        path = self.file("bar.jsonl", self.jsonl(self.points(2000)))
        self.assertEqual(self.vecino("load", name, path).stderr, "")
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [str(BINARIES / "vecino"), "--server", self.address, "load", name, path, "--overwrite"],
            stdout=subprocess.DEVNULL, stderr=theirs, env=dict(os.environ, COLUMNS="100"),
        )  # fmt: skip
        os.close(theirs)
        drawn = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the terminal's other end is closed
                break
            if not part:
                break
            drawn += part
        os.close(ours)
        self.assertEqual(process.wait(), 0)
        self.assertRegex(drawn.decode(), rf"{name}  \[=* *\] *\d+%  [\d,]+ docs  [\d,]+ docs/s")
        self.assertTrue(drawn.endswith(b"\r\x1b[K"))  # the bar is gone at the end

    def test_vectors_and_words_without_a_model(self):
        name = self.collection(metric="cosine")
        lines = self.jsonl([{"id": "a", "vector": [1, 0], "text": "red fox"}, {"id": "b", "vector": [0, 1], "text": "fox"}])
        self.ok("load", name, self.file("foxes.jsonl", lines))
        query = self.file("query.json", "[0, 1]")
        refused = self.vecino("search", name, "red", "--hybrid")
        self.assertEqual((refused.returncode, "--hybrid --vector FILE" in refused.stderr), (1, True), refused.stderr)
        rows = {row["id"]: row for row in self.rows("search", name, "red", "--hybrid", "--vector", query)}
        self.assertEqual((rows["a"]["dense_score"], rows["b"]["dense_score"]), (0, 1))
        self.assertEqual(("lexical_score" in rows["a"], "lexical_score" in rows["b"]), (True, False))
        for wrong in (("--hybrid", "--vector", query), ("red", "--vector", query), ("red", "--lexical", "--vector", query),
                      ("red", "--hybrid", "--vector", query, "--id", "a")):  # fmt: skip
            self.assertEqual(self.vecino("search", name, *wrong).returncode, 2, wrong)
        large = self.vecino("search", name, "--vector", self.file("large.json", "[1, 1e39]"))
        self.assertEqual((large.returncode, "too large for a float" in large.stderr), (2, True), large.stderr)

    def test_nothing_to_show_is_said(self):
        name = self.collection()
        for command in (("snapshot", "list"), ("alias", "list"), ("facet", name, "none")):
            shown = self.vecino(*command)
            self.assertEqual((shown.returncode, shown.stdout, "no " in shown.stderr), (0, "", True), shown.stderr)
            machine = self.vecino("--json", *command)
            self.assertEqual((machine.returncode, machine.stderr), (0, ""))
        empty = self.vecino("delete", name, "")
        self.assertEqual((empty.returncode, empty.stderr.startswith("vecino: delete ``: INVALID_ARGUMENT: has 0 bytes")), (1, True))

    def test_the_admin_port_is_recognised(self):
        admin = vecino(self.workspace.server.admin, "collection", "list")
        self.assertEqual((admin.returncode, "looks like a server's admin port" in admin.stderr), (3, True), admin.stderr)

    def test_another_run_of_a_load_takes_over(self):
        name = self.collection()
        first = subprocess.Popen(
            [str(BINARIES / "vecino"), "--server", self.address, "load", name, "-", "--overwrite", "--resume", "one"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        first.stdin.write(self.jsonl(self.points(1)))
        first.stdin.flush()
        while self.ok("count", name) != "1\n":
            time.sleep(0.01)
        self.ok("load", name, "-", "--overwrite", "--resume", "one", stdin=self.jsonl(self.points(5)))
        out, err = first.communicate(self.jsonl(self.points(5, first=1)), timeout=60)
        self.assertEqual(first.returncode, 1, out + err)
        self.assertIn("another run of this load took over", err)
        self.assertNotIn("Run it again", out)
        self.assertEqual(self.ok("count", name), "5\n")

    def test_deleting_asks_on_a_terminal(self):
        name = self.collection()
        for answer, code in ((b"n\n", 1), (b"y\n", 0)):
            ours, theirs = pty.openpty()
            process = subprocess.Popen(
                [str(BINARIES / "vecino"), "--server", self.address, "collection", "delete", name],
                stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs,
            )  # fmt: skip
            os.close(theirs)
            asked = b""
            while b"[y/N]" not in asked:
                asked += os.read(ours, 4096)
            os.write(ours, answer)
            self.assertEqual(process.wait(60), code)
            os.close(ours)
        self.assertEqual(self.vecino("collection", "show", name).returncode, 1)


class ServerGoesAwayTest(unittest.TestCase):
    """Loading while the server is killed and comes back."""

    def test_load_survives_a_restart(self):
        with client_support.Workspace() as workspace:
            server = workspace.server
            address = server.address
            vecino(address, "collection", "create", "c", "--dim", "2")
            total = 60_000
            path = workspace.folder / "many.jsonl"
            with open(path, "w", encoding="utf-8") as file:
                for i in range(total):
                    file.write(f'{{"id": "{i}", "vector": [{i}, 1]}}\n')
            results = []
            load = threading.Thread(target=lambda: results.append(vecino(address, "--json", "load", "c", path)))
            load.start()
            while int(vecino(address, "count", "c").stdout or 0) == 0:
                time.sleep(0.01)
            server.kill()
            server.start(listen=address)
            load.join()
            self.assertEqual(results[0].returncode, 0, results[0].stderr)
            report = json.loads(results[0].stdout)
            self.assertEqual(report["loaded"] + report["skipped"], total)
            self.assertEqual(report["failed"], 0)
            self.assertEqual(vecino(address, "count", "c").stdout, f"{total}\n")

    def test_load_gives_up_and_says_how_to_go_on(self):
        with client_support.Workspace() as workspace:
            address = workspace.server.address
            vecino(address, "collection", "create", "c", "--dim", "1")
            process = subprocess.Popen(
                [str(BINARIES / "vecino"), "--server", address, "load", "c", "-", "--batch-size", "10", "--retry-for", "1"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            documents = [f'{{"id": "{i}", "vector": [1]}}\n' for i in range(20)]
            process.stdin.write("".join(documents[:10]))
            process.stdin.flush()
            while vecino(address, "count", "c").stdout != "10\n":
                self.assertIsNone(process.poll())
            workspace.server.kill()
            stdout, stderr = process.communicate("".join(documents[10:]), timeout=60)
            self.assertEqual(process.returncode, 3, stderr)
            self.assertIn("loaded 10", stdout)
            self.assertIn("Run it again to go on", stdout)
            self.assertIn("waiting for the server", stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
