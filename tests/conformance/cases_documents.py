"""DocumentService."""

import base64
import concurrent.futures
import itertools
import queue
import struct
import time
import uuid

from contract import Refusal
import grpc
from registry import COLLECTIONS, DOCUMENTS, covers, excuse, provokes, refuses
from world import equal, point, true, vector

SHOP = "collections/shop"
NONE = "collections/none-such"
INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS = 3, 5, 6


def named(name, key, **fields):
    return {"name": f"collections/{name}/documents/{key}", "vector": vector(1, 2, 3), **fields}


def get(world, name, key, *paths):
    request = {"name": f"collections/{name}/documents/{key}", "read_mask": ",".join(paths)}
    return world.call(DOCUMENTS + "GetDocument", request).document


def count(world, name, filter_=""):
    return world.call(DOCUMENTS + "CountDocuments", {"parent": f"collections/{name}", "filter": filter_}).count


@covers("vecino.v1.DocumentService/CreateDocument")
def it_can_be_read(world):
    name = world.fresh()
    reply = world.call(DOCUMENTS + "CreateDocument", {"parent": f"collections/{name}", "document": point(4)})
    equal((f"collections/{name}/documents/p4", "p4"), (reply.document.name, reply.document.id))
    true(reply.write_token.sequence_number > 0 and reply.document.etag, "write token and etag are set")
    equal("point 4", get(world, name, "p4").text)


refuses(DOCUMENTS + "CreateDocument", "ALREADY_EXISTS", "a document has the id", {"parent": SHOP, "document": point(3)})
BAD_DOCUMENTS = [
    ("a vector of another dimension", {"vector": vector(1, 2)}, "vector"),
    ("a vector with NaN", {"vector": {"values": ["NaN", 0, 0]}}, "vector"),
    ("float32_le of 11 bytes", {"vector": {"float32_le": base64.b64encode(b"x" * 11).decode()}}, "vector.float32_le"),
    ("both forms of a vector", {"vector": {"values": [1, 2, 3], "float32_le": base64.b64encode(b"x" * 12).decode()}}, "vector"),
    ("a text above 1 MiB", {"text": "x" * (2**20 + 1)}, "text"),
    ("metadata above 64 KiB", {"metadata": {"x": "y" * 65536}}, "metadata"),
    ("an expire_time in the past", {"expire_time": "2001-01-01T00:00:00Z"}, "expire_time"),
    ("a ttl of nothing", {"ttl": "0s"}, "ttl"),
    ("an id of 513 bytes", {"id": "x" * 513}, "id"),
    ("an id with NUL", {"id": "a\0b"}, "id"),
    ("no id", {"id": ""}, "id"),
]
for title, fields, field in BAD_DOCUMENTS:
    refuses(DOCUMENTS + "CreateDocument", "INVALID_ARGUMENT", title,
            {"parent": SHOP, "document": {"id": "new", **fields}}, f"document.{field}")  # fmt: skip


@covers("vecino.v1.DocumentService/UpdateDocument")
def inserts_replaces_and_changes_fields(world):
    name = world.fresh()
    update = DOCUMENTS + "UpdateDocument"
    raw = base64.b64encode(struct.pack("<3f", 1, 2, 3)).decode()
    document = named(name, "a/b", text="one", metadata={"x": 1, "y": 2}, vector={"float32_le": raw})
    etag = world.call(update, {"document": document, "allow_missing": True}).document.etag
    equal([1, 2, 3], list(get(world, name, "a/b", "vector").vector.values))
    changed = named(name, "a/b", metadata={"x": 5}, etag=etag)
    world.call(update, {"document": changed, "update_mask": "metadata.x"})
    now = get(world, name, "a/b")
    equal(("one", {"x": 5, "y": 2}), (now.text, {key: one.number_value for key, one in now.metadata.fields.items()}))
    world.call(update, {"document": named(name, "a/b", text="two")})
    equal(("two", 0), (get(world, name, "a/b").text, len(get(world, name, "a/b").metadata.fields)))


