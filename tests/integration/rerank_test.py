"""Reranking through the real binaries, against the scores of eager PyTorch."""

import json
import pathlib
import random
import shutil
import tempfile
import unittest
import urllib.request

import client_support
import grpc_stubs  # first: without grpcio it ends the test as skipped
import grpc  # isort: skip
import rerankers
from client_support import vecino

QUERY = "play chess"


def random_texts(count):
    """Of the letters and words that the reranker knows; some longer than its window."""
    chance = random.Random(7)
    words = [*"abcdefghijklmnopqrstuvwxyz0123456789", "the", "of", "spider", "chess", "play"]
    return [" ".join(chance.choices(words, k=200 if i % 10 == 9 else chance.randint(1, 30))) for i in range(count)]


class RerankTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        models = rerankers.make(pathlib.Path(folder) / "models")
        if models is None:
            client_support.skip("no torch in /usr/bin/python3")
        cls.workspace = cls.enterClassContext(client_support.Workspace(models))
        cls.address = cls.workspace.server.address
        grpc_stubs.generate()
        cls.pb = grpc_stubs.load("embedding_service_pb2")
        cls.channel = cls.enterClassContext(grpc.insecure_channel(cls.address))
        cls.stub = grpc_stubs.load("embedding_service_pb2_grpc").EmbeddingServiceStub(cls.channel)
        cls.texts = random_texts(60)
        cls.expected = rerankers.scores(QUERY, cls.texts)
        assert max(cls.expected) - min(cls.expected) > 0.1
        made = vecino(cls.address, "collection", "create", "docs", "--dim", 2, "--metric", "l2")
        assert made.returncode == 0, made.stderr
        lines = [{"id": f"d{i}", "text": text, "vector": [i, 1], "metadata": {"even": i % 2 == 0}}
                 for i, text in enumerate(cls.texts)]  # fmt: skip
        lines.append({"id": "mute", "vector": [0.25, 1], "metadata": {"even": False}})
        loaded = vecino(cls.address, "load", "docs", "-", stdin="".join(json.dumps(line) + "\n" for line in lines))
        assert loaded.returncode == 0, loaded.stderr

    def call(self, service, method, request, **options):
        """By JSON over HTTP, which is every unary RPC."""
        url = f"http://{self.workspace.server.admin}/v1/{service}/{method}"
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(request).encode(), headers), timeout=60) as reply:
            return json.load(reply)

    def search(self, **fields):
        request = {"parent": "collections/docs", "vector": {"values": [0, 1]}, "readMask": "id", **fields}
        return self.call("SearchService", "SearchDocuments", request)

    def order(self, ids):
        """`ids`, those with the best expected scores first; near ties as they stand."""
        return sorted(ids, key=lambda i: -self.expected[i])

    def check_order(self, hits, candidates):
        """The hits are the best of the first `candidates` documents, by the reference's scores."""
        numbers = [int(hit["document"]["id"][1:]) for hit in hits]
        best = self.order(range(candidates))[: len(hits)]
        for came, wanted in zip(numbers, best):
            self.assertAlmostEqual(self.expected[came], self.expected[wanted], delta=2e-4)
        for hit, number in zip(hits, numbers):
            self.assertAlmostEqual(hit["rerankScore"], self.expected[number], delta=1e-4)
            self.assertAlmostEqual(hit.get("score", 0), number**2, places=3)
        return numbers

    def test_order_is_that_of_the_reference(self):
        reply = self.search(topK=10, rerank={"query": QUERY, "candidates": 41})
        numbers = self.check_order(reply["hits"], 40)  # and `mute`, which is second nearest
        self.assertNotEqual(numbers, sorted(numbers))
        reranked = reply["reranked"]
        self.assertEqual((reranked["model"], reranked["pairs"], reranked["complete"]), ("models/tiny-reranker", 40, True))
        self.assertEqual(reranked["truncatedPairs"], sum(len(text.split()) > 100 for text in self.texts[:40]))
        self.assertTrue(reply["timings"]["rerank"].endswith("s"))
        self.assertNotIn("nextPageToken", reply)
        self.assertFalse(any("text" in hit["document"] for hit in reply["hits"]), "read_mask holds")

    def test_what_has_no_text_and_what_is_no_candidate_comes_behind(self):
        reply = self.search(topK=61, rerank={"query": QUERY, "candidates": 20})
        hits = reply["hits"]
        self.check_order(hits[:19], 19)
        # The search's own order: `mute` is nearer than d1.
        self.assertEqual([hit["document"]["id"] for hit in hits[19:22]], ["mute", "d19", "d20"])
        self.assertFalse(any("rerankScore" in hit for hit in hits[19:]))

    def test_a_filter_chooses_the_candidates(self):
        reply = self.search(topK=5, filter="even = true", rerank={"query": QUERY})
        self.assertEqual(reply["reranked"]["pairs"], 30)
        best = self.order(range(0, 60, 2))[:5]
        came = [int(hit["document"]["id"][1:]) for hit in reply["hits"]]
        for one, other in zip(came, best):
            self.assertAlmostEqual(self.expected[one], self.expected[other], delta=2e-4)

    def test_a_budget_that_is_too_small_leaves_the_order(self):
        reply = self.search(topK=10, rerank={"query": "x " * 30_000, "candidates": 61, "budget": "0.001s"})
        self.assertFalse(reply["reranked"].get("complete", False))
        scored = [hit for hit in reply["hits"] if "rerankScore" in hit]
        behind = [hit.get("score", 0) for hit in reply["hits"] if "rerankScore" not in hit]
        self.assertEqual(behind, sorted(behind))
        self.assertEqual(reply["hits"][: len(scored)], scored)
        self.assertEqual(len(reply["hits"]), 10)
        full = self.search(topK=10, rerank={"query": QUERY, "candidates": 41, "budget": "60s"})
        self.assertTrue(full["reranked"]["complete"])
        self.check_order(full["hits"], 40)

    def test_words_and_their_order(self):
        request = {"parent": "collections/docs", "lexical": {"text": "chess"}, "topK": 60, "rerank": {}}
        hits = self.call("SearchService", "SearchDocuments", request)["hits"]
        numbers = [int(hit["document"]["id"][1:]) for hit in hits]
        self.assertEqual(set(numbers), {i for i, text in enumerate(self.texts) if "chess" in text.split()})
        expected = rerankers.scores("chess", [self.texts[i] for i in numbers])
        for hit, score in zip(hits, expected):
            self.assertAlmostEqual(hit["rerankScore"], score, delta=1e-4)
        self.assertEqual([hit["rerankScore"] for hit in hits], sorted((h["rerankScore"] for h in hits), reverse=True))
        request = {"parent": "collections/docs", "vector": {"values": [0, 1]}, "lexicalText": "chess", "topK": 3,
                   "rerank": {"candidates": 61}}  # fmt: skip
        hybrid = self.call("SearchService", "HybridSearchDocuments", request)
        self.assertEqual(hybrid["reranked"]["pairs"], 60)
        expected = sorted(rerankers.scores("chess", self.texts), reverse=True)[:3]
        for hit, score in zip(hybrid["hits"], expected):
            self.assertAlmostEqual(hit["rerankScore"], score, delta=1e-4)

    def test_texts_by_themselves(self):
        texts = [*self.texts, "", " "]
        request = {"query": QUERY, "texts": texts}
        reply = self.call("EmbeddingService", "RerankTexts", request)
        self.assertEqual(reply["model"], "models/tiny-reranker")
        results = reply["results"]
        for result, score in zip(results, rerankers.scores(QUERY, texts)):
            self.assertAlmostEqual(result["score"], score, delta=1e-4)
        self.assertEqual([result.get("truncated", False) for result in results], [len(text.split()) > 100 for text in texts])
        self.assertEqual(results[0]["tokenCount"], len(self.texts[0].split()) + 2 + 3)
        # A score does not depend on the others.
        for i in (0, 9, 60):
            (alone,) = self.call("EmbeddingService", "RerankTexts", {**request, "texts": [texts[i]]})["results"]
            self.assertAlmostEqual(alone["score"], results[i]["score"], delta=1e-5)

    def test_other_precisions_are_served_beside_it(self):
        names = {model["name"]: model for model in self.call("EmbeddingService", "ListModels", {})["models"]}
        self.assertEqual(set(names), {f"models/tiny-reranker{suffix}" for suffix in ("", "@bf16", "@int8")})
        for model in names.values():
            self.assertEqual((model["task"], model["activation"], model["maxTokens"]), ("MODEL_TASK_RERANK", "sigmoid", 128))
            self.assertNotIn("dimension", model)
        int8 = self.search(topK=40, rerank={"query": QUERY, "candidates": 41, "model": "models/tiny-reranker@int8"})
        for hit in int8["hits"]:
            self.assertAlmostEqual(hit["rerankScore"], self.expected[int(hit["document"]["id"][1:])], delta=0.05)

    def test_a_deadline_and_a_cancel_end_the_call(self):
        pb, stub = self.pb, self.stub
        request = pb.RerankTextsRequest(query="x " * 30_000, texts=["chess " * 500] * 1000)
        with self.assertRaises(grpc.RpcError) as error:
            stub.RerankTexts(request, timeout=0.02)
        self.assertEqual(error.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        call = stub.RerankTexts.future(request, timeout=60)
        call.cancel()
        self.assertTrue(call.cancelled())
        # The server goes on at once.
        self.assertAlmostEqual(
            stub.RerankTexts(pb.RerankTextsRequest(query=QUERY, texts=self.texts[:1]), timeout=30).results[0].score,
            self.expected[0], delta=1e-4)  # fmt: skip

    def test_the_command_line(self):
        result = vecino(self.address, "--json", "search", "docs", "chess", "--lexical", "--rerank", "-k", 3)
        self.assertEqual(result.returncode, 0, result.stderr)
        *rows, last = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual(last["reranked"]["model"], "tiny-reranker")
        self.assertTrue(last["reranked"]["complete"])
        self.assertGreaterEqual(last["reranked"]["pairs"], len(rows))
        self.assertEqual([row["rerank_score"] for row in rows], sorted((r["rerank_score"] for r in rows), reverse=True))
        table = vecino(self.address, "search", "docs", "chess", "--lexical", "--rerank", "tiny-reranker@int8",
                       "--rerank-candidates", 2, "--rerank-query", QUERY, "--rerank-budget", 5)  # fmt: skip
        self.assertEqual(table.returncode, 0, table.stderr)
        self.assertRegex(table.stdout, r"^RERANKED +SCORE +ID +TEXT\n")
        refused = vecino(self.address, "search", "docs", "chess", "--lexical", "--rerank", "none")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("NOT_FOUND", refused.stderr)
        self.assertEqual(vecino(self.address, "search", "docs", "x", "--rerank", "--group-by", "even").returncode, 2)

        result = vecino(self.address, "--json", "rerank", QUERY, "-", stdin="".join(text + "\n" for text in self.texts))
        self.assertEqual(result.returncode, 0, result.stderr)
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual(sorted(row["index"] for row in rows), list(range(60)))
        for row in rows:
            self.assertAlmostEqual(row["score"], self.expected[row["index"]], delta=1e-4)
        self.assertEqual([row["score"] for row in rows], sorted((row["score"] for row in rows), reverse=True))
        table = vecino(self.address, "rerank", QUERY, "a b", "chess play", "-n", 1)
        self.assertRegex(table.stdout, r"^ *SCORE +INDEX +TOKENS +TEXT\n.*\n$")
        self.assertRegex(vecino(self.address, "models").stdout, r"tiny-reranker +rerank +- +128 +- +fp32")

    def test_in_the_words_of_others(self):
        url = f"http://{self.workspace.server.admin}/v1/rerank"
        body = {"query": QUERY, "documents": self.texts, "top_n": 7, "return_documents": True}
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=60) as reply:
            reply = json.load(reply)
        self.assertEqual(reply["model"], "tiny-reranker")
        self.assertEqual(len(reply["results"]), 7)
        scores = [result["relevance_score"] for result in reply["results"]]
        self.assertEqual(scores, sorted(scores, reverse=True))
        for result, wanted in zip(reply["results"], self.order(range(60))):
            self.assertAlmostEqual(result["relevance_score"], self.expected[wanted], delta=2e-4)
            self.assertAlmostEqual(result["relevance_score"], self.expected[result["index"]], delta=1e-4)
            self.assertEqual(result["document"], {"text": self.texts[result["index"]]})

    def test_a_reranker_makes_no_vectors(self):
        made = vecino(self.address, "collection", "create", "wrong", "--model", "tiny-reranker")
        self.assertEqual(made.returncode, 1)
        self.assertIn("a reranker, which makes no vectors", made.stderr)
        embedded = vecino(self.address, "embed", "x", "--model", "tiny-reranker")
        self.assertEqual(embedded.returncode, 1)
        self.assertIn("take RerankTexts", embedded.stderr)


if __name__ == "__main__":
    unittest.main()
