"""MigrateEmbeddings, SwitchEmbeddings, FinishEmbeddingMigration."""

import time

from registry import COLLECTIONS, OPERATIONS, SEARCH, covers, provokes, refuses
from world import MODEL, MODEL_DIMENSION, equal, true

MIGRATE = COLLECTIONS + "MigrateEmbeddings"
SWITCH = COLLECTIONS + "SwitchEmbeddings"
FINISH = COLLECTIONS + "FinishEmbeddingMigration"
NONE = "collections/none-such"
SHOP = "collections/shop"
OTHER = MODEL + "@int8"
OLD, NEW = "EMBEDDING_SIDE_OLD", "EMBEDDING_SIDE_NEW"
LINES = ["a chess program", "a text editor", "a game of cards", "a video editor", "a mail server"]


def texts(world):
    """The name of a collection of the case's own with five texts."""
    name = world.fresh(dimension=0, metric="METRIC_COSINE", embedding={"model": MODEL})
    world.upsert(name, [{"id": f"t{i}", "text": text} for i, text in enumerate(LINES)])
    return f"collections/{name}"


def migrate(world, name, **fields):
    operation = world.call(MIGRATE, {"name": name, "embedding": {"model": OTHER}, **fields})
    deadline = time.monotonic() + 120
    while not operation.done:
        true(time.monotonic() < deadline, f"{operation.name} ends within 120 s")
        operation = world.call(OPERATIONS + "WaitOperation", {"name": operation.name, "timeout": "10s"})
    return operation


@covers("vecino.v1.CollectionService/MigrateEmbeddings", model=True)
def it_is_ready_and_shows_the_overlap(world):
    name = texts(world)
    request = {"name": name, "embedding": {"model": OTHER}, "validate_only": True}
    estimate = world.call(MIGRATE, request)
    true(estimate.done and not estimate.name, "an estimate is done and has no name")
    equal(5, world.contract.unpack(estimate.metadata).estimate.rows)
    operation = migrate(world, name, queries=["play chess", "edit a film"], top_k=3)
    equal("response", operation.WhichOneof("result"), f"{operation}")
    response = world.contract.unpack(operation.response)
    equal("vecino.v1.MigrateEmbeddingsResponse", response.DESCRIPTOR.full_name)
    equal((2, 3, False), (response.overlap.samples, response.overlap.top_k, response.overlap.own_texts))
    true(response.overlap.overlap > 0.5, "the same model in another precision finds much the same")
    metadata = world.contract.unpack(operation.metadata)
    equal((5, name, 2), (metadata.type, metadata.collection, metadata.migration.state))
    shown = world.call(COLLECTIONS + "GetCollection", {"name": name}).collection
    equal((MODEL, 1, 5, 0), (shown.embedding.model, shown.migration.active, shown.migration.documents_done, shown.migration.lag))
    equal(operation.name, shown.migration.operation)
    world.call(COLLECTIONS + "DeleteCollection", {"name": name})
    world.refused(COLLECTIONS + "GetCollection", "NOT_FOUND", {"name": name})


@covers("vecino.v1.CollectionService/SwitchEmbeddings", model=True)
def there_and_back_with_every_write(world):
    name = texts(world)
    migrate(world, name)
    world.upsert(name.removeprefix("collections/"), [{"id": "t9", "text": "a paint program"}])
    for to, model in ((NEW, OTHER), (NEW, OTHER), (OLD, MODEL)):
        equal(model, world.call(SWITCH, {"name": name, "to": to}).collection.embedding.model)
        hits = world.call(SEARCH + "SearchDocuments", {"parent": name, "text": "draw pictures", "top_k": 1}).hits
        equal("t9", hits[0].document.id)