refuses(DOCUMENTS + "UpdateDocument", "NOT_FOUND", "no such document", {"document": named("shop", "none")})
refuses(DOCUMENTS + "UpdateDocument", "NOT_FOUND", "no such collection", {"document": named("none-such", "x"), "allow_missing": True})
refuses(DOCUMENTS + "UpdateDocument", "ABORTED", "another etag", {"document": named("shop", "p1", etag="old")})
refuses(DOCUMENTS + "UpdateDocument", "INVALID_ARGUMENT", "an unknown path",
        {"document": named("shop", "p1"), "update_mask": "nothing"}, "update_mask")  # fmt: skip
refuses(DOCUMENTS + "UpdateDocument", "INVALID_ARGUMENT", "a vector of another dimension",
        {"document": named("shop", "p1", vector=vector(1))}, "document.vector")  # fmt: skip
refuses(DOCUMENTS + "UpdateDocument", "INVALID_ARGUMENT", "no document", {}, "document")


@covers("vecino.v1.DocumentService/BatchUpsertDocuments")
def each_has_its_own_status(world):
    name = world.fresh(documents=2)
    parent = {"parent": f"collections/{name}"}
    documents = [{"id": "good", **fields} for _, fields, _ in BAD_DOCUMENTS] + [point(7)]
    results = world.call(DOCUMENTS + "BatchUpsertDocuments", {**parent, "documents": documents}).results
    equal([INVALID_ARGUMENT] * len(BAD_DOCUMENTS) + [0], [one.status.code for one in results])
    for i, (title, _, field) in enumerate(BAD_DOCUMENTS):
        (violation,) = world.contract.unpack(results[i].status.details[0]).field_violations
        equal(f"documents[{i}].{field}", violation.field, title)
    equal(3, count(world, name))
    for mode, codes in (("WRITE_MODE_INSERT", [ALREADY_EXISTS, 0]), ("WRITE_MODE_REPLACE", [0, NOT_FOUND])):
        documents = [point(0), point(50 if "INSERT" in mode else 60)]
        request = {**parent, "documents": documents, "write_mode": mode}
        equal(codes, [one.status.code for one in world.call(DOCUMENTS + "BatchUpsertDocuments", request).results], mode)


for size in (0, 1001):
    refuses(DOCUMENTS + "BatchUpsertDocuments", "INVALID_ARGUMENT", f"{size} documents",
            {"parent": SHOP, "documents": [{"id": "x"}] * size}, "documents")  # fmt: skip
    for rpc in ("BatchGetDocuments", "BatchDeleteDocuments"):
        refuses(DOCUMENTS + rpc, "INVALID_ARGUMENT", f"{size} ids", {"parent": SHOP, "ids": ["x"] * size}, "ids")


@covers("vecino.v1.DocumentService/BatchUpsertDocuments")
def a_repeat_gets_the_first_reply(world):
    name = world.fresh()
    rpc = DOCUMENTS + "BatchUpsertDocuments"
    request = {"parent": f"collections/{name}", "documents": [point(i) for i in range(50)],
               "write_mode": "WRITE_MODE_INSERT", "request_id": str(uuid.uuid4())}  # fmt: skip
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda _: world.call(rpc, request), range(4)))
    equal([0] * 50, [one.status.code for one in replies[0].results])
    for reply in replies[1:]:
        equal(replies[0].SerializeToString(), reply.SerializeToString(), "reply to a repeat")
    # By an alias it is the same collection; without the id, or with another one, it is another request.
    alias = world.fresh_alias(name)
    repeat = world.call(rpc, {**request, "parent": f"collections/{alias}"})
    equal([0] * 50, [one.status.code for one in repeat.results])
    for other in ("", str(uuid.uuid4())):
        results = world.call(rpc, {**request, "request_id": other}).results
        equal([ALREADY_EXISTS] * 50, [one.status.code for one in results])
    # In another collection it says nothing.
    elsewhere = world.fresh()
    results = world.call(rpc, {**request, "parent": f"collections/{elsewhere}"}).results
    equal([0] * 50, [one.status.code for one in results])


