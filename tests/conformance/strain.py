"""Servers that are busy, that are small, and that stop: RESOURCE_EXHAUSTED and UNAVAILABLE of the RPCs that document them."""

import contextlib
import queue
import re
import signal
import tempfile
import threading
import time
import urllib.request

import client_support
import contract
import grpc
import rerankers
from registry import ADMIN, COLLECTIONS, DOCUMENTS, EMBEDDING, SEARCH, Case, excuse
from world import MODEL, World, equal, true, vector

SHOP = "collections/shop"
# One worker for calls and one for batches, and one call that may wait for each.
SMALL = ("--workers", "1", "--queue-capacity", "1", "--storage-document-stream-age", "1s")
BULK = {DOCUMENTS + "BatchUpsertDocuments", DOCUMENTS + "BatchDeleteDocuments"}
NEVER = [{"shard": 0, "sequence_number": 1_000_000}]  # a write that does not come
LONG_TEXTS = [{"id": f"x{i}", "text": f"{i} " + "many words in a row " * 200} for i in range(1000)]

for service in (COLLECTIONS, DOCUMENTS, SEARCH, EMBEDDING, ADMIN):
    excuse(service + "*", "DEADLINE_EXCEEDED", "the caller's own gRPC library says so at its deadline, whatever the server does")
    excuse(service + "*", "CANCELLED", "the caller's own gRPC library says so when it cancels")
excuse(SEARCH + "StreamSearchDocuments", "RESOURCE_EXHAUSTED",
       "a stream's searches wait for a worker; what they cannot have is in their own status")  # fmt: skip


class Strain:
    """The servers, each started when the first case needs it."""

    def __init__(self, models):
        self.models = models
        self._stack = contextlib.ExitStack()
        self._busy = self._stopping = self.unread = None
        self._held, self._held_request = [], None
        self.ends = {}

    def close(self):
        self.release()
        if self._stopping is not None:
            self._stopping.server.kill()
        self._stack.close()

    def server(self, *arguments):
        return self._stack.enter_context(client_support.Workspace(self.models, arguments)).server

    def reranking(self, *arguments):
        """A server with a reranker and no other model."""
        models = self._stack.enter_context(tempfile.TemporaryDirectory())
        true(rerankers.make(models) is not None, "Debian's python3-torch is there, which makes the reranker")
        return self._stack.enter_context(client_support.Workspace(models, arguments)).server

    def busy(self):
        """A server whose queues are easily full."""
        if self._busy is None:
            self._busy = World(self.server(*SMALL), self.models)
        return self._busy

    def hold(self, rpc, request):
        """From here on one call of this kind runs and another waits, so that the queue is full."""
        world = self.busy()
        if self._held_request == (rpc, request) and not any(call.done() for call in self._held):
            return
        self.release()
        until(lambda: figure(world, "vecino_rpc_in_flight") == 0, "no call runs")
        self._held_request = (rpc, request)
        self._held.append(world.api.start(rpc, request))
        until(lambda: figure(world, "vecino_rpc_in_flight") == 1 and figure(world, DEPTH) == 0, "a call runs")
        self._held.append(world.api.start(rpc, request))
        until(lambda: figure(world, DEPTH) == 1, "a call waits")

    def release(self):
        for call in self._held:
            call.cancel()
        self._held = []

    def stopping(self):
        """A server that was told to stop and is held up by batches; `ends` brings how calls ended that were open then."""
        if self._stopping is None:
            world = World(self.server("--drain-timeout", "300s"), self.models)
            world.create("wide", dimension=96, shard_count=1, index_policy={"kind": "KIND_FLAT"})
            world.fill("wide", 12_000, 96)
            start = world.api.start
            searched = {"parent": SHOP, "vector": vector(1, 0, 1), "write_tokens": NEVER}
            opened = {
                ADMIN + "WatchEvents": start(ADMIN + "WatchEvents"),
                DOCUMENTS + "StreamDocuments": start(DOCUMENTS + "StreamDocuments", {"parent": "collections/large"}),
                COLLECTIONS + "ExportIndex": start(COLLECTIONS + "ExportIndex", {"name": "collections/wide"}),
                DOCUMENTS + "IngestDocuments": start(DOCUMENTS + "IngestDocuments", endless({"start": {"parent": SHOP}})),
            }
            self.unread = start(DOCUMENTS + "StreamDocuments", {"parent": "collections/large"})
            for call in (*opened.values(), self.unread):
                next(call)  # each has begun
            waiting = figure(world, "vecino_rpc_in_flight")
            opened[SEARCH + "SearchDocuments"] = start(SEARCH + "SearchDocuments", searched)
            request = {"parent": "collections/texts", "documents": LONG_TEXTS}
            self._held_up = [start(DOCUMENTS + "BatchUpsertDocuments", request, timeout=300) for _ in range(6)]
            until(lambda: figure(world, "vecino_rpc_in_flight") >= waiting + 7, "the search and the batches run")
            # They read on as soon as the server stops, not before, so that they have not ended, and not later, since who
            # does not read is given up on after a second.
            begin = threading.Event()
            self.ends = {rpc: queue.SimpleQueue() for rpc in opened}
            for rpc, call in opened.items():
                many = world.contract.methods[rpc].server_streaming
                threading.Thread(target=read_on, args=(begin, call, many, self.ends[rpc]), daemon=True).start()
            world.server.process.send_signal(signal.SIGTERM)
            status = ADMIN + "GetServerStatus"
            until(lambda: (refusal := world.api.refusal(status)) and refusal.code.name == "UNAVAILABLE", "it stops")
            begin.set()
            self._stopping = world
        for call in self._held_up:
            true(not call.done(), "a batch holds up the stop; it was too short for this machine")
        return self._stopping


