"""CollectionService and google.longrunning.Operations."""

import time

from registry import COLLECTIONS, OPERATIONS, covers, excuse, provokes, refuses
from world import MODEL, equal, true, vector

NONE = "collections/none-such"
SHOP = "collections/shop"


@covers("vecino.v1.CollectionService/CreateCollection")
def fills_in_the_defaults(world):
    made = world.call(COLLECTIONS + "CreateCollection", {"collection_id": "made-1", "collection": {"dimension": 5}}).collection
    equal(("collections/made-1", 5, 1, 2), (made.name, made.dimension, made.metric, made.shard_count))
    true(made.etag and made.create_time.seconds, "etag and create_time are set")
    request = {"collection_id": "made-2", "collection": {"dimension": 5}, "validate_only": True}
    equal("collections/made-2", world.call(COLLECTIONS + "CreateCollection", request).collection.name)
    world.refused(COLLECTIONS + "GetCollection", "NOT_FOUND", {"name": "collections/made-2"})


def creation(**fields):
    return {"collection_id": "bad", "collection": {"dimension": 3, **fields}}


CREATE = COLLECTIONS + "CreateCollection"
refuses(CREATE, "ALREADY_EXISTS", "a collection has the id", {"collection_id": "shop", "collection": {"dimension": 3}})
refuses(CREATE, "ALREADY_EXISTS", "an alias has the id", {"collection_id": "window", "collection": {"dimension": 3}})
refuses(CREATE, "NOT_FOUND", "an unknown model", creation(dimension=0, embedding={"model": "models/none"}))
for title, request, field in [
    ("no id", {"collection": {"dimension": 3}}, "collection_id"),
    ("a bad id", {"collection_id": "No Good", "collection": {"dimension": 3}}, "collection_id"),
    ("an id of 64 characters", {"collection_id": "a" * 64, "collection": {"dimension": 3}}, "collection_id"),
    ("no collection", {"collection_id": "bad"}, "collection"),
    ("another name", creation(name="collections/else"), "collection.name"),
    ("no dimension", creation(dimension=0), "collection.dimension"),
    ("dimension -1", creation(dimension=-1), "collection.dimension"),
    ("dimension 16,385", creation(dimension=16385), "collection.dimension"),
    ("an unknown metric", creation(metric=77), "collection.metric"),
    ("65 shards", creation(shard_count=65), "collection.shard_count"),
    ("an unknown kind", creation(index_policy={"kind": 77}), "collection.index_policy.kind"),
    ("recall above 1", creation(index_policy={"recall_target": 1.5}), "collection.index_policy.recall_target"),
    ("a parameter of another kind", creation(index_policy={"kind": "KIND_FLAT", "parameters": {"hnsw_m": 8}}), None),
]:  # fmt: skip
    refuses(CREATE, "INVALID_ARGUMENT", title, request, field)
refuses(CREATE, "INVALID_ARGUMENT", "a dimension that the model has not", creation(dimension=7, embedding={"model": MODEL}),
        "collection.dimension", model=True)  # fmt: skip
for which in ("query_prompt", "document_prompt"):
    refuses(CREATE, "INVALID_ARGUMENT", f"a {which} that the model has not",
            creation(dimension=0, embedding={"model": MODEL, which: "none"}), f"collection.embedding.{which}", model=True)  # fmt: skip
    refuses(CREATE, "INVALID_ARGUMENT", f"a {which}, and no model", creation(embedding={which: "query"}),
            f"collection.embedding.{which}")  # fmt: skip
refuses(CREATE, "INVALID_ARGUMENT", "passages, and no model", creation(chunking={}), "collection.chunking")
for title, chunking, field in [
    ("passages of 15 tokens", {"max_tokens": 15}, "max_tokens"),
    ("passages of more than the window", {"max_tokens": 257}, "max_tokens"),
    ("an overlap of half a passage", {"max_tokens": 64, "overlap_tokens": 32}, "overlap_tokens"),
    ("a negative overlap", {"overlap_tokens": -1}, "overlap_tokens"),
]:
    refuses(CREATE, "INVALID_ARGUMENT", title, creation(dimension=0, embedding={"model": MODEL}, chunking=chunking),
            f"collection.chunking.{field}", model=True)  # fmt: skip


