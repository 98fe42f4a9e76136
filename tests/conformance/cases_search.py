"""SearchService, EmbeddingService and AdminService."""

import queue
import struct

import rerankers
from cases_documents import BAD_DOCUMENTS  # noqa: F401  (its cases register first)
from registry import ADMIN, COLLECTIONS, EMBEDDING, SEARCH, covers, provokes, refuses
from world import MODEL, MODEL_DIMENSION, equal, true, vector

SHOP = "collections/shop"
NONE = "collections/none-such"
INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION, RESOURCE_EXHAUSTED = 3, 5, 9, 8


def near(x, **fields):
    return {"parent": SHOP, "vector": vector(x, 0, 1), "top_k": 3, **fields}


def ids(reply):
    return [hit.document.id for hit in reply.hits]


@covers("vecino.v1.SearchService/SearchDocuments")
def the_nearest_first(world):
    search = SEARCH + "SearchDocuments"
    reply = world.call(search, near(20.2))
    equal((["p20", "p21", "p19"], False), (ids(reply), reply.higher_is_better))
    equal("METRIC_L2", reply.DESCRIPTOR.fields_by_name["metric"].enum_type.values_by_number[reply.metric].name)
    equal(["p18", "p24", "p12"], ids(world.call(search, near(20.2, filter='even = true AND color = "red"'))))
    equal(["p9"], ids(world.call(search, {"parent": SHOP, "document_id": "p10", "top_k": 1, "filter": "number < 10"})))
    terms = [{"document_id": "p20", "weight": 1}, {"vector": vector(5, 0, 0), "weight": -1}]
    equal(["p15"], ids(world.call(search, {"parent": SHOP, "expression": {"terms": terms}, "top_k": 1})))
    equal(["p7"], ids(world.call(search, {"parent": SHOP, "lexical": {"text": "7"}, "top_k": 1})))
    grouped = world.call(search, near(20.2, group_by={"field": "color"}))
    equal(["red", "green", "blue"], sorted({hit.group.string_value for hit in grouped.hits}, key=["red", "green", "blue"].index))
    first = world.call(search, near(20.2, top_k=5))
    second = world.call(search, near(20.2, top_k=5, page_token=first.next_page_token))
    equal(ids(world.call(search, near(20.2, top_k=10))), ids(first) + ids(second))


@covers("vecino.v1.SearchService/SearchDocuments")
def what_it_did_to_find_them(world):
    search = SEARCH + "SearchDocuments"
    plain = world.call(search, near(20.2))
    true(plain.effort.exact and not plain.HasField("explanation"), "a small collection is compared row by row")
    true(plain.effort.rows_scanned >= 30, "all 30 rows were compared")
    equal((0, 0, 1.0), (plain.effort.effective_nprobe, plain.effort.shortfall_reason, plain.effort.expected_recall))
    reply = world.call(search, near(20.2, filter="number < 6", explain={"verify": True}))
    explanation = reply.explanation
    equal(0.2, explanation.selectivity, "share of the documents that pass")
    true(explanation.HasField("verified_recall"), "it was asked to verify")
    equal((["p5", "p4", "p3"], 1.0), (ids(reply), explanation.verified_recall))
    equal(["filter", "scan", "fetch", "verify"], [one.stage for one in explanation.stages])
    equal(([0, 1], 6), ([one.shard for one in explanation.shards], sum(one.passing_rows for one in explanation.shards)))
    true(all(one.plan for one in explanation.shards), "each shard says how it was searched")
    few = world.call(search, near(20.2, filter="number < 2", explain={}))
    reasons = few.effort.DESCRIPTOR.fields_by_name["shortfall_reason"].enum_type.values_by_number
    equal("SHORTFALL_REASON_NO_MORE_DOCUMENTS", reasons[few.effort.shortfall_reason].name)
    true(not few.explanation.HasField("verified_recall"), "it was not asked to verify")


