// Index kinds and long-running work through the engine's door.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

using testing::HasSubstr;
using Type = Operation::Type;

class EngineOperationsTest : public EngineTest {
 protected:
  ~EngineOperationsTest() override {
    Unblock();
    engine_.reset();  // before what its threads use here
  }

  void CreateKind(const std::string& id, IndexKind kind) {
    CollectionSpec spec;
    spec.id = id;
    spec.dimension = kDimension;
    spec.index.kind = kind;
    const auto info = engine_->CreateCollection(spec, false);
    ASSERT_TRUE(info.ok()) << info.status();
  }

  void Fill(const std::string& collection, int rows) {
    std::vector<DocumentWrite> writes;
    for (int i = 0; i < rows; ++i) {
      const std::string id = absl::StrCat("d", i);
      writes.push_back(Vector(id, FakeEncoder::VectorOf(id, kDimension)));
    }
    for (const WriteResult& result : Upsert(collection, std::move(writes))) {
      EXPECT_TRUE(result.status.ok()) << result.status;
    }
  }

  // Keeps both maintenance threads (one for any work, one for short work) busy with a shard each
  // until Unblock, so that operations stay as they begin.
  void BlockMaintenance() {
    store_.fault = [this, released = release_.get_future().share()](std::string_view operation) {
      if (operation == "PutManifest") {
        if (blocked_.fetch_add(1) + 1 == 2) reached_.set_value();
        released.wait();
      }
      return absl::OkStatus();
    };
    CreateKind("busy", IndexKind::kFlat);
    Fill("busy", 200);
    const auto started = engine_->StartOperation("busy", Type::kCompact, {});
    ASSERT_TRUE(started.ok()) << started.status();
    reached_.get_future().wait();
  }
  void Unblock() {
    if (!released_.exchange(true)) release_.set_value();
  }

  std::atomic<int> blocked_{0};
  std::atomic<bool> released_{false};
  std::promise<void> reached_, release_;
};

TEST_F(EngineOperationsTest, TheIndexSpecIsKept) {
  CollectionSpec spec;
  spec.id = "c";
  spec.dimension = kDimension;
  EXPECT_EQ(spec.index.kind, IndexKind::kAuto);
  spec.index = {.kind = IndexKind::kIvfPq,
                .recall_target = 0.9,
                .nlist = 300,
                .nprobe = 20,
                .pq_m = 4,
                .pq_bits = 6};
  ASSERT_TRUE(engine_->CreateCollection(spec, false).ok());
  spec.id = "d";
  spec.index = {.kind = IndexKind::kAuto, .hnsw_m = 24, .graph = false};
  ASSERT_TRUE(engine_->CreateCollection(spec, false).ok());
  spec.index.lsh_bits = 8;
  EXPECT_EQ(FieldOf(engine_->CreateCollection(spec, true).status()),
            "collection.index_policy.parameters.lsh_bits");
  Reopen();
  const IndexSpec kept = engine_->GetCollection("c")->spec.index;
  EXPECT_EQ(kept.kind, IndexKind::kIvfPq);
  EXPECT_EQ(kept.recall_target, 0.9);
  EXPECT_EQ(kept.nlist, 300);
  EXPECT_EQ(kept.nprobe, 20);
  EXPECT_EQ(kept.pq_m, 4);
  EXPECT_EQ(kept.pq_bits, 6);
  EXPECT_TRUE(kept.graph);
  const IndexSpec other = engine_->GetCollection("d")->spec.index;
  EXPECT_EQ(other.kind, IndexKind::kAuto);
  EXPECT_EQ(other.recall_target, 0.95);
  EXPECT_EQ(other.hnsw_m, 24);
  EXPECT_FALSE(other.graph);
}

TEST_F(EngineOperationsTest, SearchChecksItsEffort) {
  CreateKind("c", IndexKind::kAuto);
  Fill("c", 20);
  SearchRequest request;
  request.query = VectorQuery{FakeEncoder::VectorOf("d3", kDimension)};
  request.top_k = 1;
  for (const double recall : {0.0, 0.5, 1.0}) {
    request.recall_target = recall;
    EXPECT_EQ(Find("c", request), std::vector<std::string>{"d3"});
  }
  request.recall_target = 2;
  EXPECT_EQ(FieldOf(engine_->Search("c", request, {}).status()), "recall_target");
  request.recall_target = 0;
  request.exact = true;
  EXPECT_EQ(Find("c", request), std::vector<std::string>{"d3"});
}

