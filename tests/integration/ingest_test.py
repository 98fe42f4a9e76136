"""IngestDocuments and `vecino load` under kill -9 of either side: nothing lost, nothing done twice.

--kills says how many there are in all of each kind of run (default small, for ctest); --seed repeats a run. Where they
are many, a load is smaller and is killed more often, so that 200 of each take some minutes.
"""

import argparse
import collections
import json
import queue
import random
import signal
import subprocess
import sys
import threading
import time

import client_support
import grpc_stubs  # first: without grpcio it ends the test as skipped
import grpc  # isort: skip

from client_support import BINARIES, vecino

DIMENSION = 8
NOT_FOUND = 5


def written(address, name):
    """Writes and deletes that the collection's shards ever did: their last sequence numbers."""
    stats = json.loads(vecino(address, "--json", "collection", "stats", name).stdout)
    return sum(int(shard["last_sequence_number"]) for shard in stats["shards"])

CANNOT_CONNECT = 3  # exit status of vecino


class LoadTest:
    """`vecino load` while it or the server is killed, then run again, until it says that it is done."""

    def __init__(self, workspace, chance, documents, kills_each, longest):
        """kills_each: of one load at most; longest: seconds between them."""
        self.server, self.chance, self.documents = workspace.server, chance, documents
        self.kills_each, self.longest = kills_each, longest
        self.address = self.server.address
        self.kills = collections.Counter()
        self.loads = self.resumed = 0
        self.path = workspace.folder / "documents.jsonl"
        with open(self.path, "w", encoding="utf-8") as file:
            for i in range(documents):
                vector = [float(i % 7), float(i)] + [1.0] * (DIMENSION - 2)
                file.write(json.dumps({"id": f"d{i}", "vector": vector, "metadata": {"i": i}}) + "\n")

    def start(self, name):
        command = [str(BINARIES / "vecino"), "--server", self.address, "--json", "load", name, str(self.path),
                   "--overwrite", "--retry-for", "30"]  # fmt: skip
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)  # fmt: skip

    def run(self, number):
        """One load with up to a few kills; returns how many there were."""
        name = f"load{number}"
        assert vecino(self.address, "collection", "create", name, "--dim", DIMENSION).returncode == 0
        kills, killed = 0, False
        process = self.start(name)
        while True:
            try:
                wait = self.chance.uniform(0.02, self.longest) if kills < self.kills_each else None
                out, err = process.communicate(timeout=wait)
                if process.returncode != CANNOT_CONNECT or not killed:
                    break
                # The server was killed before the load had begun: so it is run again.
                killed = False
                process = self.start(name)
                continue
            except subprocess.TimeoutExpired:
                pass
            kills += 1
            if self.chance.random() < 0.5:
                # Once all is stored it may have said so, and another run would rightly begin anew.
                process.send_signal(signal.SIGSTOP)
                if process.poll() is not None or vecino(self.address, "count", name).stdout == f"{self.documents}\n":
                    process.send_signal(signal.SIGCONT)
                    continue
                self.kills["client"] += 1
                process.kill()
                process.communicate()
                process = self.start(name)
            else:
                self.kills["server"] += 1
                killed = True
                self.server.kill()
                self.server.start(listen=self.address)
        assert process.returncode == 0, err
        report = json.loads(out)
        assert report["failed"] == 0, report
        assert report["loaded"] + report["resumed"] == self.documents, report
        self.resumed += report["resumed"] > 0
        self.loads += 1
        count = int(vecino(self.address, "count", name).stdout)
        assert count == self.documents, f"{count} documents of {self.documents}"
        times = written(self.address, name)
        assert times == self.documents, f"{times} writes for {self.documents} documents"
        # It is complete, so that another load of the same file does not pass over what it did.
        if number == 0:
            again = self.start(name)
            out, err = again.communicate()
            assert again.returncode == 0, err
            assert json.loads(out)["resumed"] == 0 and json.loads(out)["loaded"] == self.documents, out
        vecino(self.address, "collection", "delete", name, "--yes")
        return kills


