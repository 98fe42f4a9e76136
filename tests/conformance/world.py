"""The collections that the cases work with, and what they check calls with."""

import atexit
import contextlib
import itertools
import random
import tempfile

import client_support
import contract
import rerankers
from registry import COLLECTIONS, DOCUMENTS

MODEL = "models/all-MiniLM-L6-v2"
MODEL_DIMENSION = 384


def equal(expected, came, what="value"):
    if expected != came:
        raise AssertionError(f"{what}: expected {expected!r}, came {came!r}")


def true(condition, what):
    if not condition:
        raise AssertionError(f"not so: {what}")


def vector(*values):
    return {"values": list(values)}


def point(i):
    """Document p{i} of `shop`, as in SCENARIO.md."""
    return {
        "id": f"p{i}", "text": f"point {i}", "vector": vector(i, 0, 1),
        "metadata": {"number": i, "even": i % 2 == 0, "color": ["red", "green", "blue"][i % 3]},
    }  # fmt: skip


class World:
    """One server with collections: `shop` (30 points and the alias `window`), `other` (3 points), `flat` (empty, KIND_FLAT),
    `large` (5 documents of nearly 1 MiB); with a model also `texts` and `large-texts`. Cases leave these as they are."""

    def __init__(self, server, models):
        self.server, self.models = server, models
        self.api = contract.Api(server.address)
        self.contract = self.api.contract
        self._numbers = itertools.count()
        self._slow = self._many_fields = self._reranking = None
        self.create("shop")
        self.upsert("shop", [point(i) for i in range(30)])
        self.call(COLLECTIONS + "CreateAlias", {"alias_id": "window", "alias": {"target": "collections/shop"}})
        self.create("other")
        self.upsert("other", [point(i) for i in range(3)])
        self.create("flat", index_policy={"kind": "KIND_FLAT"})
        self.create("large", dimension=2)
        for i in range(5):
            self.upsert("large", [{"id": f"l{i}", "text": f"word{i} " * 149_000, "vector": vector(i, 1)}])
        if models:
            self.create("texts", dimension=0, metric="METRIC_COSINE", embedding={"model": MODEL})
            lines = ["a chess program", "a text editor", "a game of cards", "a video editor", "a mail server"]
            self.upsert("texts", [{"id": f"t{i}", "text": text} for i, text in enumerate(lines)])
            self.create("large-texts", dimension=0, metric="METRIC_COSINE", embedding={"model": MODEL})
            for i in range(5):
                self.upsert("large-texts", [{"id": f"l{i}", "text": f"word{i} " * 149_000,
                                             "vector": vector(*[1.0 + i] * MODEL_DIMENSION)}])  # fmt: skip

    def reranking(self):
        """The Api of a server of its own that has a reranker, no other model, and the same collections."""
        if self._reranking is None:
            stack = contextlib.ExitStack()
            atexit.register(stack.close)
            models = stack.enter_context(tempfile.TemporaryDirectory())
            true(rerankers.make(models) is not None, "Debian's python3-torch is there, which makes the reranker")
            server = stack.enter_context(client_support.Workspace(models)).server
            self._reranking = World(server, None).api
        return self._reranking

    def call(self, rpc, request=None, timeout=60):
        return self.api.call(rpc, request, timeout)

    def refused(self, rpc, code, request, field=None, timeout=60):
        """Checks that a call fails with `code`, a message, and for INVALID_ARGUMENT a BadRequest that names a field."""
        refusal = self.api.refusal(rpc, request, timeout)
        true(refusal is not None, f"{rpc} is refused")
        equal(code, refusal.code.name, f"code of “{refusal.message}”")
        true(refusal.message.strip(), "the error has a message")
        if code == "INVALID_ARGUMENT":
            true(refusal.field, f"BadRequest names the field of “{refusal.message}”")
        if field is not None:
            equal(field, refusal.field, f"field of “{refusal.message}”")
        return refusal

    def create(self, name, **fields):
        collection = {"dimension": 3, "metric": "METRIC_L2", "shard_count": 2, **fields}
        request = {"collection_id": name, "collection": collection}
        return self.call(COLLECTIONS + "CreateCollection", request).collection

    def fresh(self, documents=0, **fields):
        """The id of a collection of the case's own."""
        name = f"fresh-{next(self._numbers)}"
        self.create(name, **fields)
        if documents:
            self.upsert(name, [point(i) for i in range(documents)])
        return name

    def fresh_alias(self, target="shop"):
        name = f"alias-{next(self._numbers)}"
        self.call(COLLECTIONS + "CreateAlias", {"alias_id": name, "alias": {"target": f"collections/{target}"}})
        return name

    def upsert(self, name, documents):
        request = {"parent": f"collections/{name}", "documents": documents}
        results = self.call(DOCUMENTS + "BatchUpsertDocuments", request).results
        for result in results:
            equal(0, result.status.code, result.status.message)
        return [result.write_token for result in results]

    def fill(self, name, rows, dimension):
        """Upserts `rows` documents of random vectors."""
        chance = random.Random(1)
        for begin in range(0, rows, 1000):
            self.upsert(name, [{"id": f"r{i}", "vector": vector(*[round(chance.random(), 3) for _ in range(dimension)])}
                               for i in range(begin, min(rows, begin + 1000))])  # fmt: skip

    def many_fields(self):
        """The id of a collection with more different fields than are indexed."""
        if self._many_fields is None:
            self._many_fields = self.fresh(shard_count=1)
            fields = {f"f{i}": 1 for i in range(1001)}
            self.upsert(self._many_fields, [{"id": f"m{i}", "vector": vector(i, 0, 1), "metadata": fields if i == 0 else {}}
                                            for i in range(256)])  # fmt: skip
        return self._many_fields

    def slow(self):
        """The id of a collection whose index takes seconds to build anew: a graph over 6,000 rows."""
        if self._slow is None:
            parameters = {"hnsw_m": 48, "ef_construction": 1000}
            policy = {"kind": "KIND_HNSW", "parameters": parameters}
            self._slow = self.fresh(dimension=96, shard_count=1, index_policy=policy)
            self.fill(self._slow, 6_000, 96)
        return self._slow
