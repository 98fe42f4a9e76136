// Random writes from several threads, searches beside them, drains and merges all the time.
#include <gtest/gtest.h>

#include "tests/server/engine/engine_fixture.h"
#include "tests/server/engine/model.h"

namespace vecino::engine {
namespace {

class ModelTest : public EngineTest, public testing::WithParamInterface<Metric> {
 protected:
  void RunWith(int operations) {
    Model model("m", GetParam(), 1);
    ASSERT_TRUE(engine_->CreateCollection(model.Spec(), false).ok());
    for (int round = 0; round < 2; ++round) {
      model.Run(engine_.get(), operations);
      if (testing::Test::HasFatalFailure()) return;
      model.Verify(*engine_);
      Settle();
      model.Verify(*engine_);
      Reopen();
      model.Verify(*engine_);
    }
    EXPECT_GT(model.searches(), 10);
    EXPECT_GT(metrics_.Value("vecino_maintenance_total,drain"), 0);
    refused_ = model.refused();
  }

  // Waits until maintenance has caught up with the writers.
  void Settle() {
    const auto behind = [](const ShardStats& shard) {
      return shard.tail_rows > 8 || shard.segments > 8;
    };
    for (;;) {
      const auto stats = engine_->GetCollectionStats("m");
      ASSERT_TRUE(stats.ok());
      if (std::none_of(stats->shards.begin(), stats->shards.end(), behind)) return;
      std::this_thread::yield();
    }
  }

  int refused_ = 0;
};

TEST_P(ModelTest, MatchesAPlainMap) {
  RunWith(2500);
  EXPECT_EQ(refused_, 0);
}

TEST_P(ModelTest, MatchesAPlainMapWhenTheStoreRefusesNowAndThen) {
  std::atomic<int> appends{0}, manifests{0};
  store_.fault = [&](std::string_view operation) {
    if (operation == "Append" && ++appends % 20 == 0) return absl::UnavailableError("io");
    if (operation == "PutManifest" && ++manifests % 3 == 0) return absl::UnavailableError("io");
    return absl::OkStatus();
  };
  RunWith(1000);
  EXPECT_GT(refused_, 20);
}

std::string NameOf(const testing::TestParamInfo<Metric>& info) {
  const char* const names[] = {"Cosine", "Dot", "L2"};
  return names[static_cast<int>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(Metrics, ModelTest,
                         testing::Values(Metric::kCosine, Metric::kDot, Metric::kL2), NameOf);

}  // namespace
}  // namespace vecino::engine