@covers("vecino.v1.CollectionService/CreateCollection", model=True)
def says_how_texts_are_split(world):
    fields = {"dimension": 0, "metric": "METRIC_COSINE", "embedding": {"model": MODEL}}
    chunking = world.create("made-3", **fields, chunking={}).chunking
    equal((256, 32), (chunking.max_tokens, chunking.overlap_tokens))
    chunking = world.create("made-4", **fields, chunking={"max_tokens": 100, "overlap_tokens": 0}).chunking
    equal((100, 0), (chunking.max_tokens, chunking.overlap_tokens))
    true(not world.create("made-5", **fields).HasField("chunking"), "unasked texts are not split")


@covers("vecino.v1.CollectionService/CreateCollection", model=True)
def says_which_prompts_it_has(world):
    fields = {"dimension": 0, "metric": "METRIC_COSINE"}
    for name, given, expected in [
        ("made-6", {}, ("query", "document")),
        ("made-7", {"query_prompt": "document", "document_prompt": "query"}, ("document", "query")),
    ]:
        made = world.create(name, **fields, embedding={"model": MODEL, **given})
        equal(expected, (made.embedding.query_prompt, made.embedding.document_prompt))
        read = world.call(COLLECTIONS + "GetCollection", {"name": made.name}).collection
        equal(made.embedding, read.embedding)


@covers("vecino.v1.CollectionService/GetCollection")
def by_name_and_by_alias(world):
    for name in (SHOP, "collections/window"):
        equal(SHOP, world.call(COLLECTIONS + "GetCollection", {"name": name}).collection.name)


@covers("vecino.v1.CollectionService/ListCollections")
def all_of_them_over_pages(world):
    seen, token = [], ""
    while True:
        page = world.call(COLLECTIONS + "ListCollections", {"page_size": 2, "page_token": token})
        seen += [one.name for one in page.collections]
        token = page.next_page_token
        if not token:
            break
    equal(sorted(set(seen)), seen)
    true({SHOP, "collections/other"} <= set(seen), "all are there")


refuses(COLLECTIONS + "ListCollections", "INVALID_ARGUMENT", "page_size -1", {"page_size": -1}, "page_size")


UPDATE = COLLECTIONS + "UpdateCollection"


def json_path(path):
    """A path of a field mask as protobuf's JSON mapping writes it."""
    first, *rest = path.split("_")
    return first + "".join(word[0].upper() + word[1:] for word in rest)


def change(name=SHOP, mask=(), **fields):
    return {"collection": {"name": name, **fields}, "update_mask": ",".join(json_path(path) for path in mask)}


@covers("vecino.v1.CollectionService/UpdateCollection")
def it_is_searched_by_the_new_policy(world):
    policy = {"kind": "KIND_IVF_FLAT", "parameters": {"nlist": 8}}
    name = f"collections/{world.fresh(index_policy=policy)}"
    before = world.call(COLLECTIONS + "GetCollection", {"name": name}).collection
    mask = ["index_policy.recall_target", "index_policy.parameters.nprobe"]
    new = {"recall_target": 0.5, "parameters": {"nprobe": 3}}
    request = change(name, mask, etag=before.etag, index_policy=new)
    dry = world.call(UPDATE, {**request, "validate_only": True}).collection
    equal(("", 0.5), (dry.etag, dry.index_policy.recall_target))
    changed = world.call(UPDATE, request).collection
    equal((0.5, 3, 8), (changed.index_policy.recall_target, changed.index_policy.parameters.nprobe,
                        changed.index_policy.parameters.nlist))  # fmt: skip
    true(changed.etag != before.etag, "the etag is another")
    equal(changed, world.call(COLLECTIONS + "GetCollection", {"name": name}).collection)
    # Without a mask what is set is changed, and what cannot be changed may be what it is.
    whole = change(name, dimension=3, metric="METRIC_L2", index_policy={**policy, "recall_target": 0.6})
    policy = world.call(UPDATE, whole).collection.index_policy
    equal((0.6, 3), (round(policy.recall_target, 6), policy.parameters.nprobe))
    # `*` sets all that can be changed.
    policy = world.call(UPDATE, change(name, ["*"])).collection.index_policy
    equal((0.95, 0, 8), (policy.recall_target, policy.parameters.nprobe, policy.parameters.nlist))


