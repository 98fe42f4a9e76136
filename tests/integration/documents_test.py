"""Documents against a real server: inserts, etags, field masks, expiry, documents without a vector; kill -9 and restart."""

import concurrent.futures
import json
import time
import unittest
import urllib.request
import uuid

import client_support
import grpc_stubs  # first: without grpcio it ends the test as skipped
import grpc  # isort: skip

CODE = grpc.StatusCode


class DocumentsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        grpc_stubs.generate()
        for name in ("document", "search"):
            setattr(cls, name, grpc_stubs.load(f"{name}_service_pb2"))
            setattr(cls, name + "_grpc", grpc_stubs.load(f"{name}_service_pb2_grpc"))
        cls.values = grpc_stubs.load("document_pb2")
        cls.models = client_support.model_root()
        cls.workspace = cls.enterClassContext(client_support.Workspace(cls.models))
        cls.numbered = 0

    def setUp(self):
        self.connect()

    def tearDown(self):
        self.channel.close()

    def connect(self):
        self.address = self.workspace.server.address
        self.channel = grpc.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.documents = self.document_grpc.DocumentServiceStub(self.channel)
        self.searches = self.search_grpc.SearchServiceStub(self.channel)

    def restart(self):
        self.channel.close()
        self.workspace.server.kill()
        self.workspace.server.start()
        self.connect()

    def vecino(self, *arguments, **options):
        return client_support.vecino(self.address, *arguments, **options)

    def ok(self, *arguments, **options):
        result = self.vecino(*arguments, **options)
        self.assertEqual(result.returncode, 0, f"{arguments}: {result.stdout}{result.stderr}")
        return result.stdout

    def collection(self, *options):
        type(self).numbered += 1
        name = f"c{self.numbered}"
        self.ok("collection", "create", name, *(options or ("--dim", 2, "--metric", "l2")))
        return name

    def refused(self, code, call, *arguments):
        with self.assertRaises(grpc.RpcError) as caught:
            call(*arguments)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        return caught.exception.details()

    def doc(self, name, key, **fields):
        metadata = fields.pop("metadata", None)
        vector = fields.pop("vector", None)
        ttl = fields.pop("ttl", None)
        document = self.values.Document(name=f"collections/{name}/documents/{key}", **fields)
        if metadata is not None:
            document.metadata.update(metadata)
        if vector is not None:
            document.vector.values.extend(vector)
        if ttl is not None:
            document.ttl.FromMilliseconds(int(ttl * 1000))
        return document

    def create(self, name, key, **fields):
        return self.documents.CreateDocument(
            self.document.CreateDocumentRequest(parent=f"collections/{name}", document=self.doc(name, key, **fields))
        )

    def update(self, name, key, paths, allow_missing=False, **fields):
        request = self.document.UpdateDocumentRequest(
            document=self.doc(name, key, **fields), allow_missing=allow_missing
        )
        request.update_mask.paths.extend(paths)
        return self.documents.UpdateDocument(request)

    def get(self, name, key, *paths):
        request = self.document.GetDocumentRequest(name=f"collections/{name}/documents/{key}")
        request.read_mask.paths.extend(paths)
        return self.documents.GetDocument(request).document

    def delete(self, name, key, **fields):
        return self.documents.DeleteDocument(
            self.document.DeleteDocumentRequest(name=f"collections/{name}/documents/{key}", **fields)
        )

    def count(self, name):
        return self.documents.CountDocuments(self.document.CountDocumentsRequest(parent=f"collections/{name}")).count

    def ids(self, name):
        return [json.loads(line)["id"] for line in self.ok("export", name).splitlines()]

    def found(self, name, vector, k=100):
        request = self.search.SearchDocumentsRequest(parent=f"collections/{name}", top_k=k)
        request.vector.values.extend(vector)
        return [hit.document.id for hit in self.searches.SearchDocuments(request).hits]

    def test_create(self):
        name = self.collection()
        made = self.create(name, "a", vector=[1, 2], text="one").document
        self.assertEqual(made.etag, self.get(name, "a").etag)
        details = self.refused(CODE.ALREADY_EXISTS, lambda: self.create(name, "a", text="two"))
        self.assertIn("`a`", details)
        self.assertEqual(self.get(name, "a").text, "one")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            request = self.document.BatchUpsertDocumentsRequest(parent=f"collections/{name}")
            request.write_mode = self.values.WRITE_MODE_INSERT
            request.documents.extend(self.values.Document(id=f"n{i}", text="x") for i in range(50))
            replies = list(pool.map(lambda _: self.documents.BatchUpsertDocuments(request), range(8)))
        for i in range(50):
            codes = sorted(reply.results[i].status.code for reply in replies)
            self.assertEqual(codes, [0] + [CODE.ALREADY_EXISTS.value[0]] * 7)
        self.assertEqual(self.count(name), 51)
        request = self.document.BatchUpsertDocumentsRequest(parent=f"collections/{name}")
        request.write_mode = self.values.WRITE_MODE_REPLACE
        request.documents.extend([self.values.Document(id="n1", text="y"), self.values.Document(id="none")])
        codes = [result.status.code for result in self.documents.BatchUpsertDocuments(request).results]
        self.assertEqual(codes, [0, CODE.NOT_FOUND.value[0]])

    def test_request_id_lasts_until_a_restart(self):
        name = self.collection()
        request = self.document.BatchUpsertDocumentsRequest(parent=f"collections/{name}", request_id=str(uuid.uuid4()))
        request.write_mode = self.values.WRITE_MODE_INSERT
        request.documents.extend(self.values.Document(id=f"n{i}", text="x") for i in range(50))
        first, repeat = (self.documents.BatchUpsertDocuments(request) for _ in range(2))
        self.assertEqual([result.status.code for result in first.results], [0] * 50)
        self.assertEqual(first, repeat)
        self.restart()
        codes = [result.status.code for result in self.documents.BatchUpsertDocuments(request).results]
        self.assertEqual(codes, [CODE.ALREADY_EXISTS.value[0]] * 50)

    def test_etags(self):
        name = self.collection()
        first = self.create(name, "a", vector=[1, 2]).document.etag
        second = self.update(name, "a", ["text"], text="new", etag=first).document.etag
        self.assertNotEqual(first, second)
        for paths in (["text"], []):
            details = self.refused(CODE.ABORTED, lambda: self.update(name, "a", paths, text="no", etag=first))
            self.assertIn(first, details)
            self.assertIn(second, details)
        self.refused(CODE.ABORTED, lambda: self.delete(name, "a", etag=first))
        self.restart()
        self.assertEqual(self.get(name, "a").etag, second)
        listed = self.documents.ListDocuments(self.document.ListDocumentsRequest(parent=f"collections/{name}"))
        self.assertEqual(listed.documents[0].etag, second)
        self.delete(name, "a", etag=second)
        self.refused(CODE.NOT_FOUND, lambda: self.get(name, "a"))

    def test_field_masks(self):
        name = self.collection()
        self.create(name, "a", vector=[1, 2], text="text", metadata={"n": 1, "deep": {"x": 1, "y": [1, 2]}})
        self.update(name, "a", ["metadata.deep.x", "metadata.n"], metadata={"deep": {"x": "new"}})
        stored = self.get(name, "a", "text", "metadata", "vector")
        self.assertEqual(stored.text, "text")
        self.assertEqual(list(stored.vector.values), [1, 2])
        self.assertEqual(dict(stored.metadata["deep"]), {"x": "new", "y": [1, 2]})
        self.assertNotIn("n", stored.metadata)
        details = self.refused(CODE.INVALID_ARGUMENT, lambda: self.update(name, "a", ["text", "size"]))
        self.assertIn("size", details)
        self.refused(CODE.NOT_FOUND, lambda: self.update(name, "b", ["text"], text="x"))
        self.update(name, "b", ["metadata.k"], allow_missing=True, text="not named", metadata={"k": 7, "m": 1})
        self.assertEqual((self.get(name, "b").text, dict(self.get(name, "b").metadata)), ("", {"k": 7}))
        # Many writers, each with a field of its own: nothing is lost.
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            def change(i):
                while True:
                    try:
                        return self.update(name, "a", [f"metadata.f{i}"], metadata={f"f{i}": i})
                    except grpc.RpcError as error:
                        self.assertEqual(error.code(), CODE.ABORTED)
            list(pool.map(change, range(64)))
        metadata = self.get(name, "a").metadata
        self.assertEqual([metadata[f"f{i}"] for i in range(64)], list(range(64)))

    def test_without_vectors(self):
        name = self.collection()
        for i in range(20):
            self.create(name, f"plain{i}", text="only kept", metadata={"i": i})
        for i in range(5):
            self.create(name, f"v{i}", vector=[i, 0])
        for _ in range(2):
            self.assertEqual(self.count(name), 25)
            self.assertEqual(len(self.ids(name)), 25)
            self.assertEqual(self.found(name, [0, 0]), ["v0", "v1", "v2", "v3", "v4"])
            request = self.search.SearchDocumentsRequest(parent=f"collections/{name}", document_id="plain3")
            self.assertIn("plain3", self.refused(CODE.FAILED_PRECONDITION, self.searches.SearchDocuments, request))
            stats = json.loads(self.ok("--json", "collection", "stats", name))
            self.assertEqual(stats["live_documents"], 25)
            self.restart()
        # One gets a vector, one loses it.
        self.update(name, "plain3", ["vector"], vector=[-1, 0])
        self.update(name, "v4", ["vector"])
        self.assertEqual(self.get(name, "v4", "vector").vector.values, [])
        for _ in range(2):
            self.assertEqual(self.found(name, [0, 0], 1), ["v0"])
            self.assertEqual(set(self.found(name, [0, 0])), {"v0", "v1", "v2", "v3", "plain3"})
            self.assertEqual(self.count(name), 25)
            self.restart()

    def test_expiry(self):
        name = self.collection()
        self.refused(CODE.INVALID_ARGUMENT, lambda: self.create(name, "x", ttl=0))
        past = self.doc(name, "x")
        past.expire_time.GetCurrentTime()
        request = self.document.UpdateDocumentRequest(document=past, allow_missing=True)
        self.assertIn("expire_time", self.refused(CODE.INVALID_ARGUMENT, self.documents.UpdateDocument, request))
        past.ttl.FromSeconds(5)
        request = self.document.UpdateDocumentRequest(document=past, allow_missing=True)
        self.assertIn("ttl", self.refused(CODE.INVALID_ARGUMENT, self.documents.UpdateDocument, request))

        for i in range(10):
            self.create(name, f"stays{i}", vector=[i, 1])
        goes = [self.create(name, f"goes{i}", vector=[i, 0], ttl=1.5).document for i in range(10)]
        self.create(name, "plain", text="no vector", ttl=1.5)
        later = self.create(name, "later", vector=[0, 2], ttl=3600).document
        self.assertGreater(later.expire_time.seconds, time.time() + 3000)
        # This one is to live on after all.
        self.update(name, "goes0", ["expire_time"])
        self.assertEqual(self.count(name), 22)
        self.assertEqual(len(self.found(name, [0, 0])), 21)
        end = goes[-1].expire_time
        while time.time() < end.seconds + end.nanos / 1e9 + 0.1:
            time.sleep(0.01)
        # Whether or not they have been taken away by now.
        self.assertEqual(self.count(name), 12)
        expected = {"goes0", "later"} | {f"stays{i}" for i in range(10)}
        self.assertEqual(set(self.found(name, [0, 0])), expected)
        self.assertEqual(set(self.ids(name)), expected)
        self.refused(CODE.NOT_FOUND, lambda: self.get(name, "goes3"))
        self.assertEqual(self.create(name, "goes3", vector=[3, 0]).document.HasField("expire_time"), False)

    def test_expiry_over_kills(self):
        name = self.collection()
        for i in range(200):
            self.create(name, f"d{i}", vector=[i, 0] if i % 2 else None, ttl=1 if i % 4 < 2 else 3600)
        last = time.time()
        self.restart()
        while time.time() < last + 1:
            time.sleep(0.01)
        expected = {f"d{i}" for i in range(200) if i % 4 >= 2}
        for _ in range(3):
            self.assertEqual(self.count(name), 100)
            self.assertEqual(set(self.ids(name)), expected)
            self.assertEqual(set(self.found(name, [0, 0], 200)), {f"d{i}" for i in range(200) if i % 4 == 3})
            self.restart()
        # What has expired is taken away, not only hidden.
        before = self.expired()
        for i in range(10):
            self.create(name, f"short{i}", vector=[i, 5], ttl=0.05)
        deadline = time.time() + 30
        while self.expired() < before + 10:
            self.assertLess(time.time(), deadline)
            time.sleep(0.05)
        self.assertEqual(self.count(name), 100)

    def expired(self):
        with urllib.request.urlopen(f"http://{self.workspace.server.admin}/metrics") as reply:
            lines = reply.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("vecino_documents_expired_total"))

    def test_texts(self):
        if self.models is None:
            self.skipTest(f"no {client_support.MODEL} in VECINO_MODEL_ROOT")
        name = self.collection("--model", client_support.MODEL)
        self.assertGreater(self.create(name, "a", text="a small animal that purrs").token_count, 0)
        self.create(name, "b", text="a large vessel for the sea")
        self.assertEqual(self.create(name, "empty").token_count, 0)
        before = list(self.get(name, "a", "vector").vector.values)
        # Only metadata: nothing is embedded, and the vector stays bit for bit.
        self.assertEqual(self.update(name, "a", ["metadata.k"], metadata={"k": 1}).token_count, 0)
        self.assertEqual(list(self.get(name, "a", "vector").vector.values), before)
        self.assertGreater(self.update(name, "a", ["text"], text="a tree in the garden").token_count, 0)
        self.assertEqual(dict(self.get(name, "a").metadata), {"k": 1})

        def nearest(text):
            request = self.search.SearchDocumentsRequest(parent=f"collections/{name}", text=text, top_k=3)
            return [hit.document.id for hit in self.searches.SearchDocuments(request).hits]

        self.assertEqual(nearest("oak"), ["a", "b"])
        self.assertEqual(nearest("ship"), ["b", "a"])
        self.update(name, "a", ["text"])  # cleared: the vector goes with it
        self.assertEqual(nearest("oak"), ["b"])
        self.assertEqual(self.count(name), 3)

    def test_command_line(self):
        name = self.collection()
        lines = [{"id": "a", "vector": [1, 0], "ttl": "1h"}, {"id": "b", "text": "t", "expire_time": "2200-01-31T12:00:00Z"}]
        jsonl = "".join(json.dumps(line) + "\n" for line in lines)
        self.ok("load", name, "-", stdin=jsonl)
        stored = json.loads(self.ok("--json", "get", name, "b"))
        self.assertEqual(stored["expire_time"], "2200-01-31T12:00:00Z")
        self.assertTrue(stored["etag"])
        self.assertIn("expires", self.ok("get", name, "a"))
        again = self.vecino("load", "--insert-only", name, "-", stdin=jsonl + '{"id": "c", "text": "new"}\n')
        self.assertEqual(again.returncode, 1)
        self.assertIn("loaded 1, failed 2", again.stdout)
        self.assertEqual(again.stderr.count("ALREADY_EXISTS"), 2)
        bad = self.vecino("load", name, "-", stdin='{"id": "x", "ttl": "soon"}\n{"id": "y", "expire_time": "2020-01-01T00:00:00Z"}\n')
        self.assertEqual(bad.returncode, 1)
        self.assertIn("soon", bad.stderr)
        self.assertIn("expire_time", bad.stderr)

        self.ok("update", name, "a", "--metadata", '{"k": 1, "o": {"p": 2}}', "--text", "words", "--never-expire")
        self.ok("update", name, "a", "--unset", "o.p", "--ttl", "2d")
        stored = json.loads(self.ok("--json", "get", "--with-vector", name, "a"))
        self.assertEqual((stored["text"], stored["metadata"], stored["vector"]), ("words", {"k": 1, "o": {}}, [1, 0]))
        self.assertIn("expire_time", stored)
        stale = self.vecino("update", name, "a", "--text", "x", "--etag", "1-1")
        self.assertEqual((stale.returncode, "ABORTED" in stale.stderr), (1, True))
        self.assertEqual(self.vecino("update", name, "a").returncode, 2)
        self.assertEqual(self.vecino("update", name, "none", "--text", "x").returncode, 1)
        made = json.loads(self.ok("--json", "update", name, "none", "--create", "--replace-metadata", '{"z": null}'))
        self.assertEqual(made["etag"], json.loads(self.ok("--json", "get", name, "none"))["etag"])
        # What is exported can be loaded again, expiry and all.
        exported = self.ok("export", name, "--with-vector")
        copy = self.collection()
        self.ok("load", copy, "-", stdin=exported)
        self.assertEqual(self.ok("export", copy, "--with-vector"), exported)


if __name__ == "__main__":
    unittest.main(verbosity=2)
