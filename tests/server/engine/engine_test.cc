// Collections and documents through the engine's door.
#include "server/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(EngineTest, CreateFillsInDefaults) {
  CollectionSpec spec;
  spec.id = "words";
  spec.model = "fake";
  const auto checked = engine_->CreateCollection(spec, /*validate_only=*/true);
  ASSERT_TRUE(checked.ok()) << checked.status();
  EXPECT_EQ(checked->spec.dimension, kDimension);
  EXPECT_TRUE(engine_->ListCollections().empty());

  const auto info = engine_->CreateCollection(spec, false);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->spec.dimension, kDimension);
  EXPECT_EQ(info->spec.shard_count, 2);
  EXPECT_EQ(info->spec.metric, Metric::kCosine);
  EXPECT_EQ(info->model_hash, "hash-1");
  EXPECT_FALSE(info->etag.empty());
  EXPECT_GT(info->create_time, absl::UnixEpoch());
  EXPECT_EQ(engine_->CreateCollection(spec, false).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(engine_->CreateCollection(spec, true).status().code(),
            absl::StatusCode::kAlreadyExists);
  Reopen();
  const auto again = engine_->GetCollection("words");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->etag, info->etag);
  EXPECT_EQ(again->create_time, info->create_time);
}

TEST_F(EngineTest, CreateRefusesBadDefinitions) {
  const auto refuse = [&](const std::function<void(CollectionSpec*)>& spoil,
                          const std::string& field) {
    CollectionSpec spec;
    spec.id = "c";
    spec.dimension = 4;
    spoil(&spec);
    for (const bool validate_only : {true, false}) {
      const absl::Status status = engine_->CreateCollection(spec, validate_only).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_EQ(FieldOf(status), field) << status;
    }
  };
  refuse([](auto* s) { s->id = "No"; }, "collection_id");
  refuse([](auto* s) { s->dimension = 0; }, "collection.dimension");
  refuse([](auto* s) { s->dimension = -1; }, "collection.dimension");
  refuse([](auto* s) { s->dimension = 16385; }, "collection.dimension");
  refuse([](auto* s) { s->model = "fake"; }, "collection.dimension");  // makes 8
  refuse([](auto* s) { s->shard_count = 0; }, "collection.shard_count");
  refuse([](auto* s) { s->shard_count = 65; }, "collection.shard_count");
  CollectionSpec spec;
  spec.id = "c";
  spec.model = "missing";
  EXPECT_EQ(engine_->CreateCollection(spec, false).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(engine_->ListCollections().empty());
}

TEST_F(EngineTest, ACollectionMayHaveFewerDimensionsThanItsModel) {
  encoder_.models[0].matryoshka = {2, 4};
  CollectionSpec spec;
  spec.id = "few";
  spec.model = "fake";
  spec.dimension = 3;
  const absl::Status refused = engine_->CreateCollection(spec, false).status();
  EXPECT_EQ(FieldOf(refused), "collection.dimension");
  EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("makes 8 values or 2, 4"));
  spec.dimension = 4;
  ASSERT_TRUE(engine_->CreateCollection(spec, false).ok());
  Put("few", "x", "some text");
  const auto found = engine_->Search("few", {.query = TextQuery{"some text"}, .top_k = 1}, {});
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->hits.size(), 1u);
  EXPECT_NEAR(found->hits[0].score, 1, 1e-5);
}