@covers("vecino.v1.CollectionService/UpdateCollection")
def by_an_alias(world):
    name = world.fresh()
    alias = world.fresh_alias(name)
    changed = world.call(UPDATE, change(f"collections/{alias}", index_policy={"recall_target": 0.7})).collection
    equal((f"collections/{name}", 0.7), (changed.name, changed.index_policy.recall_target))


refuses(UPDATE, "NOT_FOUND", "no such collection", change(NONE))
refuses(UPDATE, "ABORTED", "another etag", lambda world: change(f"collections/{world.fresh()}", etag="old"))
for title, request, field in [
    ("no collection", {}, "collection"),
    ("a bad name", change("shop"), "collection.name"),
    ("an unknown path", change(mask=["index_policy.speed"]), "update_mask"),
    ("* and another path", change(mask=["*", "dimension"]), "update_mask"),
    ("recall above 1", change(index_policy={"recall_target": 1.5}), "collection.index_policy.recall_target"),
    ("recall below 0", change(index_policy={"recall_target": -0.5}), "collection.index_policy.recall_target"),
    ("a parameter of another kind", change(index_policy={"parameters": {"nprobe": 3}}),
     "collection.index_policy.parameters.nprobe"),
    ("another dimension", change(dimension=4), "collection.dimension"),
    ("another metric", change(metric="METRIC_DOT"), "collection.metric"),
    ("another number of shards", change(mask=["*"], shard_count=3), "collection.shard_count"),
    ("another model", change(embedding={"model": MODEL}), "collection.embedding.model"),
    ("another query prompt", change(embedding={"query_prompt": "document"}), "collection.embedding.query_prompt"),
    ("another document prompt", change(embedding={"document_prompt": "query"}), "collection.embedding.document_prompt"),
    ("another kind", change(index_policy={"kind": "KIND_FLAT"}), "collection.index_policy.kind"),
    ("another nlist", change(index_policy={"parameters": {"nlist": 9}}), "collection.index_policy.parameters.nlist"),
    ("passages", change(chunking={}), "collection.chunking"),
]:  # fmt: skip
    refuses(UPDATE, "INVALID_ARGUMENT", title, request, field)


@covers("vecino.v1.CollectionService/DeleteCollection")
def it_is_gone_and_may_be_missing(world):
    name = f"collections/{world.fresh(documents=3)}"
    etag = world.call(COLLECTIONS + "GetCollection", {"name": name}).collection.etag
    world.call(COLLECTIONS + "DeleteCollection", {"name": name, "etag": etag})
    world.refused(COLLECTIONS + "GetCollection", "NOT_FOUND", {"name": name})
    world.call(COLLECTIONS + "DeleteCollection", {"name": name, "allow_missing": True})


refuses(COLLECTIONS + "DeleteCollection", "ABORTED", "another etag",
        lambda world: {"name": f"collections/{world.fresh()}", "etag": "old"})  # fmt: skip
refuses(COLLECTIONS + "DeleteCollection", "FAILED_PRECONDITION", "an alias points to it", {"name": SHOP})
refuses(COLLECTIONS + "DeleteCollection", "NOT_FOUND", "an alias is no collection here", {"name": "collections/window"})
for rpc in ("GetCollection", "DeleteCollection", "GetCollectionStats", "EvaluateRecall", "RetrainIndex", "CompactIndex",
            "TuneIndex", "ExportIndex", "FinishEmbeddingMigration"):  # fmt: skip
    refuses(COLLECTIONS + rpc, "NOT_FOUND", "no such collection", {"name": NONE})