@provokes("vecino.v1.DocumentService/BatchUpsertDocuments", "INVALID_ARGUMENT")
def a_request_id_of_another_request(world):
    name = world.fresh()
    request = {"parent": f"collections/{name}", "documents": [point(1)], "request_id": str(uuid.uuid4())}
    world.call(DOCUMENTS + "BatchUpsertDocuments", request)
    other = {**request, "documents": [point(2)]}
    world.refused(DOCUMENTS + "BatchUpsertDocuments", "INVALID_ARGUMENT", other, "request_id")
    delete = {"parent": request["parent"], "ids": ["p1"], "request_id": request["request_id"]}
    world.refused(DOCUMENTS + "BatchDeleteDocuments", "INVALID_ARGUMENT", delete, "request_id")
    equal(1, count(world, name))


for title, bad in (("x", "x"), ("of zeros", str(uuid.UUID(int=0))), ("of version 1", "3f8e0c52-9d4b-1c6e-8a1f-52b7d0e4a913"),
                   ("without dashes", "3f8e0c529d4b4c6e8a1f52b7d0e4a913")):  # fmt: skip
    refuses(DOCUMENTS + "BatchUpsertDocuments", "INVALID_ARGUMENT", f"a request_id {title}",
            {"parent": SHOP, "documents": [{"id": "x"}], "request_id": bad}, "request_id")  # fmt: skip
refuses(DOCUMENTS + "BatchDeleteDocuments", "INVALID_ARGUMENT", "a request_id that is no UUID of version 4",
        {"parent": SHOP, "ids": ["x"], "request_id": "x"}, "request_id")  # fmt: skip


@provokes("vecino.v1.DocumentService/BatchUpsertDocuments", "INVALID_ARGUMENT")
def a_string_that_is_not_utf8(world):
    # parent, then documents { id: 0xff }
    raw = b"\n" + bytes([len(SHOP)]) + SHOP.encode() + b"\x12\x03\x12\x01\xff"
    refusal = world.api.refusal(DOCUMENTS + "BatchUpsertDocuments", raw=raw)
    equal(("INVALID_ARGUMENT", "documents[0].id"), (refusal.code.name, refusal.field))


@covers("vecino.v1.DocumentService/GetDocument")
def only_what_the_mask_names(world):
    document = get(world, "shop", "p5")
    equal(("p5", "point 5", 0), (document.id, document.text, len(document.vector.values)))
    true(document.version > 0 and document.etag and document.update_time.seconds, "version, etag and times are set")
    document = get(world, "shop", "p5", "vector")
    equal(("", [5, 0, 1]), (document.text, list(document.vector.values)))


refuses(DOCUMENTS + "GetDocument", "NOT_FOUND", "no such document", {"name": SHOP + "/documents/none"})
for rpc, request in (
    ("GetDocument", {"name": SHOP + "/documents/p1"}), ("BatchGetDocuments", {"parent": SHOP, "ids": ["p1"]}),
    ("ListDocuments", {"parent": SHOP}), ("StreamDocuments", {"parent": SHOP}),
):  # fmt: skip
    refuses(DOCUMENTS + rpc, "INVALID_ARGUMENT", "an unknown path in read_mask", {**request, "read_mask": "nothing"}, "read_mask")


@covers("vecino.v1.DocumentService/BatchGetDocuments")
def those_that_exist_and_the_others(world):
    reply = world.call(DOCUMENTS + "BatchGetDocuments", {"parent": SHOP, "ids": ["p9", "none", "p2", "p9"]})
    equal((["p9", "p2", "p9"], ["none"]), ([one.id for one in reply.documents], list(reply.missing_ids)))


@provokes("vecino.v1.DocumentService/BatchGetDocuments", "RESOURCE_EXHAUSTED")
def documents_that_do_not_fit(world):
    request = {"parent": "collections/large", "ids": [f"l{i}" for i in range(5)]}
    refusal = world.refused(DOCUMENTS + "BatchGetDocuments", "RESOURCE_EXHAUSTED", request)
    true(not refusal.retry, "there is no RetryInfo")


