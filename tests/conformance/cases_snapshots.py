"""Snapshots and VerifyIntegrity of AdminService."""

import itertools
import pathlib
import time

import grpc
from registry import ADMIN, COLLECTIONS, DOCUMENTS, OPERATIONS, covers, excuse, provokes, refuses
from world import equal, true

CREATE, LIST, RESTORE = ADMIN + "CreateSnapshot", ADMIN + "ListSnapshots", ADMIN + "RestoreSnapshot"
DELETE, VERIFY = ADMIN + "DeleteSnapshot", ADMIN + "VerifyIntegrity"
SHOP, OTHER = "collections/shop", "collections/other"
NONE = "snapshots/none-such"
NUMBERS = itertools.count()


def ended(world, operation):
    deadline = time.monotonic() + 120
    while not operation.done:
        true(time.monotonic() < deadline, f"{operation.name} ends within 120 s")
        operation = world.call(OPERATIONS + "WaitOperation", {"name": operation.name, "timeout": "10s"})
    return operation


def succeeded(world, operation):
    operation = ended(world, operation)
    equal(0, operation.error.code, operation.error.message)
    return operation


def snapshot(world, *collections):
    """The name of a snapshot of the case's own."""
    request = {"snapshot_id": f"case-{next(NUMBERS)}", "collections": list(collections)}
    operation = succeeded(world, world.call(CREATE, request))
    return world.contract.unpack(operation.response).name


def folder(world, name):
    return pathlib.Path(world.server.data_dir) / name


@covers("vecino.v1.AdminService/CreateSnapshot")
def what_an_operation_and_its_snapshot_say(world):
    request = {"snapshot_id": "mine", "collections": [SHOP, OTHER]}
    operation = world.call(CREATE, request)
    true(operation.name.startswith("snapshots/mine/operations/"), operation.name)
    operation = succeeded(world, operation)
    metadata = world.contract.unpack(operation.metadata)
    equal(("snapshots/mine", [OTHER, SHOP]), (metadata.snapshot, sorted(metadata.collections)))
    true(metadata.create_time.seconds and metadata.end_time.seconds and metadata.stage == "done", "times and stage are set")
    made = world.contract.unpack(operation.response)
    equal(("snapshots/mine", 33), (made.name, made.document_count))
    equal([(OTHER, 3), (SHOP, 30)], [(one.collection, one.document_count) for one in made.collections])
    true(made.size_bytes > 0 and made.create_time.seconds and made.server_version and not made.damage, "figures are set")
    true((folder(world, "snapshots/mine") / "MANIFEST").exists(), "its manifest is in the data folder")
    listed = world.call(OPERATIONS + "ListOperations", {"name": "snapshots/mine"}).operations
    equal([operation.name], [one.name for one in listed])
    world.call(OPERATIONS + "DeleteOperation", {"name": operation.name})
    world.refused(OPERATIONS + "GetOperation", "NOT_FOUND", {"name": operation.name})


@covers("vecino.v1.AdminService/CreateSnapshot")
def one_by_alias_named_by_the_time(world):
    operation = succeeded(world, world.call(CREATE, {"collections": ["collections/window"]}))
    made = world.contract.unpack(operation.response)
    equal([SHOP], [one.collection for one in made.collections])
    world.call(DELETE, {"name": made.name})


refuses(CREATE, "INVALID_ARGUMENT", "a bad id", {"snapshot_id": "No"}, "snapshot_id")
refuses(CREATE, "INVALID_ARGUMENT", "a bad name", {"collections": [SHOP, "shop"]}, "collections[1]")
refuses(CREATE, "INVALID_ARGUMENT", "one collection by two names", {"collections": [SHOP, "collections/window"]},
        "collections[1]")  # fmt: skip
refuses(CREATE, "NOT_FOUND", "no such collection", {"collections": ["collections/none-such"]})


@provokes("vecino.v1.AdminService/CreateSnapshot", "ALREADY_EXISTS")
def an_id_that_is_taken(world):
    name = snapshot(world, OTHER)
    world.refused(CREATE, "ALREADY_EXISTS", {"snapshot_id": name.partition("/")[2]})


@covers("vecino.v1.AdminService/ListSnapshots")
def all_of_them_in_pages(world):
    made = {snapshot(world, OTHER) for _ in range(3)}
    names, token = [], ""
    while True:
        reply = world.call(LIST, {"page_size": 2, "page_token": token})
        true(len(reply.snapshots) <= 2, "two in a page")
        names += [one.name for one in reply.snapshots]
        token = reply.next_page_token
        if not token:
            break
    equal(sorted(names), names, "order")
    true(made <= set(names), "those that were made are there")


refuses(LIST, "INVALID_ARGUMENT", "a negative page", {"page_size": -1}, "page_size")


