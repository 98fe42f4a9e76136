// Writes that depend on what is there: modes, etags, changes; and documents without a vector.
#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

using testing::HasSubstr;

class EngineDocumentsTest : public EngineTest {
 protected:
  std::optional<storage::Document> Get(const std::string& collection, const std::string& id) {
    constexpr storage::DocumentParts kAll = {.text = true, .metadata = true, .vector = true};
    auto found = engine_->Get(collection, {&id, 1}, kAll, kNoLimit);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? std::move((*found)[0]) : std::nullopt;
  }
  std::string Etag(const std::string& collection, const std::string& id) {
    const auto document = Get(collection, id);
    return document.has_value() ? EtagOf(document->uid, document->sequence) : "";
  }
  WriteResult Write(const std::string& collection, DocumentWrite write) {
    const auto results = Upsert(collection, {std::move(write)});
    return results.empty() ? WriteResult{absl::UnknownError("")} : results[0];
  }
  std::vector<std::string> Listed(const std::string& collection) {
    std::vector<std::string> ids;
    std::optional<IdPage::Position> at = IdPage::Position();
    while (at.has_value()) {
      auto page = engine_->List(collection, *at, 3, kNoLimit, {});
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) break;
      for (const auto& document : page->documents) ids.push_back(document.id);
      at = page->next;
    }
    std::sort(ids.begin(), ids.end());
    return ids;
  }
};

TEST_F(EngineDocumentsTest, InsertLeavesWhatIsThere) {
  Create("c");
  DocumentWrite insert = Text("x", "one");
  insert.mode = WriteMode::kInsert;
  const WriteResult first = Write("c", insert);
  ASSERT_TRUE(first.status.ok()) << first.status;
  insert.document.text = "two";
  DocumentWrite other = Text("y", "one");
  other.mode = WriteMode::kInsert;
  DocumentWrite again = other;
  again.document.text = "two";
  const auto results = Upsert("c", {insert, other, again});
  EXPECT_EQ(results[0].status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(results[0].status.message()), HasSubstr("`x` exists already in `c`"));
  EXPECT_TRUE(results[1].status.ok());
  EXPECT_EQ(results[2].status.code(), absl::StatusCode::kAlreadyExists);  // in the same batch
  EXPECT_EQ(Get("c", "x")->text, "one");
  EXPECT_EQ(Get("c", "y")->text, "one");
  EXPECT_EQ(*engine_->Count("c"), 2);
  Delete("c", "x");
  EXPECT_TRUE(Write("c", insert).status.ok());
}