@covers("vecino.v1.DocumentService/DeleteDocument")
def it_is_gone(world):
    name = world.fresh(documents=3)
    request = {"name": f"collections/{name}/documents/p1", "etag": get(world, name, "p1").etag}
    true(world.call(DOCUMENTS + "DeleteDocument", request).write_token.sequence_number > 0, "write token is set")
    equal(2, count(world, name))
    request = {"name": request["name"], "allow_missing": True}
    true(not world.call(DOCUMENTS + "DeleteDocument", request).HasField("write_token"), "nothing was deleted")


refuses(DOCUMENTS + "DeleteDocument", "NOT_FOUND", "no such document", {"name": SHOP + "/documents/none"})
refuses(DOCUMENTS + "DeleteDocument", "ABORTED", "another etag", {"name": SHOP + "/documents/p1", "etag": "old"})


@covers("vecino.v1.DocumentService/BatchDeleteDocuments")
def each_id_has_its_own_status(world):
    name = world.fresh(documents=3)
    request = {"parent": f"collections/{name}", "ids": ["p0", "none", "p2", "p0"]}
    codes = [one.status.code for one in world.call(DOCUMENTS + "BatchDeleteDocuments", request).results]
    equal([0, NOT_FOUND, 0, NOT_FOUND], codes)
    equal(1, count(world, name))


@covers("vecino.v1.DocumentService/BatchDeleteDocuments")
def a_repeated_delete_gets_the_first_reply(world):
    name = world.fresh(documents=3)
    request = {"parent": f"collections/{name}", "ids": ["p0", "none", "p2"], "request_id": str(uuid.uuid4())}
    first, repeat = (world.call(DOCUMENTS + "BatchDeleteDocuments", request) for _ in range(2))
    equal([0, NOT_FOUND, 0], [one.status.code for one in first.results])
    equal(first.SerializeToString(), repeat.SerializeToString(), "reply to a repeat")
    # What was written in between stays.
    world.upsert(name, [point(0)])
    world.call(DOCUMENTS + "BatchDeleteDocuments", request)
    equal(2, count(world, name))


@provokes("vecino.v1.DocumentService/BatchDeleteDocuments", "INVALID_ARGUMENT")
def an_id_at_fault_stops_no_other(world):
    name = world.fresh(documents=3)
    for bad in ("", "x" * 513):
        world.upsert(name, [point(0)])
        request = {"parent": f"collections/{name}", "ids": ["p1", bad, "p0"]}
        results = world.call(DOCUMENTS + "BatchDeleteDocuments", request).results
        equal((INVALID_ARGUMENT, 0), (results[1].status.code, results[2].status.code))
        (violation,) = world.contract.unpack(results[1].status.details[0]).field_violations
        equal("ids[1]", violation.field)
    equal(1, count(world, name))


@covers("vecino.v1.DocumentService/ListDocuments")
def every_document_once(world):
    seen, token, pages = [], "", 0
    while True:
        request = {"parent": SHOP, "page_size": 7, "page_token": token, "filter": "even = true", "read_mask": "id"}
        page = world.call(DOCUMENTS + "ListDocuments", request)
        seen += [one.id for one in page.documents]
        pages += 1
        token = page.next_page_token
        if not token:
            break
    equal(sorted(f"p{i}" for i in range(0, 30, 2)), sorted(seen))
    true(pages >= 3, f"{pages} pages")


refuses(DOCUMENTS + "ListDocuments", "INVALID_ARGUMENT", "page_size -1", {"parent": SHOP, "page_size": -1}, "page_size")


@covers("vecino.v1.DocumentService/CountDocuments")
def all_and_by_filter(world):
    equal((30, 10), (count(world, "shop"), count(world, "shop", 'color = "blue"')))


@covers("vecino.v1.DocumentService/FacetDocuments")
def the_most_frequent_first(world):
    request = {"parent": SHOP, "fields": ["color", "number"], "filter": "number < 10", "limit": 2}
    color, number = world.call(DOCUMENTS + "FacetDocuments", request).facets
    equal([("red", 4), ("blue", 3)], [(one.value.string_value, one.count) for one in color.values])
    equal((3, 10, 10), (color.distinct_values, color.documents, number.distinct_values))


