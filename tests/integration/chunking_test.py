"""Long texts in passages: real texts, the real binaries, over kill -9 and from export to load."""

import json
import unittest

import client_support
from client_support import vecino

FACTS = [
    "Honey bees find their way home by the position of the sun.",
    "The prime minister resigned after parliament had refused the budget.",
    "Sourdough bread rises because wild yeast makes carbon dioxide.",
    "A solar eclipse happens when the moon stands between sun and earth.",
    "The goalkeeper saved a penalty in the last minute of the final.",
    "Volcanic ash forced airlines to cancel their flights over Iceland.",
    "Antibiotics do not help against influenza, which is caused by a virus.",
    "The violin sonata was written for a court musician in Vienna.",
]
FILLER = "This sentence is number {} of a long report in which nothing else of interest is said. "


def text_of(fact, before, after):
    """A fact in the midst of a report, far behind the model's window."""
    return "".join(FILLER.format(i) for i in range(before)) + fact + " " + "".join(FILLER.format(i) for i in range(after))


class ChunkingTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        models = client_support.need_model_root()
        cls.workspace = cls.enterClassContext(client_support.Workspace(models))
        cls.documents = [{"id": f"d{i}", "text": text_of(fact, 30 + i, 20), "metadata": {"number": i}} for i, fact in enumerate(FACTS)]
        cls.create("reports", "--chunk", "--chunk-tokens", 64, "--chunk-overlap", 24)
        cls.load("reports", cls.documents)

    @classmethod
    def vecino(cls, *arguments, **options):
        return vecino(cls.workspace.server.address, *arguments, **options)

    @classmethod
    def create(cls, name, *arguments):
        made = cls.vecino("--json", "collection", "create", name, "--model", client_support.MODEL, *arguments)
        assert made.returncode == 0, made.stderr
        return json.loads(made.stdout)

    @classmethod
    def load(cls, collection, documents):
        lines = "".join(json.dumps(document) + "\n" for document in documents)
        loaded = cls.vecino("load", collection, "-", "--overwrite", stdin=lines)
        assert loaded.returncode == 0, loaded.stderr

    def rows(self, collection, *arguments):
        result = self.vecino("--json", "search", collection, *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return [json.loads(line) for line in result.stdout.splitlines()]

    def check_finds_each(self, collection):
        for document, fact in zip(self.documents, FACTS):
            rows = self.rows(collection, fact, "-k", len(FACTS))
            self.assertEqual(len({row["id"] for row in rows}), len(FACTS))  # each once, and all of them
            self.assertEqual(rows[0]["id"], document["id"])
            passage = rows[0]["passage"]
            self.assertIn(fact, passage["text"])
            data = document["text"].encode()
            self.assertEqual(data[passage["start"] : passage["end"]].decode(), passage["text"])

    def test_finds_what_stands_behind_the_window(self):
        self.check_finds_each("reports")
        table = self.vecino("search", "reports", FACTS[2], "-k", 1).stdout
        self.assertIn("yeast", table)
        self.create("heads")
        self.load("heads", self.documents)
        missed = [fact for fact, document in zip(FACTS, self.documents)
                  if self.rows("heads", fact, "-k", 1)[0]["id"] != document["id"]]  # fmt: skip
        self.assertGreater(len(missed), 3)  # one vector a document knows nothing of them

    def test_passages_are_shown(self):
        shown = self.vecino("collection", "show", "reports").stdout
        self.assertIn("of 64 tokens at most, 24 in common with the next", shown)
        got = json.loads(self.vecino("--json", "get", "reports", "d0", "--with-passages").stdout)
        self.assertGreater(len(got["passages"]), 5)
        ends = [passage["end"] for passage in got["passages"]]
        self.assertEqual(ends, sorted(ends))
        self.assertEqual(ends[-1], len(self.documents[0]["text"].encode()))

    def test_words_filters_and_answers(self):
        rows = self.rows("reports", "resigned parliament", "--lexical")
        self.assertIn("resigned", rows[0]["passage"]["text"])
        rows = self.rows("reports", FACTS[1], "--filter", "number >= 6", "-k", 8)
        self.assertEqual({row["id"] for row in rows}, {"d6", "d7"})
        answer = self.vecino("--json", "ask", "reports", "Why does sourdough bread rise?", "-k", 1)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        parts = [json.loads(line) for line in answer.stdout.splitlines()]
        prompt = next(part["prompt"] for part in parts if "prompt" in part)
        self.assertIn(FACTS[2], prompt)
        self.assertNotIn("number 10 of a long report", prompt)  # the passage, not the document

    def test_a_patch_keeps_the_passages(self):
        self.create("patched", "--chunk", "--chunk-tokens", 64)
        self.load("patched", self.documents)
        before = self.rows("patched", FACTS[3], "-k", 1)[0]["passage"]
        updated = self.vecino("update", "patched", "d3", "--metadata", '{"seen": true}')
        self.assertEqual(updated.returncode, 0, updated.stderr)
        row = self.rows("patched", FACTS[3], "-k", 1, "--filter", "seen = true")[0]
        self.assertEqual(row["passage"], before)

    def test_export_and_load_give_the_same(self):
        for option in ((), ("--vectors",)):
            name = f"again{len(option)}"
            self.create(name, "--chunk", "--chunk-tokens", 64, "--chunk-overlap", 24)
            exported = self.vecino("export", "reports", "--quiet", *option).stdout
            loaded = self.vecino("load", name, "-", stdin=exported)
            self.assertEqual(loaded.returncode, 0, loaded.stderr)
            digests = {self.vecino("export", collection, "--digest", "--quiet", *option).stdout for collection in ("reports", name)}
            self.assertEqual(len(digests), 1)
            self.check_finds_each(name)

    def test_survives_kill_9(self):
        self.create("killed", "--chunk", "--chunk-tokens", 64)
        self.load("killed", self.documents)
        self.load("killed", [self.documents[0] | {"text": FACTS[0]}])
        deleted = self.vecino("delete", "killed", "d1")
        self.assertEqual(deleted.returncode, 0, deleted.stderr)
        before = [self.rows("killed", fact, "-k", 8) for fact in FACTS]
        self.assertEqual(len(before[0]), 7)
        self.workspace.server.kill()
        self.workspace.server.start()
        self.assertEqual([self.rows("killed", fact, "-k", 8) for fact in FACTS], before)


if __name__ == "__main__":
    unittest.main()
