"""A model with prompts of several names, through the real binaries, over kill -9, a snapshot and a migration."""

import json
import os
import pathlib
import tempfile
import unittest

import client_support
from client_support import MODEL, vecino

NAME = "prompted"
PROMPTS = {"query": "query: ", "document": "", "ask": "a question about animals: ", "passage": "a passage on cooking: "}
TEXT = "The kettle whistles when the water boils."


class PromptsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        root = client_support.need_model_root()
        models = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="vecino-models-")))
        source, folder = pathlib.Path(root).resolve() / MODEL, models / NAME
        folder.mkdir()
        for file in os.listdir(source):
            if file != "manifest.json":
                (folder / file).symlink_to(source / file)
        manifest = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
        (folder / "manifest.json").write_text(json.dumps({**manifest, "prompts": PROMPTS}), encoding="utf-8")
        cls.server = cls.enterClassContext(client_support.Workspace(str(models))).server

    def vecino(self, *arguments, code=0, **options):
        done = vecino(self.server.address, *arguments, **options)
        self.assertEqual(done.returncode, code, f"{arguments}: {done.stdout}{done.stderr}")
        return done

    def lines(self, *arguments, **options):
        return [json.loads(line) for line in self.vecino("--json", *arguments, **options).stdout.splitlines()]

    def create(self, name, *arguments):
        return self.lines("collection", "create", name, "--model", NAME, *arguments)[0]

    def put(self, collection, text=TEXT, name="kettle"):
        self.vecino("load", collection, "-", "--quiet", "--overwrite", stdin=json.dumps({"id": name, "text": text}) + "\n")

    def same(self, one, other):
        return sum(a * b for a, b in zip(one, other, strict=True)) > 0.99999

    def embed(self, text, *arguments):
        return self.lines("embed", text, "--model", NAME, *arguments)[0]["vector"]

    def check(self, collection, query, document):
        """That documents and queries of the collection are embedded with these prompts before them."""
        shown = self.lines("collection", "show", collection)[0]
        self.assertEqual((shown["query_prompt"], shown["document_prompt"]), (query, document))
        stored = self.lines("get", collection, "kettle", "--with-vector")[0]["vector"]
        self.assertTrue(self.same(stored, self.embed(PROMPTS[document] + TEXT)))
        found = self.lines("search", collection, "boiling", "-k", 1)[0]
        asked = self.embed(PROMPTS[query] + "boiling")
        self.assertAlmostEqual(found["score"], sum(a * b for a, b in zip(stored, asked, strict=True)), delta=1e-4)

    def test_a_model_lists_them_and_embeds_with_each(self):
        self.assertEqual(self.lines("models")[0]["prompts"], PROMPTS)
        plain = self.embed(TEXT)
        for name, text in PROMPTS.items():
            vector = self.embed(TEXT, "--prompt", name)
            self.assertTrue(self.same(vector, self.embed(text + TEXT)), name)
            self.assertEqual(self.same(vector, plain), name == "document", name)
        refused = self.vecino("embed", TEXT, "--model", NAME, "--prompt", "none", code=1).stderr
        self.assertIn("has no prompt 'none'; it has: ask, document, passage, query", refused)

    def test_a_collection_keeps_its_own(self):
        self.assertEqual(self.create("plain")["query_prompt"], "query")
        self.put("plain")
        self.check("plain", "query", "document")
        self.create("chosen", "--query-prompt", "ask", "--document-prompt", "passage")
        self.put("chosen")
        self.check("chosen", "ask", "passage")
        self.assertIn("prompts    ask before queries, passage before documents",
                      self.vecino("collection", "show", "chosen").stdout)  # fmt: skip
        refused = self.vecino("collection", "create", "bad", "--model", NAME, "--document-prompt", "none", code=1).stderr
        self.assertIn("collection.embedding.document_prompt", refused)
        self.vecino("snapshot", "create", "one", "--collection", "chosen")
        self.vecino("snapshot", "restore", "one", "--as", "restored")
        self.server.kill()
        self.server.start()
        for name in ("chosen", "restored"):
            self.check(name, "ask", "passage")
            self.put(name, "something else")
            self.put(name)
            self.check(name, "ask", "passage")

    def test_a_migration_changes_them(self):
        self.create("moved", "--document-prompt", "passage")
        self.put("moved")
        self.vecino("collection", "migrate", "moved", "--model", NAME, "--document-prompt", "passage", code=1)
        self.vecino("collection", "migrate", "moved", "--model", NAME, "--query-prompt", "ask", "--auto", "--wait")
        self.check("moved", "ask", "document")
        self.assertIn("prompts query and passage", self.vecino("collection", "migrate-status", "moved").stdout)
        self.vecino("collection", "switch", "moved", "--to", "old")
        self.check("moved", "query", "passage")


if __name__ == "__main__":
    unittest.main()