refuses(DOCUMENTS + "FacetDocuments", "INVALID_ARGUMENT", "no fields", {"parent": SHOP}, "fields")
refuses(DOCUMENTS + "FacetDocuments", "INVALID_ARGUMENT", "17 fields", {"parent": SHOP, "fields": ["x"] * 17}, "fields")
refuses(DOCUMENTS + "FacetDocuments", "INVALID_ARGUMENT", "limit 0", {"parent": SHOP, "fields": ["x"], "limit": 0}, "limit")


def stream_ids(world, **fields):
    messages = world.call(DOCUMENTS + "StreamDocuments", {"read_mask": "id", **fields})
    true(all(one.resume_token for one in messages), "each message has a resume token")
    return [one.id for message in messages for one in message.documents]


@covers("vecino.v1.DocumentService/StreamDocuments")
def whole_sliced_filtered_and_resumed(world):
    everything = stream_ids(world, parent=SHOP)
    equal(sorted(f"p{i}" for i in range(30)), sorted(everything))
    slices = [stream_ids(world, parent=SHOP, slice={"index": i, "total": 3}) for i in range(3)]
    equal(sorted(everything), sorted(itertools.chain(*slices)))
    equal(10, len(stream_ids(world, parent=SHOP, filter='color = "red"')))
    large = {"parent": "collections/large"}
    messages = world.call(DOCUMENTS + "StreamDocuments", large)
    true(len(messages) > 1, f"{len(messages)} messages of 5 MiB")
    ids = [one.id for message in messages for one in message.documents]
    rest = world.call(DOCUMENTS + "StreamDocuments", {**large, "resume_token": messages[0].resume_token})
    equal(ids[len(messages[0].documents):], [one.id for message in rest for one in message.documents])
    end = world.call(DOCUMENTS + "StreamDocuments", {**large, "resume_token": messages[-1].resume_token})
    equal(0, sum(len(message.documents) for message in end))


def resume_token(world, **fields):
    return world.call(DOCUMENTS + "StreamDocuments", fields)[0].resume_token


for title, other in [
    ("another collection", {"parent": "collections/other"}),
    ("another filter", {"filter": "number > 1"}),
    ("another slice", {"slice": {"index": 0, "total": 2}}),
]:
    refuses(DOCUMENTS + "StreamDocuments", "INVALID_ARGUMENT", f"a resume token of {title}",
            lambda world, other=other: {"parent": SHOP, **other, "resume_token": resume_token(world, parent=SHOP)},
            "resume_token")  # fmt: skip


@provokes("vecino.v1.DocumentService/StreamDocuments", "INVALID_ARGUMENT")
def a_resume_token_that_was_altered(world):
    for token in altered(resume_token(world, parent=SHOP)):
        world.refused(DOCUMENTS + "StreamDocuments", "INVALID_ARGUMENT", {"parent": SHOP, "resume_token": token}, "resume_token")


def altered(token):
    """Tokens that are nearly this one."""
    middle = len(token) // 2
    other = "B" if token[middle] == "A" else "A"
    return [token[:middle] + other + token[middle + 1:], token[:-4], token + token, "AAAA", "no token!"]


@provokes("vecino.v1.DocumentService/StreamDocuments", "INVALID_ARGUMENT")
def a_token_of_a_collection_made_anew(world):
    name = world.fresh(documents=3)
    request = {"parent": f"collections/{name}"}
    request["resume_token"] = resume_token(world, **request)
    world.call(COLLECTIONS + "DeleteCollection", {"name": f"collections/{name}"})
    world.create(name)
    world.refused(DOCUMENTS + "StreamDocuments", "INVALID_ARGUMENT", request, "resume_token")


for title, part in [("index -1", {"index": -1, "total": 2}), ("index 2 of 2", {"index": 2, "total": 2}),
                    ("none", {"total": 0}), ("1,025 of them", {"total": 1025})]:  # fmt: skip
    refuses(DOCUMENTS + "StreamDocuments", "INVALID_ARGUMENT", f"slices: {title}", {"parent": SHOP, "slice": part})