@covers("vecino.v1.SearchService/SearchDocuments", model=True)
def by_meaning(world):
    reply = world.call(SEARCH + "SearchDocuments", {"parent": "collections/texts", "text": "play chess", "top_k": 1})
    equal((["t0"], True), (ids(reply), reply.higher_is_better))
    true(reply.query_token_count > 2, "tokens are counted")


@covers("vecino.v1.SearchService/SearchDocuments", model=True)
def by_the_best_passage(world):
    sentences = [f"Bees find home by the sun and by smell, says chapter {i} of this book about insects." for i in range(20)]
    sentences[12] = "The prime minister resigned after the vote on the budget."
    text = " ".join(sentences)
    name = world.fresh(dimension=0, metric="METRIC_COSINE", embedding={"model": MODEL},
                       chunking={"max_tokens": 64, "overlap_tokens": 24})  # fmt: skip
    world.upsert(name, [{"id": "bees", "text": text}, {"id": "short", "text": "A recipe for apple pie."}])
    parent = f"collections/{name}"
    hit = world.call(SEARCH + "SearchDocuments", {"parent": parent, "text": "a politician steps down"}).hits[0]
    equal("bees", hit.document.id)
    passage = hit.passage
    equal(passage.text.encode(), text.encode()[passage.start : passage.end])
    true("minister" in passage.text and len(passage.text) < len(text) / 3, "the passage is the one asked for")
    true(passage.index > 0 and not hit.document.passages, "it is numbered, and the others are not returned")
    request = {"parent": parent, "text": "a politician steps down", "read_mask": "id"}
    other = world.call(SEARCH + "SearchDocuments", request).hits[0].passage
    equal((passage.index, passage.start, passage.end, ""), (other.index, other.start, other.end, other.text))
    hybrid = world.call(SEARCH + "HybridSearchDocuments", {"parent": parent, "text": "minister"}).hits[0]
    true("minister" in hybrid.passage.text, "a hybrid search has it, too")
    words = world.call(SEARCH + "SearchDocuments", {"parent": parent, "lexical": {"text": "budget"}}).hits[0]
    true("budget" in words.passage.text, "and one for words")
    equal(["short"], ids(world.call(SEARCH + "SearchDocuments", {"parent": parent, "document_id": "bees"})))
    get = {"name": f"{parent}/documents/bees", "read_mask": "vector"}
    document = world.call("vecino.v1.DocumentService/GetDocument", get).document
    true(not document.HasField("vector") and len(document.passages) > 4, "there are several vectors")
    equal({MODEL_DIMENSION}, {len(one.vector.values) for one in document.passages})
    get["read_mask"] = "passages"
    without = world.call("vecino.v1.DocumentService/GetDocument", get).document.passages
    equal([(one.start, one.end) for one in document.passages], [(one.start, one.end) for one in without])
    true(not any(one.HasField("vector") for one in without), "vectors were not asked for")


for title, request, field in [
    ("no query", {"parent": SHOP}, "query"),
    ("a vector of another dimension", {"parent": SHOP, "vector": vector(1)}, "vector"),
    ("an empty text", {"parent": SHOP, "text": ""}, "text"),
    ("top_k 0", near(1, top_k=0), "top_k"),
    ("top_k 1,001", near(1, top_k=1001), "top_k"),
    ("recall 0", near(1, recall_target=0), "recall_target"),
    ("recall above 1", near(1, recall_target=1.01), "recall_target"),
    ("nprobe -1", near(1, parameters={"nprobe": -1}), None),
    ("exact with nprobe", near(1, parameters={"nprobe": 2, "exact": True}), None),
    ("min_score NaN", near(1, min_score="NaN"), "min_score"),
    ("an unknown path in read_mask", near(1, read_mask="nothing"), "read_mask"),
    ("a write token of no shard", near(1, write_tokens=[{"shard": 2, "sequence_number": 1}]), "write_tokens[0].shard"),
    ("groups that differ", near(1, group_by={"field": "color"}, diversify={}), None),
    ("lambda 2", near(1, diversify={"lambda": 2}), "diversify.lambda"),
    ("no terms", {"parent": SHOP, "expression": {}}, "expression.terms"),
    ("weight 0", {"parent": SHOP, "expression": {"terms": [{"document_id": "p1", "weight": 0}]}}, "expression.terms[0].weight"),
    ("no words", {"parent": SHOP, "lexical": {}}, "lexical.text"),
]:
    refuses(SEARCH + "SearchDocuments", "INVALID_ARGUMENT", title, request, field)
