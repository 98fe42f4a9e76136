// Migrations of embeddings: streams, expiry, and switches that do not go through.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "absl/synchronization/notification.h"
#include "tests/server/engine/migration_fixture.h"

namespace vecino::engine {
namespace {

using testing::IsEmpty;

TEST_F(EngineMigrationTest, TuningsOfEmbeddingsThatAreSwitchedAwayAreAborted) {
  absl::Notification measuring, switched;
  options_.hooks.at = [&](std::string_view stage) {
    if (stage != "measuring") return;
    if (!measuring.HasBeenNotified()) measuring.Notify();
    switched.WaitForNotification();
  };
  Reopen();
  Create("c");
  Fill(40);
  ASSERT_TRUE(MigrateAndWait().ok());
  CatchUp();
  const auto runs = engine_->TuneIndex("c", {}, {});
  const auto waits = engine_->TuneIndex("c", {}, {});
  ASSERT_TRUE(runs.ok() && waits.ok()) << runs.status() << waits.status();
  measuring.WaitForNotification();
  EXPECT_TRUE(Switch(MigrationSide::kNew).ok());
  switched.Notify();
  EXPECT_EQ(Wait(runs->id).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Wait(waits->id).code(), absl::StatusCode::kAborted);
  const auto now = engine_->TuneIndex("c", {}, {});
  ASSERT_TRUE(now.ok()) << now.status();
  EXPECT_TRUE(Wait(now->id).ok());
  engine_.reset();  // its hook is of this function
}

TEST_F(EngineMigrationTest, ATuningWhoseTextsWereEmbeddedByTheOtherModelIsNotStarted) {
  Create("c");
  Fill(40);
  ASSERT_TRUE(MigrateAndWait().ok());
  CatchUp();
  std::atomic<bool> switched = false;
  encoder_.before_embed = [&] {
    if (!switched.exchange(true)) {
      EXPECT_TRUE(Switch(MigrationSide::kNew).ok());
    }
  };
  TuneRequest request;
  request.search.texts = {"a"};
  EXPECT_EQ(engine_->TuneIndex("c", request, {}).status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(switched);
  const auto listed = engine_->ListOperations("c", "", 100);
  for (const auto& info : *listed) {
    EXPECT_NE(info.type, Operation::Type::kTune);
  }
  encoder_.before_embed = nullptr;
}

TEST_F(EngineMigrationTest, AStreamGoesOnAcrossTheSwitch) {
  Create("c");
  Fill(10);
  ASSERT_TRUE(MigrateAndWait().ok());
  const auto write = [](uint64_t item, const std::string& id, const std::string& text) {
    IngestWrite one;
    one.item = item;
    one.write = Text(id, text);
    return one;
  };
  auto stream = *engine_->OpenIngest("c", "token", Truncate::kAuto);
  std::vector<IngestWrite> first = {write(1, "s1", "one"), write(2, "s2", "two")};
  ASSERT_TRUE(stream->Prepare(absl::MakeSpan(first), {}).ok());
  ASSERT_TRUE(stream->Commit(absl::MakeSpan(first), 0, {}).ok());
  // Embedded by the old model, written under the new one.
  std::vector<IngestWrite> second = {write(3, "s3", "three")};
  ASSERT_TRUE(stream->Prepare(absl::MakeSpan(second), {}).ok());
  EXPECT_EQ(second[0].write.document.vector.size(), static_cast<size_t>(kDimension));
  ASSERT_TRUE(Switch(MigrationSide::kNew).ok());
  ASSERT_TRUE(stream->Commit(absl::MakeSpan(second), 2, {}).ok());
  EXPECT_TRUE(second[0].settled && second[0].result.status.ok()) << second[0].result.status;
  EXPECT_EQ(Get("s3")->vector, NewVector("three"));
  EXPECT_EQ(engine_->OpenIngest("c", "token", Truncate::kAuto).status().code(),
            absl::StatusCode::kAborted)
      << "the token is still taken";
  stream.reset();
  // Taken up again, also after a restart, it knows what was done before the switch.
  for (const bool restarted : {false, true}) {
    if (restarted) Reopen();
    stream = *engine_->OpenIngest("c", "token", Truncate::kAuto);
    std::vector<IngestWrite> again = {write(1, "s1", "one again"), write(3, "s3", "three again")};
    ASSERT_TRUE(stream->Prepare(absl::MakeSpan(again), {}).ok());
    ASSERT_TRUE(stream->Commit(absl::MakeSpan(again), 0, {}).ok());
    EXPECT_EQ(Get("s1")->text, "one");
    EXPECT_EQ(Get("s3")->text, "three");
    stream.reset();
  }
  stream = *engine_->OpenIngest("c", "token", Truncate::kAuto);
  ASSERT_TRUE(Switch(MigrationSide::kOld).ok());
  std::vector<IngestWrite> third = {write(4, "s4", "four")};
  ASSERT_TRUE(stream->Prepare(absl::MakeSpan(third), {}).ok());
  ASSERT_TRUE(stream->Commit(absl::MakeSpan(third), 3, {}).ok());
  EXPECT_EQ(Get("s4")->vector.size(), static_cast<size_t>(kDimension));
  EXPECT_EQ(Contents().size(), 14u);
  ASSERT_TRUE(stream->Finish().ok());
}

TEST_F(EngineMigrationTest, ASwitchThatWaitsTooLongChangesNothing) {
  Create("c");
  Fill(10);
  ASSERT_TRUE(MigrateAndWait().ok());
  CatchUp();
  // Outlives the test: a follower may embed until the engine is gone.
  struct Hold {
    absl::Notification embedding, go;
    std::atomic<bool> first{true};
  };
  const auto hold = std::make_shared<Hold>();
  encoder_.before_embed = [hold] {
    if (!hold->first.exchange(false)) return;
    hold->embedding.Notify();
    hold->go.WaitForNotification();
  };
  std::thread writer([&] { EXPECT_TRUE(Put("c", "slow", "a slow one").status.ok()); });
  hold->embedding.WaitForNotification();
  CallContext soon;
  soon.deadline = absl::Now() + absl::Milliseconds(50);
  EXPECT_EQ(Switch(MigrationSide::kNew, soon).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(engine_->GetCollection("c")->spec.model, "fake");
  EXPECT_TRUE(Put("c", "quick", "goes on").status.ok());
  hold->go.Notify();
  writer.join();
  ASSERT_TRUE(Switch(MigrationSide::kNew).ok());
  EXPECT_EQ(Get("slow")->vector, NewVector("a slow one"));
  EXPECT_EQ(Get("quick")->vector, NewVector("goes on"));
}

TEST_F(EngineMigrationTest, WritesGoOnWhileACutOverWaitsForALongOne) {
  Create("c");
  Fill(10);
  struct Hold {
    absl::Notification embedding, go;
    std::atomic<bool> first{true};
  };
  const auto hold = std::make_shared<Hold>();
  encoder_.before_embed = [hold] {
    if (!hold->first.exchange(false)) return;
    hold->embedding.Notify();
    hold->go.WaitForNotification();
  };
  std::thread writer([&] { EXPECT_TRUE(Put("c", "slow", "a slow one").status.ok()); });
  hold->embedding.WaitForNotification();
  const std::string operation = Migrate({.automatic = true}).id;
  while (Info().state != MigrationInfo::State::kReady) absl::SleepFor(absl::Milliseconds(1));
  // A closed gate would hold them up for seconds, again and again.
  const absl::Time start = absl::Now();
  for (int i = 0; i < 40; ++i) {
    EXPECT_TRUE(Put("c", "quick", absl::StrCat("goes on ", i)).status.ok());
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_LT(absl::Now() - start, absl::Seconds(8));
  EXPECT_EQ(engine_->GetCollection("c")->spec.model, "fake");
  hold->go.Notify();
  writer.join();
  ASSERT_TRUE(Wait(operation).ok());
  EXPECT_EQ(Get("slow")->vector, NewVector("a slow one"));
  EXPECT_EQ(Get("quick")->vector, NewVector("goes on 39"));
}

TEST_F(EngineMigrationTest, WhatFailsIsNotTriedWithoutAPause) {
  Create("c");
  Fill(10);
  Upsert("c", {Vector("v", std::vector<float>(kDimension, 0.5f))});  // so that it is given up
  const auto attempts = std::make_shared<std::atomic<int>>(0);
  store_.fault = [attempts](std::string_view operation) {
    if (operation != "EndMigration") return absl::OkStatus();
    ++*attempts;
    return absl::UnavailableError("not now");
  };
  const absl::Time start = absl::Now();
  const std::string operation = Migrate().id;
  while (absl::Now() < start + absl::Milliseconds(800)) absl::SleepFor(absl::Milliseconds(10));
  const int seen = *attempts;
  EXPECT_GE(seen, 1);
  EXPECT_LE(seen, 1 + (absl::Now() - start) / absl::Seconds(1));
  store_.fault = nullptr;
  EXPECT_EQ(Wait(operation).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(engine_->GetCollection("c")->migration.has_value());
}

TEST_F(EngineMigrationTest, ASwitchThatTheStoreRefusesChangesNothing) {
  Create("c");
  Fill(10);
  ASSERT_TRUE(MigrateAndWait().ok());
  store_.fault = [](std::string_view operation) {
    return operation == "SwitchMigration" ? absl::ResourceExhaustedError("disk full")
                                          : absl::OkStatus();
  };
  EXPECT_EQ(Switch(MigrationSide::kNew).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(engine_->GetCollection("c")->spec.model, "fake");
  EXPECT_TRUE(Put("c", "d1", "goes on").status.ok());
  store_.fault = nullptr;
  ASSERT_TRUE(Switch(MigrationSide::kNew).ok());
  EXPECT_EQ(Get("d1")->vector, NewVector("goes on"));
}

TEST_F(EngineMigrationTest, AReadWhoseSideIsRemovedMeanwhileReadsTheOther) {
  Create("c");
  Fill(10);
  // The side that `read` began on is removed before it asks the store.
  const auto during = [&](const std::string& model, std::string_view operation, auto read) {
    ASSERT_TRUE(MigrateAndWait({.model = model}).ok());
    CatchUp();
    const auto armed = std::make_shared<std::atomic<bool>>(true);
    store_.fault = [this, armed, operation](std::string_view asked) {
      if (asked == operation && armed->exchange(false)) {
        EXPECT_TRUE(Switch(MigrationSide::kNew).ok());
        EXPECT_TRUE(Finish().ok());
      }
      return absl::OkStatus();
    };
    read();
    store_.fault = nullptr;
    EXPECT_FALSE(*armed);
  };
  during("other", "FindIds", [&] {
    const auto document = Get("d1");
    ASSERT_TRUE(document.has_value());
    EXPECT_EQ(document->vector, NewVector("text 1"));
  });
  during("fake", "GetDocuments", [&] {
    const auto ids = FindText("c", "text 1");
    ASSERT_EQ(ids.size(), 10u);
    EXPECT_EQ(ids[0], "d1");
  });
  during("other", "ListIds", [&] { EXPECT_EQ(Contents().size(), 10u); });
  during("fake", "GetDocuments", [&] {
    const std::vector<SearchRequest> requests = {{.query = TextQuery{"text 2"}}};
    const auto found = engine_->SearchBatch("c", requests, kNoLimit, {});
    ASSERT_TRUE(found.ok()) << found.status();
    ASSERT_TRUE(found->front().ok()) << found->front().status();
    EXPECT_EQ(found->front()->hits.size(), 10u);
  });
}

// The new model takes half as long passages, so its side has twice as many rows.
TEST_F(EngineMigrationTest, DocumentsOfManyPassagesAreCountedOnce) {
  encoder_.models[0].max_tokens = 64;
  encoder_.models[1].max_tokens = 32;
  CollectionSpec spec;
  spec.id = "c";
  spec.model = "fake";
  spec.shard_count = 2;
  spec.chunking = Chunking{.max_tokens = 64, .overlap_tokens = 0};
  ASSERT_TRUE(engine_->CreateCollection(spec, false).ok());
  const std::string sentence = "This sentence has 32 bytes, ha. ";
  ASSERT_EQ(sentence.size(), 32u);
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 20; ++i) writes.push_back(Text(absl::StrCat("d", i), sentence + sentence));
  for (const WriteResult& result : Upsert("c", std::move(writes))) ASSERT_TRUE(result.status.ok());
  ASSERT_TRUE(MigrateAndWait().ok());
  const auto rows = [&] { return Get("d1")->vector.size(); };
  EXPECT_EQ(rows(), static_cast<size_t>(kDimension));
  for (const bool restarted : {false, true}) {
    if (restarted) Reopen();
    EXPECT_EQ(Info().old_side.without_vector, 0);
    EXPECT_EQ(Info().new_side.without_vector, 0);
    ASSERT_TRUE(Switch(MigrationSide::kNew).ok());
    EXPECT_EQ(rows(), 2u * kNewDimension);
    // Back to fewer rows: nothing is lost.
    const absl::Status back = Switch(MigrationSide::kOld);
    EXPECT_TRUE(back.ok()) << back;
  }
  // A loss is seen, however many rows the other side has.
  Upsert("c", {Vector("v", std::vector<float>(kDimension, 0.5f))});
  CatchUp();
  EXPECT_EQ(Info().new_side.without_vector, 1);
  EXPECT_EQ(Switch(MigrationSide::kNew).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(EngineMigrationTest, TheChangeLogIsKeptUntilItWasCarried) {
  Create("c", 1);
  Fill(300);
  encoder_.fail = absl::UnavailableError("no model now");
  const std::string operation = Migrate().id;
  while (Info().problem.ok()) absl::SleepFor(absl::Milliseconds(1));
  // Many tails of deletes: maintenance would trim the log behind them.
  for (int i = 0; i < 300; ++i) {
    Delete("c", absl::StrCat("d", i));
    Upsert("c", {Vector(absl::StrCat("v", i % 3), std::vector<float>(kDimension, 0.1f))});
  }
  for (int i = 0; i < 3; ++i) Delete("c", absl::StrCat("v", i));
  Reopen();
  engine_->Shutdown();
  encoder_.fail = absl::OkStatus();
  Reopen();
  ASSERT_TRUE(Wait(operation).ok());
  ASSERT_TRUE(Switch(MigrationSide::kNew).ok());
  EXPECT_THAT(Contents(), IsEmpty());
}

TEST_F(EngineMigrationTest, LongDocumentsAreNotReadAgainAndAgain) {
  Create("c", 1);
  Fill(1);
  ASSERT_TRUE(MigrateAndWait().ok());
  CatchUp();
  store_.documents_read = 0;
  std::vector<DocumentWrite> writes;  // of which eight are carried at once
  for (int i = 0; i < 64; ++i) {
    writes.push_back(Text(absl::StrCat("long", i), std::string(1 << 17, 'x')));
  }
  Upsert("c", std::move(writes));
  CatchUp();
  EXPECT_GE(store_.documents_read, 64);
  EXPECT_LE(store_.documents_read, 128);
  EXPECT_EQ(Info().new_side.without_vector, 0);
}

TEST_F(EngineMigrationTest, EstimatesAndMetrics) {
  Create("c");
  Fill(50);
  const auto estimate = engine_->EstimateMigration("c", {.model = "other"}, {});
  ASSERT_TRUE(estimate.ok()) << estimate.status();
  EXPECT_EQ(estimate->rows, 50);
  EXPECT_GT(estimate->duration, absl::ZeroDuration());
  EXPECT_GT(estimate->index_bytes, 0);
  EXPECT_FALSE(engine_->GetCollection("c")->migration.has_value());
  EXPECT_EQ(metrics_.Value("vecino_migration_lag_writes"), 0);
  const double upserts = metrics_.Value("vecino_documents_upserted_total");
  auto watcher = *engine_->WatchEvents("c");
  ASSERT_TRUE(MigrateAndWait({.automatic = true}).ok());
  EXPECT_EQ(metrics_.Value("vecino_documents_upserted_total"), upserts) << "callers wrote nothing";
  int told = 0;
  while (const auto event = watcher->Take()) {
    told += event->event.kind == Event::Kind::kMigration;
  }
  EXPECT_EQ(told, 2) << "ready, cut over";
}

class BusyMigrationTest : public EngineMigrationTest {
 protected:
  // Outlives the test, as maintenance may.
  struct Hold {
    absl::Notification training, go;
    std::atomic<bool> first{true};
  };
  void SetUp() override {
    options_.maintenance.exact_rows = options_.maintenance.min_index_rows = 100;
    options_.maintenance.gate_time = 1e9;  // a busy machine's
    options_.hooks.at = [hold = hold_](std::string_view) {
      if (!hold->first.exchange(false)) return;
      hold->training.Notify();
      hold->go.WaitForNotification();
    };
    EngineMigrationTest::SetUp();
  }
  const std::shared_ptr<Hold> hold_ = std::make_shared<Hold>();
};

TEST_F(BusyMigrationTest, WhatWaitsForASideThatIsRemovedEnds) {
  Create("busy", 1);
  std::vector<DocumentWrite> writes;
  for (int i = 0; i < 500; ++i) writes.push_back(Text(absl::StrCat(i), absl::StrCat("text ", i)));
  Upsert("busy", std::move(writes));
  hold_->training.WaitForNotification();  // the thread of long work has no time for others
  Create("c");
  Fill(10);
  ASSERT_TRUE(MigrateAndWait().ok());
  const auto retrain = engine_->StartOperation("c", Operation::Type::kRetrain, {});
  ASSERT_TRUE(retrain.ok()) << retrain.status();
  ASSERT_TRUE(Switch(MigrationSide::kNew).ok());
  ASSERT_TRUE(Finish().ok());
  const auto ended = engine_->WaitOperation("c", retrain->id, absl::Seconds(10), {});
  hold_->go.Notify();
  ASSERT_TRUE(ended.ok()) << ended.status();
  EXPECT_TRUE(ended->done);
  EXPECT_EQ(ended->status.code(), absl::StatusCode::kAborted) << ended->status;
}

class ExpiringMigrationTest : public EngineMigrationTest {
 protected:
  void SetUp() override {
    options_.clock = [this] { return absl::FromUnixMicros(now_.load()); };
    options_.reap_interval = absl::Milliseconds(1);
    EngineMigrationTest::SetUp();
  }
  void TearDown() override { engine_.reset(); }  // it asks for the time
  std::atomic<int64_t> now_{1'000'000'000};
};

TEST_F(ExpiringMigrationTest, WhatExpiresGoesOnBothSides) {
  Create("c");
  Fill(5);
  for (int i = 0; i < 4; ++i) {
    DocumentWrite write = Text(absl::StrCat("e", i), absl::StrCat("expires ", i));
    write.ttl_us = 1000 * (i + 1);
    Upsert("c", {write});
  }
  ASSERT_TRUE(MigrateAndWait().ok());
  now_ += 1500;
  ASSERT_TRUE(Switch(MigrationSide::kNew).ok());
  EXPECT_EQ(*engine_->Count("c"), 8);
  EXPECT_EQ(Get("e1")->expire_time_us, 1'000'002'000);
  now_ += 1000;
  EXPECT_EQ(*engine_->Count("c"), 7);
  ASSERT_TRUE(Switch(MigrationSide::kOld).ok());
  EXPECT_EQ(*engine_->Count("c"), 7);
  now_ += 10'000;
  EXPECT_EQ(*engine_->Count("c"), 5);
  // The reaper deletes them, and the deletes are carried.
  const uint32_t uid = store_.ListCollections()->at(0).uid;
  const auto stored = [&](uint32_t side) {
    return *store_.OpenShard(side, 0, 0).value()->CountIds() +
           *store_.OpenShard(side, 1, 0).value()->CountIds();
  };
  while (stored(uid) > 5) absl::SleepFor(absl::Milliseconds(1));
  CatchUp();
  EXPECT_EQ(stored(store_.ListMigrations()->at(0).other->uid), 5u);
  ASSERT_TRUE(Switch(MigrationSide::kNew).ok());
  EXPECT_EQ(Contents().size(), 5u);
}

}  // namespace
}  // namespace vecino::engine