TEST_F(EngineDocumentsTest, OfConcurrentInsertsOneWins) {
  constexpr int kThreads = 6, kIds = 40;
  Create("c");
  std::vector<std::atomic<int>> won(kIds);
  std::atomic<int> lost{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kIds; ++i) {
        DocumentWrite write = Text(std::to_string(i), std::to_string(t));
        write.mode = WriteMode::kInsert;
        const absl::Status status = Write("c", std::move(write)).status;
        if (status.ok()) {
          won[i] += t + 1;
        } else {
          EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << status;
          ++lost;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(lost, (kThreads - 1) * kIds);
  for (int i = 0; i < kIds; ++i) {
    EXPECT_EQ(Get("c", std::to_string(i))->text, std::to_string(won[i] - 1));
  }
}

// What was refused because of a write beside it is not refused when that one was not done.
TEST_F(EngineDocumentsTest, ARefusalThatRestsOnAFailedWriteFailsWithIt) {
  Create("c", 1);
  store_.fault = [](std::string_view operation) {
    return operation == "Append" ? absl::UnavailableError("io") : absl::OkStatus();
  };
  DocumentWrite insert = Text("x", "one");
  insert.mode = WriteMode::kInsert;
  for (const WriteResult& result : Upsert("c", {insert, insert})) {
    EXPECT_EQ(result.status.code(), absl::StatusCode::kUnavailable) << result.status;
  }
  const std::vector<std::string> twice = {"y", "y"};
  store_.fault = nullptr;
  Put("c", "y", "text");
  store_.fault = [](std::string_view operation) {
    return operation == "Append" ? absl::UnavailableError("io") : absl::OkStatus();
  };
  const auto deleted = engine_->Delete("c", twice, {});
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  for (const WriteResult& result : *deleted) {
    EXPECT_EQ(result.status.code(), absl::StatusCode::kUnavailable) << result.status;
  }
}

TEST_F(EngineDocumentsTest, EtagsNameOneVersion) {
  Create("c");
  const WriteResult first = Put("c", "x", "one");
  const std::string etag = Etag("c", "x");
  EXPECT_EQ(etag, EtagOf(first.uid, first.token.sequence));
  DocumentWrite write = Text("x", "two");
  write.etag = etag;
  EXPECT_TRUE(Write("c", write).status.ok());
  const std::string now = Etag("c", "x");
  EXPECT_NE(now, etag);
  const absl::Status stale = Write("c", write).status;
  EXPECT_EQ(stale.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(stale.message()), HasSubstr("`" + now + "`, not `" + etag + "`"));
  write.etag = "nonsense";
  EXPECT_EQ(Write("c", write).status.code(), absl::StatusCode::kAborted);

  EXPECT_EQ(engine_->DeleteVersion("c", "x", etag, {})->status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Get("c", "x")->text, "two");
  EXPECT_TRUE(engine_->DeleteVersion("c", "x", now, {})->status.ok());
  EXPECT_EQ(engine_->DeleteVersion("c", "x", now, {})->status.code(), absl::StatusCode::kNotFound);
  write.etag = now;
  EXPECT_EQ(Write("c", write).status.code(), absl::StatusCode::kAborted);  // there is none
  write.mode = WriteMode::kReplace;
  EXPECT_EQ(Write("c", write).status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(*engine_->Count("c"), 0);
  // Another collection of the same name starts its sequence numbers anew, but not its etags.
  ASSERT_TRUE(engine_->DeleteCollection("c", "").ok());
  Create("c");
  Put("c", "x", "one");
  EXPECT_NE(Etag("c", "x"), etag);
}

TEST_F(EngineDocumentsTest, EverySearchAndListTellsTheEtag) {
  Create("c", 2);
  Put("c", "x", "one");
  const std::string etag = Etag("c", "x");
  for (const bool cached : {true, false}) {
    if (!cached) Reopen();
    for (const storage::DocumentParts parts :
         {storage::DocumentParts{}, storage::DocumentParts{false, false, false}}) {
      const auto found =
          engine_->Search("c", {.query = TextQuery{"one"}, .top_k = 1, .parts = parts}, {});
      ASSERT_TRUE(found.ok()) << found.status();
      const storage::Document& document = found->hits.at(0).document;
      EXPECT_EQ(EtagOf(document.uid, document.sequence), etag);
    }
    const auto page = engine_->List("c", {}, 10, kNoLimit, {});
    EXPECT_EQ(EtagOf(page->documents.at(0).uid, page->documents.at(0).sequence), etag);
  }
}

TEST_F(EngineDocumentsTest, ConcurrentChangesAreAllThere) {
  constexpr int kThreads = 4, kChanges = 25;
  Create("c", 1, Metric::kCosine, "");
  const auto add_one = [](const storage::Document* current) -> absl::StatusOr<DocumentWrite> {
    DocumentWrite next = Text("n", "1");
    if (current != nullptr) next.document.text = std::to_string(std::stoi(current->text) + 1);
    return next;
  };
  std::vector<std::thread> threads;
  std::atomic<int> done{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kChanges;) {
        const auto result = engine_->Modify("c", "n", add_one, Truncate::kAuto, {});
        if (absl::IsAborted(result.status())) continue;  // lost every race
        ASSERT_TRUE(result.ok() && result->status.ok()) << result.status();
        ++i, ++done;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(done, kThreads * kChanges);
  EXPECT_EQ(Get("c", "n")->text, std::to_string(kThreads * kChanges));
}

TEST_F(EngineDocumentsTest, AChangeThatAlwaysLosesIsAborted) {
  Create("c");
  Put("c", "x", "one");
  int calls = 0;
  const auto race = [&](const storage::Document* current) -> absl::StatusOr<DocumentWrite> {
    EXPECT_NE(current, nullptr);
    Put("c", "x", std::to_string(++calls));
    return Text("x", "mine");
  };
  const auto result = engine_->Modify("c", "x", race, Truncate::kAuto, {});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(calls, Engine::kModifyAttempts);
  EXPECT_EQ(Get("c", "x")->text, std::to_string(calls));
  // What the change says itself is told at once.
  const auto refuse = [](const storage::Document*) -> absl::StatusOr<DocumentWrite> {
    return absl::OutOfRangeError("no");
  };
  EXPECT_EQ(engine_->Modify("c", "x", refuse, Truncate::kAuto, {}).status().code(),
            absl::StatusCode::kOutOfRange);
}

TEST_F(EngineDocumentsTest, AChangeKeepsTheVectorBitForBit) {
  Create("c");
  Put("c", "x", "some text");
  const std::vector<float> vector = Get("c", "x")->vector;
  const int64_t embedded = encoder_.embedded;
  for (int i = 0; i < 20; ++i) {
    const auto touch = [&](const storage::Document* current) -> absl::StatusOr<DocumentWrite> {
      DocumentWrite next;
      next.document = *current;
      next.document.metadata = R"({"n":)" + std::to_string(i) + "}";
      next.vector_as_stored = true;
      return next;
    };
    ASSERT_TRUE(engine_->Modify("c", "x", touch, Truncate::kAuto, {})->status.ok());
  }
  EXPECT_EQ(Get("c", "x")->vector, vector);
  EXPECT_EQ(Get("c", "x")->metadata, R"({"n":19})");
  EXPECT_EQ(encoder_.embedded, embedded);
}

// The fake model's vectors have no length of 1.
TEST_F(EngineDocumentsTest, AVectorThatAChangeHasMadeIsNormalised) {
  Create("c");
  Put("c", "x", "some text");
  Put("c", "y", "");
  Put("c", "as written", "another text");
  const auto change = [](const storage::Document* current) -> absl::StatusOr<DocumentWrite> {
    DocumentWrite next;
    next.document = *current;
    next.document.text = "another text";
    next.document.vector.clear();
    next.vector_as_stored = true;
    return next;
  };
  const std::vector<float> vector = Get("c", "as written")->vector;
  for (const std::string id : {"x", "y"}) {
    ASSERT_TRUE(engine_->Modify("c", id, change, Truncate::kAuto, {})->status.ok());
    EXPECT_EQ(Get("c", id)->vector, vector) << id;
  }
}

TEST_F(EngineDocumentsTest, DocumentsWithoutAVectorAreStoredAndNeverFound) {
  Create("plain", 2, Metric::kCosine, "");
  Create("model", 2);
  // Without a model a text makes no vector; with one, no text makes none.
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(Write("plain", Text("p" + std::to_string(i), "text")).status.ok());
    ASSERT_TRUE(Write("model", Text("p" + std::to_string(i), "")).status.ok());
    if (i % 3 != 0) continue;
    ASSERT_TRUE(Write("plain", Vector("v" + std::to_string(i),
                                      FakeEncoder::VectorOf(std::to_string(i), kDimension)))
                    .status.ok());
    Put("model", "v" + std::to_string(i), std::to_string(i));
  }
  EXPECT_EQ(encoder_.embedded, 10);
  for (const bool reopened : {false, true}) {
    if (reopened) Reopen();
    for (const std::string collection : {"plain", "model"}) {
      EXPECT_EQ(*engine_->Count(collection), 40);
      EXPECT_EQ(Listed(collection).size(), 40u);
      int64_t live = 0;
      const auto stats = engine_->GetCollectionStats(collection);
      ASSERT_TRUE(stats.ok()) << stats.status();
      for (const ShardStats& shard : stats->shards) {
        live += shard.live_documents;
      }
      EXPECT_EQ(live, 40);
      const auto document = Get(collection, "p7");
      ASSERT_TRUE(document.has_value());
      EXPECT_TRUE(document->vector.empty());
      EXPECT_FALSE(document->has_vector);
      const std::vector<float> query = FakeEncoder::VectorOf("q", kDimension);
      const auto ids = Find(collection, {.query = VectorQuery{query}, .top_k = 100});
      EXPECT_EQ(ids.size(), 10u);
      for (const std::string& id : ids) EXPECT_EQ(id[0], 'v');
      const absl::Status status =
          engine_->Search(collection, {.query = DocumentQuery{"p7"}}, {}).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
      EXPECT_THAT(std::string(status.message()), HasSubstr("`p7`"));
    }
  }
}

TEST_F(EngineDocumentsTest, AVectorMayComeAndGo) {
  Create("c", 1);
  Put("c", "x", "some text");
  EXPECT_EQ(FindText("c", "some text"), std::vector<std::string>{"x"});
  Put("c", "x", "");
  EXPECT_TRUE(FindText("c", "some text").empty());
  EXPECT_EQ(*engine_->Count("c"), 1);
  ShardStats stats = engine_->GetCollectionStats("c")->shards[0];
  EXPECT_EQ(stats.live_documents, 1);
  EXPECT_EQ(stats.deleted_rows, 1);  // the old row, and no new one
  Reopen();
  EXPECT_TRUE(FindText("c", "some text").empty());
  EXPECT_EQ(*engine_->Count("c"), 1);
  Put("c", "x", "some text");
  EXPECT_EQ(FindText("c", "some text"), std::vector<std::string>{"x"});
  Put("c", "x", "");
  EXPECT_TRUE(Delete("c", "x").status.ok());
  EXPECT_EQ(*engine_->Count("c"), 0);
  Reopen();
  EXPECT_EQ(*engine_->Count("c"), 0);
}

}  // namespace
}  // namespace vecino::engine
