"""Aliases, events, operations and exports through the real binaries, with kill -9 and restarts in between."""

import json
import random
import re
import signal
import subprocess
import threading
import time
import unittest
import urllib.request

import client_support
from client_support import BINARIES, vecino

DIMENSION = 12


def odd_id(i):
    """Ids that lines, quotes and sorting stumble over."""
    return ["p{}", "line\nbreak{}", '"quoted"{}', "é\u2028{}", "a/documents/{}", " {} ", "\u0001{}"][i % 7].format(i)


def document(i, rng, text_bytes=40):
    made = {"id": odd_id(i), "vector": [rng.gauss(0, 1) for _ in range(DIMENSION)]}
    if i % 3:
        made["text"] = f"text {i} “{rng.random()}” " + "x" * text_bytes
    if i % 4:
        made["metadata"] = {"n": i, "x": rng.random() * 10**rng.randint(-9, 9), "tags": ["a", None, {"deep": [True]}], "ü": ""}
    return made


def lines_of(documents):
    return "".join(json.dumps(one) + "\n" for one in documents)


class AdminTest(unittest.TestCase):
    def setUp(self):
        self.workspace = None

    def start(self, *arguments):
        self.workspace = self.enterContext(client_support.Workspace(arguments=arguments))
        return self.workspace.server

    @property
    def address(self):
        return self.workspace.server.address

    def ok(self, *arguments, **options):
        result = vecino(self.address, *arguments, **options)
        self.assertEqual(result.returncode, 0, f"{arguments}: {result.stdout}{result.stderr}")
        return result.stdout

    def refused(self, *arguments, code="", **options):
        result = vecino(self.address, *arguments, **options)
        self.assertEqual(result.returncode, 1, f"{arguments}: {result.stdout}{result.stderr}")
        self.assertIn(code, result.stderr)
        return result.stderr

    def popen(self, *arguments, **options):
        process = subprocess.Popen(
            [str(BINARIES / "vecino"), "--server", self.address, *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8", **options,
        )  # fmt: skip

        def end():
            process.kill()
            process.wait()
            process.stdout.close()

        self.addCleanup(end)
        return process

    def create(self, name, *arguments):
        self.ok("collection", "create", name, "--dim", DIMENSION, *arguments)

    def restart(self, how="kill"):
        """On the same port, so that clients find it again."""
        server, address = self.workspace.server, self.address
        if how == "kill":
            server.kill()
        else:
            self.assertEqual(server.stop(), 0)
        server.start(listen=address)
        self.assertEqual(self.address, address)

    def fill(self, name, count, text_bytes=40, seed=7):
        rng = random.Random(seed)
        documents = [document(i, rng, text_bytes) for i in range(count)]
        self.ok("load", name, "-", stdin=lines_of(documents))
        return documents

    def test_an_alias_is_swapped_and_survives(self):
        self.start()
        for name in "ab":
            self.create(name)
            self.ok("load", name, "-", stdin=lines_of([{"id": f"in-{name}", "vector": [1] * DIMENSION}]))
        self.ok("alias", "create", "x", "a")
        self.refused("alias", "create", "b", "a", code="ALREADY_EXISTS")
        self.refused("collection", "create", "x", "--dim", 3, code="ALREADY_EXISTS")
        self.refused("collection", "delete", "x", "--yes", code="NOT_FOUND")
        self.assertIn("`x`", self.refused("collection", "delete", "a", "--yes", code="FAILED_PRECONDITION"))
        self.refused("alias", "update", "x", "b", "--expect", "b", code="ABORTED")

        seen, faults, done = set(), [], threading.Event()

        def search():
            while not done.is_set():
                found = vecino(self.address, "--json", "search", "x", "--vector", "-", stdin=json.dumps([1] * DIMENSION))
                if found.returncode:
                    faults.append(found.stderr)
                else:
                    seen.add(json.loads(found.stdout)["id"])

        searcher = threading.Thread(target=search)
        searcher.start()
        target = "a"
        begin = time.monotonic()
        while time.monotonic() - begin < 3 or len(seen) < 2:
            before, target = target, "b" if target == "a" else "a"
            self.ok("alias", "update", "x", target, "--expect", before)
        done.set()
        searcher.join()
        self.assertEqual(faults, [])
        self.assertEqual(seen, {"in-a", "in-b"})

        self.ok("alias", "update", "x", "b")
        self.ok("alias", "update", "y", "b", "--create")
        self.restart()
        aliases = [json.loads(line) for line in self.ok("--json", "alias", "list").splitlines()]
        self.assertEqual(self.ok("collection", "alias", "list"), self.ok("alias", "list"))
        self.assertEqual([(one["id"], one["target"]) for one in aliases], [("x", "b"), ("y", "b")])
        self.assertEqual(json.loads(self.ok("--json", "get", "x", "in-b"))["id"], "in-b")
        self.assertEqual(json.loads(self.ok("--json", "collection", "show", "x"))["id"], "b")
        self.ok("collection", "delete", "a", "--yes")
        for alias in "xy":
            self.ok("alias", "delete", alias)
        self.ok("collection", "delete", "b", "--yes")

    def test_what_is_exported_and_loaded_again_is_the_same(self):
        self.start("--index-tail-capacity", "200")
        for metric in ("cosine", "l2"):
            self.create(metric, "--metric", metric, "--shards", 3)
            self.fill(metric, 1500)
            self.fill(metric, 300, seed=8)  # of which none is new
            self.ok("delete", metric, *[odd_id(i) for i in range(0, 1500, 11)])
            exported = self.ok("export", metric, "--vectors")
            documents = [json.loads(line) for line in exported.split("\n")[:-1]]
            kept = [i for i in range(1500) if i % 11]
            self.assertCountEqual([one["id"] for one in documents], [odd_id(i) for i in kept])
            copy = metric + "-copy"
            self.create(copy, "--metric", metric, "--shards", 5)
            self.ok("load", copy, "-", stdin=exported)
            digest = self.ok("export", metric, "--vectors", "--digest")
            self.assertRegex(digest, r"^[0-9a-f]{64}  1,363 documents\n$")
            self.assertEqual(self.ok("export", copy, "--vectors", "--digest"), digest)
            self.assertEqual(self.ok("export", copy, "--vectors", "--digest", "--slices", 7), digest)
            sliced = self.ok("export", copy, "--vectors", "--slices", 4)
            self.assertCountEqual([json.loads(line) for line in sliced.split("\n")[:-1]], documents)
            few = self.ok("export", copy, "--filter", "n < 100")
            self.assertEqual(
                {json.loads(line)["id"] for line in few.split("\n")[:-1]},
                {one["id"] for one in documents if one.get("metadata", {}).get("n", 1000) < 100},
            )
            # Without vectors it is another, and one document less is, too.
            plain = self.ok("export", metric, "--digest")
            self.assertNotEqual(plain, digest)
            self.assertEqual(self.ok("export", copy, "--digest"), plain)
            self.restart()
            self.assertEqual(self.ok("export", copy, "--vectors", "--digest"), digest)
            self.ok("delete", copy, odd_id(1))
            self.assertNotEqual(self.ok("export", copy, "--vectors", "--digest").split()[0], digest.split()[0])

    def stalled_export(self, name, **options):
        """An export that has begun and whose output nobody reads for now."""
        process = self.popen("export", name, stderr=subprocess.PIPE, **options)
        self.addCleanup(process.stderr.close)
        return process, process.stdout.readline()

    def test_an_export_goes_on_after_a_restart(self):
        self.start()
        self.create("c")
        documents = self.fill("c", 6000, text_bytes=12_000)  # more than gRPC and pipes hold
        for how in ("kill", "stop"):
            process, first = self.stalled_export("c")
            self.restart(how)
            lines = [first] + process.stdout.readlines()
            told = process.stderr.read()
            self.assertEqual(process.wait(), 0, told)
            self.assertIn("going on", told)
            self.assertEqual(len(lines), len(documents))
            self.assertEqual({json.loads(line)["id"] for line in lines}, {one["id"] for one in documents})

    def test_few_exports_at_once_and_none_for_ever(self):
        self.start("--storage-document-streams", "1", "--storage-document-stream-age", "10s")
        self.create("c")
        documents = self.fill("c", 6000, text_bytes=12_000)  # more than gRPC and pipes hold
        process, _ = self.stalled_export("c")
        self.refused("export", "c", "--digest", code="RESOURCE_EXHAUSTED")
        process.kill()  # a caller that vanishes gives its place back
        process.wait()
        self.ok("export", "c", "--digest")
        # One that does not read loses its snapshot and not its place in the documents.
        process, first = self.stalled_export("c")
        time.sleep(11)
        self.ok("export", "c", "--digest")
        lines = [first] + process.stdout.readlines()
        self.assertEqual(process.wait(), 0)
        self.assertIn("going on", process.stderr.read())
        self.assertEqual({json.loads(line)["id"] for line in lines}, {one["id"] for one in documents})
        self.assertEqual(len(lines), len(documents))

    def test_operations_survive(self):
        self.start("--index-maintenance-threads", "1")
        self.create("c", "--index", "hnsw", "--shards", 2)
        self.fill("c", 1500)
        done = json.loads(self.ok("--json", "collection", "compact", "c", "--wait"))
        self.assertEqual(done["state"], "done")
        self.fill("c", 12000, seed=9)
        running = json.loads(self.ok("--json", "collection", "compact", "c", "--no-wait"))["id"]
        self.restart()
        listed = [json.loads(line) for line in self.ok("--json", "operation", "list", "c").splitlines()]
        self.assertEqual([one["id"] for one in listed], [done["id"], running])
        self.assertEqual(listed[0], done)
        # It may have been quick.
        self.assertTrue(listed[1]["done"])
        if listed[1]["state"] != "done":
            self.assertIn("ABORTED", listed[1]["error"])
            self.assertEqual(vecino(self.address, "operation", "wait", "c", running).returncode, 1)
        self.ok("operation", "wait", "c", done["id"])
        again = json.loads(self.ok("--json", "collection", "compact", "c", "--no-wait"))["id"]
        self.restart("stop")
        shown = json.loads(self.ok("--json", "operation", "show", "c", again))
        self.assertTrue(shown["done"])
        if shown["state"] != "done":
            self.assertIn("ABORTED", shown["error"])
        last = json.loads(self.ok("--json", "collection", "compact", "c", "--wait"))
        self.assertEqual(last["state"], "done")
        self.assertNotIn(last["id"], [done["id"], running, again])

    def recall_series(self):
        """What /metrics says of recall: name → [(labels, value)]."""
        with urllib.request.urlopen(f"http://{self.workspace.server.admin}/metrics", timeout=30) as reply:
            text = reply.read().decode()
        series = {}
        for name, labels, value in re.findall(r"^(vecino_recall_[a-z_]+)\{(.*)\} (\S+)$", text, re.MULTILINE):
            series.setdefault(name, []).append((dict(re.findall(r'([a-z_]+)="([^"]*)"', labels)), float(value)))
        return series

    def test_metrics_tell_the_recall_of_callers_searches(self):
        self.start("--recall-sample-every", "1", "--recall-samples-per-second", "10000")
        self.create("measured", "--metric", "l2")
        self.create("quiet")
        documents = self.fill("measured", 100)
        self.assertNotIn("vecino_recall_estimate", self.recall_series())
        searches = [{"vector": {"values": one["vector"]}, "topK": 5} for one in documents[:10]]
        body = json.dumps({"parent": "collections/measured", "requests": searches}).encode()
        url = f"http://{self.workspace.server.admin}/v1/SearchService/BatchSearchDocuments"
        end = time.monotonic() + 120
        while "vecino_recall_estimate" not in (series := self.recall_series()):
            self.assertLess(time.monotonic(), end, f"50 searches were not measured: {series}")
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as reply:
                self.assertEqual(len(json.loads(reply.read())["results"]), len(searches))
        # A scrape of its own, as samples may have come between two families of the one before.
        series = self.recall_series()
        names = ("estimate", "estimate_lower", "estimate_upper", "target", "samples", "age_seconds")
        figures = {}
        for name in names:
            # Stored documents are not asked where all rows are compared; of `quiet` nothing is known.
            [(labels, figures[name])] = series[f"vecino_recall_{name}"]
            self.assertEqual(labels, {"collection": "measured", "source": "live"}, name)
        self.assertEqual(figures["estimate"], 1)  # every row was compared
        self.assertEqual(figures["estimate_upper"], 1)
        self.assertGreater(figures["estimate_lower"], 0.5)
        self.assertLess(figures["estimate_lower"], 1)
        self.assertAlmostEqual(figures["target"], 0.95)
        self.assertGreaterEqual(figures["samples"], 50)
        self.assertLessEqual(figures["samples"], 1000)
        self.assertGreaterEqual(figures["age_seconds"], 0)
        self.assertLess(figures["age_seconds"], 300)

    def test_watch(self):
        server = self.start("--index-tail-capacity", "100")
        self.create("other")
        self.create("c")
        everything = self.popen("--json", "watch")
        one = self.popen("--json", "watch", "c")
        # The first event that comes says that the watch has begun.
        for name, process in (("c", one), ("other", everything)):
            woken = threading.Event()

            def wake(name=name, woken=woken):
                for i in range(200):
                    if woken.is_set():
                        break
                    vecino(self.address, "alias", "update", f"w-{name}", name, "--create")
                    time.sleep(0.05)

            waker = threading.Thread(target=wake)
            waker.start()
            self.assertEqual(json.loads(process.stdout.readline())["kind"], "alias changed")
            woken.set()
            waker.join()
        self.fill("c", 1000)
        operation = json.loads(self.ok("--json", "collection", "compact", "c", "--wait"))["id"]
        self.ok("alias", "create", "x", "c")
        self.ok("alias", "delete", "x")
        self.ok("alias", "delete", "w-c")
        self.ok("collection", "delete", "c", "--yes")
        kinds, messages = set(), ""
        while "collection deleted" not in kinds:
            event = json.loads(one.stdout.readline())
            self.assertEqual(event["collection"], "c")
            kinds.add(event["kind"])
            messages += event["message"] + "\n"
        self.assertLessEqual({"drain", "operation started", "operation ended", "alias changed"}, kinds)
        self.assertIn(operation, messages)
        self.assertIn("alias `x` was created", messages)

        begin = time.monotonic()
        self.assertEqual(server.stop(), 0)
        self.assertLess(time.monotonic() - begin, 10)
        for process in (everything, one):
            process.stdout.read()
            self.assertNotEqual(process.wait(10), 0)

    def test_watch_for_people(self):
        self.start()
        self.create("c")
        process = self.popen("watch", "--count", "1", "c", stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)
        self.assertIn("watching", process.stderr.readline())
        self.ok("alias", "create", "x", "c")
        self.assertRegex(process.stdout.readline(), r"Z  c: alias `x` was created and points to collection `c`\n$")
        self.assertEqual(process.wait(10), 0)
        process = self.popen("watch", stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)
        self.assertIn("watching", process.stderr.readline())
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(10), -signal.SIGINT)
        self.refused("watch", "none", code="NOT_FOUND")


if __name__ == "__main__":
    unittest.main()