@covers("vecino.v1.CollectionService/CreateAlias")
def it_stands_for_the_collection(world):
    name = world.fresh_alias()
    equal(SHOP, world.call(COLLECTIONS + "GetCollection", {"name": f"collections/{name}"}).collection.name)


refuses(COLLECTIONS + "CreateAlias", "ALREADY_EXISTS", "an alias has the id", {"alias_id": "window", "alias": {"target": SHOP}})
refuses(COLLECTIONS + "CreateAlias", "ALREADY_EXISTS", "a collection has the id", {"alias_id": "other", "alias": {"target": SHOP}})
refuses(COLLECTIONS + "CreateAlias", "NOT_FOUND", "no such collection", {"alias_id": "new", "alias": {"target": NONE}})
refuses(COLLECTIONS + "CreateAlias", "INVALID_ARGUMENT", "a bad id", {"alias_id": "No Good", "alias": {"target": SHOP}}, "alias_id")
refuses(COLLECTIONS + "CreateAlias", "INVALID_ARGUMENT", "a bad target", {"alias_id": "new", "alias": {"target": "shop"}},
        "alias.target")  # fmt: skip


@covers("vecino.v1.CollectionService/UpdateAlias")
def it_is_swapped(world):
    name = f"aliases/{world.fresh_alias()}"
    alias = {"name": name, "target": "collections/other"}
    request = {"alias": alias, "expected_target": SHOP}
    equal("collections/other", world.call(COLLECTIONS + "UpdateAlias", request).alias.target)
    equal("collections/other", world.call(COLLECTIONS + "GetAlias", {"name": name}).alias.target)
    alias["name"] += "-new"
    equal(alias["name"], world.call(COLLECTIONS + "UpdateAlias", {"alias": alias, "allow_missing": True}).alias.name)


refuses(COLLECTIONS + "UpdateAlias", "NOT_FOUND", "no such alias", {"alias": {"name": "aliases/none", "target": SHOP}})
refuses(COLLECTIONS + "UpdateAlias", "NOT_FOUND", "no such collection", {"alias": {"name": "aliases/window", "target": NONE}})
refuses(COLLECTIONS + "UpdateAlias", "ABORTED", "another target than expected",
        {"alias": {"name": "aliases/window", "target": SHOP}, "expected_target": "collections/other"})  # fmt: skip
refuses(COLLECTIONS + "UpdateAlias", "ABORTED", "missing, and a target is expected",
        {"alias": {"name": "aliases/none", "target": SHOP}, "expected_target": SHOP, "allow_missing": True})  # fmt: skip


@provokes("vecino.v1.CollectionService/UpdateAlias", "INVALID_ARGUMENT")
def tokens_of_the_collection_before(world):
    name = world.fresh_alias()
    parent = {"parent": f"collections/{name}"}
    page = world.call("vecino.v1.DocumentService/ListDocuments", {**parent, "page_size": 1}).next_page_token
    resume = world.call("vecino.v1.DocumentService/StreamDocuments", parent)[0].resume_token
    world.call(COLLECTIONS + "UpdateAlias", {"alias": {"name": f"aliases/{name}", "target": "collections/other"}})
    for rpc, field, token in (("ListDocuments", "page_token", page), ("StreamDocuments", "resume_token", resume)):
        world.refused(f"vecino.v1.DocumentService/{rpc}", "INVALID_ARGUMENT", {**parent, field: token}, field)


@covers("vecino.v1.CollectionService/GetAlias")
def it_tells_the_target(world):
    alias = world.call(COLLECTIONS + "GetAlias", {"name": "aliases/window"}).alias
    equal(("aliases/window", SHOP), (alias.name, alias.target))
    true(alias.create_time.seconds, "create_time is set")


@covers("vecino.v1.CollectionService/ListAliases")
def aliases_in_order_of_name(world):
    world.fresh_alias()
    seen, token = [], ""
    while True:
        page = world.call(COLLECTIONS + "ListAliases", {"page_size": 1, "page_token": token})
        seen += [one.name for one in page.aliases]
        token = page.next_page_token
        if not token:
            break
    equal(sorted(set(seen)), seen)
    true("aliases/window" in seen and len(seen) > 1, "all are there")