@covers("vecino.v1.DocumentService/IngestDocuments")
def every_item_is_answered_once_and_in_order(world):
    name = world.fresh()
    parent = f"collections/{name}"
    sent = [{"start": {"parent": parent, "resume_token": "load"}}]
    sent += [{"document": {"seq": i, "document": point(i)}} for i in range(1, 101)]
    sent += [{"delete": {"seq": 101, "id": "p1"}}, {"delete": {"seq": 102, "id": "none"}}]
    sent += [{"document": {"seq": 103, "document": {"id": "bad", "vector": vector(1)}}}]
    sent += [{"items": {"items": [{"document": {"seq": 200, "document": point(200)}}, {"delete": {"seq": 201, "id": "p2"}}]}}]

    def codes(replies):
        return {one.seq: one.status.code for reply in replies for one in reply.results}

    replies = world.call(DOCUMENTS + "IngestDocuments", sent)
    true(replies[0].HasField("window") and replies[0].window.documents >= 1, "the first message has the window")
    equal([*range(1, 104), 200, 201], [one.seq for reply in replies for one in reply.results])
    equal({102: NOT_FOUND, 103: INVALID_ARGUMENT}, {seq: code for seq, code in codes(replies).items() if code})
    equal(201, replies[-1].done_through)
    equal(99, count(world, name))  # 101 upserts of different ids, less p1 and p2
    before = get(world, name, "p5").version
    again = world.call(DOCUMENTS + "IngestDocuments", [*sent, {"finish": {}}])
    equal(codes(replies), codes(again), "the same load once more is answered alike")
    equal(before, get(world, name, "p5").version, "and not done again")


@provokes("vecino.v1.DocumentService/StreamDocuments", "RESOURCE_EXHAUSTED")
def the_17th_that_is_open(world):
    calls = [world.api.start(DOCUMENTS + "StreamDocuments", {"parent": "collections/large"}) for _ in range(16)]
    for call in calls:
        next(call)  # the rest, of megabytes, waits for us
    refusal = world.refused(DOCUMENTS + "StreamDocuments", "RESOURCE_EXHAUSTED", {"parent": SHOP})
    true(refusal.retry, "there is a RetryInfo")
    for call in calls:
        call.cancel()


def start(**fields):
    return [{"start": {"parent": SHOP, **fields}}]


ITEM = {"document": {"seq": 1, "document": {"id": "p1", "vector": vector(1, 0, 1)}}}
refuses(DOCUMENTS + "IngestDocuments", "NOT_FOUND", "no such collection", [{"start": {"parent": NONE}}])
for title, sent, field in [
    ("no start", [ITEM], None),
    ("two starts", start() * 2, None),
    ("a resume token of 129 bytes", start(resume_token="x" * 129), "start.resume_token"),
    ("an unknown write mode", start(write_mode=77), "start.write_mode"),
    ("seq 0", [*start(), {"document": {"seq": 0, "document": {"id": "p1"}}}], "document.seq"),
    ("an empty message", [*start(), {}], "message"),
    ("no items", [*start(), {"items": {}}], None),
]:
    refuses(DOCUMENTS + "IngestDocuments", "INVALID_ARGUMENT", title, sent, field)


@provokes("vecino.v1.DocumentService/IngestDocuments", "INVALID_ARGUMENT")
def a_number_that_does_not_rise(world):
    parent = f"collections/{world.fresh()}"
    for seq in (5, 4):
        items = [{"document": {"seq": 5, "document": point(5)}}, {"document": {"seq": seq, "document": point(6)}}]
        refusal = world.refused(DOCUMENTS + "IngestDocuments", "INVALID_ARGUMENT", [{"start": {"parent": parent}}, *items])
        true(str(seq) in refusal.message and "5" in refusal.message, f"both numbers in “{refusal.message}”")


@provokes("vecino.v1.DocumentService/IngestDocuments", "INVALID_ARGUMENT")
def something_behind_finish(world):
    parent = f"collections/{world.fresh()}"
    world.refused(DOCUMENTS + "IngestDocuments", "INVALID_ARGUMENT", [{"start": {"parent": parent}}, {"finish": {}}, ITEM])


