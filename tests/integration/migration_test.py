"""A migration of embeddings through the real binaries, with kill -9 at each stage."""

import json
import time
import unittest

import client_support
from client_support import vecino

OTHER = client_support.MODEL + "@int8"
THINGS = ["chess", "cards", "mail", "photographs", "films", "music", "letters", "tables", "graphs", "maps"]
DOINGS = ["plays", "edits", "sends", "prints", "shows", "sorts", "draws", "reads", "keeps", "finds"]


def document(number):
    text = f"a program that {DOINGS[number % 10]} {THINGS[number // 10 % 10]}, number {number}"
    return {"id": f"d{number}", "text": text, "metadata": {"number": number}}


class MigrationTest(unittest.TestCase):
    def setUp(self):
        models = client_support.need_model_root()
        self.workspace = self.enterContext(client_support.Workspace(models))
        self.vecino("collection", "create", "docs", "--model", client_support.MODEL)
        self.load(range(300))

    def vecino(self, *arguments, code=0, **options):
        done = vecino(self.workspace.server.address, *arguments, **options)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def json(self, *arguments):
        return json.loads(self.vecino("--json", *arguments).stdout)

    def load(self, numbers):
        lines = "".join(json.dumps(document(number)) + "\n" for number in numbers)
        self.vecino("load", "docs", "-", "--overwrite", stdin=lines)

    def crash(self):
        self.workspace.server.kill()
        self.workspace.server.start()

    def status(self):
        return self.json("collection", "migrate-status", "docs")

    def wait(self, **wanted):
        deadline = time.monotonic() + 120
        while True:
            status = self.status()
            if all(status.get(key) == value for key, value in wanted.items()):
                return status
            self.assertLess(time.monotonic(), deadline, status)
            time.sleep(0.05)

    def count(self):
        return self.json("count", "docs")["count"]

    def model(self):
        return self.json("collection", "show", "docs")["model"]

    def top(self, text):
        lines = self.vecino("--json", "search", "docs", text, "-k", 3).stdout.splitlines()
        return [json.loads(line)["id"] for line in lines]

    def test_every_stage_survives(self):
        estimate = self.vecino("collection", "migrate", "docs", "--model", OTHER, "--dry-run").stdout
        self.assertIn("migrate docs would take about", estimate)
        self.vecino("collection", "migrate", "docs", "--model", OTHER, "--no-wait")
        self.crash()
        self.load(range(300, 320))
        status = self.wait(state="ready", lag=0)
        self.assertEqual((status["documents_done"], status["documents_total"]), (320, 320))
        self.assertGreater(status["overlap"]["overlap"], 0.5)
        self.assertEqual(self.model(), client_support.MODEL)
        refused = self.vecino("collection", "finish", "docs", code=2).stderr  # it would throw the new ones away
        self.assertIn("say --yes", refused)
        self.assertIn("vecino collection switch docs --to new", refused)
        self.vecino("collection", "finish", "docs", "--keep", "old", code=2)
        self.assertIn("switch first", self.vecino("collection", "finish", "docs", "--keep", "new", code=1).stderr)
        self.assertEqual(self.status()["state"], "ready")
        self.load(range(320, 340))
        self.vecino("delete", "docs", "d0", "d1")
        self.crash()
        self.vecino("collection", "switch", "docs", "--to", "new")
        self.assertEqual(self.model(), OTHER)
        self.crash()
        self.assertEqual((self.model(), self.count()), (OTHER, 338))
        self.assertIn("d335", self.top(document(335)["text"]))
        self.load(range(340, 350))
        self.crash()
        self.wait(state="cut over", lag=0)
        self.vecino("collection", "switch", "docs", "--to", "old")
        self.crash()
        self.assertEqual((self.model(), self.count()), (client_support.MODEL, 348))
        self.assertIn("d345", self.top(document(345)["text"]))
        self.vecino("collection", "switch", "docs", "--to", "new")
        self.vecino("collection", "finish", "docs", "--keep", "old", code=1)
        self.vecino("collection", "finish", "docs", "--keep", "new")
        self.crash()
        self.assertEqual((self.model(), self.count()), (OTHER, 348))
        self.assertEqual(self.status()["state"], "none")

    def test_by_itself(self):
        done = self.vecino("collection", "migrate", "docs", "--model", OTHER, "--auto", "--min-overlap", "0.5", "--wait")
        self.assertIn("cut over", done.stdout)
        self.assertEqual(self.model(), OTHER)
        self.vecino("collection", "migrate", "docs", "--model", client_support.MODEL, code=1)
        self.vecino("collection", "finish", "docs")
        self.vecino("collection", "switch", "docs", "--to", "old", code=1)
        self.vecino("collection", "migrate", "docs", "--model", "none", code=1)


if __name__ == "__main__":
    unittest.main()