@covers("vecino.v1.CollectionService/DeleteAlias")
def the_collection_stays(world):
    name = f"aliases/{world.fresh_alias()}"
    world.call(COLLECTIONS + "DeleteAlias", {"name": name})
    world.refused(COLLECTIONS + "GetAlias", "NOT_FOUND", {"name": name})
    world.call(COLLECTIONS + "DeleteAlias", {"name": name, "allow_missing": True})
    world.call(COLLECTIONS + "GetCollection", {"name": SHOP})


for rpc in ("GetAlias", "DeleteAlias"):
    refuses(COLLECTIONS + rpc, "NOT_FOUND", "no such alias", {"name": "aliases/none"})


@covers("vecino.v1.CollectionService/GetCollectionStats")
def exact_figures(world):
    stats = world.call(COLLECTIONS + "GetCollectionStats", {"name": SHOP}).stats
    equal((SHOP, 30, 2), (stats.name, stats.live_documents, len(stats.shards)))
    equal(30, sum(shard.live_documents for shard in stats.shards))
    # A tail has room for more than 30 rows, so none waits to become a segment.
    true(stats.HasField("index_lag") and all(shard.HasField("index_lag") for shard in stats.shards), "no lag is a lag of 0")
    equal((0, 0, 0), (stats.waiting_tails, stats.index_lag.seconds, stats.index_lag.nanos))


EVALUATE = COLLECTIONS + "EvaluateRecall"


@covers("vecino.v1.CollectionService/EvaluateRecall")
def what_is_compared_row_by_row_is_found(world):
    reply = world.call(EVALUATE, {"name": SHOP, "top_k": 3})
    equal((30, 1, False, 2), (reply.recall.samples, reply.recall.recall, reply.recall.enough, reply.recall.source))
    equal([1, 1], [shard.recall for shard in reply.shards])
    true(0 < reply.recall.lower < 1 and reply.recall.upper == 1, "the interval")
    request = {"name": SHOP, "vectors": [vector(i, 0, 1) for i in range(60)], "filter": "even = true", "recall_target": 0.9}
    given = world.call(EVALUATE, request).recall
    equal((60, 1, True, 3, 10, 0.9), (given.samples, given.recall, given.enough, given.source, given.max_k, given.recall_target))
    true(given.newest_sample_time.seconds, "the time is told")
    equal(0, world.call(EVALUATE, {**request, "filter": "number > 100"}).recall.samples)


@covers("vecino.v1.CollectionService/EvaluateRecall", model=True)
def texts_are_queries(world):
    reply = world.call(EVALUATE, {"name": "collections/texts", "texts": ["chess", "mail"], "top_k": 2})
    equal((2, 1), (reply.recall.samples, reply.recall.recall))


refuses(EVALUATE, "FAILED_PRECONDITION", "texts without a model", {"name": SHOP, "texts": ["a"]})
for title, fields, field in [
    ("samples 0", {"samples": 0}, "samples"),
    ("samples -1", {"samples": -1}, "samples"),
    ("samples 2,001", {"samples": 2001}, "samples"),
    ("samples and vectors", {"samples": 5, "vectors": [vector(1, 2, 3)]}, "samples"),
    ("1,001 vectors", {"vectors": [vector(1, 2, 3)] * 1001}, "vectors"),
    ("a vector of another dimension", {"vectors": [vector(1, 2, 3), vector(1)]}, "vectors[1]"),
    ("an empty text", {"texts": [""]}, "texts[0]"),
    ("top_k 0", {"top_k": 0}, "top_k"),
    ("top_k 1,001", {"top_k": 1001}, "top_k"),
    ("recall_target 0", {"recall_target": 0}, "recall_target"),
    ("recall_target 2", {"recall_target": 2}, "recall_target"),
    ("nprobe -1", {"parameters": {"nprobe": -1}}, "parameters.nprobe"),
]:  # fmt: skip
    refuses(EVALUATE, "INVALID_ARGUMENT", title, {"name": SHOP, **fields}, field)


