// Migrations of embeddings: what callers see before, while and after.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "storage/migration_record.h"
#include "tests/server/engine/migration_fixture.h"

namespace vecino::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST_F(EngineMigrationTest, BuildsShowsCutsOverAndRollsBack) {
  Create("c");
  Fill(100);
  ASSERT_TRUE(engine_->CreateAlias("alias", "c").ok());
  const auto before = Contents();
  const std::vector<std::string> old_hits = FindText("c", "text 7", 5);
  const auto old_info = *engine_->GetCollection("c");
  ASSERT_TRUE(MigrateAndWait().ok());

  MigrationInfo info = Info();
  EXPECT_EQ(info.state, MigrationInfo::State::kReady);
  EXPECT_EQ(info.active, MigrationSide::kOld);
  EXPECT_EQ(info.old_side.model, "fake");
  EXPECT_EQ(info.new_side.model, "other");
  EXPECT_EQ(info.new_side.model_hash, "hash-2");
  EXPECT_EQ(info.new_side.dimension, kNewDimension);
  EXPECT_EQ(info.documents_done, 100);
  EXPECT_EQ(info.documents_total, 100);
  EXPECT_EQ(info.lag, 0);
  ASSERT_TRUE(info.overlap.has_value());
  EXPECT_EQ(info.overlap->samples, 100);
  EXPECT_TRUE(info.overlap->own_texts);
  EXPECT_LT(info.overlap->overlap, 0.5) << "two hashes have little in common";
  EXPECT_EQ(FindText("c", "text 7", 5), old_hits) << "callers see the old side";
  EXPECT_EQ(engine_->ListCollections().size(), 1u) << "the new one is not listed";

  const WriteToken token = Put("c", "d7", "changed").token;
  ASSERT_TRUE(Delete("c", "d8").status.ok());
  ASSERT_TRUE(Switch(MigrationSide::kNew).ok());
  ASSERT_TRUE(Switch(MigrationSide::kNew).ok()) << "no effect";
  const auto new_info = *engine_->GetCollection("alias");
  EXPECT_EQ(new_info.spec.model, "other");
  EXPECT_EQ(new_info.spec.dimension, kNewDimension);
  EXPECT_EQ(new_info.model_hash, "hash-2");
  EXPECT_EQ(new_info.create_time, old_info.create_time);
  EXPECT_NE(new_info.etag, old_info.etag);
  EXPECT_EQ(Info().state, MigrationInfo::State::kCutOver);
  EXPECT_GT(Info().switch_time, info.begin_time);
  auto after = Contents();
  EXPECT_EQ(after.size(), 99u);
  for (const auto& [id, document] : after) {
    if (id == "d7") continue;
    const storage::Document& old = before.at(id);
    EXPECT_EQ(document.text, old.text);
    EXPECT_EQ(document.metadata, old.metadata);
    EXPECT_EQ(document.create_time_us, old.create_time_us);
    EXPECT_EQ(document.update_time_us, old.update_time_us);
    EXPECT_EQ(storage::RangeOf(document.sequence), 1u);
  }
  EXPECT_EQ(after.at("d7").text, "changed");
  ExpectAsFresh("other");
  // A token of the old side is satisfied, one of nowhere is not.
  SearchRequest request{.query = TextQuery{"changed"}, .top_k = 1, .tokens = {token}};
  EXPECT_THAT(Find("c", request), ElementsAre("d7"));
  request.tokens = {{0, uint64_t{5} << storage::kRangeBits}};
  CallContext soon;
  soon.deadline = absl::Now() + absl::Milliseconds(20);
  EXPECT_EQ(engine_->Search("c", request, soon).status().code(),
            absl::StatusCode::kDeadlineExceeded);

