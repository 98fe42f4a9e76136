// What becomes of state when the store fails.
#include <gtest/gtest.h>

#include "server/engine/manifest.h"
#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

TEST_F(EngineTest, ARefusedWriteLeavesTheIndexUntouched) {
  Create("c", 1);
  Put("c", "a", "one");
  for (const absl::Status& fault :
       {absl::ResourceExhaustedError("disk full"), absl::UnavailableError("io")}) {
    store_.fault = [&](std::string_view operation) {
      return operation == "Append" ? fault : absl::OkStatus();
    };
    const auto results = Upsert("c", {Text("a", "new"), Text("b", "two")});
    EXPECT_EQ(results[0].status, fault);
    EXPECT_EQ(results[1].status, fault);
    EXPECT_EQ(Delete("c", "a").status, fault);
    store_.fault = nullptr;
    EXPECT_EQ(FindText("c", "one"), std::vector<std::string>{"a"});
    const auto shard = engine_->GetCollectionStats("c")->shards[0];
    EXPECT_EQ(shard.live_documents, 1);
    EXPECT_EQ(shard.deleted_rows, 0);
    EXPECT_EQ(shard.last_sequence, 1u);
  }
  EXPECT_EQ(Put("c", "b", "two").token.sequence, 2u);  // and then it goes on
  EXPECT_EQ(metrics_.Value("vecino_commit_failures_total"), 4);
}

TEST_F(EngineTest, AfterAnUnknownOutcomeTheShardRefusesWrites) {
  Create("c", 1);
  Put("c", "a", "one");
  store_.fault = [&](std::string_view operation) {
    return operation == "Append" ? absl::DataLossError("who knows") : absl::OkStatus();
  };
  EXPECT_EQ(Put("c", "a", "two").status.code(), absl::StatusCode::kUnknown);
  store_.fault = nullptr;
  const absl::Status refused = Put("c", "b", "three").status;
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(refused.message().find("who knows"), absl::string_view::npos);
  EXPECT_EQ(FindText("c", "one"), std::vector<std::string>{"a"});  // reads go on
  Reopen();
  EXPECT_TRUE(Put("c", "b", "three").status.ok());
}

TEST_F(EngineTest, DamageIsReportedToWhoeverMeetsIt) {
  Create("c", 1);
  Put("c", "a", "one");
  const absl::Status damage = absl::DataLossError("block 7 of 000012.sst");
  for (const std::string_view broken : {"FindIds", "GetDocuments", "ListIds"}) {
    store_.fault = [&](std::string_view operation) {
      return operation == broken ? damage : absl::OkStatus();
    };
    const std::vector<std::string> id = {"a"};
    if (broken != "ListIds") {
      EXPECT_EQ(engine_->Get("c", id, {}, kNoLimit).status(), damage);
    }
    if (broken == "FindIds") {
      EXPECT_EQ(Put("c", "a", "two").status, damage);
    }
    if (broken == "GetDocuments") {
      EXPECT_EQ(engine_->Search("c", {.query = TextQuery{"one"}}, {}).status(), damage);
    }
    if (broken != "FindIds") {
      EXPECT_EQ(engine_->List("c", {}, 10, 1000, {}).status(), damage);
    }
  }
  store_.fault = nullptr;
  EXPECT_EQ(*engine_->Count("c"), 1);
}

TEST_F(EngineTest, ACollectionThatCannotBeDroppedStays) {
  Create("c", 1);
  store_.fault = [&](std::string_view operation) {
    return operation == "DropCollection" ? absl::UnavailableError("io") : absl::OkStatus();
  };
  EXPECT_EQ(engine_->DeleteCollection("c", "").code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(Put("c", "a", "one").status.ok());
  EXPECT_EQ(FindText("c", "one").size(), 1u);
}

TEST_F(EngineTest, ACollectionThatCannotBeMadeLeavesNothing) {
  store_.fault = [&](std::string_view operation) {
    return operation == "OpenShard" ? absl::UnavailableError("io") : absl::OkStatus();
  };
  CollectionSpec spec;
  spec.id = "c";
  spec.dimension = 3;
  EXPECT_EQ(engine_->CreateCollection(spec, false).status().code(), absl::StatusCode::kUnavailable);
  store_.fault = nullptr;
  EXPECT_TRUE(engine_->ListCollections().empty());
  EXPECT_TRUE(engine_->CreateCollection(spec, false).ok());
}

TEST_F(EngineTest, ADamagedManifestCostsNothing) {
  Create("c", 1);
  for (int i = 0; i < 100; ++i) Put("c", std::to_string(i % 30), "t" + std::to_string(i));
  for (const std::string& manifest :
       {std::string("rubbish"), EncodeManifest({.drained_through = 1000, .rows = 7})}) {
    engine_.reset();
    store_.shard(1, 0)->manifest = manifest;
    Reopen();
    EXPECT_EQ(*engine_->Count("c"), 30);
    EXPECT_EQ(FindText("c", "t99", 1), std::vector<std::string>{"9"});
    EXPECT_TRUE(Put("c", "new", "text").status.ok());
    EXPECT_TRUE(Delete("c", "new").status.ok());
  }
}

TEST_F(EngineTest, AMissingChangeRecordStopsTheStart) {
  Create("c", 1);
  for (int i = 0; i < 5; ++i) Put("c", std::to_string(i), "t");
  engine_.reset();
  store_.shard(1, 0)->changes.erase(3);
  const auto engine = Engine::Open(options_, &store_, &encoder_, &metrics_);
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(engine.status().message().find("shard 0 of collection `c`"), absl::string_view::npos);
}

}  // namespace
}  // namespace vecino::engine
