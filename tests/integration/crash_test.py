"""kill -9, fifty times, under mixed upserts and deletes, on one data folder that grows to 100,000 documents.

Writers keep books of what the server acknowledged. After every restart: no acknowledged write is missing, no
deleted document is back, every version and vector is the one acknowledged (or the one that was under way), the count is
exact, and searches find what they must. A seventh of the documents has no vector. Starting takes at most 5 s at 100,000 documents.
"""

import argparse
import dataclasses
import random
import shutil
import sys
import tempfile
import threading
import time

import client_support
import grpc_stubs  # first: without grpcio it ends the test as skipped
import grpc  # isort: skip

try:
    import numpy as np
except ImportError as missing:
    client_support.skip(str(missing))

ROUNDS = 50
TARGET = 100_000  # live documents, reached some rounds before the last
START_LIMIT = 5.0  # seconds to SERVING at TARGET
DIMENSION = 384
WRITERS = 4
NAME = "collections/crash"


@dataclasses.dataclass
class State:
    """What is known of one id."""

    revision: int = 0  # names the contents; 0 before the first write
    live: bool = False
    version: int = 0  # sequence number of the acknowledged write


def vector(number, revision):
    """The vector of a document's revision: anybody can tell what it must be."""
    return np.random.default_rng((number, revision)).standard_normal(DIMENSION, dtype=np.float32)


def has_vector(number, revision):
    """Every seventh write is of a document without one, which no search finds."""
    return (number + revision) % 7 != 0