@provokes("vecino.v1.CollectionService/EvaluateRecall", "RESOURCE_EXHAUSTED")
def two_others_run(world):
    request = {"name": f"collections/{world.slow()}", "samples": 2000, "top_k": 1000}
    running = [world.api.start(EVALUATE, request) for _ in range(2)]
    deadline = time.monotonic() + 60
    while not (refusal := world.api.refusal(EVALUATE, {"name": SHOP, "samples": 1})):
        true(time.monotonic() < deadline and not any(call.done() for call in running), "two evaluations take long enough")
    equal("RESOURCE_EXHAUSTED", refusal.code.name)
    for call in running:
        call.cancel()
    while world.api.refusal(EVALUATE, {"name": SHOP, "samples": 1}):
        true(time.monotonic() < deadline, "they end when they are cancelled")


def wait(world, operation):
    deadline = time.monotonic() + 300  # maintenance has the lowest priority; other tests run beside this one
    while not operation.done:
        true(time.monotonic() < deadline, f"{operation.name} ends within 300 s")
        operation = world.call(OPERATIONS + "WaitOperation", {"name": operation.name, "timeout": "10s"})
    return operation


@covers("vecino.v1.CollectionService/RetrainIndex")
def it_ends_in_its_response(world):
    name = f"collections/{world.fresh(documents=20)}"
    estimate = world.call(COLLECTIONS + "RetrainIndex", {"name": name, "validate_only": True})
    true(estimate.done and not estimate.name, "an estimate is done and has no name")
    equal(20, world.contract.unpack(estimate.metadata).estimate.rows)
    operation = wait(world, world.call(COLLECTIONS + "RetrainIndex", {"name": name}))
    equal("response", operation.WhichOneof("result"), f"{operation}")
    response = world.contract.unpack(operation.response)
    equal("vecino.v1.RetrainIndexResponse", response.DESCRIPTOR.full_name)
    # 20 documents are compared one by one.
    shards = world.contract.unpack(operation.metadata).shards
    equal((0, 0, len(shards)), (response.shards_published, response.shards_rejected, response.shards_not_needed))
    true(all("compared one by one" in shard.reason for shard in shards), f"{shards}")


@covers("vecino.v1.CollectionService/CompactIndex")
def it_drops_dead_rows(world):
    name = world.fresh(documents=20)
    world.upsert(name, [{"id": f"p{i}", "vector": {"values": [i, i, i]}} for i in range(20)])
    operation = wait(world, world.call(COLLECTIONS + "CompactIndex", {"name": f"collections/{name}"}))
    equal("vecino.v1.CompactIndexResponse", world.contract.unpack(operation.response).DESCRIPTOR.full_name)
    metadata = world.contract.unpack(operation.metadata)
    equal((f"collections/{name}", 2), (metadata.collection, metadata.shards_done))


refuses(COLLECTIONS + "RetrainIndex", "FAILED_PRECONDITION", "KIND_FLAT trains nothing", {"name": "collections/flat"})
refuses(COLLECTIONS + "RetrainIndex", "INVALID_ARGUMENT", "a recall above 1", {"name": SHOP, "min_recall_gate": 1.5}, "min_recall_gate")
for rpc in ("RetrainIndex", "CompactIndex"):
    refuses(COLLECTIONS + rpc, "INVALID_ARGUMENT", "a shard that is none", {"name": SHOP, "shards": [2]}, "shards[0]")
excuse(COLLECTIONS + "CompactIndex", "FAILED_PRECONDITION",
       "named for RetrainIndex, to which its comment refers “for every kind”: it compacts KIND_FLAT, too")  # fmt: skip


TUNE = COLLECTIONS + "TuneIndex"