class StreamTest:
    """A client of its own: upserts and deletes of few ids, whose outcome depends on their order."""

    def __init__(self, workspace, chance, operations):
        self.server, self.chance = workspace.server, chance
        self.address = self.server.address
        self.rpc = grpc_stubs.load("document_service_pb2")
        self.values = grpc_stubs.load("document_pb2")
        self.grpc = grpc_stubs.load("document_service_pb2_grpc")
        self.operations = operations
        self.kills = collections.Counter()

    def make(self):
        """Operations by number from 1, what each must end with, and what is there at the end."""
        operations, codes, state = {}, {}, {}
        for seq in range(1, self.operations + 1):
            key = f"k{self.chance.randrange(40)}"
            if self.chance.random() < 0.4:
                operations[seq] = (key, None)
                codes[seq] = 0 if key in state else NOT_FOUND
                state.pop(key, None)
            else:
                operations[seq] = (key, seq)
                codes[seq] = 0
                state[key] = seq
        return operations, codes, state

    def item(self, seq, operation):
        key, value = operation
        if value is None:
            return self.rpc.IngestItem(delete=self.rpc.IngestDelete(seq=seq, id=key))
        document = self.values.Document(id=key, vector=self.values.Vector(values=[1.0 + value] * DIMENSION))
        document.metadata.update({"value": value})
        return self.rpc.IngestItem(document=self.rpc.IngestDocument(seq=seq, document=document))

    def connection(self, name, operations, answers, kill_at):
        """One stream; returns whether all is answered. kill_at: after so many answers something is killed."""
        channel = grpc.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])
        outbox = queue.SimpleQueue()
        start = self.rpc.IngestStart(parent=f"collections/{name}", resume_token="load")
        outbox.put(self.rpc.IngestDocumentsRequest(start=start))
        call = self.grpc.DocumentServiceStub(channel).IngestDocuments(iter(outbox.get, None))
        try:
            first = next(call)
            window = first.window.documents
            # What is done and was not answered is asked for again, as what is not done.
            todo = [seq for seq in operations if seq not in answers]
            assert not todo or first.done_through <= len(operations)
            in_flight = 0
            position = 0
            while position < len(todo) or in_flight > 0:
                while position < len(todo) and in_flight < window:
                    part = todo[position : position + min(self.chance.randint(1, 60), window - in_flight)]
                    items = self.rpc.IngestItems(items=[self.item(seq, operations[seq]) for seq in part])
                    outbox.put(self.rpc.IngestDocumentsRequest(items=items))
                    position += len(part)
                    in_flight += len(part)
                response = next(call)
                if response.HasField("window"):
                    window = response.window.documents
                for result in response.results:
                    assert result.seq not in answers, f"{result.seq} is answered twice"
                    answers[result.seq] = result.status.code
                    in_flight -= 1
                if kill_at is not None and len(answers) >= kill_at:
                    return False
            outbox.put(self.rpc.IngestDocumentsRequest(finish=self.rpc.IngestFinish()))
            outbox.put(None)
            assert next(call, None) is None
            return True
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN,
                                    grpc.StatusCode.CANCELLED), error  # fmt: skip
            return False
        finally:
            outbox.put(None)
            channel.close()  # as abruptly as a client that is gone

    def run(self, number, kills):
        name = f"stream{number}"
        part = self.operations // max(kills, 6)
        assert vecino(self.address, "collection", "create", name, "--dim", DIMENSION, "--shards", 3).returncode == 0
        operations, codes, state = self.make()
        answers = {}
        while True:
            kill_at = None
            if kills > 0:
                kill_at = min(len(operations) - 1, len(answers) + self.chance.randint(1, part))
            killer = None
            if kills > 0 and self.chance.random() < 0.5:  # at any moment, too
                killer = threading.Timer(self.chance.uniform(0.0, 0.08), self.server.kill)
                killer.start()
            done = self.connection(name, operations, answers, kill_at)
            if killer is not None:
                killer.join()
                self.kills["server"] += 1
            elif not done:
                self.kills["client"] += 1
            if self.server.process.poll() is not None:
                self.server.start(listen=self.address)
            if done:
                break
            kills -= 1
        assert answers == codes, {s: (answers.get(s), codes[s]) for s in codes if answers.get(s) != codes[s]}
        self.check(name, state, sum(code == 0 for code in codes.values()))
        vecino(self.address, "collection", "delete", name, "--yes")

    def check(self, name, state, done):
        channel = grpc.insecure_channel(self.address)
        stub = self.grpc.DocumentServiceStub(channel)
        page = stub.ListDocuments(self.rpc.ListDocumentsRequest(parent=f"collections/{name}", page_size=1000))
        stored = {document.id: int(document.metadata["value"]) for document in page.documents}
        channel.close()
        assert stored == state, f"stored {stored}, not {state}"
        times = written(self.address, name)
        assert times == done, f"{times} writes and deletes, not {done}"