class Stubs:
    """One connection to a server, and the calls this test needs."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.documents = grpc_stubs.load("document_service_pb2_grpc").DocumentServiceStub(self.channel)
        self.searches = grpc_stubs.load("search_service_pb2_grpc").SearchServiceStub(self.channel)

    def close(self):
        self.channel.close()


class Writer(threading.Thread):
    """Writes to ids of its own, one batch at a time, until the server is gone."""

    def __init__(self, address, index, books, grow, seed):
        super().__init__()
        self.stubs = Stubs(address)
        self.index, self.books, self.grow = index, books, grow
        self.chance = random.Random(seed)
        self.acknowledged = 0
        self.under_way = {}  # number -> (revision, live) of the batch without an answer
        self.error = None
        self.rpc = grpc_stubs.load("document_service_pb2")
        self.values = grpc_stubs.load("document_pb2")

    def run(self):
        try:
            while True:
                self.one_batch()
        except grpc.RpcError as error:
            # UNAVAILABLE is the kill; INTERNAL and UNKNOWN is how a connection may look that breaks midway.
            ends = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
            if error.code() not in ends:
                self.error = error
        except Exception as error:  # reported by the main thread
            self.error = error
        finally:
            self.stubs.close()

    def one_batch(self):
        kind = self.chance.random()
        live = [number for number, state in self.books.items() if state.live]
        if kind < 0.25 and len(live) > 200:
            self.delete(self.chance.sample(live, self.chance.choice((1, 20, 60))))
            return
        fresh = [self.index + WRITERS * (len(self.books) + i) for i in range(200 if self.grow else 40)]
        # Some are written again: live ones, and ones that were deleted.
        again = self.chance.sample(sorted(self.books), min(len(self.books), 30))
        numbers = fresh + again if kind < 0.85 else [self.chance.choice(fresh[:1] + again)]
        self.upsert(numbers)

    def document(self, number, revision):
        document = self.values.Document(id=f"d{number}")
        if has_vector(number, revision):
            document.vector.float32_le = vector(number, revision).tobytes()
        document.metadata.update({"revision": revision})
        return document

    def upsert(self, numbers):
        self.under_way = {n: (self.books.get(n, State()).revision + 1, True) for n in numbers}
        documents = [self.document(n, revision) for n, (revision, _) in self.under_way.items()]
        if len(documents) == 1:
            documents[0].name = f"{NAME}/documents/{documents[0].id}"
            reply = self.stubs.documents.UpdateDocument(
                self.rpc.UpdateDocumentRequest(document=documents[0], allow_missing=True)
            )
            tokens = [reply.write_token]
        else:
            reply = self.stubs.documents.BatchUpsertDocuments(
                self.rpc.BatchUpsertDocumentsRequest(parent=NAME, documents=documents)
            )
            assert all(result.status.code == 0 for result in reply.results), reply
            tokens = [result.write_token for result in reply.results]
        self.acknowledge(tokens)

    def delete(self, numbers):
        self.under_way = {n: (self.books[n].revision, False) for n in numbers}
        if len(numbers) == 1:
            reply = self.stubs.documents.DeleteDocument(
                self.rpc.DeleteDocumentRequest(name=f"{NAME}/documents/d{numbers[0]}")
            )
            tokens = [reply.write_token]
        else:
            reply = self.stubs.documents.BatchDeleteDocuments(
                self.rpc.BatchDeleteDocumentsRequest(parent=NAME, ids=[f"d{n}" for n in numbers])
            )
            assert all(result.status.code == 0 for result in reply.results), reply
            tokens = [result.write_token for result in reply.results]
        self.acknowledge(tokens)

    def acknowledge(self, tokens):
        for (number, (revision, live)), token in zip(self.under_way.items(), tokens, strict=True):
            self.books[number] = State(revision, live, token.sequence_number)
        self.acknowledged += len(tokens)
        self.under_way = {}


class CrashTest:
    def __init__(self, folder, rounds, target, seed):
        self.server = client_support.Server(f"{folder}/data")
        self.rounds, self.target = rounds, target
        self.chance = random.Random(seed)
        self.books = [{} for _ in range(WRITERS)]  # of each writer: number -> State
        self.acknowledged = self.deletes = self.applied = self.dropped = 0
        self.checked_documents = self.checked_searches = 0
        self.starts = []  # (live documents, seconds)

    def live(self):
        return sum(state.live for books in self.books for state in list(books.values()))  # a copy: writers go on

    def run(self):
        grpc_stubs.generate()
        self.rpc = grpc_stubs.load("document_service_pb2")
        self.search = grpc_stubs.load("search_service_pb2")
        self.server.start()
        made = client_support.vecino(
            self.server.address, "collection", "create", "crash", "--dim", DIMENSION, "--metric", "l2"
        )
        assert made.returncode == 0, made.stderr
        for number in range(1, self.rounds + 1):
            writers = self.write_until_killed(number)
            seconds = self.restart(number)
            self.verify(writers, everything=number == self.rounds)
            print(
                f"round {number}: {self.live():,} documents, serving after {seconds:.2f} s, "
                f"{self.acknowledged:,} writes acknowledged so far",
                flush=True,
            )
        live = self.live()
        assert live >= self.target, f"only {live:,} documents"
        self.server.kill()  # and once more, at full size and idle
        self.restart(0)
        self.server.stop()
        self.report()

    def write_until_killed(self, number):
        # The target, and what deletes may take of it, is reached when nine tenths of the rounds are over.
        goal = min(self.target, self.target * number // max(1, self.rounds * 9 // 10)) + self.target // 50
        address = self.server.address
        grow = self.live() < goal
        writers = [
            Writer(address, i, self.books[i], grow, self.chance.random()) for i in range(WRITERS)
        ]
        before = [len(books) for books in self.books]
        for writer in writers:
            writer.start()
        begin = time.monotonic()
        # Growth first, then a moment more, so that the kill falls anywhere between and into writes.
        need = max(0, goal - self.live())
        while sum(len(b) for b in self.books) - sum(before) < need * 1.1 and time.monotonic() - begin < 60:
            assert any(writer.is_alive() for writer in writers), [writer.error for writer in writers]
            time.sleep(0.005)
        time.sleep(self.chance.uniform(0, 0.3))
        self.server.kill()
        for writer in writers:
            writer.join()
            if writer.error is not None:
                raise AssertionError(f"a writer failed before the kill: {writer.error}")
            self.acknowledged += writer.acknowledged
        return writers

    def restart(self, number):
        if number % 10 == 5:  # killed while it recovers, too
            try:
                self.server.start(timeout=self.chance.uniform(0.0, 0.4))
            except AssertionError:
                pass
            self.server.kill()
        live = self.live()
        seconds = self.server.start()
        self.starts.append((live, seconds))
        if live >= self.target:
            assert seconds <= START_LIMIT, f"{seconds:.1f} s to SERVING with {live:,} documents"
        return seconds

    def verify(self, writers, everything):
        stubs = Stubs(self.server.address)
        stored = self.stored_versions(stubs)
        self.settle(stubs, writers, stored)
        for books in self.books:
            for number, state in books.items():
                version = stored.pop(f"d{number}", None)
                if state.live:
                    assert version is not None, f"d{number} was acknowledged and is missing: {state}"
                    assert version == state.version, f"d{number} has version {version}, not {state}"
                else:
                    assert version is None, f"d{number} was deleted and is back, version {version}"
        assert not stored, f"documents nobody wrote: {list(stored)[:5]}"
        count = stubs.documents.CountDocuments(self.rpc.CountDocumentsRequest(parent=NAME)).count
        assert count == self.live(), f"Count says {count:,}, not {self.live():,}"
        states = {number: state for books in self.books for number, state in books.items()}
        alive = [number for number, state in states.items() if state.live]
        self.check_contents(stubs, states, alive if everything else self.chance.sample(alive, min(500, len(alive))))
        self.check_searches(stubs, states)
        stubs.close()

    def stored_versions(self, stubs):
        """Id -> version of everything ListDocuments lists."""
        versions = {}
        token = ""
        while True:
            request = self.rpc.ListDocumentsRequest(parent=NAME, page_size=1000, page_token=token)
            request.read_mask.paths.append("id")
            page = stubs.documents.ListDocuments(request)
            for document in page.documents:
                assert document.id not in versions, f"{document.id} is listed twice"
                versions[document.id] = document.version
            token = page.next_page_token
            if not token:
                return versions

    def settle(self, stubs, writers, stored):
        """Writes without an answer may have happened or not, each whole; the books take what is there."""
        for writer in writers:
            for number, (revision, live) in writer.under_way.items():
                before = writer.books.get(number, State())
                version = stored.get(f"d{number}")
                unchanged = version == (before.version if before.live else None)
                if unchanged and live == before.live and revision == before.revision:
                    continue
                if unchanged:
                    self.dropped += 1
                    continue
                assert (version is not None) == live, f"d{number}: {before}, then {(revision, live)}, now {version}"
                if live:
                    assert version > before.version, f"d{number} went back from {before.version} to {version}"
                self.applied += 1
                writer.books[number] = State(revision, live, version or before.version)
            touched = {n: writer.books[n] for n in writer.under_way if n in writer.books and writer.books[n].live}
            self.check_contents(stubs, touched, list(touched))

    def check_contents(self, stubs, states, numbers):
        for begin in range(0, len(numbers), 500):
            part = numbers[begin : begin + 500]
            request = self.rpc.BatchGetDocumentsRequest(parent=NAME, ids=[f"d{n}" for n in part])
            request.read_mask.paths.extend(["metadata", "vector"])
            reply = stubs.documents.BatchGetDocuments(request)
            assert not reply.missing_ids, reply.missing_ids
            for number, document in zip(part, reply.documents, strict=True):
                state = states[number]
                assert document.metadata["revision"] == state.revision, f"{document.id}: {state}"
                assert document.version == state.version, f"{document.id}: {state}"
                got = np.array(document.vector.values, dtype=np.float32)
                wanted = vector(number, state.revision) if has_vector(number, state.revision) else []
                assert np.array_equal(got, wanted), f"{document.id}: another vector"
            self.checked_documents += len(part)

    def check_searches(self, stubs, states):
        """A live document is the nearest to its own vector; a deleted or replaced one is not found by it."""
        live = [n for n, state in states.items() if state.live]
        dead = [n for n, state in states.items() if not state.live]
        for number in self.chance.sample(live, min(15, len(live))) + self.chance.sample(dead, min(5, len(dead))):
            state = states[number]
            request = self.search.SearchDocumentsRequest(parent=NAME, top_k=1)
            request.vector.float32_le = vector(number, state.revision).tobytes()
            request.read_mask.paths.append("id")
            hit = stubs.searches.SearchDocuments(request).hits[0]
            if state.live and has_vector(number, state.revision):
                assert (hit.document.id, hit.score) == (f"d{number}", 0), f"d{number} is not its own nearest: {hit}"
            else:
                assert hit.score > 1, f"d{number}, deleted or without a vector, is found as {hit}"
            self.checked_searches += 1

    def report(self):
        deleted = sum(not state.live for books in self.books for state in books.values())
        full = [seconds for live, seconds in self.starts if live >= self.target]
        print(
            f"crash_test: {self.rounds} kills; {self.acknowledged:,} writes acknowledged, 0 lost; "
            f"{deleted:,} ids deleted, 0 back; without an answer {self.applied:,} applied and {self.dropped:,} not; "
            f"{self.checked_documents:,} documents and {self.checked_searches:,} searches checked; "
            f"{self.live():,} documents at the end, serving after at most {max(full):.2f} s "
            f"({len(full)} starts at {self.target:,} and more)"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--target", type=int, default=TARGET)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    folder = tempfile.mkdtemp(prefix="vecino-crash-")
    test = CrashTest(folder, options.rounds, options.target, options.seed)
    try:
        test.run()
    finally:
        if test.server.process is not None and test.server.process.poll() is None:
            test.server.kill()
    shutil.rmtree(folder)  # kept when a check failed, to look at
    return 0


if __name__ == "__main__":
    sys.exit(main())
