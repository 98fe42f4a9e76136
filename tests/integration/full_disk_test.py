"""A server whose disk is full: it refuses writes, goes on reading, keeps what it acknowledged, and goes on writing once
there is room. The disk is a tmpfs in a mount namespace of this test's own, so it is gone with the process."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
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


class FullDiskTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="vecino-test-")))
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", self.disk], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.disk], check=True)
        # The log, the port file and the models lie beside the disk.
        self.server = client_support.Server(self.disk, log=str(self.folder / "log"))
        self.addCleanup(self.end)
        self.server.start()
        self.vecino("collection", "create", "c", "--dim", DIMENSION)
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
        ids = [str(self.next + i) for i in range(BATCH)]
        self.next += BATCH
        documents = [{"id": i, "vector": {"values": [((int(i) * (d + 3)) % 101) / 50 - 1 for d in range(DIMENSION)]},
                      "text": f"text of {i}"} for i in ids]  # fmt: skip
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


if __name__ == "__main__":
    if IN_NAMESPACE not in os.environ:
        enter_own_mounts()
    unittest.main()
