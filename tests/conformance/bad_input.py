"""Bad input for every RPC that takes a name, a filter, a page token or bytes: found by reflection, so that a new RPC is
in as soon as it is there."""

import re

from cases_documents import altered, start
from cases_snapshots import snapshot
from contract import Refusal
import grpc
from registry import ADMIN, COLLECTIONS, DOCUMENTS, OPERATIONS, SEARCH, Case
from world import equal, true, vector

SHOP = "collections/shop"
ANY = "any"  # for cases that are about no error in particular
# What else a request must have to be about its name or filter, and not about something that is missing.
REQUIRED = {
    DOCUMENTS + "CreateDocument": {"document": {"id": "x"}},
    DOCUMENTS + "BatchUpsertDocuments": {"documents": [{"id": "x"}]},
    DOCUMENTS + "BatchGetDocuments": {"ids": ["x"]},
    DOCUMENTS + "BatchDeleteDocuments": {"ids": ["x"]},
    DOCUMENTS + "FacetDocuments": {"fields": ["x"]},
    DOCUMENTS + "PurgeDocuments": {"filter": "*"},
    DOCUMENTS + "PatchDocuments": {"filter": "*", "metadata_patch": {"x": 1}},
    SEARCH + "SearchDocuments": {"vector": vector(1, 0, 1)},
    SEARCH + "BatchSearchDocuments": {"requests": [{"vector": vector(1, 0, 1)}]},
    SEARCH + "HybridSearchDocuments": {"vector": vector(1, 0, 1), "lexical_text": "x"},
    SEARCH + "AnswerQuestion": {"question": "x"},
}
# Filters that are wrong at one place: the column that the message names, or None where it does not matter which.
FILTERS = [
    ("number =", 9), ("number = = 3", 10), ("number >= 3 AND", 16), ("(number = 1", None), ("number = 1)", 11), ("= 3", 1),
    ('color = "red', 9), ("number IN (1,", None), ("exists(", None), ("number = 1 OR OR even = true", None), ("NOT", None),
    ('number = "x"', None), ("even > true", None), ("\"", 1),
]  # fmt: skip


def has(method, field):
    return field in method.input_type.fields_by_name


def bad_names(rpc, field):
    def run(world):
        kind = "models" if "Model" in rpc else "aliases" if "Alias" in rpc else "collections"
        for name in ("", "nonsense", kind, f"{kind}/", f"{kind}/UPPER", f"{kind}/a/b/c/d", "/" + f"{kind}/shop", f"{kind}/" + "a" * 2000):
            if "/documents/" in name or (not name and rpc == ADMIN + "VerifyIntegrity"):
                continue  # the latter is of everything
            refusal = world.api.refusal(rpc, {**REQUIRED.get(rpc, {}), field: name})
            true(refusal is not None, f"{field} {name[:40]!r} is refused")
            # An unknown model of any name is NOT_FOUND, as nothing says what its name may not be.
            codes = {"INVALID_ARGUMENT", "NOT_FOUND"} if kind == "models" and name.startswith("models/") else {"INVALID_ARGUMENT"}
            true(refusal.code.name in codes, f"{name[:40]!r}: {refusal}")
            if refusal.code.name == "INVALID_ARGUMENT":
                equal(field, refusal.field, f"field of “{refusal.message}”")
            true(refusal.message and len(refusal.message) <= 1000, f"a message of {len(refusal.message)} bytes")

    return run


def bad_filters(rpc, method):
    key = "parent" if has(method, "parent") else "name"

    def run(world):
        parent = "collections/texts" if rpc.endswith("/AnswerQuestion") else SHOP
        for text, column in FILTERS:
            if parent != SHOP and text in ('number = "x"', "even > true"):
                continue  # these fields have no type there
            request = {key: parent, **REQUIRED.get(rpc, {}), "filter": text}
            refusal = world.api.refusal(rpc, request)
            true(refusal is not None, f"{text} is refused")
            equal(("INVALID_ARGUMENT", "filter"), (refusal.code.name, refusal.field), f"{text}: {refusal.message}")
            named = re.search(r"column (\d+)", refusal.message)
            true(named, f"a column in “{refusal.message}”")
            true(1 <= int(named[1]) <= len(text) + 1, f"a column within {text}: {refusal.message}")
            if column is not None:
                equal(column, int(named[1]), f"column of {text}: {refusal.message}")
        long = "number = 1 OR " * 4000 + "number = 1"  # beyond 32 KiB
        world.refused(rpc, "INVALID_ARGUMENT", {key: parent, **REQUIRED.get(rpc, {}), "filter": long}, "filter")

    return run


