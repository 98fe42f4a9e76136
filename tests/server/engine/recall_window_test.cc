#include "server/engine/recall_window.h"

#include <gtest/gtest.h>

namespace vecino::engine {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1'000'000);

RecallSample Sample(int second, double recall, int k = 10, double share = 1) {
  return {kStart + absl::Seconds(second), k, share, recall, 0.95};
}

TEST(RecallWindowTest, KeepsTheLatest) {
  RecallWindow window({.samples = 100, .age = absl::Hours(1)});
  EXPECT_EQ(window.Estimate(kStart).samples, 0);
  for (int i = 0; i < 60; ++i) window.Add(Sample(i, 0));
  RecallEstimate estimate = window.Estimate(kStart + absl::Seconds(60));
  EXPECT_EQ(estimate.samples, 60);
  EXPECT_EQ(estimate.recall, 0);
  EXPECT_NEAR(estimate.recall_target, 0.95, 1e-6);
  EXPECT_TRUE(estimate.enough());
  for (int i = 60; i < 160; ++i) window.Add(Sample(i, 1));
  estimate = window.Estimate(kStart + absl::Seconds(160));
  EXPECT_EQ(estimate.samples, 100);
  EXPECT_EQ(estimate.recall, 1);
  EXPECT_EQ(estimate.oldest, kStart + absl::Seconds(60));
  EXPECT_EQ(estimate.newest, kStart + absl::Seconds(159));
}

TEST(RecallWindowTest, ForgetsWhatIsOldThoughNothingComes) {
  RecallWindow window({.samples = 100, .age = absl::Seconds(100)});
  for (int i = 0; i < 60; ++i) window.Add(Sample(i, 1));
  EXPECT_TRUE(window.Estimate(kStart + absl::Seconds(60)).enough());
  EXPECT_EQ(window.Estimate(kStart + absl::Seconds(130)).samples, 30);
  EXPECT_FALSE(window.Estimate(kStart + absl::Seconds(130)).enough());
  EXPECT_EQ(window.Estimate(kStart + absl::Hours(1)).samples, 0);
}

TEST(RecallBookTest, KeepsSourcesAndKindsApart) {
  RecallBook book({});
  book.Add(RecallSource::kLive, Sample(0, 1, 10, 1));
  book.Add(RecallSource::kLive, Sample(1, 0.5, 10, 0.05));
  book.Add(RecallSource::kLive, Sample(2, 0, 1, 1));
  book.Add(RecallSource::kStoredDocuments, Sample(3, 0.25));
  const RecallStats stats = book.Stats(kStart + absl::Seconds(4));
  EXPECT_EQ(stats.live.samples, 3);
  EXPECT_EQ(stats.live.recall, 0.5);
  EXPECT_EQ(stats.live.max_k, 0);
  EXPECT_EQ(stats.live.up_to_share, 1);
  EXPECT_EQ(stats.stored_documents.samples, 1);
  EXPECT_EQ(stats.stored_documents.recall, 0.25);
  EXPECT_EQ(stats.stored_documents.source, RecallSource::kStoredDocuments);
  ASSERT_EQ(stats.by_kind.size(), 3u);
  EXPECT_EQ(stats.by_kind[0].max_k, 1);
  EXPECT_EQ(stats.by_kind[0].recall, 0);
  EXPECT_EQ(stats.by_kind[1].min_k, 2);
  EXPECT_EQ(stats.by_kind[1].above_share, 0.5);
  EXPECT_EQ(stats.by_kind[2].above_share, 0.01);
  EXPECT_EQ(stats.by_kind[2].up_to_share, 0.1);
  EXPECT_EQ(stats.by_kind[2].recall, 0.5);
  book.Clear();
  EXPECT_EQ(book.Stats(kStart).live.samples, 0);
  EXPECT_EQ(book.Stats(kStart).stored_documents.samples, 0);
  EXPECT_TRUE(book.Stats(kStart).by_kind.empty());
}

}  // namespace
}  // namespace vecino::engine