TEST_F(EngineOperationsTest, CompactingDropsDeadRows) {
  CreateKind("c", IndexKind::kFlat);
  Fill("c", 300);
  for (int i = 0; i < 300; i += 7) ASSERT_TRUE(Delete("c", absl::StrCat("d", i)).status.ok());
  const auto started = engine_->StartOperation("c", Type::kCompact, {});
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(started->parts.size(), 2u);
  absl::StatusOr<Operation::Info> info = started;
  while (!info->done) {
    info = engine_->WaitOperation("c", started->id, absl::Seconds(10), {});
    ASSERT_TRUE(info.ok()) << info.status();
  }
  EXPECT_TRUE(info->status.ok()) << info->status;
  const auto stats = engine_->GetCollectionStats("c");
  ASSERT_TRUE(stats.ok());
  for (const ShardStats& shard : stats->shards) {
    EXPECT_EQ(shard.deleted_rows, 0);
    EXPECT_EQ(shard.segments, 1);
  }
  EXPECT_EQ(*engine_->Count("c"), 257);
  EXPECT_EQ(engine_->ListOperations("c", "", 10)->size(), 1u);
  EXPECT_TRUE(engine_->ListOperations("c", info->id, 10)->empty());
  EXPECT_TRUE(engine_->DeleteOperation("c", info->id).ok());
  EXPECT_EQ(engine_->GetOperation("c", info->id).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(EngineOperationsTest, BadRequestsAreRefused) {
  CreateKind("flat", IndexKind::kFlat);
  CreateKind("auto", IndexKind::kAuto);
  const int beyond[] = {1, 2};
  EXPECT_EQ(FieldOf(engine_->StartOperation("auto", Type::kRetrain, beyond).status()), "shards[1]");
  EXPECT_EQ(FieldOf(engine_->EstimateOperation("auto", Type::kRetrain, beyond).status()),
            "shards[1]");
  const absl::Status flat = engine_->StartOperation("flat", Type::kRetrain, {}).status();
  EXPECT_EQ(flat.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(flat.message()), HasSubstr("FLAT"));
  EXPECT_EQ(engine_->StartOperation("none", Type::kCompact, {}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(engine_->GetOperation("none", "1").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(engine_->CancelOperation("auto", "1").code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(engine_->ListOperations("auto", "", 10)->empty());

  Fill("auto", 50);
  const auto estimate = engine_->EstimateOperation("auto", Type::kRetrain, {});
  ASSERT_TRUE(estimate.ok());
  EXPECT_EQ(estimate->rows, 50);
  EXPECT_TRUE(engine_->ListOperations("auto", "", 10)->empty());
}

TEST_F(EngineOperationsTest, CancelStopsWhatWaits) {
  BlockMaintenance();
  CreateKind("c", IndexKind::kFlat);
  Fill("c", 30);
  const int one[] = {1};
  const auto started = engine_->StartOperation("c", Type::kCompact, one);
  ASSERT_TRUE(started.ok());
  EXPECT_EQ(engine_->StartOperation("c", Type::kCompact, one)->id, started->id);
  EXPECT_FALSE(engine_->WaitOperation("c", started->id, absl::ZeroDuration(), {})->done);
  EXPECT_EQ(engine_->DeleteOperation("c", started->id).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(engine_->CancelOperation("c", started->id).ok());
  EXPECT_TRUE(engine_->GetOperation("c", started->id)->cancel_requested);
  Unblock();
  absl::StatusOr<Operation::Info> info = started;
  while (!info->done) info = engine_->WaitOperation("c", started->id, absl::Seconds(10), {});
  EXPECT_EQ(info->status.code(), absl::StatusCode::kCancelled);
}

TEST_F(EngineOperationsTest, ADeletedCollectionTakesItsOperationsAlong) {
  BlockMaintenance();
  CreateKind("c", IndexKind::kFlat);
  const std::string id = engine_->StartOperation("c", Type::kCompact, {})->id;
  std::thread waiter([&] {
    const auto info = engine_->WaitOperation("c", id, absl::Hours(1), {});
    // Before or after the deletion.
    if (info.ok()) {
      EXPECT_EQ(info->status.code(), absl::StatusCode::kNotFound) << info->status;
      EXPECT_TRUE(info->done);
    } else {
      EXPECT_EQ(info.status().code(), absl::StatusCode::kNotFound) << info.status();
    }
  });
  EXPECT_TRUE(engine_->DeleteCollection("c", "").ok());
  waiter.join();
  CreateKind("c", IndexKind::kFlat);
  EXPECT_EQ(engine_->GetOperation("c", id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(engine_->ListOperations("c", "", 10)->empty());
}

TEST_F(EngineOperationsTest, WaitingEndsWhenTheServerStopsOrTheCallerGoes) {
  BlockMaintenance();
  CreateKind("c", IndexKind::kFlat);
  const std::string id = engine_->StartOperation("c", Type::kCompact, {})->id;
  std::stop_source gone;
  gone.request_stop();
  EXPECT_EQ(
      engine_->WaitOperation("c", id, absl::Hours(1), {.stop = gone.get_token()}).status().code(),
      absl::StatusCode::kCancelled);
  std::thread waiter([&] {
    const auto info = engine_->WaitOperation("c", id, absl::Hours(1), {});
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_FALSE(info->done);
  });
  engine_->BeginShutdown();
  waiter.join();
}

}  // namespace
}  // namespace vecino::engine