def field_beyond(rpc, method):
    key = "parent" if has(method, "parent") else "name"

    def run(world):
        request = {**REQUIRED.get(rpc, {}), key: f"collections/{world.many_fields()}", "filter": "beyond = 1"}
        refusal = world.refused(rpc, "FAILED_PRECONDITION", request)
        true("column 1" in refusal.message and "beyond" in refusal.message, f"“{refusal.message}” names the field")

    return run


# A request of each RPC with pages, whose reply has a further one.
PAGED = {
    COLLECTIONS + "ListCollections": {"page_size": 1},
    COLLECTIONS + "ListAliases": {"page_size": 1},
    DOCUMENTS + "ListDocuments": {"parent": SHOP, "page_size": 2},
    SEARCH + "SearchDocuments": {"parent": SHOP, "vector": vector(1, 0, 1), "top_k": 2},
    OPERATIONS + "ListOperations": {"page_size": 1},
    ADMIN + "ListSnapshots": {"page_size": 1},
}
# The same with another filter, query or parent: a page token of the first is not one of these.
OTHERS = {
    DOCUMENTS + "ListDocuments": [{"parent": "collections/other"}, {"filter": "number > 1"}],
    SEARCH + "SearchDocuments": [{"parent": "collections/other"}, {"filter": "number > 1"}, {"vector": vector(2, 0, 1)},
                                 {"min_score": 1e6}],  # fmt: skip
}


def bad_page_tokens(rpc):
    def run(world):
        request = dict(PAGED[rpc])
        if rpc == COLLECTIONS + "ListAliases":
            world.fresh_alias()
        if rpc == ADMIN + "ListSnapshots":
            for _ in range(2):
                snapshot(world, SHOP)
        if rpc == OPERATIONS + "ListOperations":
            request["name"] = f"collections/{world.fresh(documents=2)}"
            for shards in ([0], [1]):
                world.call(COLLECTIONS + "CompactIndex", {"name": request["name"], "shards": shards})
        token = world.call(rpc, request).next_page_token
        true(token, "there is a further page")
        world.call(rpc, {**request, "page_token": token})
        strange = world.call(*next((one, PAGED[one]) for one in PAGED if one != rpc)).next_page_token
        for bad in [*altered(token), strange]:
            refusal = world.refused(rpc, "INVALID_ARGUMENT", {**request, "page_token": bad}, "page_token")
            true(token not in refusal.message, "the message does not repeat the token")
        for other in OTHERS.get(rpc, []):
            world.refused(rpc, "INVALID_ARGUMENT", {**request, **other, "page_token": token}, "page_token")

    return run


def bad_bytes(rpc, method):
    many = method.client_streaming
    first = method.input_type.fields_by_number.get(1)
    # An end too early, groups that do not end, and no UTF-8 where field 1 is a string.
    bad = [b"\xff", b"\n\x7fx", bytes(range(256)), b"\x0b" * 1000]
    if first is not None and first.type == first.TYPE_STRING:
        bad.append(b"\n\x02\xff\xfe")

    def run(world):
        for raw in bad:
            refusal = world.api.refusal(rpc, raw=[raw] if many else raw)
            true(refusal is not None, f"{raw[:10]} is refused")
            true(refusal.code.name == "INVALID_ARGUMENT" and refusal.message, f"{raw[:10]}: {refusal}")

    return run


# Values at the ends of what a field may hold and beyond, by type.
EXTREMES = {
    "int32": [-1, 2**31 - 1, -(2**31)], "int64": [-1, 2**63 - 1, -(2**63)], "float": ["NaN", "Infinity", -1, 1e38],
    "double": ["NaN", "-Infinity", -1, 1e300], "bool": [True], "bytes": ["", "AAAA"], "enum": [1, 2, 77, -1],
    "string": ["", "\0", "x" * 100_000, "a/b", "collections/victim/documents/d", "*"],
}  # fmt: skip
CALLERS_ERRORS = {"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION", "ABORTED", "RESOURCE_EXHAUSTED",
                  "OUT_OF_RANGE"}  # fmt: skip
NAMED = {
    "GetDocument": "collections/victim/documents/d", "DeleteDocument": "collections/victim/documents/d",
    "GetModel": "models/x", "GetAlias": "aliases/x", "DeleteAlias": "aliases/x",
    "RestoreSnapshot": "snapshots/x", "DeleteSnapshot": "snapshots/x",
}  # fmt: skip


