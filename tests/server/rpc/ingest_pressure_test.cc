// What a real engine says of its load to a stream of writes, and what becomes of the stream's
// window.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/engine/ingest.h"
#include "server/rpc/ingest_window.h"
#include "tests/server/engine/engine_fixture.h"

namespace vecino::rpc {
namespace {

using engine::IngestPressure;

class IngestPressureTest : public engine::EngineTest {
 protected:
  void TearDown() override {
    released_ = true;
    engine_.reset();
  }

  IngestPressure Pressure(const std::string& collection) const {
    const auto stream = engine_->OpenIngest(collection, "", engine::Truncate::kAuto);
    EXPECT_TRUE(stream.ok()) << stream.status();
    return stream.ok() ? (*stream)->Pressure() : IngestPressure();
  }
  // Documents that a stream under this pressure may have on their way.
  static int Window(const IngestPressure& pressure) {
    IngestWindow window;
    window.Done(pressure.Highest(), IngestWindow::kMaxBytes);
    return window.documents();
  }
  static std::vector<engine::DocumentWrite> Rows(int first, int count,
                                                 const std::string& metadata = "") {
    std::vector<engine::DocumentWrite> writes;
    for (int i = first; i < first + count; ++i) {
      writes.push_back(Vector(std::to_string(i), std::vector<float>(kDimension, 1 + 0.01f * i)));
      writes.back().document.metadata = metadata;
    }
    return writes;
  }
  // Memory that counts towards the limit.
  int64_t Used(const std::string& collection) const {
    const auto stats = engine_->GetCollectionStats(collection);
    EXPECT_TRUE(stats.ok()) << stats.status();
    int64_t bytes = 0;
    if (stats.ok()) {
      for (const engine::ShardStats& shard : stats->shards) {
        bytes += shard.segment_bytes + shard.field_bytes;
      }
    }
    return bytes;
  }

  std::atomic<bool> held_ = false, released_ = false;  // maintenance, in a hook
};

TEST_F(IngestPressureTest, AServerAtRestLeavesTheWholeWindow) {
  Create("c", 2, engine::Metric::kCosine, "fake");
  Upsert("c", Rows(0, 5));
  EXPECT_EQ(Pressure("c").Highest(), 0);
  EXPECT_EQ(Window(Pressure("c")), IngestWindow::kMaxDocuments);
}

TEST_F(IngestPressureTest, TokensThatWaitForTheEncoderShrinkTheWindow) {
  Create("texts", 1, engine::Metric::kCosine, "fake");
  Create("vectors", 1, engine::Metric::kCosine, "");
  encoder_.queue_capacity = 1000;
  encoder_.queued_tokens = 500;  // half of it is nothing to worry about
  EXPECT_EQ(Pressure("texts").encoder, 0);
  encoder_.queued_tokens = 750;
  const IngestPressure pressure = Pressure("texts");
  EXPECT_DOUBLE_EQ(pressure.encoder, 0.5);
  EXPECT_EQ(pressure.memory, 0);
  EXPECT_EQ(pressure.index, 0);
  EXPECT_EQ(Window(pressure), IngestWindow::kMaxDocuments / 2);
  EXPECT_EQ(Pressure("vectors").encoder, 0);  // has no use for it
  encoder_.queued_tokens = 1000;
  EXPECT_EQ(Pressure("texts").encoder, 1);
  EXPECT_EQ(Window(Pressure("texts")), 1);
  encoder_.queued_tokens = 0;
  EXPECT_EQ(Pressure("texts").encoder, 0);
}

TEST_F(IngestPressureTest, MemoryNearItsLimitShrinksTheWindow) {
  options_.tail_capacity = 8192;  // nothing is drained or merged
  Reopen();
  Create("c", 2, engine::Metric::kL2, "");
  Upsert("c", Rows(0, 200, "{\"a\": \"" + std::string(4000, 'x') + "\"}"));
  EXPECT_EQ(Pressure("c").memory, 0);  // there is no limit
  Reopen();
  const int64_t used = Used("c");
  ASSERT_GT(used, 200 * 4000);

  options_.index_memory_bytes = used * 10 / 9;
  Reopen();
  ASSERT_NEAR(static_cast<double>(Used("c")), static_cast<double>(used), 0.002 * used);
  const IngestPressure pressure = Pressure("c");
  EXPECT_NEAR(pressure.memory, 0.5, 0.02);
  EXPECT_EQ(pressure.encoder, 0);
  EXPECT_EQ(pressure.index, 0);
  EXPECT_NEAR(Window(pressure), IngestWindow::kMaxDocuments / 2, 50);

  options_.index_memory_bytes = used * 10 / 7;
  Reopen();
  EXPECT_EQ(Pressure("c").memory, 0);
  options_.index_memory_bytes = used / 2;  // what is there is there
  Reopen();
  EXPECT_EQ(Pressure("c").memory, 1);
  EXPECT_EQ(Window(Pressure("c")), 1);
}

TEST_F(IngestPressureTest, TailsThatWaitToBeDrainedShrinkTheWindow) {
  options_.maintenance.exact_rows = options_.maintenance.min_index_rows = 10;
  options_.hooks.at = [this](std::string_view stage) {
    if (stage != "training") return;
    held_ = true;
    while (!released_) absl::SleepFor(absl::Milliseconds(1));
  };
  Reopen();
  Create("c", 1, engine::Metric::kL2, "");
  Upsert("c", Rows(0, 20));
  const auto retrain = engine_->StartOperation("c", engine::Operation::Type::kRetrain, {});
  ASSERT_TRUE(retrain.ok()) << retrain.status();
  const absl::Time end = absl::Now() + absl::Minutes(2);
  while (!held_ && absl::Now() < end) absl::SleepFor(absl::Milliseconds(1));
  ASSERT_TRUE(held_) << "the retrain does not begin";

  const int tail = options_.tail_capacity;
  Upsert("c", Rows(1000, 63 * tail));
  EXPECT_EQ(Pressure("c").index, 0);
  Upsert("c", Rows(2000, 97 * tail));
  const IngestPressure pressure = Pressure("c");
  EXPECT_NEAR(pressure.index, (160.0 - 64) / (256 - 64),
              1.5 / (256 - 64));  // 160 tails wait, or 159
  EXPECT_EQ(pressure.encoder, 0);
  EXPECT_EQ(pressure.memory, 0);
  EXPECT_NEAR(Window(pressure), IngestWindow::kMaxDocuments / 2, 70);
  Upsert("c", Rows(3000, 120 * tail));
  EXPECT_EQ(Pressure("c").index, 1);
  EXPECT_EQ(Window(Pressure("c")), 1);

  EXPECT_TRUE(engine_->CancelOperation("c", retrain->id).ok());
  released_ = true;
  const absl::Time drained = absl::Now() + absl::Minutes(2);
  while (Pressure("c").index > 0 && absl::Now() < drained) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(Pressure("c").index, 0);
}

}  // namespace
}  // namespace vecino::rpc
