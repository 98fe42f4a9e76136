"""A server whose disk is full: it refuses writes, goes on reading, keeps what it acknowledged, and goes on writing once
there is room. The disk is a tmpfs in a mount namespace of this test's own, so it is gone with the process."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

import client_support
from client_support import vecino

DIMENSION = 256
BATCH = 100
RESOURCE_EXHAUSTED = 8
DISK_FULL = 5  # exit status
IN_NAMESPACE = "VECINO_TEST_OWN_MOUNTS"


def enter_own_mounts():
    """Starts this program again where it may mount; skips the test where that is not allowed."""
    for unshare in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        with tempfile.TemporaryDirectory() as folder:
            mount = [*unshare, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
            try:
                allowed = subprocess.run(mount, capture_output=True).returncode == 0
            except FileNotFoundError:
                break
        if allowed:
            os.environ[IN_NAMESPACE] = "1"
            os.execvp(unshare[0], [*unshare, sys.executable, *sys.argv])
    client_support.skip("no right to mount a tmpfs, neither as this user nor in a user namespace")


def vector_of(number):
    return [((number * (d + 3)) % 101) / 50 - 1 for d in range(DIMENSION)]


class OnSmallDisk(unittest.TestCase):
    MEGABYTES = 20
    ARGUMENTS = ()

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="vecino-test-")))
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.MEGABYTES}m", "tmpfs", self.disk], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.disk], check=True)
        # The log, the port file and the models lie beside the disk.
        self.server = client_support.Server(self.disk, log=str(self.folder / "log"), arguments=self.ARGUMENTS)
        self.addCleanup(self.end)
        self.server.start()
        self.vecino("collection", "create", "c", "--dim", DIMENSION)
        self.lock = threading.Lock()
        self.written = set()
        self.next = 0

    def end(self):
        if self.server.process.poll() is None:
            self.server.kill()

    def vecino(self, *arguments):
        done = vecino(self.server.address, *arguments)
        self.assertEqual(done.returncode, 0, f"{arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def room(self, megabytes):
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", self.disk], check=True)

    def write(self):
        """Writes a batch; returns the first refusal, or None."""
        with self.lock:
            ids = [str(self.next + i) for i in range(BATCH)]
            self.next += BATCH
        documents = [
            {"id": i, "vector": {"values": vector_of(int(i))}, "text": f"text of {i}"} for i in ids
        ]
        request = urllib.request.Request(
            f"http://{self.server.admin}/v1/DocumentService/BatchUpsertDocuments",
            data=json.dumps({"parent": "collections/c", "documents": documents}).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                results = json.load(reply)["results"]
        except urllib.error.HTTPError as error:
            return json.loads(error.read())
        self.assertEqual(len(results), BATCH)
        statuses = [result.get("status", {}) for result in results]
        with self.lock:
            self.written.update(i for i, status in zip(ids, statuses) if status.get("code", 0) == 0)
        return next((status for status in statuses if status.get("code", 0) != 0), None)

    def write_until_full(self):
        deadline = time.monotonic() + 60
        while (refusal := self.write()) is None:
            self.assertLess(time.monotonic(), deadline, "the disk does not become full")
        return refusal

    def check_stored(self):
        stored = {json.loads(line)["id"] for line in self.vecino("export", "c").splitlines()}
        self.assertEqual(self.written - stored, set(), "acknowledged, and lost")
        return stored


class FullDiskTest(OnSmallDisk):
    def test_refuses_writes_and_goes_on_when_there_is_room(self):
        refusal = self.write_until_full()
        pid = self.server.process.pid
        # Long enough for several tries of the store to recover.
        until = time.monotonic() + 4
        while time.monotonic() < until:
            self.assertEqual(refusal["code"], RESOURCE_EXHAUSTED, refusal)
            self.assertIn(f"the disk that holds {self.disk}/store is full", refusal["message"])
            self.assertIn("free disk space and try again", refusal["message"])
            refusal = self.write() or refusal
            time.sleep(0.1)
        self.assertIsNone(self.server.process.poll(), "the server ended")
        self.assertEqual(self.check_stored(), self.written)
        self.assertNotEqual(self.written, set())

        self.room(80)
        deadline = time.monotonic() + 20
        while self.write() is not None:
            self.assertLess(time.monotonic(), deadline, "writes do not resume")
            time.sleep(0.2)
        self.assertEqual(self.server.process.pid, pid)
        self.assertIsNone(self.server.process.poll())
        self.server.kill()
        self.server.start()
        self.check_stored()
        self.vecino("snapshot", "verify")
        self.assertEqual(self.server.stop(), 0)

    def test_crash_on_a_full_disk_loses_nothing(self):
        self.write_until_full()
        self.write()
        self.server.kill()
        # What was acknowledged has no room to be replayed: the start says so, and breaks nothing.
        with self.assertRaises(AssertionError) as failed:
            self.server.start()
        self.assertEqual(self.server.process.returncode, DISK_FULL, failed.exception)
        self.assertIn("free", str(failed.exception))
        self.room(80)
        self.server.start()
        self.assertEqual(self.check_stored(), self.written)
        self.assertIsNone(self.write())
        self.assertEqual(self.server.stop(), 0)

    def test_stops_in_order_on_a_full_disk(self):
        self.write_until_full()
        self.assertEqual(self.server.stop(), 0)
        self.room(80)
        self.server.start()
        self.assertEqual(self.check_stored(), self.written)


class FlushesFailTest(OnSmallDisk):
    """What becomes full is the disk of a store whose memory tables are flushed again and again, so that flushes fail and
    not only writes; what RocksDB made of that once held every write up for ever."""

    MEGABYTES = 40
    ARGUMENTS = ("--storage-write-buffer-bytes", "1MiB", "--drain-timeout", "5s")

    def fill(self):
        """Several writers and a load, until all are refused; the load and its output are left in self."""
        documents = self.folder / "load.jsonl"
        with open(documents, "w", encoding="utf-8") as file:
            for i in range(60_000):
                # As texts, which are stored compressed, would not fill it.
                values = ",".join(f"{v:.2f}" for v in vector_of(i))
                file.write(f'{{"id":"load-{i}","vector":[{values}]}}\n')
        self.said = self.folder / "said"
        with open(self.said, "wb") as said:
            self.load = subprocess.Popen(
                [str(client_support.BINARIES / "vecino"), "--server", self.server.address, "load", "c",
                 str(documents), "--quiet", "--retry-for", "60"], stdout=said, stderr=said)  # fmt: skip
        self.addCleanup(lambda: (self.load.kill(), self.load.wait()))
        self.slowest = 0
        self.refusals = []

        def writer():
            deadline = time.monotonic() + 60
            refused = 0
            # Refused for some seconds, during which the store tries to recover.
            while refused < 12 and time.monotonic() < deadline:
                began = time.monotonic()
                refusal = self.write()
                self.slowest = max(self.slowest, time.monotonic() - began)
                if refusal is not None:
                    refused += 1
                    self.refusals.append(refusal)
                    time.sleep(0.4)

        writers = [threading.Thread(target=writer) for _ in range(3)]
        for thread in writers:
            thread.start()
        for thread in writers:
            thread.join()
        self.assertEqual({refusal["code"] for refusal in self.refusals}, {RESOURCE_EXHAUSTED}, self.refusals[-1])
        self.assertGreaterEqual(len(self.refusals), 36, "the disk does not become full")
        self.assertIn(f"the disk that holds {self.disk}/store is full", self.refusals[-1]["message"])
        self.assertLess(self.slowest, 10, "a write waits for the disk")

    def stop_in_time(self):
        began = time.monotonic()
        self.assertEqual(self.server.stop(), 0)
        self.assertLess(time.monotonic() - began, 5)

    def test_writes_go_on_when_there_is_room(self):
        self.fill()
        deadline = time.monotonic() + 15
        while b"RESOURCE_EXHAUSTED" not in self.said.read_bytes():
            self.assertLess(time.monotonic(), deadline, "the load does not say what it waits for")
            time.sleep(0.1)
        self.assertEqual(self.load.poll(), None)
        self.room(400)
        deadline = time.monotonic() + 10
        while self.write() is not None:
            self.assertLess(time.monotonic(), deadline, "writes do not resume")
            time.sleep(0.2)
        self.assertEqual(self.load.wait(60), 0, self.said.read_text())
        stored = self.check_stored()
        self.assertEqual(len([i for i in stored if i.startswith("load-")]), 60_000)
        self.stop_in_time()
        self.server.start()
        self.check_stored()
        self.vecino("snapshot", "verify")

    def test_stops_in_time_while_the_disk_is_full(self):
        self.fill()
        self.assertIsNone(self.load.poll())
        self.stop_in_time()
        self.room(400)
        self.server.start()
        self.check_stored()


if __name__ == "__main__":
    if IN_NAMESPACE not in os.environ:
        enter_own_mounts()
    unittest.main()