for title, request, field in [
    ("groups that are reranked", near(1, group_by={"field": "color"}, rerank={"query": "x"}), "rerank"),
    ("nothing to rerank by", near(1, rerank={}), "rerank.query"),
    ("1,001 candidates to rerank", near(1, rerank={"query": "x", "candidates": 1001}), "rerank.candidates"),
    ("no time to rerank", near(1, rerank={"query": "x", "budget": "0s"}), "rerank.budget"),
    ("a page that is reranked", near(1, rerank={"query": "x"}, page_token="x"), "page_token"),
]:
    refuses(SEARCH + "SearchDocuments", "INVALID_ARGUMENT", title, request, field)
refuses(SEARCH + "SearchDocuments", "INVALID_ARGUMENT", "an embedding model that reranks",
        near(1, rerank={"query": "x", "model": MODEL}), "rerank.model", model=True)  # fmt: skip
refuses(SEARCH + "SearchDocuments", "NOT_FOUND", "no such reranker", near(1, rerank={"query": "x", "model": "models/none"}))
refuses(SEARCH + "SearchDocuments", "FAILED_PRECONDITION", "no reranker", near(1, rerank={"query": "x"}))
refuses(SEARCH + "HybridSearchDocuments", "FAILED_PRECONDITION", "no reranker",
        {"parent": SHOP, "vector": vector(1, 0, 1), "lexical_text": "x", "rerank": {}})  # fmt: skip
refuses(SEARCH + "SearchDocuments", "NOT_FOUND", "no such collection", near(1, parent=NONE))
refuses(SEARCH + "SearchDocuments", "NOT_FOUND", "no such document", {"parent": SHOP, "document_id": "none"})
refuses(SEARCH + "SearchDocuments", "FAILED_PRECONDITION", "a text, and no model", {"parent": SHOP, "text": "x"})
refuses(SEARCH + "HybridSearchDocuments", "FAILED_PRECONDITION", "a text, and no model", {"parent": SHOP, "text": "x"})
refuses(SEARCH + "HybridSearchDocuments", "NOT_FOUND", "no such collection", {"parent": NONE, "text": "x"})

LATER = {"write_tokens": [{"shard": 0, "sequence_number": 1_000_000}]}
for rpc, request in (("SearchDocuments", near(1)),
                     ("HybridSearchDocuments", {"parent": SHOP, "vector": vector(1, 0, 1), "lexical_text": "x"})):  # fmt: skip

    @provokes(SEARCH + rpc, "DEADLINE_EXCEEDED")
    def a_write_that_does_not_come(world, rpc=rpc, request=request):
        # grpcio ends the call at its deadline whatever the server says. That it waited so long is what is seen.
        world.refused(SEARCH + rpc, "DEADLINE_EXCEEDED", {**request, **LATER}, timeout=0.5)

    @provokes(SEARCH + rpc, "RESOURCE_EXHAUSTED")
    def documents_that_do_not_fit(world, rpc=rpc, request=request):
        wide = {**request, "parent": "collections/large", "vector": vector(1, 1), "top_k": 5}
        refusal = world.refused(SEARCH + rpc, "RESOURCE_EXHAUSTED", wide)
        true(not refusal.retry, "there is no RetryInfo")