  const WriteToken later = Put("c", "new", "only here").token;
  ASSERT_TRUE(Delete("c", "d9").status.ok());
  ASSERT_TRUE(Switch(MigrationSide::kOld).ok());
  EXPECT_EQ(engine_->GetCollection("c")->spec.model, "fake");
  EXPECT_EQ(Info().state, MigrationInfo::State::kReady);
  after = Contents();
  EXPECT_EQ(after.size(), 99u);
  EXPECT_EQ(after.at("new").text, "only here");
  EXPECT_EQ(after.at("d7").text, "changed");
  ExpectAsFresh("fake");
  request.tokens = {later};
  EXPECT_TRUE(engine_->Search("c", request, {}).ok()) << "the new side's token";
  ASSERT_TRUE(Finish().ok());
  EXPECT_FALSE(engine_->GetCollection("c")->migration.has_value());
  EXPECT_TRUE(engine_->Search("c", request, {}).ok()) << "the token of a side that is gone";
  EXPECT_EQ(store_.ListMigrations()->at(0).other, std::nullopt);
  ASSERT_TRUE(MigrateAndWait().ok()) << "again, with numbers of its own";
  ASSERT_TRUE(Switch(MigrationSide::kNew).ok());
  EXPECT_EQ(storage::RangeOf(Get("new")->sequence), 2u);
  ASSERT_TRUE(engine_->FinishMigration("c", MigrationSide::kNew).ok());
  ExpectAsFresh("other");
  Reopen();
  EXPECT_EQ(Contents().size(), 99u);
  ExpectAsFresh("other");
}

TEST_F(EngineMigrationTest, NothingIsLostWhileWritersWrite) {
  Create("c");
  Fill(200);
  std::map<std::string, std::string> expected[3];  // text by id, of each writer
  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  for (int writer = 0; writer < 3; ++writer) {
    writers.emplace_back([&, writer] {
      std::mt19937 random(writer);
      for (int i = 0; !stop; ++i) {
        const std::string id = absl::StrCat("w", writer, "-", random() % 60);
        const uint32_t what = random() % 4;
        if (what == 0) {
          const WriteResult result = Delete("c", id);
          EXPECT_TRUE(result.status.ok() || absl::IsNotFound(result.status)) << result.status;
          expected[writer].erase(id);
        } else if (what == 1) {
          const std::string text = absl::StrCat("modified ", writer, " ", i);
          const auto result = engine_->Modify(
              "c", id,
              [&](const storage::Document* current) -> absl::StatusOr<DocumentWrite> {
                DocumentWrite write = current == nullptr ? Text(id, "") : DocumentWrite{*current};
                write.document.text = text;
                write.document.vector.clear();
                return write;
              },
              Truncate::kAuto, {});
          EXPECT_TRUE(result.ok() && result->status.ok()) << result.status();
          expected[writer][id] = text;
        } else {
          const std::string text = absl::StrCat("text ", writer, " ", i);
          const WriteResult result = Put("c", id, text);
          EXPECT_TRUE(result.status.ok()) << result.status;
          expected[writer][id] = text;
        }
      }
    });
  }
  std::atomic<int> searches{0};
  std::thread reader([&] {
    while (!stop) {
      EXPECT_EQ(FindText("c", "text 1", 3).size(), 3u);
      ++searches;
    }
  });
  const auto switch_to = [&](MigrationSide side) {
    // Writers may be too fast for a catch-up on a busy machine; then it says so and is repeated.
    absl::Status status = Switch(side);
    while (absl::IsUnavailable(status)) status = Switch(side);
    EXPECT_TRUE(status.ok()) << status;
  };
  EXPECT_TRUE(MigrateAndWait().ok());
  for (int round = 0; round < 3; ++round) {
    switch_to(MigrationSide::kNew);
    switch_to(MigrationSide::kOld);
  }
  switch_to(MigrationSide::kNew);
  stop = true;
  for (std::thread& writer : writers) writer.join();
  reader.join();
  EXPECT_GT(searches.load(), 0);
  std::map<std::string, std::string> all;
  for (const auto& texts : expected) all.insert(texts.begin(), texts.end());
  for (int i = 0; i < 200; ++i) all[absl::StrCat("d", i)] = absl::StrCat("text ", i);
  const auto check = [&] {
    std::map<std::string, std::string> texts;
    for (const auto& [id, document] : Contents()) texts[id] = document.text;
    EXPECT_EQ(texts, all);
    EXPECT_EQ(*engine_->Count("c"), static_cast<int64_t>(all.size()));
  };
  check();
  ExpectAsFresh("other");
  ASSERT_TRUE(Switch(MigrationSide::kOld).ok());
  check();
  ExpectAsFresh("fake");
}

