"""Every unary RPC over HTTP in JSON, on the real server: what gRPC says, errors of every kind, hostile bodies."""

import concurrent.futures
import gzip
import json
import re
import time
import unittest
import urllib.error
import urllib.request

import client_support
import grpc_stubs  # first: without grpcio it ends the test as skipped
import grpc  # isort: skip
from google.protobuf import descriptor_pool, json_format  # isort: skip

DOCUMENTS = [
    {"id": "a", "text": "a chess program", "metadata": {"year": 2020, "tags": ["game", None, {"x": [True]}]},
     "vector": {"values": [1, 0, 0.25]}},
    {"id": "b", "text": "Café, 42\n\ttabs \"quotes\" \\ and 日本 😀", "metadata": {}, "vector": {"values": [0, 1, 0]}},
    {"id": "c/ä ?#%", "text": "", "vector": {"values": [0, 0.1, 1]}},
]  # fmt: skip
JSON = {"Content-Type": "application/json"}


def ask(server, path, body=None, method=None, headers=None):
    """Status, headers and JSON (text where it is none) of the reply; body: bytes, or what becomes JSON."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    request = urllib.request.Request(f"http://{server.admin}{path}", body, JSON if headers is None else headers,
                                     method=method)  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:
            status, heads, text = reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            status, heads, text = error.code, error.headers, error.read()
    try:
        return status, heads, json.loads(text)
    except ValueError:
        return status, heads, text.decode()


def without_times(value):
    """The same JSON without what differs from call to call."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in ("timings", "duration", "workerQueue")}
    return [without_times(v) for v in value] if isinstance(value, list) else value


class HttpApiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.models = client_support.model_root()
        grpc_stubs.generate()
        cls.modules = {}
        for name in ("collection_service", "document_service", "search_service", "embedding_service", "admin_service", "index_operation"):
            cls.modules[name] = grpc_stubs.load(name + "_pb2")
        cls.workspace = client_support.Workspace(cls.models, ["--grpc-max-message-bytes", "1MiB"])
        cls.server = cls.workspace.__enter__().server
        cls.addClassCleanup(cls.workspace.__exit__)
        cls.channel = grpc.insecure_channel(cls.server.address)
        cls.addClassCleanup(cls.channel.close)
        cls.services = [s for m in cls.modules.values() for s in m.DESCRIPTOR.services_by_name.values()]
        pool = descriptor_pool.Default()
        cls.services.append(pool.FindServiceByName("google.longrunning.Operations"))
        cls.ok("CollectionService/CreateCollection", {"collectionId": "c", "collection": {"dimension": 3}})
        cls.ok("DocumentService/BatchUpsertDocuments", {"parent": "collections/c", "documents": DOCUMENTS})

    @classmethod
    def call(cls, method, body, headers=None):
        return ask(cls.server, "/v1/" + method, body, headers={**JSON, **(headers or {})})

    @classmethod
    def ok(cls, method, body):
        status, heads, reply = cls.call(method, body)
        assert status == 200 and heads["Content-Type"] == "application/json", (method, status, reply)
        return reply

    def fails(self, method, body, http_status, code, part="", field=None, headers=None):
        status, heads, reply = self.call(method, body, headers)
        self.assertEqual((status, reply.get("code")), (http_status, code), reply)
        self.assertEqual(heads["Content-Type"], "application/json")
        self.assertIn(part, reply["message"])
        fields = [v["field"] for d in reply.get("details", []) for v in d.get("fieldViolations", [])]
        self.assertEqual(fields, [field] if field else [], reply)
        return heads, reply

    def types(self, method):
        service, name = method.split("/")
        descriptor = next(s for s in self.services if s.name == service).methods_by_name[name]
        messages = [json_format_class(t) for t in (descriptor.input_type, descriptor.output_type)]
        return descriptor, *messages

    def by_grpc(self, method, body):
        """The reply by gRPC to the same JSON, as JSON; an error as its code and message."""
        descriptor, request, response = self.types(method)
        call = self.channel.unary_unary(
            f"/{descriptor.containing_service.full_name}/{descriptor.name}",
            request_serializer=request.SerializeToString, response_deserializer=response.FromString)  # fmt: skip
        try:
            return json_format.MessageToDict(call(json_format.ParseDict(body, request()), timeout=60))
        except grpc.RpcError as error:
            return {"code": error.code().value[0], "message": error.details()}

    def same(self, method, body):
        status, _, reply = self.call(method, body)
        wanted = self.by_grpc(method, body)
        if status != 200:
            reply = {"code": reply["code"], "message": reply["message"]}
        self.assertEqual(without_times(reply), without_times(wanted), method)
        return reply

    def test_replies_are_those_of_grpc(self):
        search = {"parent": "collections/c", "vector": {"values": [1, 0.5, 0.3]}}
        reply = self.same("SearchService/SearchDocuments", {**search, "topK": 2})
        self.assertEqual(reply["hits"][0]["document"]["metadata"], DOCUMENTS[0]["metadata"])
        self.same("SearchService/SearchDocuments", {**search, "readMask": "id,vector"})
        self.same("SearchService/SearchDocuments", {"parent": "collections/c", "documentId": "a", "readMask": "id"})
        self.same("DocumentService/GetDocument", {"name": "collections/c/documents/b", "readMask": "text,vector"})
        self.same("DocumentService/BatchGetDocuments", {"parent": "collections/c", "ids": ["c/ä ?#%", "a", "none"]})
        self.same("DocumentService/ListDocuments", {"parent": "collections/c"})
        self.same("DocumentService/CountDocuments", {"parent": "collections/c"})
        self.same("CollectionService/GetCollection", {"name": "collections/c"})
        self.same("CollectionService/ListCollections", {})
        self.same("CollectionService/GetCollectionStats", {"name": "collections/c"})
        given = {"name": "collections/c", "vectors": [{"values": [1, 0.5, 0.3]}, {"values": [0, 1, 1]}], "topK": 2}
        for times in ("searchTime", "exactTime"):
            self.assertRegex(self.ok("CollectionService/EvaluateRecall", given)[times], r"^[\d.]+s$")
        self.same("CollectionService/EvaluateRecall", {**given, "topK": 0})
        self.same("CollectionService/CompactIndex", {"name": "collections/c", "validateOnly": True})
        self.same("EmbeddingService/ListModels", {})
        for method, body in (
            ("SearchService/SearchDocuments", {**search, "topK": 5000}),
            ("SearchService/SearchDocuments", {"parent": "collections/c"}),
            ("SearchService/SearchDocuments", {"parent": "collections/none", "vector": {"values": [1]}}),
            ("SearchService/SearchDocuments", {"parent": "collections/c", "vector": {"values": [1, 2]}}),
            ("DocumentService/GetDocument", {"name": "collections/c/documents/none"}),
            ("DocumentService/GetDocument", {"name": "nonsense"}),
            ("CollectionService/CreateCollection", {"collectionId": "c", "collection": {"dimension": 3}}),
            ("EmbeddingService/GetModel", {"name": "models/none"}),
            ("Operations/GetOperation", {"name": "collections/c/operations/none"}),
        ):
            self.assertIn("code", self.same(method, body))

    def test_documents_come_and_go(self):
        self.ok("CollectionService/CreateCollection", {"collection_id": "d", "collection": {"dimension": 2}})
        name = "collections/d"
        batch = [{"id": f"{i:03}", "vector": {"values": [i, 1]}, "metadata": {"i": i}} for i in range(250)]
        reply = self.ok("DocumentService/BatchUpsertDocuments", {"parent": name, "documents": batch})
        self.assertEqual(len(reply["results"]), 250)
        self.assertIsInstance(reply["results"][0]["writeToken"]["sequenceNumber"], str)
        seen, token = [], ""
        while True:
            page = self.ok("DocumentService/ListDocuments", {"parent": name, "pageSize": 60, "pageToken": token})
            seen += [d["id"] for d in page["documents"]]
            token = page.get("nextPageToken", "")
            if not token:
                break
        self.assertEqual(sorted(seen), [d["id"] for d in batch])
        update = {"document": {"name": name + "/documents/007", "vector": {"float32Le": "AACAPwAAAEA="}}}
        written = self.ok("DocumentService/UpdateDocument", update)
        search = {"parent": name, "vector": {"values": [1, 2]}, "topK": 1, "writeTokens": [written["writeToken"]],
                  "readMask": "id"}  # fmt: skip
        self.assertEqual(self.ok("SearchService/SearchDocuments", search)["hits"][0]["document"]["id"], "007")
        self.ok("DocumentService/DeleteDocument", {"name": name + "/documents/007"})
        reply = self.ok("DocumentService/BatchDeleteDocuments", {"parent": name, "ids": ["008", "none"]})
        self.assertEqual([r["status"].get("code", 0) for r in reply["results"]], [0, 5])
        self.assertEqual(self.ok("DocumentService/CountDocuments", {"parent": name}), {"count": "248"})
        operation = self.ok("CollectionService/CompactIndex", {"name": name})
        done = self.ok("Operations/WaitOperation", {"name": operation["name"], "timeout": "60s"})
        self.assertTrue(done["done"], done)
        self.assertTrue(done["metadata"]["@type"].startswith("type.googleapis.com/vecino.v1."), done)
        self.ok("CollectionService/DeleteCollection", {"name": name})
        self.fails("CollectionService/GetCollection", {"name": name}, 404, 5)

    def test_search_by_text(self):
        if self.models is None:
            self.skipTest(f"no {client_support.MODEL} in VECINO_MODEL_ROOT")
        model = f"models/{client_support.MODEL}"
        self.ok("CollectionService/CreateCollection", {"collectionId": "t", "collection": {"embedding": {"model": model}}})
        texts = ["how to boil an egg", "a chess program", "cheap flights to Lisbon"]
        documents = [{"id": str(i), "text": text} for i, text in enumerate(texts)]
        self.ok("DocumentService/BatchUpsertDocuments", {"parent": "collections/t", "documents": documents})
        reply = self.same("SearchService/SearchDocuments", {"parent": "collections/t", "text": "play a board game"})
        self.assertEqual(reply["hits"][0]["document"]["text"], texts[1])

    def test_every_unary_method_is_there(self):
        paths = ask(self.server, "/openapi.json")[2]["paths"]
        found = 0
        for service in self.services:
            for method in service.methods:
                path = f"{service.name}/{method.name}"
                streams = method.client_streaming or method.server_streaming
                self.assertEqual("/v1/" + path in paths, not streams, path)
                status, _, reply = self.call(path, {})
                if streams:
                    self.assertEqual((status, reply["code"]), (501, 12), path)
                    self.assertIn("gRPC", reply["message"])
                    continue
                found += 1
                if status != 200:
                    # As by gRPC, be it that the server has it not.
                    reply = {"code": reply["code"], "message": reply["message"]}
                self.assertEqual(without_times(reply).keys(), without_times(self.by_grpc(path, {})).keys(), path)
        self.assertEqual(found, len(paths))

    def test_errors_of_each_kind(self):
        search = "SearchService/SearchDocuments"
        upsert = "DocumentService/BatchUpsertDocuments"
        good = {"parent": "collections/c", "vector": {"values": [1, 2, 3]}}
        for body in (b"", b"{", b"{'a': 1}", b'{"topK": 1,}', b'{"parent": "\xff"}', b'{"parent": "\xed\xa0\x80"}', b"{} {}",
                     b"\x00", b"nonsense"):  # fmt: skip
            self.fails(search, body, 400, 3, "is not JSON")
        self.fails(search, b"[]", 400, 3, "is an array; it must be an object")
        self.fails(search, {**good, "topk": 3}, 400, 3, "is not a field of", field="topk")
        self.fails(search, {**good, "vector": {"valuez": []}}, 400, 3, "is not a field of", field="vector.valuez")
        self.fails(search, {**good, "topK": "many"}, 400, 3, field="top_k")
        self.fails(search, {**good, "topK": 2.5}, 400, 3, field="top_k")
        self.fails(search, {**good, "topK": []}, 400, 3, "is an array; it must be a whole number", field="top_k")
        self.fails(search, {**good, "text": "x"}, 400, 3, "are both set", field="text")
        self.fails(search, b'{"topK": 1, "topK": 1}', 400, 3, "stands twice", field="top_k")
        self.fails(search, {**good, "topK": 0}, 400, 3, field="top_k")  # the handler's own
        self.fails(upsert, {"parent": "collections/c", "documents": [{}, {"id": 5}]}, 400, 3, field="documents[1].id")
        self.fails("CollectionService/GetCollection", {"name": "collections/none"}, 404, 5)
        self.fails("CollectionService/CreateCollection", {"collectionId": "c", "collection": {"dimension": 3}}, 409, 6)
        self.fails("SearchService/Nothing", {}, 404, 5, "the methods of SearchService are")
        self.fails("NoService/Nothing", {}, 404, 5, "services are")
        self.fails("SearchService", {}, 404, 5)
        for path in ("/", "/nosuch"):
            status, heads, reply = ask(self.server, path)
            self.assertEqual((status, heads["Content-Type"], reply["code"]), (404, "application/json", 5), reply)
            self.assertIn("GET /v1/models, /metrics", reply["message"])
        self.fails("DocumentService/StreamDocuments", {}, 501, 12, "call it by gRPC")
        self.fails(search, good, 504, 4, "the deadline passed", headers={"Grpc-Timeout": "0m"})
        self.fails(search, good, 504, 4, "the deadline passed", headers={"X-Request-Timeout": "0.000001s"})
        self.fails(search, good, 400, 3, "X-Request-Timeout", headers={"X-Request-Timeout": "soon"})
        self.fails(search, {"parent": "x" * (1 << 20)}, 413, 8, "more than 1048576 bytes")
        zeros = b'{"parent": "collections/c", "documents": [{"metadata": {"a": [' + b"0," * 200000 + b"0]}}]}"
        self.fails(upsert, zeros, 429, 8, "as a message the request takes more than")
        status, heads, reply = ask(self.server, "/v1/" + search, good, headers={"Content-Type": "text/plain"})
        self.assertEqual((status, reply["code"]), (415, 3))
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            status, heads, reply = ask(self.server, "/v1/" + search, method=method)
            self.assertEqual((status, reply["code"], heads["Allow"]), (405, 12, "POST"), method)
        # What is compressed counts as what it becomes.
        packed = {"Content-Encoding": "gzip"}
        self.assertEqual(self.call(search, gzip.compress(json.dumps(good).encode()), packed)[0], 200)
        self.fails(search, gzip.compress(b" " * (64 << 20)), 413, 8, headers=packed)
        self.fails(search, b"not gzip", 400, 3, headers=packed)
        self.assertEqual(ask(self.server, "/healthz", headers={})[0], 200)

    def test_depth(self):
        """Metadata as deep as it may be comes and goes; what is deeper is refused; a bomb harms nobody."""
        def nested(levels):
            return json.loads('{"a":' * (levels - 1) + '{"end":1}' + "}" * (levels - 1))

        def upsert(metadata):
            document = {"id": "deep", "vector": {"values": [0, 0, 9]}, "metadata": metadata}
            return self.call("DocumentService/BatchUpsertDocuments", {"parent": "collections/c", "documents": [document]})

        status, _, reply = upsert(nested(32))
        self.assertEqual((status, reply["results"][0].get("status", {}).get("code", 0)), (200, 0), reply)
        self.assertEqual(
            self.ok("DocumentService/GetDocument", {"name": "collections/c/documents/deep"})["document"]["metadata"],
            nested(32),
        )
        self.ok("DocumentService/DeleteDocument", {"name": "collections/c/documents/deep"})
        status, _, reply = upsert(nested(33))
        self.assertIn("deeper than 32 levels", json.dumps(reply))
        for bomb in (b"[" * 1000000, b'{"a":' * 200000, b'{"parent":' + b"[" * 1000000,
                     b'{"documents":[{"metadata":{"a":' + b"[" * 1000000,
                     b'{"documents":[{"metadata":' + b'{"a":' * 200000):  # fmt: skip
            status, _, reply = self.call("DocumentService/BatchUpsertDocuments", bomb)
            self.assertEqual((status, reply["code"]), (400, 3), bomb[:40])

    def test_calls_are_counted_with_those_by_grpc(self):
        def count(code):
            line = f'vecino_rpc_calls_total{{code="{code}",method="/vecino.v1.DocumentService/CountDocuments"}} '
            found = re.search(re.escape(line) + r"(\d+)", ask(self.server, "/metrics", headers={})[2])
            return int(found[1]) if found else 0

        before = count("OK"), count("INVALID_ARGUMENT")
        self.ok("DocumentService/CountDocuments", {"parent": "collections/c"})
        self.call("DocumentService/CountDocuments", {"nothing": 1})
        self.by_grpc("DocumentService/CountDocuments", {"parent": "collections/c"})
        self.assertEqual((count("OK"), count("INVALID_ARGUMENT")), (before[0] + 2, before[1] + 1))

    def test_many_at_once(self):
        """More callers than calls may run: each is served or told to come again, and none is lost."""
        body = {"parent": "collections/c", "vector": {"values": [1, 2, 3]}}

        def caller(_):
            served = refused = 0
            while served < 20:
                status, heads, reply = self.call("SearchService/SearchDocuments", body)
                if status == 429:
                    self.assertEqual(heads["Retry-After"], "1")
                    refused += 1
                    time.sleep(0.01)
                else:
                    self.assertEqual(status, 200, reply)
                    served += 1
            return served

        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            self.assertEqual(sum(pool.map(caller, range(40))), 800)

    def test_openapi(self):
        status, heads, document = ask(self.server, "/openapi.json", headers={})
        self.assertEqual((status, heads["Content-Type"]), (200, "application/json"))
        self.assertEqual(document["openapi"], "3.0.3")
        schemas = document["components"]["schemas"]

        def check(schema, where):
            """That a schema has the form that OpenAPI 3.0 gives it."""
            self.assertIsInstance(schema, dict, where)
            if "$ref" in schema:
                self.assertEqual(list(schema), ["$ref"], where)
                self.assertIn(schema["$ref"].removeprefix("#/components/schemas/"), schemas, where)
                return
            known = {"type", "format", "description", "enum", "items", "properties", "required", "additionalProperties",
                     "allOf", "nullable", "pattern", "minimum"}  # fmt: skip
            self.assertLessEqual(set(schema), known, where)
            self.assertIn(schema.get("type", "string"), ("string", "number", "integer", "boolean", "object", "array"), where)
            self.assertEqual(schema.get("type") == "array", "items" in schema, where)
            for name, inner in schema.get("properties", {}).items():
                check(inner, f"{where}.{name}")
            for part in schema.get("allOf", []):
                check(part, where)
            for key in ("items", "additionalProperties"):
                if isinstance(schema.get(key), dict):
                    check(schema[key], f"{where}.{key}")

        for name, schema in schemas.items():
            self.assertRegex(name, r"^[a-zA-Z0-9._-]+$")
            check(schema, name)
        ids = set()
        for path, item in document["paths"].items():
            self.assertEqual(list(item), ["post"])
            operation = item["post"]
            ids.add(operation["operationId"])
            self.assertTrue(operation["description"], path)
            check(operation["requestBody"]["content"]["application/json"]["schema"], path)
            check(operation["responses"]["200"]["content"]["application/json"]["schema"], path)
            self.assertEqual(operation["responses"]["default"], {"$ref": "#/components/responses/Error"})
            for parameter in operation["parameters"]:
                self.assertIn(parameter["$ref"].rpartition("/")[2], document["components"]["parameters"])
        self.assertEqual(len(ids), len(document["paths"]))
        # Every field of every message says what it is.
        bare = [f"{name}.{field}" for name, schema in schemas.items() if name.startswith("vecino.")
                for field, inner in schema.get("properties", {}).items() if not inner.get("description")]  # fmt: skip
        self.assertEqual(bare, [])

    def test_loading_and_stopping(self):
        """While it loads a call gets 503; a stop lets one that runs come to its end, and takes no other."""
        with client_support.Workspace(self.models) as workspace, concurrent.futures.ThreadPoolExecutor() as pool:
            server = workspace.server
            collection = {"collectionId": "c", "collection": {"dimension": 2}}
            self.assertEqual(ask(server, "/v1/CollectionService/CreateCollection", collection)[0], 200)
            # A search that waits for a write that never comes.
            waits = {"parent": "collections/c", "vector": {"values": [1, 2]},
                     "writeTokens": [{"shard": 0, "sequenceNumber": "1000000"}]}  # fmt: skip
            slow = pool.submit(ask, server, "/v1/SearchService/SearchDocuments", waits)
            while "vecino_rpc_in_flight 1\n" not in ask(server, "/metrics", headers={})[2]:
                self.assertFalse(slow.done(), slow)
                time.sleep(0.001)
            stopped = pool.submit(server.stop)
            status, _, reply = slow.result()
            self.assertEqual((status, reply["code"]), (503, 14), reply)
            self.assertEqual(stopped.result(), 0)

            server.admin = None
            started = pool.submit(server.start)
            while server.admin is None and not started.done():
                time.sleep(0.001)
            seen = []
            while not seen or seen[-1] != 200:
                status, heads, reply = ask(server, "/v1/CollectionService/ListCollections", {})
                seen.append(status)
                self.assertIn(status, (200, 503), reply)
                if status == 503:
                    self.assertEqual((reply["code"], heads["Retry-After"]), (14, "1"))
                    self.assertIn("loading", reply["message"])
            started.result()


def json_format_class(descriptor):
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(descriptor)


if __name__ == "__main__":
    unittest.main(verbosity=2)
