"""SCENARIO.md in Python: grpcio, stubs of grpc_tools.protoc on PYTHONPATH."""

import queue
import struct
import sys

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from vecino.v1 import collection_pb2, document_pb2, index_operation_pb2
from vecino.v1 import collection_service_pb2 as cs, collection_service_pb2_grpc as cs_grpc
from vecino.v1 import document_service_pb2 as ds, document_service_pb2_grpc as ds_grpc
from vecino.v1 import search_service_pb2 as ss, search_service_pb2_grpc as ss_grpc

POINTS = "collections/points"
CODE = grpc.StatusCode
steps = 0


def done(name):
    global steps
    steps += 1
    print(steps, name, flush=True)


def expect(expected, came, what):
    if expected != came:
        raise SystemExit(f"{what}: expected {expected!r}, came {came!r}")


def refused(code, call, request):
    try:
        call(request, timeout=60)
    except grpc.RpcError as error:
        expect(code, error.code(), "code")
        return error
    raise SystemExit(f"expected {code}, came OK")


def point(i):
    document = document_pb2.Document(id=f"p{i}", text=f"point {i}", vector=document_pb2.Vector(values=[i, 0, 1]))
    document.metadata.update({"number": i, "even": i % 2 == 0, "color": ["red", "green", "blue"][i % 3]})
    return document


def vector(*values):
    return document_pb2.Vector(values=values)


def ids(hits):
    return [hit.document.id for hit in hits]


def ingest(documents):
    """Sends 1,000 documents within the window; returns how often each number was answered, and done_through."""
    requests = queue.SimpleQueue()
    requests.put(ds.IngestDocumentsRequest(start=ds.IngestStart(parent=POINTS, resume_token="load")))
    answered, sent, done_through = {}, 0, 0
    window = None
    for reply in documents.IngestDocuments(iter(requests.get, None), timeout=120):
        if reply.HasField("window"):
            window = reply.window
        done_through = max(done_through, reply.done_through)
        for result in reply.results:
            expect(0, result.status.code, f"item {result.seq}: {result.status.message}")
            answered[result.seq] = answered.get(result.seq, 0) + 1
        while sent < 1000 and sent - len(answered) < window.documents:
            sent += 1
            document = document_pb2.Document(id=f"i{sent}", vector=vector(-sent, 0, 1))
            requests.put(ds.IngestDocumentsRequest(document=ds.IngestDocument(seq=sent, document=document)))
            if sent == 1000:
                requests.put(ds.IngestDocumentsRequest(finish=ds.IngestFinish()))
                requests.put(None)
    return answered, done_through