@covers("vecino.v1.CollectionService/TuneIndex")
def it_ends_in_the_curve(world):
    name = f"collections/{world.fresh(documents=20)}"
    estimate = world.call(TUNE, {"name": name, "validate_only": True})
    true(estimate.done and not estimate.name, "an estimate is done and has no name")
    equal(20, world.contract.unpack(estimate.metadata).estimate.rows)
    operation = wait(world, world.call(TUNE, {"name": name, "top_k": 3, "recall_target": 0.9}))
    equal("response", operation.WhichOneof("result"), f"{operation}")
    response = world.contract.unpack(operation.response)
    equal("vecino.v1.TuneIndexResponse", response.DESCRIPTOR.full_name)
    # 20 documents are compared one by one.
    equal([(True, 1, 0)], [(point.exact, point.recall, point.breadth) for point in response.points])
    equal((True, 0.9, 20, 0, 1), (response.recommended.exact, response.recall_target, response.queries, response.live_queries,
                                  response.share))  # fmt: skip
    metadata = world.contract.unpack(operation.metadata)
    equal((0, len(metadata.shards)), (response.shards_tuned, response.shards_not_needed))
    true(all("exact" in shard.reason for shard in metadata.shards), f"{metadata.shards}")
    equal(operation, world.call(OPERATIONS + "GetOperation", {"name": operation.name}))


@covers("vecino.v1.CollectionService/TuneIndex")
def a_filter_and_given_queries(world):
    request = {"name": SHOP, "vectors": [vector(i, 0, 1) for i in range(4)], "filter": "even = true", "shards": [1]}
    response = world.contract.unpack(wait(world, world.call(TUNE, request)).response)
    equal((4, 1), (response.queries, len(response.points)))
    true(0 < response.share < 1, "the share of the filter is told")
    error = wait(world, world.call(TUNE, {**request, "filter": "number > 100"})).error
    equal(9, error.code, "an operation that finds nothing fails with FAILED_PRECONDITION")


refuses(TUNE, "FAILED_PRECONDITION", "texts without a model", {"name": SHOP, "texts": ["a"]})
refuses(TUNE, "FAILED_PRECONDITION", "no documents", lambda world: {"name": f"collections/{world.fresh()}"})
for title, fields, field in [
    ("samples 0", {"samples": 0}, "samples"),
    ("samples 2,001", {"samples": 2001}, "samples"),
    ("samples and vectors", {"samples": 5, "vectors": [vector(1, 2, 3)]}, "samples"),
    ("a vector of another dimension", {"vectors": [vector(1, 2, 3), vector(1)]}, "vectors[1]"),
    ("an empty text", {"texts": [""]}, "texts[0]"),
    ("top_k 0", {"top_k": 0}, "top_k"),
    ("recall_target 0", {"recall_target": 0}, "recall_target"),
    ("recall_target 2", {"recall_target": 2}, "recall_target"),
    ("a shard that is none", {"shards": [2]}, "shards[0]"),
    ("a filter that is none", {"filter": "number ="}, "filter"),
]:  # fmt: skip
    refuses(TUNE, "INVALID_ARGUMENT", title, {"name": SHOP, **fields}, field)
excuse(TUNE, "ABORTED", "the operation ends with it, when a shard is trained between its measuring and its storing; EngineTuneTest has it")


@covers("vecino.v1.CollectionService/ExportIndex")
def header_file_and_ids(world):
    messages = world.call(COLLECTIONS + "ExportIndex", {"name": SHOP, "shard": 1})
    header = messages[0].header
    equal((SHOP, 1, 2, 3), (header.name, header.shard, header.shard_count, header.dimension))
    equal(header.index_bytes, sum(len(one.index_data) for one in messages))
    ids = [one for message in messages for one in message.document_ids.ids]
    equal((header.rows, header.rows), (len(ids), len(set(ids))))


refuses(COLLECTIONS + "ExportIndex", "INVALID_ARGUMENT", "a shard that is none", {"name": SHOP, "shard": 2}, "shard")


@provokes("vecino.v1.CollectionService/ExportIndex", "RESOURCE_EXHAUSTED")
def another_export_runs(world):
    request = {"name": f"collections/{world.slow()}"}
    first = world.api.start(COLLECTIONS + "ExportIndex", request, timeout=300)  # it waits for a graph under way
    equal("header", next(first).WhichOneof("part"))  # the rest, of megabytes, waits for us
    world.refused(COLLECTIONS + "ExportIndex", "RESOURCE_EXHAUSTED", request)
    first.cancel()