@provokes("vecino.v1.SearchService/SearchDocuments", "RESOURCE_EXHAUSTED")
def nine_that_wait_for_a_write(world):
    ended = queue.SimpleQueue()
    waiting = [world.api.start(SEARCH + "SearchDocuments", {**near(1), **LATER}, timeout=20) for _ in range(9)]
    for call in waiting:
        call.add_done_callback(ended.put)
    equal("RESOURCE_EXHAUSTED", ended.get(timeout=20).code().name)  # one of the nine, at once
    for call in waiting:
        call.cancel()


@covers("vecino.v1.SearchService/BatchSearchDocuments")
def each_search_has_its_own_status(world):
    searches = [near(3, parent=""), near(3, top_k=0), near(8), {"document_id": "none"}, {"text": "x"}]
    results = world.call(SEARCH + "BatchSearchDocuments", {"parent": SHOP, "requests": searches}).results
    equal([0, INVALID_ARGUMENT, 0, NOT_FOUND, FAILED_PRECONDITION], [one.status.code for one in results])
    equal([["p3", "p2", "p4"], ["p8", "p7", "p9"]], [ids(results[i].response) for i in (0, 2)])
    equal("requests[1].top_k", world.contract.unpack(results[1].status.details[0]).field_violations[0].field)


for size in (0, 101):
    refuses(SEARCH + "BatchSearchDocuments", "INVALID_ARGUMENT", f"{size} searches",
            {"parent": SHOP, "requests": [near(1)] * size}, "requests")  # fmt: skip
refuses(SEARCH + "BatchSearchDocuments", "NOT_FOUND", "no such collection", {"parent": NONE, "requests": [near(1, parent="")]})


@provokes("vecino.v1.SearchService/BatchSearchDocuments", "RESOURCE_EXHAUSTED")
def the_search_that_does_not_fit_beside_others(world):
    searches = [{"vector": vector(1, 1), "top_k": 3}] * 2
    results = world.call(SEARCH + "BatchSearchDocuments", {"parent": "collections/large", "requests": searches}).results
    equal([0, RESOURCE_EXHAUSTED], [one.status.code for one in results])
    true(results[1].status.message, "the status has a message")
    details = [world.contract.unpack(one).DESCRIPTOR.full_name for one in results[1].status.details]
    true("google.rpc.RetryInfo" not in details, "there is no RetryInfo")


@covers("vecino.v1.SearchService/HybridSearchDocuments")
def both_rankings_are_merged(world):
    request = {"parent": SHOP, "vector": vector(7, 0, 1), "lexical_text": "point 7", "top_k": 3}
    reply = world.call(SEARCH + "HybridSearchDocuments", request)
    equal("p7", reply.hits[0].document.id)
    true(reply.hits[0].HasField("dense_score") and reply.hits[0].HasField("lexical_score"), "it has both scores")
    equal(sorted((hit.score for hit in reply.hits), reverse=True), [hit.score for hit in reply.hits])


@covers("vecino.v1.SearchService/HybridSearchDocuments")
def hits_of_both_that_differ(world):
    request = {"parent": SHOP, "vector": vector(7, 0, 1), "lexical_text": "point 7", "top_k": 3}
    plain = world.call(SEARCH + "HybridSearchDocuments", request)
    same = world.call(SEARCH + "HybridSearchDocuments", {**request, "diversify": {"lambda": 1}})
    equal(ids(plain), ids(same))
    differing = world.call(SEARCH + "HybridSearchDocuments", {**request, "diversify": {"lambda": 0, "candidates": 30}})
    # p0 is (0, 0, 1): of all points that with the widest angle to the best.
    equal(["p7", "p0"], ids(differing)[:2])