TEST_F(EngineTest, DeleteCollection) {
  Create("a");
  Create("b");
  Put("a", "x", "text");
  const std::string etag = engine_->GetCollection("a")->etag;
  EXPECT_EQ(engine_->DeleteCollection("a", "other").code(), absl::StatusCode::kAborted);
  EXPECT_EQ(engine_->DeleteCollection("c", "").code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(engine_->DeleteCollection("a", etag).ok());
  EXPECT_EQ(engine_->GetCollection("a").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(engine_->ListCollections().size(), 1u);
  Create("a");
  EXPECT_EQ(*engine_->Count("a"), 0);
  EXPECT_NE(engine_->GetCollection("a")->etag, etag);
  EXPECT_TRUE(FindText("a", "text").empty());
}

TEST_F(EngineTest, UnknownCollectionsAreNamed) {
  const absl::Status status = engine_->Count("nowhere\xff").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("nowhere\\xff"));
  EXPECT_EQ(engine_->Upsert("nowhere", {Text("a", "b")}, Truncate::kAuto, {}).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(EngineTest, UpsertGetReplaceDelete) {
  Create("c");
  DocumentWrite write = Text("x", "first");
  write.document.metadata = R"({"a":1})";
  const WriteResult first = Upsert("c", {write})[0];
  ASSERT_TRUE(first.status.ok()) << first.status;
  EXPECT_EQ(first.token_count, 5);
  EXPECT_EQ(first.create_time_us, first.update_time_us);

  const WriteResult second = Put("c", "x", "a text longer than the window");
  ASSERT_TRUE(second.status.ok());
  EXPECT_TRUE(second.truncated);
  EXPECT_EQ(second.create_time_us, first.create_time_us);
  EXPECT_GE(second.update_time_us, first.update_time_us);
  EXPECT_EQ(second.token.shard, first.token.shard);
  EXPECT_GT(second.token.sequence, first.token.sequence);

  const std::vector<std::string> ids = {"missing", "x"};
  auto got = engine_->Get("c", ids, {.vector = true}, kNoLimit);
  ASSERT_TRUE(got.ok());
  EXPECT_FALSE((*got)[0].has_value());
  const storage::Document& document = *(*got)[1];
  EXPECT_EQ(document.text, "a text longer than the window");
  EXPECT_EQ(document.metadata, "");
  EXPECT_EQ(document.sequence, second.token.sequence);
  EXPECT_EQ(document.create_time_us, first.create_time_us);
  EXPECT_EQ(document.vector.size(), static_cast<size_t>(kDimension));
  EXPECT_EQ(*engine_->Count("c"), 1);

  EXPECT_TRUE(Delete("c", "x").status.ok());
  EXPECT_EQ(Delete("c", "x").status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(*engine_->Count("c"), 0);
  EXPECT_FALSE((*engine_->Get("c", ids, {}, kNoLimit))[1].has_value());
  // A new life, with a new time of birth.
  EXPECT_GE(Put("c", "x", "again").create_time_us, second.update_time_us);
  EXPECT_EQ(metrics_.Value("vecino_documents_upserted_total"), 3);
  EXPECT_EQ(metrics_.Value("vecino_documents_deleted_total"), 1);
}

TEST_F(EngineTest, MustExist) {
  Create("c");
  DocumentWrite write = Text("x", "text");
  write.mode = WriteMode::kReplace;
  EXPECT_EQ(Upsert("c", {write})[0].status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(*engine_->Count("c"), 0);
  Put("c", "x", "text");
  EXPECT_TRUE(Upsert("c", {write})[0].status.ok());
}

TEST_F(EngineTest, SameIdTwiceInABatchTheLaterWins) {
  Create("c");
  const auto results =
      Upsert("c", {Text("x", "one"), Text("y", "other"), Text("x", "two"), Text("x", "three")});
  for (const WriteResult& result : results) EXPECT_TRUE(result.status.ok()) << result.status;
  EXPECT_EQ(results[0].create_time_us, results[3].create_time_us);
  EXPECT_LT(results[2].token.sequence, results[3].token.sequence);
  const std::vector<std::string> id = {"x"};
  EXPECT_EQ((*engine_->Get("c", id, {}, kNoLimit))[0]->text, "three");
  EXPECT_EQ(*engine_->Count("c"), 2);
  EXPECT_EQ(FindText("c", "three"), FindText("c", "three"));
  EXPECT_EQ(FindText("c", "one").size(), 2u);

  const std::vector<std::string> twice = {"x", "x"};
  const auto deleted = engine_->Delete("c", twice, {});
  EXPECT_TRUE((*deleted)[0].status.ok());
  EXPECT_EQ((*deleted)[1].status.code(), absl::StatusCode::kNotFound);
}

TEST_F(EngineTest, ABadItemStopsNoOther) {
  Create("c");
  DocumentWrite wrong_dimension = Vector("d", {1, 2, 3});
  DocumentWrite zero = Vector("e", std::vector<float>(kDimension));
  DocumentWrite bad_text = Text("f", "\xff");
  const auto results = Upsert("c", {Text("a", "good"), Text("", "no id"), Text("b", ""),
                                    wrong_dimension, zero, bad_text, Text("g", "good")});
  EXPECT_TRUE(results[0].status.ok());
  EXPECT_TRUE(results[6].status.ok());
  EXPECT_TRUE(results[2].status.ok());  // neither text nor vector: stored all the same
  const std::map<int, std::string> fields = {{1, "documents[1].id"},
                                             {3, "documents[3].vector"},
                                             {4, "documents[4].vector"},
                                             {5, "documents[5].text"}};
  for (const auto& [i, field] : fields) {
    EXPECT_EQ(results[i].status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(FieldOf(results[i].status), field) << results[i].status;
  }
  EXPECT_EQ(*engine_->Count("c"), 3);

  EXPECT_EQ(FieldOf(engine_->Upsert("c", {}, Truncate::kAuto, {}).status()), "documents");
  std::vector<DocumentWrite> many(1001, Text("a", "b"));
  EXPECT_EQ(FieldOf(engine_->Upsert("c", many, Truncate::kAuto, {}).status()), "documents");
  const std::vector<std::string> bad_ids = {"a", ""};
  EXPECT_EQ(FieldOf((*engine_->Delete("c", bad_ids, {}))[1].status), "ids[1]");
  EXPECT_EQ(FieldOf(engine_->Get("c", bad_ids, {}, kNoLimit).status()), "ids[1]");
}

TEST_F(EngineTest, TruncateErrorRefusesTheTextAndNamesIt) {
  Create("c");
  const auto results = engine_->Upsert(
      "c", {Text("a", "short"), Text("b", "much longer than the window")}, Truncate::kError, {});
  ASSERT_TRUE(results.ok());
  EXPECT_TRUE((*results)[0].status.ok());
  EXPECT_EQ(FieldOf((*results)[1].status), "documents[1].text");
  EXPECT_EQ((*results)[1].token_count, 27);
}

TEST_F(EngineTest, TextNeedsTheModelThatMadeTheVectors) {
  Create("plain", 2, Metric::kCosine, "");
  EXPECT_TRUE(Upsert("plain", {Text("a", "text")})[0].status.ok());  // stored, without a vector
  EXPECT_EQ(engine_->Search("plain", {.query = TextQuery{"text"}}, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);

  Create("c");
  Put("c", "a", "text");
  const auto check_refused = [&] {
    const auto results = Upsert("c", {Text("b", "text"), Vector("v", {1, 0, 0, 0, 0, 0, 0, 0})});
    EXPECT_EQ(results[0].status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(results[1].status.ok());
    EXPECT_EQ(engine_->Search("c", {.query = TextQuery{"text"}}, {}).status().code(),
              absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(Find("c", {.query = DocumentQuery{"a"}}).size(), 1u);
  };
  encoder_.models[0].hash = "hash-2";
  Reopen();
  check_refused();
  encoder_.models.clear();
  Reopen();
  check_refused();
}

TEST_F(EngineTest, AFullEncoderRefusesTheWholeCall) {
  Create("c");
  encoder_.fail = absl::ResourceExhaustedError("queue full");
  const auto results = engine_->Upsert(
      "c", {Text("a", "text"), Vector("v", {1, 0, 0, 0, 0, 0, 0, 0})}, Truncate::kAuto, {});
  EXPECT_EQ(results.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(*engine_->Count("c"), 0);
}

TEST_F(EngineTest, DeadlinesAndCallersGone) {
  Create("c");
  CallContext late;
  late.deadline = absl::Now() - absl::Seconds(1);
  EXPECT_EQ(engine_->Upsert("c", {Text("a", "b")}, Truncate::kAuto, late).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  std::stop_source stop;
  CallContext gone;
  gone.stop = stop.get_token();
  encoder_.before_embed = [&] { stop.request_stop(); };  // goes away while the model runs
  EXPECT_EQ(engine_->Upsert("c", {Text("a", "b")}, Truncate::kAuto, gone).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(engine_->Search("c", {.query = TextQuery{"b"}}, gone).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(*engine_->Count("c"), 0);
}

TEST_F(EngineTest, ListPagesSeeEveryDocumentOnce) {
  Create("c", 3);
  std::set<std::string> expected;
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 200; ++i) {
    writes.push_back(Text("doc " + std::to_string(i), std::string(100, 'a')));
    expected.insert(writes.back().document.id);
  }
  Upsert("c", writes);
  for (const auto& [limit, max_bytes] : std::vector<std::pair<int, size_t>>{
           {1, 1 << 20}, {7, 1 << 20}, {200, 1 << 20}, {1000, 1 << 20}, {100, 1000}, {100, 1}}) {
    std::set<std::string> seen;
    IdPage::Position at;
    for (int pages = 0;; ++pages) {
      ASSERT_LE(pages, 201);
      const auto page = engine_->List("c", at, limit, max_bytes, {});
      ASSERT_TRUE(page.ok()) << page.status();
      ASSERT_FALSE(page->documents.empty());
      ASSERT_LE(page->documents.size(), static_cast<size_t>(limit));
      size_t bytes = 0;
      for (const auto& document : page->documents) {
        bytes += document.text.size();
        EXPECT_TRUE(seen.insert(document.id).second);
      }
      if (page->documents.size() > 1) {
        EXPECT_LE(bytes, max_bytes);
      }
      if (!page->next.has_value()) break;
      at = *page->next;
    }
    EXPECT_EQ(seen, expected);
  }
  EXPECT_EQ(FieldOf(engine_->List("c", {3, ""}, 1, 1, {}).status()), "page_token");
  EXPECT_EQ(FieldOf(engine_->List("c", {-1, ""}, 1, 1, {}).status()), "page_token");
  EXPECT_EQ(FieldOf(engine_->List("c", {}, 0, 1, {}).status()), "page_size");
}

TEST_F(EngineTest, StatsAndGaugesAreExact) {
  Create("c", 1);
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 5; ++i) writes.push_back(Text(std::to_string(i), "t" + std::to_string(i)));
  Upsert("c", writes);
  Put("c", "0", "new");
  Delete("c", "1");
  const auto stats = engine_->GetCollectionStats("c");
  ASSERT_TRUE(stats.ok());
  const ShardStats& shard = stats->shards[0];
  EXPECT_EQ(shard.live_documents, 4);
  EXPECT_EQ(shard.last_sequence, 7u);
  EXPECT_EQ(shard.tail_rows, 6);
  EXPECT_EQ(shard.deleted_rows, 2);
  EXPECT_EQ(shard.segments, 0);
  EXPECT_GT(shard.tail_bytes, 0);
  EXPECT_GT(shard.field_bytes, 0);
  EXPECT_EQ(metrics_.Value("vecino_field_bytes"), static_cast<double>(shard.field_bytes));
  EXPECT_EQ(metrics_.Value("vecino_collections"), 1);
  EXPECT_EQ(metrics_.Value("vecino_documents"), 4);
  EXPECT_EQ(metrics_.Value("vecino_tail_rows"), 6);
  EXPECT_EQ(metrics_.Value("vecino_deleted_rows"), 2);
  engine_.reset();
  EXPECT_EQ(metrics_.Value("vecino_documents"), 0);
}

TEST_F(EngineTest, Embed) {
  const std::vector<std::string> texts = {"a", std::string((1 << 20) + 1, 'x'), "b"};
  const auto embed = [&](std::string model, std::span<const std::string> of, int dimensions = 0) {
    return engine_->Embed({.model = std::move(model),
                           .texts = of,
                           .input_type = encoder::InputType::kQuery,
                           .dimensions = dimensions},
                          {});
  };
  const auto embedded = embed("", texts);
  ASSERT_TRUE(embedded.ok()) << embedded.status();
  EXPECT_EQ(embedded->model.name, "fake");
  EXPECT_EQ(embedded->results[0].vector, FakeEncoder::VectorOf("a", kDimension));
  EXPECT_EQ(FieldOf(embedded->results[1].status), "texts[1]");
  EXPECT_EQ(embedded->results[2].vector, FakeEncoder::VectorOf("b", kDimension));
  EXPECT_EQ(encoder_.last_lane, encoder::Lane::kQuery);
  EXPECT_EQ(embed("", texts, 3)->results[0].vector, FakeEncoder::VectorOf("a", 3));
  EXPECT_EQ(embed("x", texts).status().code(), absl::StatusCode::kNotFound);
  encoder_.models.push_back(encoder_.models[0]);
  encoder_.models[1].name = "other";
  EXPECT_EQ(FieldOf(embed("", texts).status()), "model");
  EXPECT_EQ(FieldOf(embed("x", {}).status()), "texts");
}

TEST_F(EngineTest, AfterShutdownCallsAreRefused) {
  Create("c");
  engine_->Shutdown();
  engine_->Shutdown();
  EXPECT_EQ(engine_->Count("c").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(engine_->CreateCollection({}, false).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace vecino::engine
