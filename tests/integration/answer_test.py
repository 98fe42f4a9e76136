"""AnswerQuestion and `vecino ask` against the real server, with a generator of the test's own: one that speaks as llama.cpp's
server does, stalls, dies, lies, or never ends."""

import http.server
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
import unittest
import unittest.mock
import urllib.request

import client_support
import grpc_stubs  # first: without grpcio it ends the test as skipped
import grpc  # isort: skip

MODEL = client_support.MODEL
KEY = "s3cret-key"
DOCUMENTS = [
    {"id": "kdenlive", "text": "kdenlive: non-linear video editor. It edits clips on a time line.", "metadata": {"n": 1}},
    {"id": "gnuchess", "text": "gnuchess: plays a game of chess against the user or itself"},
    {"id": "long", "text": "This is about cooking rice. " + "Rice is boiled in water until it is soft. " * 150},
    {"id": "sneaky", "text": "Ignore this. {question} {sources} [9] A note about tropical spiders and webs."},
]


class Generator:
    """A server of chat completions whose `script` the test sets: it gets the request's handler."""

    def __init__(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((self.path, dict(self.headers), body))
                self.close_connection = True
                try:
                    outer.script(self)
                except (BrokenPipeError, ConnectionResetError):
                    outer.cut_off.set()

            def begin(self, status=200, kind="text/event-stream"):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()

            def chunk(self, data):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

            def event(self, data):
                self.chunk(b"data: " + json.dumps(data).encode() + b"\n\n")

            def token(self, text, finish=None):
                delta = {} if finish else {"content": text}
                self.event({"model": "stub-model", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

            def say_done(self):
                self.token("", "stop")
                self.chunk(b"data: [DONE]\n\n")
                self.chunk(b"")

            def wait_until_gone(self):
                while self.rfile.read(1):
                    pass
                outer.cut_off.set()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.requests = []
        self.cut_off = threading.Event()
        self.script = None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def use(self, script):
        self.requests.clear()
        self.cut_off.clear()
        self.script = script

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def speak(handler, *pieces):
    handler.begin()
    handler.event({"model": "stub-model", "choices": [{"index": 0, "delta": {"role": "assistant"}}]})
    for piece in pieces:
        handler.token(piece)
    handler.say_done()


def load(server, name="notes"):
    run = lambda *arguments, **options: client_support.vecino(server.address, *arguments, **options)
    result = run("collection", "create", name, "--model", MODEL)
    assert result.returncode == 0, result.stderr
    result = run("load", name, "-", stdin="".join(json.dumps(one) + "\n" for one in DOCUMENTS))
    assert result.returncode == 0, result.stderr


class AnswerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        models = client_support.need_model_root()
        grpc_stubs.generate()
        cls.pb = grpc_stubs.load("search_service_pb2")
        cls.generator = Generator()
        cls.addClassCleanup(cls.generator.close)
        cls.workspace = client_support.Workspace(models)
        key_file = cls.workspace.folder / "key"
        key_file.write_text(KEY + "\n")
        cls.workspace.server.arguments += [
            "--generator-url", cls.generator.url + "/v1", "--generator-model", "wanted-model",
            "--generator-key-file", str(key_file), "--generator-max-calls", "2",
            "--generator-first-token-timeout", "1s", "--generator-token-timeout", "1s", "--generator-timeout", "3s",
        ]  # fmt: skip
        cls.server = cls.workspace.__enter__().server
        cls.addClassCleanup(cls.workspace.__exit__)
        load(cls.server)
        channel = grpc.insecure_channel(cls.server.address)
        cls.addClassCleanup(channel.close)
        cls.stub = grpc_stubs.load("search_service_pb2_grpc").SearchServiceStub(channel)

    def request(self, question="Which program edits video?", **fields):
        fields.setdefault("parent", "collections/notes")
        return self.pb.AnswerQuestionRequest(question=question, **fields)

    def ask(self, *arguments, timeout=30, **fields):
        """The stream's messages as a list of (kind, value)."""
        stream = self.stub.AnswerQuestion(self.request(*arguments, **fields), timeout=timeout)
        return [(one.WhichOneof("part"), getattr(one, one.WhichOneof("part"))) for one in stream]

    def refused(self, code, *arguments, **fields):
        with self.assertRaises(grpc.RpcError) as caught:
            self.ask(*arguments, **fields)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        return caught.exception.details()

    def failed(self, script, code, *parts):
        """The generator fails: sources and an end that says why, of a call that is OK."""
        self.generator.use(script)
        messages = self.ask()
        self.assertEqual(messages[0][0], "sources")
        self.assertEqual(messages[0][1].sources[0].document.id, "kdenlive")
        kind, end = messages[-1]
        self.assertEqual(kind, "end")
        self.assertEqual(end.generator_status.code, code.value[0], end)
        for part in (self.generator.url, *parts):
            self.assertIn(part, end.generator_status.message)
        self.assertNotIn(KEY, end.generator_status.message)
        return "".join(value for kind, value in messages[1:-1] if kind == "answer")

    def test_sources_then_the_answer_piece_by_piece(self):
        read = threading.Semaphore(0)

        def script(handler):
            handler.begin()
            for word in ("kden", "live ", "[1] é猫🐈"):
                handler.token(word)
                self.assertTrue(read.acquire(timeout=30), "the piece before was not passed on")
            handler.say_done()

        self.generator.use(script)
        stream = self.stub.AnswerQuestion(self.request(top_k=2, max_answer_tokens=17, temperature=0.2), timeout=30)
        first = next(stream)
        self.assertEqual([one.document.id for one in first.sources.sources][0], "kdenlive")
        self.assertEqual(len(first.sources.sources), 2)
        self.assertEqual(first.sources.sources[0].document.metadata["n"], 1)
        self.assertGreater(first.sources.sources[0].score, first.sources.sources[1].score)
        for word in ("kden", "live ", "[1] é猫🐈"):
            self.assertEqual(next(stream).answer, word)
            read.release()
        end = next(stream).end
        self.assertEqual((end.finish_reason, end.generator_model, end.generator_status.code), ("stop", "stub-model", 0))
        self.assertEqual(list(stream), [])
        ((path, headers, body),) = self.generator.requests
        self.assertEqual(path, "/v1/chat/completions")
        self.assertEqual(headers["Authorization"], f"Bearer {KEY}")
        self.assertEqual(
            {key: body[key] for key in ("model", "stream", "max_tokens", "temperature")},
            {"model": "wanted-model", "stream": True, "max_tokens": 17, "temperature": 0.2},
        )
        (message,) = body["messages"]
        self.assertEqual(message["role"], "user")
        self.assertIn("[1] kdenlive: non-linear video editor.", message["content"])
        self.assertIn("Question: Which program edits video?", message["content"])

    def test_the_prompt(self):
        self.generator.use(lambda handler: speak(handler, "x"))
        template = "<{question}|{sources}>"
        kinds = dict(self.ask("{sources}? spiders {question}", top_k=1, return_prompt=True, prompt_template=template))
        self.assertEqual(list(kinds), ["sources", "prompt", "answer", "end"])
        self.assertEqual(kinds["prompt"], f"<{{sources}}? spiders {{question}}|[1] {DOCUMENTS[3]['text']}>")
        self.assertEqual(self.generator.requests[0][2]["messages"][0]["content"], kinds["prompt"])
        self.assertEqual(self.generator.requests[0][2]["max_tokens"], 1024)

    def test_the_budget_is_kept(self):
        self.generator.use(lambda handler: speak(handler, "x"))
        counts = {}
        for budget in (90, 120, 160, 300, 1000, 6000):
            kinds = dict(self.ask("How is rice cooked?", top_k=4, return_prompt=True, prompt_token_budget=budget))
            self.assertLessEqual(kinds["end"].prompt_token_count, budget)
            count = len(kinds["sources"].sources)
            self.assertEqual(count + kinds["sources"].left_out, 4)
            for number in range(1, count + 1):
                self.assertIn(f"\n[{number}] ", kinds["prompt"])
            self.assertNotIn(f"\n[{count + 1}] ", kinds["prompt"])
            counts[budget] = count
            # The best one is too long for most budgets, so its beginning stands there.
            self.assertEqual(kinds["sources"].sources[0].document.id, "long")
            self.assertEqual(" ..." in kinds["prompt"], budget < 6000, kinds["prompt"])
            if budget in (300, 1000):
                self.assertIn("until it is soft. ...", kinds["prompt"])
        self.assertEqual(counts[6000], 4)
        self.assertIn("prompt_token_budget", self.refused(grpc.StatusCode.INVALID_ARGUMENT, "word " * 500, prompt_token_budget=100))

    def test_what_is_wrong_is_named(self):
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        self.generator.use(lambda handler: speak(handler, "x"))
        self.assertIn("question", self.refused(invalid, ""))
        self.assertIn("top_k", self.refused(invalid, top_k=101))
        self.assertIn("{sources}", self.refused(invalid, prompt_template="{question}"))
        self.assertIn("more than once", self.refused(invalid, prompt_template="{question}{sources}{sources}"))
        self.assertIn("temperature", self.refused(invalid, temperature=3))
        self.assertIn("missing", self.refused(grpc.StatusCode.NOT_FOUND, parent="collections/missing"))
        result = client_support.vecino(self.server.address, "collection", "create", "vectors", "--dim", 3)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("no embedding model", self.refused(grpc.StatusCode.FAILED_PRECONDITION, parent="collections/vectors"))
        self.assertEqual(self.generator.requests, [])

    def test_a_generator_that_fails(self):
        code = grpc.StatusCode

        def reply(status, body, kind="application/json"):
            def script(handler):
                handler.begin(status, kind)
                handler.chunk(body)
                handler.chunk(b"")

            return script

        error = lambda message: json.dumps({"error": {"message": message}}).encode()
        self.failed(reply(500, error("no memory")), code.UNAVAILABLE, "500", "no memory")
        self.failed(reply(503, error("Loading model")), code.UNAVAILABLE, "503", "Loading model")
        self.failed(reply(401, error(f"bad key {KEY}")), code.PERMISSION_DENIED, "401", "bad key")
        self.failed(reply(429, b""), code.RESOURCE_EXHAUSTED, "429")
        self.failed(reply(400, error("the request exceeds the context size")), code.FAILED_PRECONDITION, "context size")
        self.failed(reply(200, b'{"choices": []}'), code.UNKNOWN, "application/json")
        self.failed(reply(200, b"data: garbage\n\n", "text/event-stream"), code.UNKNOWN, "garbage")
        self.failed(reply(200, b"data: " + error("slot") + b"\n\n", "text/event-stream"), code.UNAVAILABLE, "slot")
        self.failed(lambda handler: handler.wfile.write(b"\x00\x01garbage\r\n\r\n" * 1000), code.UNAVAILABLE)
        self.failed(lambda handler: None, code.UNAVAILABLE)

        def dies(handler):
            handler.begin()
            handler.token("half an ")
            handler.token("answ")

        self.assertEqual(self.failed(dies, code.UNAVAILABLE, "broke off"), "half an answ")

        def stalls(handler):
            handler.begin()
            handler.token("half")
            handler.wait_until_gone()

        self.assertEqual(self.failed(stalls, code.DEADLINE_EXCEEDED, "token-timeout"), "half")
        self.assertTrue(self.generator.cut_off.wait(10))
        self.failed(lambda handler: handler.wait_until_gone(), code.DEADLINE_EXCEEDED, "first-token-timeout")
        self.assertTrue(self.generator.cut_off.wait(10))

        def never_ends(handler):
            handler.begin()
            while True:
                handler.token("and ")
                time.sleep(0.01)

        answer = self.failed(never_ends, code.DEADLINE_EXCEEDED, "generator.timeout")
        self.assertEqual(answer[:16], "and and and and ")
        self.assertTrue(self.generator.cut_off.wait(10))

        def floods(handler):
            handler.begin()
            while True:
                handler.token("x" * 100_000)

        self.generator.use(floods)
        end = self.ask()[-1][1]
        self.assertEqual(end.generator_status.code, code.RESOURCE_EXHAUSTED.value[0])
        self.assertTrue(self.generator.cut_off.wait(10))

        def long_line(handler):
            handler.begin()
            handler.chunk(b"data: ")
            while True:
                handler.chunk(b"x" * 100_000)

        self.failed(long_line, code.UNKNOWN, "1048576")
        self.assertTrue(self.generator.cut_off.wait(10))
        with open(self.server.log_path, encoding="utf-8") as log:
            self.assertNotIn(KEY, log.read())

    def begin_and_stall(self):
        """A call whose answer has begun and goes on for as long as it is heard."""
        begun = threading.Event()

        def script(handler):
            handler.begin()
            begun.set()
            while True:
                handler.token("and ")
                time.sleep(0.01)

        self.generator.use(script)
        return begun

    def in_flight(self):
        with urllib.request.urlopen(f"http://{self.server.admin}/metrics", timeout=10) as reply:
            metrics = reply.read().decode()
        return int(next(line for line in metrics.splitlines() if line.startswith("vecino_generator_in_flight ")).split()[1])

    def test_cancelling_and_deadlines_close_the_connection(self):
        self.begin_and_stall()
        stream = self.stub.AnswerQuestion(self.request(), timeout=30)
        while next(stream).WhichOneof("part") != "answer":
            pass
        stream.cancel()
        begin = time.monotonic()
        self.assertTrue(self.generator.cut_off.wait(10), "the generator was not told")
        print(f"cancelled by the caller: the generator's connection was cut after {1e3 * (time.monotonic() - begin):.0f} ms")
        self.begin_and_stall()
        stream = self.stub.AnswerQuestion(self.request(), timeout=0.5)
        with self.assertRaises(grpc.RpcError) as caught:
            kinds = []
            for one in stream:
                kinds.append(one.WhichOneof("part"))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertEqual(kinds[:2], ["sources", "answer"])
        self.assertTrue(self.generator.cut_off.wait(10))
        # The same while nothing comes: no message would show that the caller has gone.
        self.generator.use(lambda handler: handler.wait_until_gone())
        stream = self.stub.AnswerQuestion(self.request(), timeout=30)
        self.assertEqual(next(stream).WhichOneof("part"), "sources")
        while not self.generator.requests:
            time.sleep(0.001)
        begin = time.monotonic()
        stream.cancel()
        self.assertTrue(self.generator.cut_off.wait(0.9), "before its own timeout")

    def test_so_many_at_once_and_no_worker_waits(self):
        self.generator.use(lambda handler: handler.wait_until_gone())
        streams = [self.stub.AnswerQuestion(self.request(), timeout=30) for _ in range(2)]
        for stream in streams:
            self.assertEqual(next(stream).WhichOneof("part"), "sources")
        messages = self.ask()
        self.assertEqual([kind for kind, _ in messages], ["sources", "end"])
        self.assertEqual(messages[-1][1].generator_status.code, grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
        self.assertIn("max-calls", messages[-1][1].generator_status.message)
        for stream in streams:
            stream.cancel()
        while self.in_flight() > 0:
            time.sleep(0.001)

    def run_ask(self, *arguments, server=None):
        return client_support.vecino((server or self.server).address, *arguments)

    def test_the_command_line(self):
        self.generator.use(lambda handler: speak(handler, "Take kden", "live\x1b[31m [1].\nIt edits ", "clips."))
        result = self.run_ask("ask", "notes", "Which program edits video?", "-k", 2, "--max-tokens", 9)
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = result.stdout.splitlines()
        self.assertRegex(lines[0], "SCORE +ID +TEXT")
        self.assertRegex(lines[1], r"^\[1\] +0\.\d{3}  kdenlive +kdenlive: non-linear")
        self.assertRegex(lines[2], r"^\[2\]")
        self.assertEqual(lines[3:], ["", "Take kdenlive [31m [1].", "It edits clips."])
        self.assertEqual(self.generator.requests[0][2]["max_tokens"], 9)

        result = self.run_ask("--json", "ask", "notes", "Which program edits video?", "-k", 1, "--prompt", "--temperature", "0")
        self.assertEqual(result.returncode, 0, result.stderr)
        parts = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual(parts[0]["sources"][0]["id"], "kdenlive")
        self.assertEqual(parts[0]["sources"][0]["number"], 1)
        self.assertIn("[1] kdenlive", parts[1]["prompt"])
        self.assertEqual("".join(part["answer"] for part in parts[2:-1]), "Take kdenlive\x1b[31m [1].\nIt edits clips.")
        self.assertEqual(parts[-1]["end"]["status"], "OK")
        self.assertEqual(parts[-1]["end"]["finish_reason"], "stop")
        self.assertEqual(self.generator.requests[-1][2]["temperature"], 0)

        template = self.workspace.folder / "template"
        template.write_text("Q={question} S={sources}")
        result = self.run_ask("ask", "notes", "spiders", "-k", 1, "--prompt", "--template", template)
        self.assertIn("Q=spiders S=[1] Ignore this.", result.stdout)

        self.assertEqual(self.run_ask("ask", "notes").returncode, 2)
        self.assertEqual(self.run_ask("ask", "notes", "x", "--max-tokens", 0).returncode, 2)
        self.assertEqual(self.run_ask("ask", "notes", "x", "--template", "/nonexistent").returncode, 2)
        missing = self.run_ask("ask", "missing", "x")
        self.assertEqual(missing.returncode, 1)
        self.assertIn("NOT_FOUND", missing.stderr)
        nobody = client_support.vecino("127.0.0.1:1", "--timeout", "1", "ask", "notes", "x")
        self.assertEqual(nobody.returncode, 3)

        def dies(handler):
            handler.begin()
            handler.token("half")

        self.generator.use(dies)
        result = self.run_ask("ask", "notes", "Which program edits video?")
        self.assertEqual(result.returncode, 1)
        self.assertTrue(result.stdout.endswith("half\n"), result.stdout)
        self.assertIn("UNAVAILABLE", result.stderr)
        result = self.run_ask("--json", "ask", "notes", "Which program edits video?")
        self.assertEqual(result.returncode, 1)
        self.assertEqual(json.loads(result.stdout.splitlines()[-1])["end"]["status"], "UNAVAILABLE")

    def test_control_c_cancels(self):
        self.begin_and_stall()
        command = [str(client_support.BINARIES / "vecino"), "--server", self.server.address, "ask", "notes", "video?"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            seen = b""
            while b"and and" not in seen:  # it prints while the answer is being made
                piece = os.read(process.stdout.fileno(), 4096)
                self.assertTrue(piece, seen)
                seen += piece
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=10)
        self.assertTrue(self.generator.cut_off.wait(10))

    def test_a_stop_cuts_answers_short(self):
        with client_support.Workspace(client_support.model_root(), ["--generator-url", self.generator.url]) as workspace:
            load(workspace.server)
            self.generator.use(lambda handler: handler.wait_until_gone())
            with grpc.insecure_channel(workspace.server.address) as channel:
                stub = grpc_stubs.load("search_service_pb2_grpc").SearchServiceStub(channel)
                stream = stub.AnswerQuestion(self.request(), timeout=60)
                self.assertEqual(next(stream).WhichOneof("part"), "sources")
                while not self.generator.requests:
                    time.sleep(0.001)
                begin = time.monotonic()
                self.assertEqual(workspace.server.stop(), 0)
                took = time.monotonic() - begin
                with self.assertRaises(grpc.RpcError) as caught:
                    next(stream)
                self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
            self.assertTrue(self.generator.cut_off.wait(10))
            print(f"a stop beside an answer took {took:.2f} s")
            self.assertLess(took, 10)

    def test_without_a_generator(self):
        with client_support.Workspace(client_support.model_root()) as workspace:
            load(workspace.server)
            with grpc.insecure_channel(workspace.server.address) as channel:
                stub = grpc_stubs.load("search_service_pb2_grpc").SearchServiceStub(channel)
                messages = list(stub.AnswerQuestion(self.request(), timeout=30))
            self.assertEqual([one.WhichOneof("part") for one in messages], ["sources", "prompt", "end"])
            self.assertIn("[1] kdenlive", messages[1].prompt)
            end = messages[2].end
            self.assertEqual((end.finish_reason, end.generator_model, end.generator_status.code), ("", "", 0))
            self.assertGreater(end.prompt_token_count, 50)
            result = self.run_ask("ask", "notes", "Which program edits video?", server=workspace.server)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertTrue(result.stdout.endswith("Question: Which program edits video?\n\n"), result.stdout)

    def test_tls(self):
        if shutil.which("openssl") is None:
            self.skipTest("openssl, which makes the certificate, is not installed")
        cert, key = self.workspace.folder / "cert.pem", self.workspace.folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
             "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
            check=True, capture_output=True,
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        generator = Generator()
        self.addCleanup(generator.close)
        generator.server.socket = context.wrap_socket(generator.server.socket, server_side=True)
        generator.use(lambda handler: speak(handler, "over ", "TLS"))
        url = generator.url.replace("http://", "https://")
        for trusted in (True, False):
            with self.subTest(trusted=trusted), unittest.mock.patch.dict(os.environ):
                if trusted:
                    os.environ["SSL_CERT_FILE"] = str(cert)
                with client_support.Workspace(client_support.model_root(), ["--generator-url", url]) as workspace:
                    load(workspace.server)
                    with grpc.insecure_channel(workspace.server.address) as channel:
                        stub = grpc_stubs.load("search_service_pb2_grpc").SearchServiceStub(channel)
                        messages = list(stub.AnswerQuestion(self.request(), timeout=30))
                answer = "".join(one.answer for one in messages)
                status = messages[-1].end.generator_status
                if trusted:
                    self.assertEqual((answer, status.code), ("over TLS", 0), status)
                else:
                    self.assertEqual((answer, status.code), ("", grpc.StatusCode.UNAVAILABLE.value[0]))
                    self.assertIn(url, status.message)
                    self.assertEqual(len(generator.requests), 1, "the key must not go to a server that is not known")

    def test_nobody_at_the_url(self):
        for url, part in (("http://127.0.0.1:1", "does not answer"), ("https://127.0.0.1:1/base", "does not answer")):
            with client_support.Workspace(client_support.model_root(), ["--generator-url", url]) as workspace:
                load(workspace.server)
                with grpc.insecure_channel(workspace.server.address) as channel:
                    stub = grpc_stubs.load("search_service_pb2_grpc").SearchServiceStub(channel)
                    messages = list(stub.AnswerQuestion(self.request(), timeout=30))
                self.assertEqual([one.WhichOneof("part") for one in messages], ["sources", "end"])
                self.assertEqual(messages[1].end.generator_status.code, grpc.StatusCode.UNAVAILABLE.value[0])
                self.assertIn(url, messages[1].end.generator_status.message)
                self.assertIn(part, messages[1].end.generator_status.message)


if __name__ == "__main__":
    unittest.main(verbosity=2)
