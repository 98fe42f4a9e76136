"""Searches by words, alone and beside meaning, on real text, through the real binaries and over kill -9."""

import json
import unittest

import client_support
from client_support import vecino

TEXTS = {
    "gnuchess": "Plays a game of chess, either against the user or against itself",
    "xboard": "X Window System chess board for playing against the computer",
    "gimp": "GNU Image Manipulation Program, an editor for photographs",
    "inkscape": "vector-based drawing program",
    "nginx": "small, powerful, scalable web and proxy server",
    "apache2": "Apache HTTP server for the World Wide Web",
    "postgresql": "object-relational SQL database, supported by a server version 15.4",
    "curl": "command line tool for transferring data with URL syntax",
    "texlive": "TeX typesetting for printed documents",
    "vlc": "multimedia player and streamer of films",
}


class WordsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        models = client_support.need_model_root()
        cls.workspace = cls.enterClassContext(client_support.Workspace(models))
        made = cls.vecino("collection", "create", "packages", "--model", client_support.MODEL, "--shards", 2)
        assert made.returncode == 0, made.stderr
        cls.load("packages", [{"id": name, "text": text, "metadata": {"letters": len(name)}} for name, text in TEXTS.items()])

    @classmethod
    def vecino(cls, *arguments, **options):
        return vecino(cls.workspace.server.address, *arguments, **options)

    @classmethod
    def load(cls, collection, documents):
        lines = "".join(json.dumps(document) + "\n" for document in documents)
        loaded = cls.vecino("load", collection, "-", "--overwrite", stdin=lines)
        assert loaded.returncode == 0, loaded.stderr

    def rows(self, *arguments):
        result = self.vecino("--json", "search", "packages", *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return [json.loads(line) for line in result.stdout.splitlines()]

    def ids(self, *arguments):
        return [row["id"] for row in self.rows(*arguments)]

    def test_words(self):
        self.assertEqual(set(self.ids("playing chess", "--lexical")), {"gnuchess", "xboard"})
        self.assertEqual(self.ids("15.4", "--lexical"), ["postgresql"])
        self.assertEqual(self.ids("PHOTOGRAPH editors", "--lexical"), ["gimp"])
        self.assertEqual(self.ids("zebra", "--lexical"), [])
        scores = [row["score"] for row in self.rows("web server", "--lexical")]
        self.assertEqual(len(scores), 3)
        self.assertEqual(scores, sorted(scores, reverse=True))

    def test_both(self):
        # Meaning alone finds no number, words alone no synonym.
        rows = self.rows("server 15.4", "--hybrid", "-k", 3)
        self.assertEqual(rows[0]["id"], "postgresql")
        self.assertIn("dense_score", rows[0])
        self.assertIn("lexical_score", rows[0])
        found = self.ids("edit pictures", "--hybrid", "-k", 2)
        self.assertIn("gimp", found)
        self.assertEqual(set(self.ids("playing chess", "--hybrid", "--dense-weight", 0)), {"gnuchess", "xboard"})
        dense = self.ids("drawing software", "-k", 10)
        self.assertEqual(self.ids("drawing software", "-k", 10, "--hybrid", "--lexical-weight", 0), dense)
        for fusion in ("rrf", "weighted"):
            self.assertEqual(self.ids("chess", "--hybrid", "--fusion", fusion, "-k", 2)[0] in ("gnuchess", "xboard"), True)

    def test_both_with_diversity(self):
        plain = self.ids("web server", "--hybrid", "-k", 3)
        self.assertEqual(self.ids("web server", "--hybrid", "-k", 3, "--diversify", 1), plain)
        differing = self.ids("web server", "--hybrid", "-k", 3, "--diversify", 0, "--candidates", 10)
        self.assertEqual(differing[0], plain[0])
        self.assertNotEqual(differing, plain)
        self.assertEqual(len(self.ids("web server", "--hybrid", "-k", 3, "--diversify")), 3)

    def test_tables(self):
        table = self.vecino("search", "packages", "web server", "--hybrid", "-k", 2).stdout
        self.assertRegex(table, r"SCORE +MEANING +WORDS +ID +TEXT\n")
        table = self.vecino("search", "packages", "web server", "--lexical", "-k", 2).stdout
        self.assertRegex(table, r"SCORE +ID +TEXT\n")

    def test_usage(self):
        for arguments in (
            ("a", "--lexical", "--hybrid"),
            ("a", "--hybrid", "--group-by", "x"),
            ("a", "--dense-weight", 1),
            ("--id", "gimp", "--lexical"),
        ):
            self.assertEqual(self.vecino("search", "packages", *arguments).returncode, 2, arguments)
        refused = self.vecino("search", "packages", "a", "--hybrid", "--dense-weight", -1)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("fusion.dense_weight", refused.stderr)

    def test_survives_kill(self):
        documents = [{"id": f"n{i}", "text": f"number{i} of many numbers", "vector": [1, i]} for i in range(700)]
        made = self.vecino("collection", "create", "numbers", "--dim", 2, "--metric", "l2")
        self.assertEqual(made.returncode, 0, made.stderr)
        self.load("numbers", documents)
        self.load("numbers", [{"id": "n3", "text": "replaced", "vector": [1, 3]}])
        server = self.workspace.server

        def found(text):
            result = vecino(server.address, "--json", "search", "numbers", text, "--lexical", "-k", 1000)
            self.assertEqual(result.returncode, 0, result.stderr)
            return [json.loads(line)["id"] for line in result.stdout.splitlines()]

        def check():
            self.assertEqual(found("number699"), ["n699"])
            self.assertEqual(found("number3"), [])
            self.assertEqual(found("replace"), ["n3"])
            self.assertEqual(len(found("many")), 699)

        check()
        server.kill()
        server.start()
        check()


if __name__ == "__main__":
    unittest.main()