@provokes("vecino.v1.DocumentService/IngestDocuments", "ABORTED")
def another_stream_takes_the_token_over(world):
    parent = f"collections/{world.fresh()}"
    requests = queue.SimpleQueue()
    requests.put({"start": {"parent": parent, "resume_token": "same"}})
    first = world.api.start(DOCUMENTS + "IngestDocuments", iter(requests.get, None))
    next(first)
    world.call(DOCUMENTS + "IngestDocuments", [{"start": {"parent": parent, "resume_token": "same"}}])
    try:
        list(first)
        raise AssertionError("the first stream ends with an error")
    except grpc.RpcError as error:
        refusal = Refusal(world.contract, error)
        equal("ABORTED", refusal.code.name, refusal.message)
        true(refusal.message, "the error has a message")
    requests.put(None)


def wait(world, operation):
    deadline = time.monotonic() + 60
    while not operation.done:
        true(time.monotonic() < deadline, "it ends within 60 s")
        operation = world.call("google.longrunning.Operations/WaitOperation", {"name": operation.name, "timeout": "10s"})
    equal("response", operation.WhichOneof("result"), f"{operation}")
    return world.contract.unpack(operation.response)


@covers("vecino.v1.DocumentService/PurgeDocuments")
def a_count_first_then_deletes(world):
    name = world.fresh(documents=30)
    request = {"parent": f"collections/{name}", "filter": 'color = "blue"'}
    operation = world.call(DOCUMENTS + "PurgeDocuments", request)
    true(operation.done, "without force it is done at once")
    response = wait(world, operation)
    equal((10, 10), (response.purge_count, len(response.purge_sample)))
    equal(30, count(world, name))
    equal(10, wait(world, world.call(DOCUMENTS + "PurgeDocuments", {**request, "force": True})).purge_count)
    equal((20, 0), (count(world, name), count(world, name, 'color = "blue"')))


@covers("vecino.v1.DocumentService/PatchDocuments")
def a_count_first_then_changes(world):
    name = world.fresh(documents=30)
    request = {"parent": f"collections/{name}", "filter": 'color = "blue"',
               "metadata_patch": {"color": "white", "even": None, "new": {"deep": True}}}  # fmt: skip
    response = wait(world, world.call(DOCUMENTS + "PatchDocuments", request))
    equal((10, 10), (response.patch_count, len(response.patch_sample)))
    equal(10, count(world, name, 'color = "blue"'))
    equal(10, wait(world, world.call(DOCUMENTS + "PatchDocuments", {**request, "force": True})).patch_count)
    equal((0, 10, 10, 20), tuple(count(world, name, one) for one in (
        'color = "blue"', 'color = "white"', "new.deep = true", "exists(even)")))  # fmt: skip


for rpc in ("PurgeDocuments", "PatchDocuments"):
    fields = {"metadata_patch": {"x": 1}} if rpc == "PatchDocuments" else {}
    refuses(DOCUMENTS + rpc, "INVALID_ARGUMENT", "no filter", {"parent": SHOP, **fields}, "filter")
refuses(DOCUMENTS + "PatchDocuments", "INVALID_ARGUMENT", "no patch", {"parent": SHOP, "filter": "*"}, "metadata_patch")

for rpc in ("CreateDocument", "BatchUpsertDocuments", "BatchGetDocuments", "BatchDeleteDocuments", "ListDocuments",
            "CountDocuments", "FacetDocuments", "StreamDocuments", "PurgeDocuments", "PatchDocuments"):  # fmt: skip
    request = {"parent": NONE}
    request.update({
        "CreateDocument": {"document": point(1)}, "BatchUpsertDocuments": {"documents": [point(1)]},
        "BatchGetDocuments": {"ids": ["x"]}, "BatchDeleteDocuments": {"ids": ["x"]}, "FacetDocuments": {"fields": ["x"]},
        "PurgeDocuments": {"filter": "*"}, "PatchDocuments": {"filter": "*", "metadata_patch": {"x": 1}},
    }.get(rpc, {}))  # fmt: skip
    refuses(DOCUMENTS + rpc, "NOT_FOUND", "no such collection", request)

excuse(DOCUMENTS + "IngestDocuments", "RESOURCE_EXHAUSTED",
       "a full queue is waited for inside the stream, which ends so only after a minute without progress (docs/ingest.md)")  # fmt: skip