@covers("vecino.v1.AdminService/RestoreSnapshot")
def what_was_copied_is_there_again(world):
    name = world.fresh(documents=5)
    taken = snapshot(world, f"collections/{name}")
    world.call(DOCUMENTS + "DeleteDocument", {"name": f"collections/{name}/documents/p3"})
    operation = world.call(RESTORE, {"name": taken, "collection_id": f"{name}-copy"})
    operation = succeeded(world, operation)
    equal([f"collections/{name}-copy"], list(world.contract.unpack(operation.response).collections))
    copy = f"collections/{name}-copy"
    equal(5, world.call(DOCUMENTS + "CountDocuments", {"parent": copy}).count)
    document = world.call(DOCUMENTS + "GetDocument", {"name": f"{copy}/documents/p3"}).document
    equal("point 3", document.text)
    world.call(COLLECTIONS + "DeleteCollection", {"name": f"collections/{name}"})
    succeeded(world, world.call(RESTORE, {"name": taken, "source_collection": f"collections/{name}"}))
    equal(5, world.call(DOCUMENTS + "CountDocuments", {"parent": f"collections/{name}"}).count)


refuses(RESTORE, "INVALID_ARGUMENT", "a bad id", {"name": NONE, "collection_id": "No"}, "collection_id")
refuses(RESTORE, "INVALID_ARGUMENT", "a bad source", {"name": NONE, "source_collection": "x"}, "source_collection")
refuses(RESTORE, "NOT_FOUND", "no such snapshot", {"name": NONE})
refuses(RESTORE, "NOT_FOUND", "no such collection in it",
        lambda world: {"name": snapshot(world, OTHER), "source_collection": SHOP})  # fmt: skip
refuses(RESTORE, "ALREADY_EXISTS", "a collection of the id", lambda world: {"name": snapshot(world, OTHER)})
refuses(RESTORE, "ALREADY_EXISTS", "an alias of the id",
        lambda world: {"name": snapshot(world, OTHER), "collection_id": "window"})  # fmt: skip
refuses(RESTORE, "INVALID_ARGUMENT", "one id for two collections",
        lambda world: {"name": snapshot(world, OTHER, SHOP), "collection_id": "both"}, "collection_id")  # fmt: skip
excuse(RESTORE, "FAILED_PRECONDITION", "an empty snapshot needs a server without collections, and a newer version a newer "
       "server; StoreSnapshotTest has the version")  # fmt: skip


@provokes("vecino.v1.AdminService/RestoreSnapshot", "DATA_LOSS")
def a_damaged_manifest_and_a_damaged_file(world):
    name = snapshot(world, OTHER)
    file = folder(world, name) / "000001.sst"
    good = file.read_bytes()
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    failed = ended(world, world.call(RESTORE, {"name": name, "collection_id": "damaged"}))
    equal(15, failed.error.code, failed.error.message)
    true("000001.sst" in failed.error.message, f"“{failed.error.message}” names the file")
    world.refused(COLLECTIONS + "GetCollection", "NOT_FOUND", {"name": "collections/damaged"})
    (folder(world, name) / "MANIFEST").write_bytes(b"VECSNAP")
    world.refused(RESTORE, "DATA_LOSS", {"name": name})
    listed = [one for one in world.call(LIST, {"page_size": 1000}).snapshots if one.name == name]
    true(len(listed) == 1 and "MANIFEST" in listed[0].damage, "the list says so")
    world.call(DELETE, {"name": name})


@covers("vecino.v1.AdminService/DeleteSnapshot")
def it_is_gone(world):
    name = snapshot(world, OTHER)
    world.call(DELETE, {"name": name})
    world.refused(RESTORE, "NOT_FOUND", {"name": name})
    true(not folder(world, name).exists(), "its folder is gone")


refuses(DELETE, "NOT_FOUND", "no such snapshot", {"name": NONE})
refuses(DELETE, "INVALID_ARGUMENT", "a bad name", {"name": SHOP}, "name")
excuse(DELETE, "FAILED_PRECONDITION", "restoring takes too short a time to be caught at it")


@covers("vecino.v1.AdminService/VerifyIntegrity")
def everything_is_well(world):
    for name in ("", SHOP, "collections/window", snapshot(world, OTHER)):
        messages = world.call(VERIFY, {"name": name}, timeout=120)
        true(messages[-1].done and not any(one.done for one in messages[:-1]), "the last message says so, and no other")
        equal(0, messages[-1].finding_count, f"findings of {name}: {messages}")
        true(messages[-1].rows_checked > 0 and messages[-1].bytes_checked > 0, "figures are set")


refuses(VERIFY, "NOT_FOUND", "no such collection", {"name": "collections/none-such"})
refuses(VERIFY, "NOT_FOUND", "no such snapshot", {"name": NONE})
refuses(VERIFY, "INVALID_ARGUMENT", "a bad name", {"name": "shop"}, "name")


@provokes("vecino.v1.AdminService/VerifyIntegrity", "DATA_LOSS")
def a_damaged_snapshot(world):
    name = snapshot(world, OTHER)
    file = folder(world, name) / "000001.sst"
    file.write_bytes(file.read_bytes()[1:])
    call = world.api.start(VERIFY, {"name": name})
    findings = []
    try:
        for message in call:
            if message.HasField("finding"):
                findings.append(message.finding)
        raise AssertionError("it ends with OK")
    except grpc.RpcError as error:
        equal("DATA_LOSS", error.code().name, error.details())
    equal([name], [one.name for one in findings])
    true("000001.sst" in findings[0].problem and findings[0].location and findings[0].advice, f"{findings[0]}")
    world.call(DELETE, {"name": name})