def one_beside_another(workspace, test):
    """Seconds of a load alone, beside clients that send and never read, and beside one that fills the bulk lane."""
    address, rpc = workspace.server.address, test.rpc
    path = workspace.folder / "fair.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for i in range(20_000):
            file.write(f'{{"id": "{i}", "vector": [{i}, 1, 1, 1, 1, 1, 1, 1]}}\n')
    vecino(address, "collection", "create", "fair", "--dim", DIMENSION)
    vecino(address, "collection", "create", "busy", "--dim", DIMENSION)

    def load():
        begin = time.monotonic()
        result = vecino(address, "--json", "load", "fair", path, "--overwrite")
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["loaded"] == 20_000
        return time.monotonic() - begin

    def documents():
        return [test.values.Document(id=f"x{i}", vector=test.values.Vector(values=[1.0] * DIMENSION)) for i in range(200)]

    alone = load()

    channels, calls = [], []
    sent = [0]  # by all of them
    stop = threading.Event()

    def requests():
        yield rpc.IngestDocumentsRequest(start=rpc.IngestStart(parent="collections/busy"))
        for seq in range(1, 1 << 40):
            if stop.is_set():
                return
            document = test.values.Document(id=f"x{seq % 100}", text="x" * 500,
                                            vector=test.values.Vector(values=[1.0] * DIMENSION))  # fmt: skip
            sent[0] += 1
            yield rpc.IngestDocumentsRequest(document=rpc.IngestDocument(seq=seq, document=document))

    for _ in range(4):
        channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        channels.append(channel)
        calls.append(test.grpc.DocumentServiceStub(channel).IngestDocuments(requests()))
    before = -1
    while sent[0] != before:  # until they are stalled
        before = sent[0]
        time.sleep(1)
    stalled = load()
    stop.set()
    for call in calls:
        call.cancel()
    for channel in channels:
        channel.close()

    stop.clear()
    channel = grpc.insecure_channel(address)
    stub = test.grpc.DocumentServiceStub(channel)
    batch = rpc.BatchUpsertDocumentsRequest(parent="collections/busy", documents=documents())

    def hog():
        while not stop.is_set():
            try:
                stub.BatchUpsertDocuments(batch)
            except grpc.RpcError:
                pass

    hogs = [threading.Thread(target=hog) for _ in range(4)]
    for thread in hogs:
        thread.start()
    beside_hog = load()
    stop.set()
    for thread in hogs:
        thread.join()
    channel.close()
    return alone, stalled, beside_hog


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=6, help="of the load, and of the stream")
    parser.add_argument("--documents", type=int, help="of a load; 20,000, or 8,000 where kills are many")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    chance = random.Random(options.seed)
    # Most of the time goes to starts of servers and to the rest of a load that nobody kills any more.
    many = options.kills > 24
    documents = options.documents or (8_000 if many else 20_000)
    kills_each = 12 if many else 6
    begin = time.monotonic()
    with client_support.Workspace() as workspace:
        grpc_stubs.generate()
        load = LoadTest(workspace, chance, documents, kills_each, longest=0.3 if many else 0.6)
        number = 0
        while sum(load.kills.values()) < options.kills:
            load.run(number)
            number += 1
        stream = StreamTest(workspace, chance, 3_000)
        number = 0
        while sum(stream.kills.values()) < options.kills:
            stream.run(number, min(kills_each, options.kills))
            number += 1
        alone, stalled, hog = one_beside_another(workspace, stream)
        # Far from what noise does; a client that is held up by another waits for as long as that one likes.
        assert stalled < 5 * alone + 20, f"{stalled:.1f} s beside stalled clients, {alone:.1f} s alone"
        assert hog < 10 * alone + 20, f"{hog:.1f} s beside a busy client, {alone:.1f} s alone"
        assert workspace.server.stop() == 0
    print(
        f"ingest_test: {load.loads} loads of {documents:,} documents with {load.kills['server']} kills of the "
        f"server and {load.kills['client']} of the client ({load.resumed} ended by a run that went on); streams with "
        f"{stream.kills['server']} and {stream.kills['client']}; nothing lost, nothing done twice; 20,000 documents "
        f"alone in {alone:.2f} s, beside 4 stalled clients {stalled:.2f} s, beside 4 busy ones {hog:.2f} s; "
        f"{time.monotonic() - begin:.0f} s in all"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