def read_on(begin, call, many, end):
    """Reads a call from `begin` on until it ends, and says how."""
    begin.wait()
    try:
        if many:
            for _ in call:
                pass
        else:
            call.result()
        end.put(None)
    except grpc.RpcError as error:
        end.put(error)


DEPTH = "vecino_rpc_queue_depth"


def figure(world, name):
    """One of the server's metrics."""
    with urllib.request.urlopen(f"http://{world.server.admin}/metrics", timeout=30) as reply:
        text = reply.read().decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    true(found, f"{name} is among the metrics")
    return float(found[1])


def endless(first):
    """A stream of requests that has one and does not end."""
    requests = queue.SimpleQueue()
    requests.put(first)
    return iter(requests.get, None)


def until(condition, what, seconds=60):
    """Asks again until it is so; nothing tells us when the server's state has become another."""
    end = time.monotonic() + seconds
    while not condition():
        true(time.monotonic() < end, f"within {seconds} s {what}")
        time.sleep(0.005)


def full_queue(rpc):
    def run(strain):
        if rpc in BULK:
            strain.hold(DOCUMENTS + "BatchUpsertDocuments", {"parent": "collections/texts", "documents": LONG_TEXTS})
        else:
            strain.hold(SEARCH + "SearchDocuments", {"parent": SHOP, "vector": vector(1, 0, 1), "write_tokens": NEVER})
        refusal = strain.busy().refused(rpc, "RESOURCE_EXHAUSTED", {})
        true(refusal.retry, f"there is a RetryInfo beside “{refusal.message}”")

    return Case(rpc, "RESOURCE_EXHAUSTED", "the queue is full", run, rpc in BULK)


def new_call(rpc, method):
    def run(strain):
        refusal = strain.stopping().refused(rpc, "UNAVAILABLE", [] if method.client_streaming else {})
        true(refusal.retry, f"there is a RetryInfo beside “{refusal.message}”")

    return Case(rpc, "UNAVAILABLE", "a call to a server that stops", run, True)


def open_call(rpc):
    def run(strain):
        world = strain.stopping()
        error = strain.ends[rpc].get(timeout=60)
        true(error is not None, "it ends with an error")
        refusal = contract.Refusal(world.contract, error)
        equal("UNAVAILABLE", refusal.code.name, refusal.message)
        true(refusal.message, "the error has a message")

    return Case(rpc, "UNAVAILABLE", "a call that is open when the server stops", run, True)