def values(field, depth):
    """Values for a field, of fields of messages each alone; in the form of proto3 JSON."""
    kind = next(name[5:].lower() for name in dir(field) if name.startswith("TYPE_") and getattr(field, name) == field.type)
    if kind == "message":
        full_name = field.message_type.full_name
        if full_name == "google.protobuf.Struct":
            found = [{}, {"": None}, {"a": {"b": [1, None, {}]}}, {"x": "y" * 70_000}]
        elif full_name == "google.protobuf.FieldMask":
            found = ["", "nothing", "id", "text,vector,metadata", "*", "a" * 10_000]
        elif full_name == "google.protobuf.Timestamp":
            found = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
        elif full_name == "google.protobuf.Duration":
            found = ["-1s", "0s", "0.001s"] if field.name == "timeout" else ["-1s", "0s", "315576000000s"]
        elif depth == 0:
            found = [{}]
        else:
            found = [{}] + [{one.name: value} for one in field.message_type.fields for value in values(one, depth - 1)]
    else:
        found = EXTREMES.get(kind, [])
    return [[], [found[0]] * 1001, *([value] * 2 for value in found)] if field.is_repeated and found else found


def merged(base, more):
    """`more` over `base`, object by object, so that the rest of the request is in order."""
    if not (isinstance(base, dict) and isinstance(more, dict)):
        return more
    return {**base, **{key: merged(base.get(key), value) for key, value in more.items()}}


def extremes(rpc, method):
    """Whatever one field holds, the call is OK or the caller's error: no INTERNAL, no UNKNOWN, no server that is gone."""

    def run(world):
        if world.api.refusal(COLLECTIONS + "GetCollection", {"name": "collections/victim"}):
            world.create("victim")
        base = dict(REQUIRED.get(rpc, {}))
        for field in ("name", "parent"):
            if has(method, field):
                base[field] = NAMED.get(method.name, "collections/victim")
        if method.name == "CreateCollection":
            base = {"collection_id": "victim", "collection": {"dimension": 3}, "validate_only": True}
        for field in method.input_type.fields:
            for value in values(field, 3):
                others = {one.name for one in field.containing_oneof.fields} if field.containing_oneof else set()
                rest = {key: one for key, one in base.items() if key == field.name or key not in others}
                request = merged(rest, {field.name: value})
                if method.name == "DeleteCollection" and request["name"] != "collections/victim":
                    continue
                if any(token.get("sequence_number", 0) > 0 for token in request.get("write_tokens", [])):
                    continue  # waits for its deadline, rightly
                made = world.contract.make(method.input_type, request)
                refusal = first_answer(world, rpc, method, made.SerializeToString())
                true(refusal is None or refusal.code.name in CALLERS_ERRORS,
                     f"{str(request)[:300]} is OK or the caller's error: {refusal}")  # fmt: skip
                if refusal is not None:
                    true(refusal.message, f"{str(request)[:300]}: the error has a message")
                elif method.name in ("DeleteCollection", "CreateCollection"):
                    world.call(COLLECTIONS + "DeleteCollection", {"name": "collections/victim", "allow_missing": True})
                    world.create("victim")

    return run


def first_answer(world, rpc, method, raw):
    """How a call fails before its first answer, or None. Streams are given up on then: some never end."""
    call = world.api.start(rpc, raw=[raw] if method.client_streaming else raw)
    try:
        if method.server_streaming:
            next(call, None)
            call.cancel()
        else:
            call.result()
    except grpc.RpcError as error:
        return Refusal(world.contract, error)
    return None


def cases(contract):
    """Cases for all methods that the server has. An RPC with page tokens that PAGED does not know raises KeyError."""
    found = []
    for rpc, method in contract.methods.items():
        found.append(Case(rpc, "INVALID_ARGUMENT", "bytes that are no message", bad_bytes(rpc, method), general=True))
        found.append(Case(rpc, ANY, "extreme values", extremes(rpc, method)))
        for field in ("name", "parent"):
            if has(method, field):
                found.append(Case(rpc, "INVALID_ARGUMENT", "bad names", bad_names(rpc, field)))
        if has(method, "filter") and rpc != OPERATIONS + "ListOperations":
            model = rpc.endswith("/AnswerQuestion")
            found.append(Case(rpc, "INVALID_ARGUMENT", "bad filters", bad_filters(rpc, method), model))
            if not model:
                found.append(Case(rpc, "FAILED_PRECONDITION", "a field that is not indexed", field_beyond(rpc, method)))
        if has(method, "page_token"):
            assert rpc in PAGED, f"{rpc} has pages: give bad_input.PAGED a request with a further page"
            found.append(Case(rpc, "INVALID_ARGUMENT", "bad page tokens", bad_page_tokens(rpc)))
    for name in ("", "nonsense", "collections/", "collections/UPPER"):
        sent = start(parent=name)
        found.append(Case(DOCUMENTS + "IngestDocuments", "INVALID_ARGUMENT", f"parent {name!r}",
                          lambda world, sent=sent: world.refused(
                              DOCUMENTS + "IngestDocuments", "INVALID_ARGUMENT", sent, "start.parent")))  # fmt: skip
    return found