for title, fields, field in [
    ("no text", {}, "text"),
    ("a text beside both others", {"text": "x", "vector": vector(1, 0, 1), "lexical_text": "x"}, "text"),
    ("an unknown method", {"vector": vector(1, 0, 1), "lexical_text": "x", "fusion": {"method": 77}}, "fusion.method"),
    ("both weights 0", {"vector": vector(1, 0, 1), "lexical_text": "x", "fusion": {"dense_weight": 0, "lexical_weight": 0}}, None),
    ("rank_constant 0", {"vector": vector(1, 0, 1), "lexical_text": "x", "fusion": {"rank_constant": 0}}, "fusion.rank_constant"),
    ("top_k 1,001", {"vector": vector(1, 0, 1), "lexical_text": "x", "top_k": 1001}, "top_k"),
    ("a vector of another dimension", {"vector": vector(1), "lexical_text": "x"}, "vector"),
    ("lambda 2", {"vector": vector(1, 0, 1), "lexical_text": "x", "diversify": {"lambda": 2}}, "diversify.lambda"),
    ("both reorder", {"vector": vector(1, 0, 1), "lexical_text": "x", "diversify": {}, "rerank": {}}, "rerank"),
]:
    refuses(SEARCH + "HybridSearchDocuments", "INVALID_ARGUMENT", title, {"parent": SHOP, **fields}, field)


@covers("vecino.v1.SearchService/StreamSearchDocuments")
def answers_by_number(world):
    sent = [{"query_id": i, "request": near(i, top_k=1)} for i in range(20)]
    sent += [{"query_id": 77, "request": near(1, top_k=0)}, {"query_id": 78, "request": {"parent": NONE, "vector": vector(1)}}]
    answers = {one.query_id: one for one in world.call(SEARCH + "StreamSearchDocuments", sent)}
    equal({*range(20), 77, 78}, set(answers))
    for i in range(20):
        equal((0, [f"p{i}"]), (answers[i].status.code, ids(answers[i].response)))
    equal((INVALID_ARGUMENT, NOT_FOUND), (answers[77].status.code, answers[78].status.code))


@provokes("vecino.v1.SearchService/StreamSearchDocuments", "INVALID_ARGUMENT")
def a_message_that_is_malformed_ends_it(world):
    rpc = SEARCH + "StreamSearchDocuments"
    good = world.contract.make(world.contract.methods[rpc].input_type, {"query_id": 1, "request": near(1)}).SerializeToString()
    refusal = world.api.refusal(rpc, raw=[good, b"\xff"])
    equal("INVALID_ARGUMENT", refusal.code.name, refusal.message)


@covers("vecino.v1.SearchService/AnswerQuestion", model=True)
def sources_prompt_and_end(world):
    request = {"parent": "collections/texts", "question": "Which program plays chess?", "top_k": 2}
    parts = world.call(SEARCH + "AnswerQuestion", request)
    equal(["sources", "prompt", "end"], [one.WhichOneof("part") for one in parts])
    equal("t0", parts[0].sources.sources[0].document.id)
    true(request["question"] in parts[1].prompt and "a chess program" in parts[1].prompt, "the prompt holds both")
    true(parts[2].end.prompt_token_count > 10, "tokens are counted")


refuses(SEARCH + "AnswerQuestion", "NOT_FOUND", "no such collection", {"parent": NONE, "question": "x"})
refuses(SEARCH + "AnswerQuestion", "FAILED_PRECONDITION", "no model", {"parent": SHOP, "question": "x"})
refuses(SEARCH + "AnswerQuestion", "RESOURCE_EXHAUSTED", "documents that do not fit",
        {"parent": "collections/large-texts", "question": "word", "top_k": 5}, model=True)  # fmt: skip
for title, fields, field in [
    ("no question", {}, "question"),
    ("top_k 101", {"question": "x", "top_k": 101}, "top_k"),
    ("a template without sources", {"question": "x", "prompt_template": "{question}"}, "prompt_template"),
    ("a budget of 63", {"question": "x", "prompt_token_budget": 63}, "prompt_token_budget"),
    ("temperature 3", {"question": "x", "temperature": 3}, "temperature"),
    ("max_answer_tokens 0", {"question": "x", "max_answer_tokens": 0}, "max_answer_tokens"),
]:
    refuses(SEARCH + "AnswerQuestion", "INVALID_ARGUMENT", title, {"parent": "collections/texts", **fields}, field, model=True)