TEST_F(EngineMigrationTest, GoesOnAfterARestartAtEveryStage) {
  Create("c");
  Fill(50);
  // While it is built: the model does not answer.
  encoder_.fail = absl::UnavailableError("no model now");
  const std::string operation = Migrate().id;
  while (Info().problem.ok()) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_THAT(std::string(Info().problem.message()), HasSubstr("no model now"));
  EXPECT_EQ(Info().state, MigrationInfo::State::kBuilding);
  EXPECT_EQ(Switch(MigrationSide::kNew).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Finish().code(), absl::StatusCode::kFailedPrecondition);
  const std::string id = "d3";
  ASSERT_TRUE(Delete("c", id).status.ok());
  Reopen();
  EXPECT_FALSE(engine_->GetOperation("c", operation)->done) << "the same operation";
  engine_->Shutdown();
  encoder_.fail = absl::OkStatus();
  Reopen();
  ASSERT_TRUE(Wait(operation).ok());
  EXPECT_EQ(Info().documents_done, 49);

  Put("c", "x", "before the cut-over");
  Reopen();
  EXPECT_EQ(Info().state, MigrationInfo::State::kReady);
  EXPECT_TRUE(Info().overlap.has_value());
  Put("c", "y", "after the restart");
  ASSERT_TRUE(Switch(MigrationSide::kNew).ok());
  EXPECT_EQ(Contents().size(), 51u);
  Reopen();
  EXPECT_EQ(Info().state, MigrationInfo::State::kCutOver);
  EXPECT_EQ(engine_->GetCollection("c")->spec.model, "other");
  EXPECT_TRUE(engine_->GetOperation("c", operation)->done) << "operations are kept";
  ExpectAsFresh("other");
  Put("c", "z", "on the new side");
  Reopen();
  ASSERT_TRUE(Switch(MigrationSide::kOld).ok());
  EXPECT_EQ(Contents().size(), 52u);
  ExpectAsFresh("fake");
  Reopen();
  EXPECT_EQ(Contents().size(), 52u);
  ASSERT_TRUE(Finish().ok());
  Reopen();
  EXPECT_EQ(Contents().size(), 52u);
  ExpectAsFresh("fake");
}

// Fields of the collection, which no request has, are not what a caller can mend.
TEST_F(EngineMigrationTest, AModelThatTheCollectionCannotFollowIsRefused) {
  CollectionSpec spec;
  spec.id = "pq";
  spec.model = "fake";
  spec.index.kind = IndexKind::kIvfPq;
  spec.index.pq_m = 4;
  ASSERT_TRUE(engine_->CreateCollection(spec, false).ok());
  const absl::Status pq = engine_->MigrateEmbeddings("pq", {.model = "other"}).status();
  EXPECT_EQ(pq.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(pq.message()),
              testing::HasSubstr("its 6 values are not divisible by the collection's pq_m 4"));
  EXPECT_EQ(FieldOf(pq), "");
  EXPECT_EQ(engine_->EstimateMigration("pq", {.model = "other"}, {}).status(), pq);

  spec = {};
  spec.id = "chunked";
  spec.model = "fake";
  spec.chunking = {.max_tokens = 16, .overlap_tokens = 0};  // the window of both
  ASSERT_TRUE(engine_->CreateCollection(spec, false).ok());
  encoder_.models.back().prompts["document"].tokens = 12;  // of `other`, in every passage
  const absl::Status chunked = engine_->MigrateEmbeddings("chunked", {.model = "other"}).status();
  EXPECT_EQ(chunked.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(chunked.message()), testing::HasSubstr("cannot change"));
  EXPECT_EQ(FieldOf(chunked), "");
  EXPECT_EQ(store_.ListMigrations()->size(), 0u);
}

