// Recall measured on real indexes: intervals hold the truth, and corrections bring searches to
// their target.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

#include "absl/time/clock.h"
#include "server/engine/event_bus.h"
#include "server/engine/recall_interval.h"
#include "server/engine/recall_measure.h"
#include "server/index/ivf_segment.h"
#include "tests/server/engine/fakes.h"
#include "tests/server/engine/memory_store.h"

namespace vecino::engine {
namespace {

absl::Status GoOn() { return absl::OkStatus(); }

class RecallIndexTest : public testing::Test {
 protected:
  static constexpr int kD = 24, kRows = 8000, kClusters = 150;

  void Load(index::IndexKind kind, double target) {
    ShardOptions options;
    options.collection = "c";
    options.metric = index::Metric::kL2;
    options.dimension = kD;
    options.tail_capacity = 1000;
    options.index.kind = kind;
    options.index.recall_target = target;
    options.maintenance.exact_rows = 500;
    options.maintenance.gate_time = 1e9;  // a busy machine's
    options.maintenance.graph_rows = graph_ ? 1000 : 1'000'000;
    options.maintenance.graph_quiet = absl::ZeroDuration();
    options.events = &events_;
    auto shard = Shard::Load(options, *store_.OpenShard(uid_, 0, kD), &metrics_);
    ASSERT_TRUE(shard.ok()) << shard.status();
    shard_ = *std::move(shard);
    std::normal_distribution<float> normal;
    for (int c = 0; c < kClusters; ++c) {
      std::vector<float>& center = centers_.emplace_back(kD);
      for (float& x : center) x = normal(rng_);
    }
    std::vector<ShardWrite> writes(kRows);
    for (int i = 0; i < kRows; ++i) {
      writes[i].document.id = std::to_string(i);
      writes[i].document.vector = Vector();
    }
    for (int first = 0; first < kRows; first += 500) {
      shard_->Write(absl::MakeSpan(writes).subspan(first, 500), {});
    }
    MaintainFully();
    ASSERT_TRUE(shard_->IsApproximate());
  }
  void MaintainFully() {
    while (true) {
      const auto worked = shard_->Maintain({});
      ASSERT_TRUE(worked.ok()) << worked.status();
      if (!worked->worked) return;
    }
  }
  // Of the clusters, some of which are wide.
  std::vector<float> Vector() {
    std::normal_distribution<float> normal;
    const size_t c = rng_() % kClusters;
    std::vector<float> vector(kD);
    const float width = c % 10 == 0 ? 1.2f : 0.5f;
    for (int i = 0; i < kD; ++i) vector[i] = centers_[c][i] + width * normal(rng_);
    return vector;
  }
  // Searches for a new vector as a caller's search that is sampled; its recall.
  double Search(bool tell) {
    PinnedShard pinned{shard_, {}};
    AnsweredSearch search{.vector = Vector(), .k = 10, .hits = {}, .itself = {}};
    auto hits =
        shard_->Search(search.vector.data(), {.k = 10, .recall_target = 0}, GoOn, &pinned.pinned);
    EXPECT_TRUE(hits.ok()) << hits.status();
    search.hits.push_back(*std::move(hits));
    const auto measured = MeasureRecall({&pinned, 1}, nullptr, nullptr, {&search, 1}, GoOn);
    EXPECT_TRUE(measured.ok()) << measured.status();
    const double recall = *measured->searches[0].recall;
    if (tell) {
      const RecallSample sample = {absl::Now(), 10, 1, recall, target_};
      shard_->AddRecall(RecallSource::kLive, sample, pinned.pinned.epoch);
      shard_->CorrectBreadth(sample, pinned.pinned.epoch);
    }
    return recall;
  }
  double MeanOf(int searches) {
    RecallSums sums;
    for (int i = 0; i < searches; ++i) sums.Add(Search(/*tell=*/false));
    return sums.mean();
  }