@covers("vecino.v1.EmbeddingService/EmbedText", model=True)
def one_vector_a_text(world):
    request = {"model": MODEL, "texts": ["a chess program", "", "a chess program"]}
    reply = world.call(EMBEDDING + "EmbedText", request)
    equal([MODEL_DIMENSION] * 3, [len(one.vector.values) for one in reply.embeddings])
    equal(reply.embeddings[0], reply.embeddings[2])
    true(abs(sum(x * x for x in reply.embeddings[0].vector.values) - 1) < 1e-3, "vectors have length 1")
    named = world.call(EMBEDDING + "EmbedText", {**request, "prompt": "query"})
    equal(reply.embeddings[0], named.embeddings[0])  # this model's are empty
    small = world.call(EMBEDDING + "EmbedText", {**request, "output_type": "OUTPUT_TYPE_INT8"}).embeddings[0]
    values = struct.unpack(f"{MODEL_DIMENSION}b", small.int8_values)
    true(abs(values[0] * small.int8_scale - reply.embeddings[0].vector.values[0]) < 0.01, "int8 stands for the same")


refuses(EMBEDDING + "EmbedText", "NOT_FOUND", "no such model", {"model": "models/none", "texts": ["x"]})
for title, fields, field in [
    ("no texts", {}, "texts"),
    ("1,001 texts", {"texts": ["x"] * 1001}, "texts"),
    ("a text above 1 MiB", {"texts": ["x", "x" * (2**20 + 1)]}, "texts[1]"),
    ("an unknown input type", {"texts": ["x"], "input_type": 77}, "input_type"),
    ("an unknown output type", {"texts": ["x"], "output_type": 77}, "output_type"),
    ("dimensions -1", {"texts": ["x"], "dimensions": -1}, "dimensions"),
    ("a prompt that the model has not", {"texts": ["x"], "prompt": "none"}, "prompt"),
    ("a text longer than the window", {"texts": ["word " * 2000], "truncate": "TRUNCATE_MODE_ERROR"}, "texts[0]"),
]:
    refuses(EMBEDDING + "EmbedText", "INVALID_ARGUMENT", title, {"model": MODEL, **fields}, field, model=True)
refuses(EMBEDDING + "EmbedText", "INVALID_ARGUMENT", "a bad name", {"model": "nonsense", "texts": ["x"]}, "model")


RERANKER = f"models/{rerankers.NAME}"


@covers("vecino.v1.SearchService/SearchDocuments")
def hits_in_the_rerankers_order(world):
    api = world.reranking()
    reply = api.call(SEARCH + "SearchDocuments", near(3, top_k=4, rerank={"query": "point 7", "candidates": 10}))
    scores = [hit.rerank_score for hit in reply.hits]
    equal((4, sorted(scores, reverse=True)), (len(scores), scores))
    equal((10, True, RERANKER), (reply.reranked.pairs, reply.reranked.complete, reply.reranked.model))
    texts = [hit.document.text for hit in reply.hits]
    alone = api.call(EMBEDDING + "RerankTexts", {"query": "point 7", "texts": texts}).results
    true(all(abs(one.score - score) < 1e-5 for one, score in zip(alone, scores)), "scores are those of RerankTexts")


@covers("vecino.v1.EmbeddingService/RerankTexts")
def one_score_a_text(world):
    request = {"model": RERANKER, "query": "chess", "texts": ["play chess", "", "play chess"]}
    reply = world.reranking().call(EMBEDDING + "RerankTexts", request)
    equal((3, RERANKER), (len(reply.results), reply.model))
    equal(reply.results[0], reply.results[2])
    true(0 < reply.results[0].score < 1 and reply.results[0].token_count > 5, "scores are a sigmoid's, tokens are counted")