TEST_F(EngineMigrationTest, RefusesWhatCannotBe) {
  Create("c");
  Fill(10);
  const auto refused = [&](MigrationRequest request) {
    if (request.model.empty()) request.model = "other";
    return engine_->MigrateEmbeddings("c", request).status();
  };
  const auto code = [&](MigrationRequest request) { return refused(std::move(request)).code(); };
  EXPECT_EQ(FieldOf(refused({.dimension = 5})), "dimension");
  EXPECT_EQ(FieldOf(refused({.top_k = 101})), "top_k");
  EXPECT_EQ(FieldOf(refused({.min_overlap = 1.5})), "min_overlap");
  EXPECT_EQ(FieldOf(refused({.queries = {"a", ""}})), "queries[1]");
  EXPECT_EQ(FieldOf(refused({.queries = std::vector<std::string>(201, "q")})), "queries");
  EXPECT_EQ(code({.model = "none"}), absl::StatusCode::kNotFound);
  EXPECT_EQ(code({.model = "fake"}), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(engine_->MigrateEmbeddings("none", {.model = "other"}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(Switch(MigrationSide::kNew).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Finish().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_.ListMigrations()->size(), 0u);

  ASSERT_TRUE(MigrateAndWait().ok());
  EXPECT_EQ(code({}), absl::StatusCode::kFailedPrecondition) << "one at a time";
  EXPECT_EQ(engine_->EstimateMigration("c", {.model = "other"}, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(engine_->FinishMigration("c", MigrationSide::kNew).status().code(),
            absl::StatusCode::kFailedPrecondition);
  // The next page of a search by the other embeddings.
  const auto page = engine_->Search("c", {.query = TextQuery{"q"}, .top_k = 2}, {});
  ASSERT_TRUE(page.ok() && page->next.has_value()) << page.status();
  ASSERT_TRUE(Switch(MigrationSide::kNew).ok());
  SearchRequest next{.query = TextQuery{"q"}, .top_k = 2};
  next.after = page->next;
  EXPECT_EQ(FieldOf(engine_->Search("c", next, {}).status()), "page_token");
}

TEST_F(EngineMigrationTest, DocumentsWithoutText) {
  Create("c");
  Fill(10);
  std::vector<float> vector(kDimension, 0.5f);
  Upsert("c", {Vector("v1", vector), Vector("v2", vector)});
  DocumentWrite both = Vector("b", vector);
  both.document.text = "text and a vector of its own";
  Upsert("c", {both});
  const absl::Status status = MigrateAndWait();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("2 documents"));
  EXPECT_FALSE(engine_->GetCollection("c")->migration.has_value());
  EXPECT_EQ(store_.ListMigrations()->at(0).other, std::nullopt);

  ASSERT_TRUE(MigrateAndWait({.allow_vectorless = true}).ok());
  EXPECT_EQ(Info().old_side.without_vector, 0);
  EXPECT_EQ(Info().new_side.without_vector, 2);
  ASSERT_TRUE(Switch(MigrationSide::kNew).ok());
  EXPECT_EQ(Contents().size(), 13u);
  EXPECT_THAT(Get("v1")->vector, IsEmpty());
  EXPECT_EQ(Get("b")->vector, NewVector("text and a vector of its own"));
  // A change of its metadata on the new side does not take the old side's vectors away.
  for (const std::string id : {"v1", "b"}) {
    const auto changed =
        engine_->Modify("c", id,
                        [](const storage::Document* current) -> absl::StatusOr<DocumentWrite> {
                          DocumentWrite write{*current};
                          write.document.metadata = R"({"changed":true})";
                          write.vector_as_stored = true;
                          return write;
                        },
                        Truncate::kAuto, {});
    ASSERT_TRUE(changed.ok() && changed->status.ok());
  }
  ASSERT_TRUE(Switch(MigrationSide::kOld).ok());
  for (const std::string id : {"v1", "b"}) {
    EXPECT_EQ(Get(id)->metadata, R"({"changed":true})");
    ASSERT_EQ(Get(id)->vector.size(), static_cast<size_t>(kDimension)) << id;
    EXPECT_FLOAT_EQ(Get(id)->vector[0], Get("v2")->vector[0]);
  }
}

TEST_F(EngineMigrationTest, AVectorThatComesLaterIsNotLostSilently) {
  Create("c");
  Fill(5);
  ASSERT_TRUE(MigrateAndWait().ok());
  Upsert("c", {Vector("v", std::vector<float>(kDimension, 0.5f))});
  const absl::Status status = Switch(MigrationSide::kNew);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("1 documents"));
  EXPECT_TRUE(Put("c", "v", "now it has a text").status.ok()) << "writes go on";
  EXPECT_TRUE(Switch(MigrationSide::kNew).ok());
}

TEST_F(EngineMigrationTest, GoesOverByItselfIfTheOverlapIsEnough) {
  Create("c");
  Fill(40);
  absl::Status status =
      MigrateAndWait({.queries = {"a", "b"}, .top_k = 5, .automatic = true, .min_overlap = 0.99});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("min_overlap"));
  EXPECT_EQ(Info().state, MigrationInfo::State::kReady) << "a person decides";
  EXPECT_EQ(Info().overlap->samples, 2);
  EXPECT_EQ(Info().overlap->top_k, 5);
  EXPECT_FALSE(Info().overlap->own_texts);
  ASSERT_TRUE(Finish().ok());
  EXPECT_TRUE(MigrateAndWait({.automatic = true}).ok());
  EXPECT_EQ(Info().state, MigrationInfo::State::kCutOver);
  ExpectAsFresh("other");
}

TEST_F(EngineMigrationTest, TheSameModelWithFewerDimensionsOverlaps) {
  encoder_.models[0].matryoshka = {7};
  Create("c");
  Fill(60);
  ASSERT_TRUE(MigrateAndWait({.model = "fake", .dimension = 7, .automatic = true}).ok());
  EXPECT_EQ(engine_->GetCollection("c")->spec.dimension, 7);
  EXPECT_GT(Info().overlap->overlap, 0.5) << "of eight values seven are the same";
}

TEST_F(EngineMigrationTest, CancelledItLeavesNothing) {
  Create("c");
  Fill(20);
  encoder_.fail = absl::UnavailableError("no model now");
  const std::string operation = Migrate().id;
  ASSERT_TRUE(engine_->CancelOperation("c", operation).ok());
  EXPECT_EQ(Wait(operation).code(), absl::StatusCode::kCancelled);
  encoder_.fail = absl::OkStatus();
  EXPECT_FALSE(engine_->GetCollection("c")->migration.has_value());
  EXPECT_EQ(store_.ListMigrations()->at(0).other, std::nullopt);
  EXPECT_EQ(Contents().size(), 20u);
  EXPECT_TRUE(MigrateAndWait().ok());
}

TEST_F(EngineMigrationTest, DeletedMeanwhile) {
  for (const bool built : {false, true}) {
    Create("c");
    Fill(20);
    if (!built) encoder_.fail = absl::UnavailableError("no model now");
    const std::string operation = Migrate().id;
    if (built) {
      ASSERT_TRUE(Wait(operation).ok());
    }
    ASSERT_TRUE(engine_->DeleteCollection("c", "").ok());
    EXPECT_EQ(engine_->GetCollection("c").status().code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(*store_.ListMigrations(), IsEmpty());
    encoder_.fail = absl::OkStatus();
    Reopen();
    EXPECT_THAT(engine_->ListCollections(), IsEmpty());
  }
}

}  // namespace
}  // namespace vecino::engine
