"""OpenAI's embeddings API on the admin port of the real server: the same vectors as gRPC's, errors, load, start, stop."""

import base64
import concurrent.futures
import json
import statistics
import struct
import threading
import time
import unittest
import urllib.error
import urllib.request

import client_support
import grpc_stubs  # first: without grpcio it ends the test as skipped
import grpc  # isort: skip

MODEL = client_support.MODEL
INT8 = MODEL + "@int8"
TEXTS = ["a chess program", "", "Café, 42\n\ttabs \"quotes\" \\ and 日本", "cheap flights to Lisbon " * 100]
# Takes some seconds with seven others, and a fraction of one alone.
SLOW = {"model": INT8, "input": [f"{i} " + "a long text about spiders and compilers " * 30 for i in range(16)]}


def ask(server, path, body=None, method=None, headers=None):
    """Status, headers and JSON (text where it is none) of the reply; body: bytes, or what becomes JSON."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    request = urllib.request.Request(f"http://{server.admin}{path}", body, headers or {}, method=method)
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


def as_floats(values):
    """As the 32-bit floats they stand for."""
    return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))


class OpenAiApiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        models = client_support.need_model_root()
        grpc_stubs.generate()
        cls.pb = grpc_stubs.load("embedding_service_pb2")
        cls.workspace = client_support.Workspace(models)
        cls.server = cls.workspace.__enter__().server
        cls.addClassCleanup(cls.workspace.__exit__)
        channel = grpc.insecure_channel(cls.server.address)
        cls.addClassCleanup(channel.close)
        cls.stub = grpc_stubs.load("embedding_service_pb2_grpc").EmbeddingServiceStub(channel)

    def embed(self, expect=200, **body):
        status, _, reply = ask(self.server, "/v1/embeddings", body)
        self.assertEqual(status, expect, reply)
        return reply

    def by_grpc(self, **fields):
        return self.stub.EmbedText(self.pb.EmbedTextRequest(**fields))

    def test_the_same_vectors_as_by_grpc(self):
        for model, query in ((INT8, False), (INT8, True), (MODEL, False)):
            with self.subTest(model=model, query=query):
                expected = self.by_grpc(model=f"models/{model}", texts=TEXTS, input_type=1 if query else 2)
                words = {"input_type": "query" if query else "document"}
                numbers = self.embed(model=model, input=TEXTS, **words)
                packed = self.embed(model=f"models/{model}", input=TEXTS, encoding_format="base64", user="u", **words)
                self.assertEqual(numbers["model"], model)
                self.assertEqual(numbers["object"], "list")
                tokens = sum(one.token_count for one in expected.embeddings)
                self.assertEqual(numbers["usage"], {"prompt_tokens": tokens, "total_tokens": tokens})
                for i, one in enumerate(expected.embeddings):
                    wanted = list(one.vector.values)
                    self.assertEqual(len(wanted), 384)
                    self.assertEqual(numbers["data"][i]["index"], i)
                    floats = as_floats(numbers["data"][i]["embedding"])
                    unpacked = list(struct.unpack("<384f", base64.b64decode(packed["data"][i]["embedding"])))
                    if model == INT8:
                        self.assertEqual(floats, wanted)
                        self.assertEqual(unpacked, wanted)
                    else:  # in fp32 a vector depends on its batch in the last bits
                        for got in (floats, unpacked):
                            self.assertLess(max(abs(a - b) for a, b in zip(got, wanted)), 1e-5)

    def test_dimensions_and_one_text(self):
        reply = self.embed(model=INT8, input=TEXTS[0], dimensions=64)
        expected = self.by_grpc(model=f"models/{INT8}", texts=TEXTS[:1], dimensions=64)
        self.assertEqual(len(reply["data"]), 1)
        self.assertEqual(as_floats(reply["data"][0]["embedding"]), list(expected.embeddings[0].vector.values))

    def test_timings_by_grpc(self):
        seconds = lambda part: part.ToTimedelta().total_seconds()
        reply = self.by_grpc(model=f"models/{MODEL}", texts=TEXTS)
        self.assertGreater(seconds(reply.timings.tokenize), 0)
        self.assertGreater(seconds(reply.timings.compute), 0)
        self.assertLess(seconds(reply.timings.queue), seconds(reply.duration))
        for first in (True, False):
            reply = self.by_grpc(model=f"models/{MODEL}", texts=["asked twice"], input_type=1)
            self.assertEqual(seconds(reply.timings.compute) > 0, first, "the second is in the cache")

    def test_timings_on_the_command_line(self):
        run = lambda *arguments: client_support.vecino(self.server.address, *arguments).stdout.splitlines()
        lines = run("--json", "embed", "a", "b", "--model", MODEL, "--timings")
        self.assertEqual([json.loads(line)["text"] for line in lines[:2]], ["a", "b"])
        timings = json.loads(lines[2])["timings"]
        self.assertEqual(set(timings), {"tokenize_ms", "queue_ms", "compute_ms"})
        self.assertGreater(timings["compute_ms"], 0)
        self.assertRegex(run("embed", "a", "--model", MODEL, "--timings")[-1], "^tokenize .+, queue .+, compute .+ ms$")
        self.assertEqual(len(run("--json", "embed", "a", "--model", MODEL)), 1)

    def test_models(self):
        status, _, reply = ask(self.server, "/v1/models")
        self.assertEqual(status, 200)
        self.assertEqual(reply["object"], "list")
        self.assertLessEqual({MODEL, INT8}, {model["id"] for model in reply["data"]})
        self.assertEqual({model["owned_by"] for model in reply["data"]}, {"vecino"})

    def test_what_is_wrong_is_named(self):
        long = "word " * 300
        for status, param, part, body in (
            (400, "input", "missing", {"model": MODEL}),
            (400, "input", "1", {"model": MODEL, "input": []}),
            (400, "input", "1000", {"model": MODEL, "input": ["x"] * 1001}),
            (400, "input[0]", "token ids", {"model": MODEL, "input": [15339, 1917]}),
            (400, "input[1]", "1048577", {"model": MODEL, "input": ["a", "x" * (1048576 + 1)]}),
            (400, "input", "256", {"model": MODEL, "input": long, "truncate": "error"}),
            (400, "input[1]", "256", {"model": MODEL, "input": ["a", long], "truncate": "error"}),
            (400, "dimensions", "384", {"model": MODEL, "input": "a", "dimensions": 385}),
            (400, "encoding_format", "float", {"model": MODEL, "input": "a", "encoding_format": "int8"}),
            (400, "input_type", "query", {"model": MODEL, "input": "a", "input_type": "q"}),
            (400, "colour", "not known", {"model": MODEL, "input": "a", "colour": "red"}),
            (404, "model", MODEL, {"model": "text-embedding-3-small", "input": "a"}),
            (400, None, "not JSON", b'{"input": "a"'),
            (400, None, "object", b"[]"),
        ):
            with self.subTest(part=part, param=param):
                got, headers, reply = ask(self.server, "/v1/embeddings", body)
                self.assertEqual(got, status, reply)
                self.assertEqual(headers["Content-Type"], "application/json")
                self.assertEqual(set(reply["error"]), {"message", "type", "param", "code"})
                self.assertEqual(reply["error"]["type"], "invalid_request_error")
                self.assertEqual(reply["error"]["param"], param, reply)
                self.assertIn(part, reply["error"]["message"])
        reply = self.embed(404, model="x", input="a")
        self.assertEqual(reply["error"]["code"], "model_not_found")
        for status, path, method, body in (
            (405, "/v1/embeddings", "GET", None),
            (405, "/v1/embeddings", "PUT", b"{}"),
            (405, "/v1/models", "POST", b"{}"),
            (404, "/v1/chat/completions", "POST", b"{}"),
            (404, "/v1/embedding", "GET", None),
            (413, "/v1/embeddings", "POST", b" " * ((16 << 20) + 1)),
        ):
            with self.subTest(path=path, method=method):
                got, _, reply = ask(self.server, path, body, method)
                self.assertEqual(got, status)
                self.assertEqual(reply["error"]["type"], "invalid_request_error")
        self.assertEqual(ask(self.server, "/healthz")[0], 200)

    def test_the_largest_body_is_taken(self):
        # Refused by the model's rule and not for its size; so nothing is computed.
        body = json.dumps({"model": INT8, "truncate": "error", "input": ["word " * 3000] * 1000}).encode()
        status, _, reply = ask(self.server, "/v1/embeddings", body + b" " * ((16 << 20) - len(body)))
        self.assertEqual((status, reply["error"]["param"]), (400, "input[0]"), reply)

    def test_probes_do_not_wait_for_embeddings(self):
        callers = 14
        refused = threading.Semaphore(0)

        def call():
            begin = time.monotonic()
            status, headers, reply = ask(self.server, "/v1/embeddings", SLOW)
            if status == 429:
                self.assertGreaterEqual(int(headers["Retry-After"]), 1)
                self.assertEqual(reply["error"]["code"], "rate_limit_exceeded")
                refused.release()
            return status, time.monotonic() - begin

        with concurrent.futures.ThreadPoolExecutor(callers) as pool:
            calls = [pool.submit(call) for _ in range(callers)]
            for _ in range(callers - 8):
                self.assertTrue(refused.acquire(timeout=60))
            times = {"/healthz": [], "/readyz": [], "/metrics": []}
            for path in list(times) * 20:
                begin = time.monotonic()
                self.assertEqual(ask(self.server, path)[0], 200)
                times[path].append(1e3 * (time.monotonic() - begin))
            running = sum(not one.done() for one in calls)
            statuses = [one.result() for one in calls]
        for path, took in times.items():
            print(f"beside {running} embedding requests {path} takes {statistics.median(took):.1f} ms, at most {max(took):.1f}")
            self.assertLess(max(took), 1000)
        print("8 requests of 16 long texts took", " ".join(f"{took:.1f}" for status, took in statuses if status == 200), "s")
        print("6 were refused after", " ".join(f"{1e3 * took:.0f}" for status, took in statuses if status == 429), "ms")
        self.assertEqual(sorted(status for status, _ in statuses), [200] * 8 + [429] * (callers - 8))
        self.assertGreater(running, 0, "the probes outlasted the requests: nothing was measured")
        metrics = ask(self.server, "/metrics")[2]
        self.assertIn('vecino_rpc_calls_total{code="RESOURCE_EXHAUSTED",method="/v1/embeddings"}', metrics)

    def test_only_while_it_serves(self):
        models = client_support.model_root()
        with client_support.Workspace(models) as workspace:
            server = workspace.server
            server.stop()
            # Again, to see it load: its ports are known before its models are there.
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                server.admin = None
                started = pool.submit(server.start)
                while server.admin is None and not started.done():
                    time.sleep(0.001)
                seen = []
                while not seen or seen[-1] != 200:
                    status, headers, reply = ask(server, "/v1/embeddings", {"model": MODEL, "input": "a"})
                    seen.append(status)
                    self.assertIn(status, (200, 503), reply)
                    if status == 503:
                        self.assertIn("loading", reply["error"]["message"])
                        self.assertGreaterEqual(int(headers["Retry-After"]), 1)
                self.assertIn(503, seen, "it never said that it loads")
                started.result()

                # A stop lets what runs come to its end and takes nothing new.
                slow = pool.submit(ask, server, "/v1/embeddings", SLOW)
                metric = "vecino_encoder_queued_tokens 0\n"
                while metric in ask(server, "/metrics")[2] and not slow.done():
                    time.sleep(0.001)
                self.assertFalse(slow.done())
                stopped = pool.submit(server.stop)
                while ask(server, "/readyz")[0] == 200:
                    time.sleep(0.001)
                status, _, reply = ask(server, "/v1/embeddings", {"model": MODEL, "input": "a"})
                self.assertEqual(status, 503)
                self.assertIn("stopping", reply["error"]["message"])
                self.assertEqual(slow.result()[0], 200)
                self.assertEqual(stopped.result(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