refuses(EMBEDDING + "RerankTexts", "FAILED_PRECONDITION", "no reranker", {"query": "x", "texts": ["x"]})
refuses(EMBEDDING + "RerankTexts", "NOT_FOUND", "no such model", {"model": "models/none", "query": "x", "texts": ["x"]})
for title, fields, field in [
    ("no texts", {"query": "x"}, "texts"),
    ("1,001 texts", {"query": "x", "texts": ["x"] * 1001}, "texts"),
    ("no query", {"texts": ["x"]}, "query"),
    ("a query above 64 KiB", {"query": "x" * (2**16 + 1), "texts": ["x"]}, "query"),
    ("a bad name", {"model": "nonsense", "query": "x", "texts": ["x"]}, "model"),
    ("an unknown way to truncate", {"query": "x", "texts": ["x"], "truncate": 77}, "truncate"),
]:
    refuses(EMBEDDING + "RerankTexts", "INVALID_ARGUMENT", title, fields, field)
refuses(EMBEDDING + "RerankTexts", "INVALID_ARGUMENT", "an embedding model", {"model": MODEL, "query": "x", "texts": ["x"]},
        "model", model=True)  # fmt: skip


@provokes("vecino.v1.EmbeddingService/RerankTexts", "INVALID_ARGUMENT")
def a_text_longer_than_the_window_or_too_long(world):
    api = world.reranking()
    for text, truncate in (("a b " * 200, "TRUNCATE_MODE_ERROR"), ("x" * (2**20 + 1), "TRUNCATE_MODE_AUTO")):
        refusal = api.refusal(EMBEDDING + "RerankTexts", {"query": "x", "texts": ["x", text], "truncate": truncate})
        equal(("INVALID_ARGUMENT", "texts[1]"), (refusal.code.name, refusal.field))


@covers("vecino.v1.EmbeddingService/ListModels")
def in_order_of_name(world):
    names = [one.name for one in world.call(EMBEDDING + "ListModels").models]
    equal(sorted(names), names)
    equal(bool(world.models), MODEL in names)


@covers("vecino.v1.EmbeddingService/GetModel", model=True)
def what_it_is(world):
    model = world.call(EMBEDDING + "GetModel", {"name": MODEL}).model
    equal((MODEL, MODEL_DIMENSION, "fp32", 64), (model.name, model.dimension, model.precision, len(model.model_hash)))
    equal({"query": "", "document": ""}, dict(model.prompts))


refuses(EMBEDDING + "GetModel", "NOT_FOUND", "no such model", {"name": "models/none"})


@covers("vecino.v1.AdminService/GetServerStatus")
def what_the_server_is(world):
    status = world.call(ADMIN + "GetServerStatus")
    true(status.version and status.start_time.seconds and status.workers > 0, "version, start time and workers are set")
    true(status.collections >= 4 and status.documents >= 38 and status.resident_bytes > 0, "figures are set")


@covers("vecino.v1.AdminService/WatchEvents")
def what_happens_to_a_collection(world):
    name = f"collections/{world.fresh()}"
    call = world.api.start(ADMIN + "WatchEvents", {"collection": name})
    true(not next(call).HasField("event"), "the first message says that the watch has begun")
    world.call(COLLECTIONS + "DeleteCollection", {"name": name})
    event = next(call).event
    equal(name, event.collection)
    true(event.kind > 0 and event.message and event.time.seconds, "kind, message and time are set")
    call.cancel()


refuses(ADMIN + "WatchEvents", "NOT_FOUND", "no such collection", {"collection": NONE})
refuses(ADMIN + "WatchEvents", "INVALID_ARGUMENT", "a bad name", {"collection": "nonsense"}, "collection")


@provokes("vecino.v1.AdminService/WatchEvents", "RESOURCE_EXHAUSTED")
def the_65th_watcher(world):
    watching = [world.api.start(ADMIN + "WatchEvents") for _ in range(64)]
    for call in watching:
        next(call)
    world.refused(ADMIN + "WatchEvents", "RESOURCE_EXHAUSTED", {})
    for call in watching:
        call.cancel()
