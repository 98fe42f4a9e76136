"""The demo data: made from this machine's own lists, and searched by meaning with the real model."""

import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import unittest

import client_support
from client_support import vecino

DEMO = client_support.SOURCE / "deploy" / "demo"
OTHERS = 2_500  # documents besides those that must win: enough to be wrong about, few enough to embed


def make(script, output):
    subprocess.run(["/usr/bin/python3", str(DEMO / script), str(output)], check=True)
    with open(output, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


class DemoTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.words = make("make_words.py", folder / "words.jsonl")
        cls.packages = make("make_packages.py", folder / "packages.jsonl")

    def test_words_are_all_of_wordnet(self):
        self.assertEqual(len(self.words), 117_659)
        self.assertEqual(len({word["id"] for word in self.words}), 117_659)
        self.assertIn(
            {
                "id": "n-14382075",
                "text": "arachnophobia: a morbid fear of spiders",
                "metadata": {"pos": "noun", "lemmas": ["arachnophobia"], "lexname": "noun.state"},
            },
            self.words,
        )
        galore = next(word for word in self.words if word["text"].startswith("galore:"))
        self.assertEqual(galore["metadata"]["pos"], "adjective")  # its marker "(ip)" is gone
        self.assertFalse([word for word in self.words if "_" in word["text"].split(":")[0]])

    def test_packages_are_those_of_debian(self):
        self.assertGreater(len(self.packages), 60_000)
        self.assertEqual(len({package["id"] for package in self.packages}), len(self.packages))
        chess = next(package for package in self.packages if package["id"] == "gnuchess")
        self.assertRegex(chess["text"], r"^gnuchess: .*chess")
        self.assertEqual(chess["metadata"]["section"], "games")
        self.assertIsInstance(chess["metadata"]["installed_size"], int)
        self.assertIn("game::board:chess", chess["metadata"]["tags"])

    def load(self, workspace, name, documents):
        address = workspace.server.address
        vecino(address, "collection", "create", name, "--model", client_support.MODEL + "@int8")
        path = workspace.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
        loaded = vecino(address, "load", name, path)
        self.assertEqual(loaded.returncode, 0, loaded.stderr)

    def search(self, workspace, name, query):
        result = vecino(workspace.server.address, "--json", "search", name, query, "-k", "5")
        self.assertEqual(result.returncode, 0, result.stderr)
        return [json.loads(line) for line in result.stdout.splitlines()]

    def test_search_by_meaning(self):
        models = client_support.model_root()
        if models is None:
            self.skipTest(f"no {client_support.MODEL} in VECINO_MODEL_ROOT")
        chance = random.Random(7)
        packages = [p for p in self.packages if "chess" in p["text"] or p["metadata"].get("section") == "games"]
        packages = chance.sample(packages, min(600, len(packages))) + chance.sample(self.packages, OTHERS)
        packages += [p for p in self.packages if "chess" in p["text"]]
        packages = list({p["id"]: p for p in packages}.values())
        words = chance.sample(self.words, OTHERS)
        words += [w for w in self.words if re.search(r"phobia|spider|\bfear\b", w["text"])]
        words = list({w["id"]: w for w in words}.values())
        with client_support.Workspace(models) as workspace:
            self.load(workspace, "packages", packages)
            self.load(workspace, "words", words)
            hits = self.search(workspace, "packages", "play chess against the computer")
            self.assertGreaterEqual(sum("chess" in hit["text"].lower() for hit in hits), 4, hits)
            hits = self.search(workspace, "words", "fear of spiders")
            self.assertIn("arachnophobia", [hit["metadata"]["lemmas"][0] for hit in hits[:3]], hits)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