def main(address):
    channel = grpc.insecure_channel(address)
    collections = cs_grpc.CollectionServiceStub(channel)
    documents = ds_grpc.DocumentServiceStub(channel)
    searches = ss_grpc.SearchServiceStub(channel)
    operations = operations_pb2_grpc.OperationsStub(channel)

    wanted = collection_pb2.Collection(dimension=3, metric=collection_pb2.METRIC_L2, shard_count=2)
    made = collections.CreateCollection(cs.CreateCollectionRequest(collection_id="points", collection=wanted)).collection
    expect((POINTS, 3), (made.name, made.dimension), "collection")
    expect(collection_pb2.IndexPolicy.KIND_AUTO, made.index_policy.kind, "kind")
    expect(True, bool(made.etag), "has an etag")
    done("create")

    reply = documents.BatchUpsertDocuments(
        ds.BatchUpsertDocumentsRequest(parent=POINTS, documents=[point(i) for i in range(100)])
    )
    expect([0] * 100, [result.status.code for result in reply.results], "statuses")
    done("upsert")

    document = point(100)
    document.name = f"{POINTS}/documents/p100"
    document.vector.CopyFrom(document_pb2.Vector(float32_le=struct.pack("<3f", 100, 0, 1)))
    token = documents.UpdateDocument(ds.UpdateDocumentRequest(document=document, allow_missing=True)).write_token
    expect(True, token.sequence_number > 0, "sequence number above 0")
    done("upsert one")

    request = ds.GetDocumentRequest(name=f"{POINTS}/documents/p7")
    request.read_mask.paths.extend(["text", "metadata", "vector"])
    got = documents.GetDocument(request).document
    expect("point 7", got.text, "text")
    expect({"number": 7, "even": False, "color": "green"}, dict(got.metadata), "metadata")
    expect([7, 0, 1], list(got.vector.values), "vector")
    expect(True, got.create_time.seconds > 0, "has a create time")
    done("get")

    found = searches.SearchDocuments(
        ss.SearchDocumentsRequest(
            parent=POINTS, vector=vector(50.2, 0, 1), top_k=3, write_tokens=[token],
            filter='even = true AND color = "red"',
        )
    )  # fmt: skip
    expect(["p48", "p54", "p42"], ids(found.hits), "hits")
    expect(True, abs(found.hits[0].score - 4.84) < 1e-3, f"score of {found.hits[0].score}")
    expect((collection_pb2.METRIC_L2, False), (found.metric, found.higher_is_better), "metric")
    done("search")

    batch = searches.BatchSearchDocuments(
        ss.BatchSearchDocumentsRequest(
            parent=POINTS,
            requests=[
                ss.SearchDocumentsRequest(vector=vector(0, 0, 1), top_k=2),
                ss.SearchDocumentsRequest(vector=vector(10.1, 0, 1), top_k=2),
                ss.SearchDocumentsRequest(vector=vector(0, 0, 1), top_k=0),
            ],
        )
    ).results
    expect([0, 0, CODE.INVALID_ARGUMENT.value[0]], [result.status.code for result in batch], "statuses")
    expect([["p0", "p1"], ["p10", "p11"]], [ids(result.response.hits) for result in batch[:2]], "hits")
    done("batch search")

    seen, pages, page_token = [], 0, ""
    while True:
        request = ds.ListDocumentsRequest(parent=POINTS, page_size=40, page_token=page_token)
        request.read_mask.paths.append("id")
        page = documents.ListDocuments(request)
        seen += [one.id for one in page.documents]
        pages += 1
        page_token = page.next_page_token
        if not page_token:
            break
    expect((3, 101, 101), (pages, len(seen), len(set(seen))), "pages, ids, different ids")
    done("pages")

    bad = document_pb2.Document(name=f"{POINTS}/documents/p0", vector=vector(1, 2))
    error = refused(CODE.INVALID_ARGUMENT, documents.UpdateDocument, ds.UpdateDocumentRequest(document=bad))
    expect(True, bool(error.details()), "has a message")
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    bad_request = error_details_pb2.BadRequest()
    expect(True, any(detail.Unpack(bad_request) for detail in status.details), "has a BadRequest")
    expect("document.vector", bad_request.field_violations[0].field, "field")
    done("error details")

    answered, done_through = ingest(documents)
    expect({i: 1 for i in range(1, 1001)}, answered, "answers")
    expect(1000, done_through, "done_through")
    done("ingest")

    expect(1101, documents.CountDocuments(ds.CountDocumentsRequest(parent=POINTS)).count, "count")
    blue = ds.CountDocumentsRequest(parent=POINTS, filter='color = "blue"')
    expect(33, documents.CountDocuments(blue).count, "blue ones")
    done("count")

    request = ds.StreamDocumentsRequest(parent=POINTS)
    request.read_mask.paths.append("id")
    seen = []
    for message in documents.StreamDocuments(request, timeout=60):
        expect(True, bool(message.resume_token), "has a resume token")
        seen += [one.id for one in message.documents]
    expect((1101, 1101), (len(seen), len(set(seen))), "ids, different ids")
    done("stream")

    collections.CreateAlias(cs.CreateAliasRequest(alias_id="pts", alias=cs.Alias(target=POINTS)))
    real = collections.GetCollection(cs.GetCollectionRequest(name="collections/pts")).collection.name
    expect(POINTS, real, "name through the alias")
    got = documents.GetDocument(ds.GetDocumentRequest(name="collections/pts/documents/p7")).document
    expect("point 7", got.text, "text through the alias")
    done("alias")

    documents.DeleteDocument(ds.DeleteDocumentRequest(name=f"{POINTS}/documents/p7"))
    refused(CODE.NOT_FOUND, documents.GetDocument, ds.GetDocumentRequest(name=f"{POINTS}/documents/p7"))
    deleted = documents.BatchDeleteDocuments(ds.BatchDeleteDocumentsRequest(parent=POINTS, ids=["p8", "p7"])).results
    expect([0, CODE.NOT_FOUND.value[0]], [result.status.code for result in deleted], "statuses")
    done("delete")

    operation = collections.CompactIndex(cs.CompactIndexRequest(name=POINTS))
    while not operation.done:
        wait = operations_pb2.WaitOperationRequest(name=operation.name, timeout=duration_pb2.Duration(seconds=20))
        operation = operations.WaitOperation(wait)
    expect("response", operation.WhichOneof("result"), "result")
    expect(True, operation.response.Unpack(cs.CompactIndexResponse()), "is a CompactIndexResponse")
    metadata = index_operation_pb2.IndexOperationMetadata()
    expect(True, operation.metadata.Unpack(metadata), "is an IndexOperationMetadata")
    expect(POINTS, metadata.collection, "collection")
    done("operation")

    operation = documents.PurgeDocuments(ds.PurgeDocumentsRequest(parent=POINTS, filter='color = "blue"'))
    expect(True, operation.done, "is done")
    purged = ds.PurgeDocumentsResponse()
    expect(True, operation.response.Unpack(purged), "is a PurgeDocumentsResponse")
    expect(32, purged.purge_count, "purge_count")
    done("purge")

    collections.DeleteAlias(cs.DeleteAliasRequest(name="aliases/pts"))
    collections.DeleteCollection(cs.DeleteCollectionRequest(name=POINTS))
    refused(CODE.NOT_FOUND, collections.GetCollection, cs.GetCollectionRequest(name=POINTS))
    done("clean up")
    print(f"ok {steps} steps")


if __name__ == "__main__":
    main(sys.argv[1])