@covers("vecino.v1.CollectionService/FinishEmbeddingMigration", model=True)
def what_is_not_used_goes(world):
    name = texts(world)
    equal("response", migrate(world, name, cut_over="CUT_OVER_AUTOMATIC").WhichOneof("result"))
    finished = world.call(FINISH, {"name": name, "keep": NEW}).collection
    equal((OTHER, MODEL_DIMENSION, False), (finished.embedding.model, finished.dimension, finished.HasField("migration")))
    world.refused(SWITCH, "FAILED_PRECONDITION", {"name": name, "to": OLD})


@provokes("vecino.v1.CollectionService/FinishEmbeddingMigration", "FAILED_PRECONDITION", model=True)
def the_other_side_is_used(world):
    name = texts(world)
    migrate(world, name)
    world.refused(FINISH, "FAILED_PRECONDITION", {"name": name, "keep": NEW})
    world.refused(MIGRATE, "FAILED_PRECONDITION", {"name": name, "embedding": {"model": OTHER}})


@provokes("vecino.v1.CollectionService/MigrateEmbeddings", "FAILED_PRECONDITION", model=True)
def documents_without_text(world):
    name = texts(world)
    world.upsert(name.removeprefix("collections/"), [{"id": "v", "vector": {"values": [1.0] * MODEL_DIMENSION}}])
    operation = migrate(world, name)
    equal(9, operation.error.code, operation.error.message)
    true("1 documents" in operation.error.message, operation.error.message)
    equal("response", migrate(world, name, allow_vectorless=True).WhichOneof("result"))
    new = world.call(COLLECTIONS + "GetCollection", {"name": name}).collection.migration.new_side
    equal(1, new.documents_without_vector)


def request(**fields):
    return lambda world: {"name": SHOP, "embedding": {"model": OTHER}, **fields}


refuses(MIGRATE, "NOT_FOUND", "no such collection", {"name": NONE, "embedding": {"model": MODEL}})
refuses(MIGRATE, "NOT_FOUND", "no such model", {"name": SHOP, "embedding": {"model": "models/none"}})
refuses(MIGRATE, "FAILED_PRECONDITION", "it has these embeddings", {"name": "collections/texts", "embedding": {"model": MODEL}},
        model=True)  # fmt: skip
for title, fields, field in [
    ("no model", {"embedding": {}}, "embedding.model"),
    ("a bad model", {"embedding": {"model": "none"}}, "embedding.model"),
    ("dimension -1", {"dimension": -1}, "dimension"),
    ("top_k 101", {"top_k": 101}, "top_k"),
    ("an empty query", {"queries": ["a", ""]}, "queries[1]"),
    ("201 queries", {"queries": ["q"] * 201}, "queries"),
    ("an unknown cut_over", {"cut_over": 77}, "cut_over"),
    ("min_overlap by hand", {"min_overlap": 0.5}, "min_overlap"),
    ("min_overlap 2", {"min_overlap": 2, "cut_over": "CUT_OVER_AUTOMATIC"}, "min_overlap"),
]:
    refuses(MIGRATE, "INVALID_ARGUMENT", title, request(**fields), field)
for which in ("query_prompt", "document_prompt"):
    refuses(MIGRATE, "INVALID_ARGUMENT", f"a {which} that the model has not",
            request(embedding={"model": OTHER, which: "none"}), f"embedding.{which}", model=True)
refuses(MIGRATE, "INVALID_ARGUMENT", "a dimension that the model has not", request(dimension=7), "dimension", model=True)
refuses(SWITCH, "NOT_FOUND", "no such collection", {"name": NONE, "to": NEW})
refuses(SWITCH, "INVALID_ARGUMENT", "no side", {"name": SHOP}, "to")
refuses(SWITCH, "INVALID_ARGUMENT", "an unknown side", {"name": SHOP, "to": 77}, "to")
refuses(SWITCH, "FAILED_PRECONDITION", "no migration", {"name": SHOP, "to": NEW})
refuses(FINISH, "INVALID_ARGUMENT", "an unknown side", {"name": SHOP, "keep": 77}, "keep")
refuses(FINISH, "FAILED_PRECONDITION", "no migration", {"name": SHOP})