# google.longrunning.Operations. Its comments are Google's; what the server does stands in index_operation.proto.
for rpc in ("ListOperations", "DeleteOperation", "CancelOperation", "WaitOperation"):
    excuse(OPERATIONS + rpc, "UNIMPLEMENTED", "Google's comment names it for servers without the method; this one has it")


def compacted(world):
    return wait(world, world.call(COLLECTIONS + "CompactIndex", {"name": f"collections/{world.fresh(documents=4)}"}))


def running(world):
    """An operation that takes seconds."""
    operation = world.call(COLLECTIONS + "CompactIndex", {"name": f"collections/{world.slow()}"})
    true(not operation.done, "it has not ended at once")
    return operation


@covers("google.longrunning.Operations/GetOperation")
def the_state_of_one(world):
    operation = compacted(world)
    equal(operation, world.call(OPERATIONS + "GetOperation", {"name": operation.name}))


@covers("google.longrunning.Operations/ListOperations")
def those_of_one_collection(world):
    name = world.fresh(documents=4)
    made = [wait(world, world.call(COLLECTIONS + "CompactIndex", {"name": f"collections/{name}"})).name for _ in range(3)]
    seen, token = [], ""
    while True:
        request = {"name": f"collections/{name}", "page_size": 2, "page_token": token}
        page = world.call(OPERATIONS + "ListOperations", request)
        seen += [one.name for one in page.operations]
        token = page.next_page_token
        if not token:
            break
    equal(sorted(made), sorted(seen))


@covers("google.longrunning.Operations/WaitOperation")
def the_state_after_the_timeout(world):
    operation = running(world)
    begin = time.monotonic()
    waited = world.call(OPERATIONS + "WaitOperation", {"name": operation.name, "timeout": "0.2s"})
    true(waited.done or 0.15 < time.monotonic() - begin < 20, "it waits for its timeout")
    world.call(OPERATIONS + "CancelOperation", {"name": operation.name})
    wait(world, operation)


@covers("google.longrunning.Operations/CancelOperation")
def one_that_is_done_stays_so(world):
    operation = compacted(world)
    world.call(OPERATIONS + "CancelOperation", {"name": operation.name})
    equal("response", world.call(OPERATIONS + "GetOperation", {"name": operation.name}).WhichOneof("result"))


@provokes("google.longrunning.Operations/CancelOperation", "CANCELLED")
def it_ends_with_that_error(world):
    operation = running(world)
    world.call(OPERATIONS + "CancelOperation", {"name": operation.name})
    equal(1, wait(world, operation).error.code)
    true(wait(world, operation).error.message, "the error has a message")


@covers("google.longrunning.Operations/DeleteOperation")
def it_is_forgotten(world):
    operation = compacted(world)
    world.call(OPERATIONS + "DeleteOperation", {"name": operation.name})
    world.refused(OPERATIONS + "GetOperation", "NOT_FOUND", {"name": operation.name})


@provokes("google.longrunning.Operations/DeleteOperation", "FAILED_PRECONDITION")
def while_it_runs(world):
    operation = running(world)
    world.refused(OPERATIONS + "DeleteOperation", "FAILED_PRECONDITION", {"name": operation.name})
    world.call(OPERATIONS + "CancelOperation", {"name": operation.name})
    wait(world, operation)


for rpc in ("GetOperation", "DeleteOperation", "CancelOperation", "WaitOperation"):
    refuses(OPERATIONS + rpc, "NOT_FOUND", "no such operation", {"name": SHOP + "/operations/none"})
    refuses(OPERATIONS + rpc, "INVALID_ARGUMENT", "the name of a collection", {"name": SHOP}, "name")
refuses(OPERATIONS + "ListOperations", "NOT_FOUND", "no such collection", {"name": NONE})
refuses(OPERATIONS + "ListOperations", "INVALID_ARGUMENT", "a filter", {"name": SHOP, "filter": "done = true"}, "filter")
