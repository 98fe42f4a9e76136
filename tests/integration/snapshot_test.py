"""Snapshots through the real binaries: what a user does, and kill -9 at many moments of making and restoring one."""

import json
import os
import pathlib
import subprocess
import time
import unittest

import client_support
from client_support import vecino

ROWS = 12_000
ROUNDS = 10
DIMENSION = 32


def document(number):
    vector = [((number * (i + 3)) % 101) / 50 - 1 for i in range(DIMENSION)]
    return {"id": f"d{number}", "text": f"number {number} " * 10, "vector": vector, "metadata": {"number": number}}


class SnapshotTest(unittest.TestCase):
    def setUp(self):
        self.workspace = self.enterContext(client_support.Workspace())
        self.server = self.workspace.server
        self.snapshots = pathlib.Path(self.server.data_dir) / "snapshots"

    def vecino(self, *arguments, code=0, **options):
        done = vecino(self.server.address, *arguments, **options)
        self.assertEqual(done.returncode, code, f"{arguments}: {done.stdout}{done.stderr}")
        return done

    def lines(self, *arguments):
        return [json.loads(line) for line in self.vecino("--json", *arguments).stdout.splitlines()]

    def create(self, name, rows):
        self.vecino("collection", "create", name, "--dim", DIMENSION, "--metric", "l2")
        lines = "".join(json.dumps(document(number)) + "\n" for number in range(rows))
        self.vecino("load", name, "-", "--quiet", stdin=lines)

    def count(self, name):
        return self.lines("count", name)[0]["count"]

    def names(self):
        return {one["id"] for one in self.lines("snapshot", "list")}

    def collections(self):
        return {one["id"] for one in self.lines("collection", "list")}

    def killed_during(self, delay, *arguments):
        """Starts a command, and kills the server after `delay` seconds; then starts the server again."""
        command = [str(client_support.BINARIES / "vecino"), "--server", self.server.address, "--timeout", "5", *arguments]
        started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        self.server.kill()
        self.server.start()
        started.kill()
        started.wait()

    def timed(self, *arguments):
        begin = time.monotonic()
        self.vecino(*arguments)
        return time.monotonic() - begin

    def test_what_a_user_does(self):
        self.create("a", 500)
        self.create("b", 20)
        made = self.lines("snapshot", "create", "nightly")[0]
        self.assertTrue(made["done"])
        self.assertEqual(made["made"]["documents"], 520)
        self.assertIn("made snapshot one: 1 collection, 20 documents",
                      self.vecino("snapshot", "create", "one", "--collection", "b").stdout)  # fmt: skip
        self.vecino("snapshot", "create", "--collection", "b", "two")
        self.assertEqual(self.names(), {"nightly", "one", "two"})
        self.vecino("snapshot", "delete", "two", code=2)
        self.vecino("snapshot", "delete", "two", "--yes")
        self.assertIn("nightly", self.vecino("snapshot", "list").stdout)
        self.vecino("delete", "a", "d7")
        self.vecino("snapshot", "restore", "nightly", "--collection", "a", "--as", "again")
        self.assertEqual(self.count("again"), 500)
        self.assertEqual(self.count("a"), 499)
        self.assertEqual(self.lines("get", "again", "d7")[0]["text"], document(7)["text"])
        self.assertIn("exists already", self.vecino("snapshot", "restore", "one", code=1).stderr)
        several = self.vecino("snapshot", "restore", "nightly", "--as", "x", code=1).stderr
        self.assertIn("--as: is set", several)
        self.assertIn("name one in --collection", several)
        self.assertIn("all is well", self.vecino("snapshot", "verify").stdout)
        self.assertIn("all is well", self.vecino("snapshot", "verify", "nightly").stdout)
        self.assertIn("all is well", self.vecino("snapshot", "verify", "--collection", "again").stdout)
        self.vecino("snapshot", "verify", "one", "--collection", "a", code=2)

        # A copy of its folder is a snapshot, too, of another server as well.
        os.rename(self.snapshots / "one", self.snapshots / "moved")
        self.vecino("collection", "delete", "b", "--yes")
        self.vecino("snapshot", "restore", "moved")
        self.assertEqual(self.count("b"), 20)
        self.vecino("snapshot", "delete", "moved", "--yes")
        self.assertEqual(self.names(), {"nightly"})
        self.vecino("snapshot", "delete", "moved", "--yes", code=1)

    def test_damage_is_told_of(self):
        self.create("a", 500)
        self.vecino("snapshot", "create", "s")
        table = self.snapshots / "s" / "000002.sst"
        good = table.read_bytes()
        table.write_bytes(good[:100] + bytes([good[100] ^ 4]) + good[101:])
        failed = self.vecino("snapshot", "restore", "s", "--as", "x", code=1).stderr
        self.assertIn("DATA_LOSS", failed)
        self.assertIn("000002.sst", failed)
        self.assertEqual(self.collections(), {"a"})
        told = self.vecino("snapshot", "verify", code=1)
        self.assertIn("000002.sst", told.stdout)
        self.assertIn("delete this snapshot", told.stdout)
        self.assertIn("DATA_LOSS", told.stderr)
        self.vecino("snapshot", "verify", "--collection", "a")

    def test_kill_while_one_is_made(self):
        self.create("c", ROWS)
        took = self.timed("snapshot", "create", "base")
        cut_short = 0
        for i in range(ROUNDS):
            self.killed_during(took * (i + 1) / ROUNDS, "snapshot", "create", f"k{i}")
            self.assertEqual(list(self.snapshots.glob("*.tmp")), [])
            self.assertEqual(self.count("c"), ROWS)
            if f"k{i}" in self.names():
                self.vecino("snapshot", "verify", f"k{i}")
                self.vecino("snapshot", "delete", f"k{i}", "--yes")
            else:
                cut_short += 1
        print(f"{cut_short} of {ROUNDS} snapshots were cut short, of {took:.2f} s")
        self.assertGreater(cut_short, 0)
        self.assertEqual(self.names(), {"base"})

    def test_kill_while_one_is_restored(self):
        self.create("c", ROWS)
        self.vecino("snapshot", "create", "base")
        took = self.timed("snapshot", "restore", "base", "--as", "first")
        cut_short = 0
        for i in range(ROUNDS):
            self.killed_during(took * (i + 1) / ROUNDS, "snapshot", "restore", "base", "--as", f"r{i}")
            there = self.collections()
            self.assertLessEqual({"c", "first"}, there)
            self.assertEqual(self.count("c"), ROWS)
            if f"r{i}" in there:
                self.assertEqual(self.count(f"r{i}"), ROWS)
                self.vecino("collection", "delete", f"r{i}", "--yes")
            else:
                cut_short += 1
                self.vecino("count", f"r{i}", code=1)
        print(f"{cut_short} of {ROUNDS} restores were cut short, of {took:.2f} s")
        self.assertGreater(cut_short, 0)
        self.assertIn("all is well", self.vecino("snapshot", "verify").stdout)
        self.vecino("snapshot", "restore", "base", "--as", "last")
        self.assertEqual(self.count("last"), ROWS)


if __name__ == "__main__":
    unittest.main()