  bool graph_ = false;
  uint32_t uid_ = 1;
  double target_ = 0.95;
  MemoryStore store_;
  FakeMetrics fake_metrics_;
  EngineMetrics metrics_{&fake_metrics_};
  EventBus events_;
  std::mt19937 rng_{5};
  std::vector<std::vector<float>> centers_;
  std::shared_ptr<Shard> shard_;
};

TEST_F(RecallIndexTest, ANewTargetBeginsTheWindowsAnew) {
  Load(index::IndexKind::kAuto, 0.7);
  target_ = 0.7;
  for (int i = 0; i < 60; ++i) Search(/*tell=*/true);
  EXPECT_EQ(shard_->LiveRecall().samples, 60);
  const double before = MeanOf(200);
  index::IndexSpec spec = shard_->index_spec();
  spec.graph = false;
  shard_->SetIndex(spec);
  EXPECT_EQ(shard_->LiveRecall().samples, 60);  // searches aim at what they did
  const Shard::Pinned pinned = shard_->Pin();
  spec.recall_target = 0.99;
  shard_->SetIndex(spec);
  EXPECT_EQ(shard_->index_spec().recall_target, 0.99);
  EXPECT_EQ(shard_->LiveRecall().samples, 0);
  shard_->AddRecall(RecallSource::kLive, {absl::Now(), 10, 1, 0.1, 0.7}, pinned.epoch);
  EXPECT_EQ(shard_->LiveRecall().samples, 0);  // of a search that was under way
  EXPECT_GT(MeanOf(200), before);
}

// The truth is the mean over all queries; each window is a sample of them that no other has.
TEST_F(RecallIndexTest, IntervalsOf200WindowsHoldTheTruth) {
  Load(index::IndexKind::kAuto, 0.9);
  constexpr int kWindows = 200;
  for (const int size : {50, 100}) {
    RecallSums all;
    std::vector<RecallInterval> intervals;
    for (int w = 0; w < kWindows; ++w) {
      RecallSums window;
      for (int i = 0; i < size; ++i) {
        const double recall = Search(/*tell=*/false);
        window.Add(recall);
        all.Add(recall);
      }
      intervals.push_back(IntervalOf(window));
    }
    EXPECT_LT(all.mean(), 0.99);  // there is something to measure
    int covered = 0;
    double width = 0;
    for (const RecallInterval& interval : intervals) {
      covered += interval.lower <= all.mean() && all.mean() <= interval.upper;
      width += (interval.upper - interval.lower) / kWindows;
    }
    EXPECT_GE(covered, 0.93 * kWindows) << size << " searches, recall " << all.mean();
    std::printf("%d searches a window: recall %.4f, %d of 200 intervals hold it, mean width %.4f\n",
                size, all.mean(), covered, width);
  }
}

// A calibration that says a third of the lists suffices.
TEST_F(RecallIndexTest, ASpoiledCalibrationIsCorrectedByWhatIsMeasured) {
  Load(index::IndexKind::kAuto, target_);
  const double good = MeanOf(1000);
  EXPECT_GE(good, target_ - 0.01);
  std::set<const index::Generation*> seen;
  const Shard::Pinned pinned = shard_->Pin();
  for (const index::SegmentRows& rows : pinned.view->segments) {
    const index::IvfSegment* const ivf = index::AsIvf(*rows.segment);
    // Once for all segments of a generation, or a third becomes a ninth.
    if (ivf == nullptr || !seen.insert(ivf->generation().get()).second) continue;
    index::Calibration spoiled = ivf->generation()->calibration();
    // Of its table only a third of what it takes for 10 rows without a filter.
    index::RecallTable::Curve third;
    for (size_t aim = 0; aim < third.size(); ++aim) {
      const auto choice =
          spoiled.table.For(index::RecallTable::How::kCodes, index::RecallTable::kAims[aim], 10, 1);
      third[aim] = {.breadth = static_cast<float>(choice.breadth / 3),
                    .rerank = static_cast<float>(choice.rerank),
                    .recall = static_cast<float>(choice.recall),
                    .scanned = static_cast<float>(choice.scanned / 3)};
    }
    spoiled.table = {};
    spoiled.table.Add(index::RecallTable::How::kCodes, 10, 1, third);
    ivf->generation()->SetCalibration(std::move(spoiled));
  }
  const double bad = MeanOf(1000);
  EXPECT_LT(bad, target_ - 0.02);
  auto watcher = events_.Watch("c");
  ASSERT_TRUE(watcher.ok());
  for (int i = 0; i < 4000; ++i) Search(/*tell=*/true);
  const double corrected = MeanOf(2000);
  std::printf("recall %.4f, spoiled %.4f, corrected %.4f\n", good, bad, corrected);
  EXPECT_GE(corrected, target_ - 0.01);
  const auto told = (*watcher)->Take();
  ASSERT_TRUE(told.has_value());
  EXPECT_EQ(told->event.kind, Event::Kind::kCalibrate);
  EXPECT_NE(told->event.message.find("times the breadth that calibration chose, before 1.00"),
            std::string::npos)
      << told->event.message;
  EXPECT_GT(shard_->LiveRecall().samples, 0);
  // With a quarter more rows maintenance calibrates again, and what was corrected is forgotten.
  std::vector<ShardWrite> writes(kRows / 4);
  for (size_t i = 0; i < writes.size(); ++i) {
    writes[i].document.id = "new" + std::to_string(i);
    writes[i].document.vector = Vector();
  }
  for (size_t first = 0; first < writes.size(); first += 500) {
    shard_->Write(absl::MakeSpan(writes).subspan(first, 500), {});
  }
  MaintainFully();
  EXPECT_EQ(shard_->LiveRecall().samples, 0);
  const double again = MeanOf(1000);
  std::printf("calibrated again %.4f\n", again);
  EXPECT_GE(again, target_ - 0.015);
}

// Whatever the kind, a correction makes searches look more widely. (AUTO's lists: above. Here they
// find all that the codes of 24 dimensions let them.)
TEST_F(RecallIndexTest, EveryKindObeysTheCorrection) {
  struct Case {
    index::IndexKind kind;
    bool graph;
  };
  for (const Case& c :
       {Case{index::IndexKind::kAuto, true}, Case{index::IndexKind::kIvfFlat, false},
        Case{index::IndexKind::kIvfSq8, false}, Case{index::IndexKind::kHnsw, false},
        Case{index::IndexKind::kLsh, false}}) {
    SCOPED_TRACE(testing::Message() << static_cast<int>(c.kind) << (c.graph ? " graph" : ""));
    shard_.reset();
    centers_.clear();
    ++uid_;
    graph_ = c.graph;
    Load(c.kind, 0.6);
    const double before = MeanOf(500);
    // As if all of them had found half: four steps of 1.25 and more.
    for (int i = 0; i < 50 * 12; ++i) {
      shard_->CorrectBreadth({absl::Now(), 10, 1, 0.3, 0.9}, shard_->Pin().epoch);
    }
    const double after = MeanOf(500);
    std::printf("kind %d%s: recall %.3f, looking four times as widely %.3f\n",
                static_cast<int>(c.kind), c.graph ? " graph" : "", before, after);
    // Codes alone leave some of it unfound, however widely is looked.
    EXPECT_GT(after, before < 0.95 ? before + (1 - before) * 0.3 : before);
  }
}

}  // namespace
}  // namespace vecino::engine