def unread_call(strain):
    """A caller that does not read is given up on after a second, and finds out why when it reads."""
    world = strain.stopping()
    ended = 'vecino_rpc_calls_total{code="UNAVAILABLE",method="/vecino.v1.DocumentService/StreamDocuments"}'
    until(lambda: figure(world, ended) >= 2, "the server has ended the one that was read and this one")
    try:
        list(strain.unread)
        raise AssertionError("it ends with OK")
    except grpc.RpcError as error:
        refusal = contract.Refusal(world.contract, error)
        equal("UNAVAILABLE", refusal.code.name, refusal.message)
        true("stopping" in refusal.message, f"“{refusal.message}” says why")


def old_stream(strain):
    world = strain.busy()
    strain.release()
    request = {"parent": "collections/large"}
    call = world.api.start(DOCUMENTS + "StreamDocuments", request)
    got = [next(call)]
    time.sleep(1.2)  # the age that it may have
    try:
        got += call
        raise AssertionError("it ends with OK")
    except grpc.RpcError as error:
        equal("UNAVAILABLE", error.code().name, error.details())
    rest = world.call(DOCUMENTS + "StreamDocuments", {**request, "resume_token": got[-1].resume_token})
    ids = [one.id for message in [*got, *rest] for one in message.documents]
    equal(sorted(f"l{i}" for i in range(5)), sorted(ids), "documents before and after")


def full_encoder(strain):
    world = World(strain.server("--encoder-queue-tokens", "2000", "--encoder-executors", "1"), None)
    request = {"model": MODEL, "texts": [one["text"] for one in LONG_TEXTS]}
    first = world.api.start(EMBEDDING + "EmbedText", request)
    until(lambda: world.call(ADMIN + "GetServerStatus").encoder_queued_tokens >= 2000, "texts wait for the model")
    refusal = world.refused(EMBEDDING + "EmbedText", "RESOURCE_EXHAUSTED", {"model": MODEL, "texts": ["one more"] * 100})
    true(refusal.retry, f"there is a RetryInfo beside “{refusal.message}”")
    first.cancel()


def full_encoder_of_pairs(strain):
    world = World(strain.reranking("--encoder-queue-tokens", "2000", "--encoder-executors", "1"), None)
    request = {"query": "x", "texts": ["a b c " * 100] * 1000}
    first = world.api.start(EMBEDDING + "RerankTexts", request)
    until(lambda: world.call(ADMIN + "GetServerStatus").encoder_queued_tokens >= 2000, "texts wait for the model")
    refusal = world.refused(EMBEDDING + "RerankTexts", "RESOURCE_EXHAUSTED", {**request, "texts": ["a b c"] * 100})
    true(refusal.retry, f"there is a RetryInfo beside “{refusal.message}”")
    first.cancel()


def cases(contract_):
    """The cases, in an order in which the servers are in one state after the other."""
    found = [Case(DOCUMENTS + "StreamDocuments", "UNAVAILABLE", "one that takes too long", old_stream)]
    queued = [rpc for rpc, method in contract_.methods.items()
              if not method.client_streaming and rpc != DOCUMENTS + "StreamDocuments"]  # fmt: skip
    found += [full_queue(rpc) for rpc in queued if rpc not in BULK] + [full_queue(rpc) for rpc in queued if rpc in BULK]
    found.append(Case(EMBEDDING + "EmbedText", "RESOURCE_EXHAUSTED", "the encoder's queue is full", full_encoder, True))
    found.append(Case(EMBEDDING + "RerankTexts", "RESOURCE_EXHAUSTED", "the encoder's queue is full", full_encoder_of_pairs))
    opened = [ADMIN + "WatchEvents", DOCUMENTS + "StreamDocuments", DOCUMENTS + "IngestDocuments", COLLECTIONS + "ExportIndex",
              SEARCH + "SearchDocuments"]  # fmt: skip
    found += [open_call(rpc) for rpc in opened]
    found.append(Case(DOCUMENTS + "StreamDocuments", "UNAVAILABLE", "one that is not read when the server stops",
                      unread_call, True))  # fmt: skip
    found += [new_call(rpc, method) for rpc, method in contract_.methods.items()]
    return found


def run(strained, models, wanted, run_cases):
    """As run_cases, with the servers."""
    strain = Strain(models)
    try:
        return run_cases(strained, strain, wanted)
    finally:
        strain.close()
