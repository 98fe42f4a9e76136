#include "server/index/ivf_segment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>

#include "server/index/ivf_search.h"
#include "server/index/search_report.h"
#include "server/index/view.h"
#include "tests/server/index/index_fixture.h"

namespace vecino::index {
namespace {

struct Case {
  Metric metric;
  bool unit;
};

// Builds one segment of ClusteredRows and searches it.
class IvfSegmentTest : public testing::TestWithParam<Case> {
 protected:
  static constexpr size_t kD = 32;
  static constexpr size_t kRows = 6000;

  void SetUp() override {
    folder_ = testing::TempDir() + "/ivf_" + std::to_string(getpid()) + "_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::replace(folder_.begin() + static_cast<ptrdiff_t>(testing::TempDir().size()) + 1,
                 folder_.end(), '/', '_');
    std::filesystem::create_directories(folder_);
    rows_ = ClusteredRows(kRows, kD, GetParam().unit);
    labels_.resize(kRows);
    std::iota(labels_.begin(), labels_.end(), 1);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::shared_ptr<Generation> Train(const FrozenRows& rows, uint64_t id = 1) {
    auto generation =
        TrainGeneration(rows, GetParam().metric, GetParam().unit, kD, {.id = id}, GoOn);
    EXPECT_TRUE(generation.ok()) << generation.status();
    return *generation;
  }

  // Everything into one segment, published.
  void Build(const std::string& path = "") {
    index_ = IndexOf(GetParam().metric, rows_, kD);
    auto frozen = index_->FreezeForDrain(1);
    generation_ = Train(*frozen);
    auto segment = IvfSegment::Build(*frozen, generation_, path, GoOn);
    ASSERT_TRUE(segment.ok()) << segment.status();
    segment_ = *segment;
    ASSERT_TRUE(index_->Publish(*std::move(frozen), segment_).ok());
  }

  std::vector<Hit> Find(const float* query, SearchParams params) const {
    auto hits = Search(*index_->Pin(), GetParam().metric, query, params, GoOn);
    EXPECT_TRUE(hits.ok()) << hits.status();
    return *hits;
  }

  // Mean recall over queries drawn like the rows, against what `labels_` and `rows_` say is live.
  double Recall(SearchParams params, int queries = 60) const {
    const std::vector<float> probes = ClusteredRows(queries, kD, GetParam().unit, 1);
    double sum = 0;
    for (int q = 0; q < queries; ++q) {
      std::vector<float> query(probes.begin() + q * kD, probes.begin() + (q + 1) * kD);
      query[0] += 0.05f;
      const auto truth = BestLabels(GetParam().metric, rows_, labels_, kD, query.data(), params.k);
      const auto hits = Find(query.data(), params);
      std::set<uint64_t> seen;
      for (const Hit& hit : hits) EXPECT_TRUE(seen.insert(hit.label).second);
      sum += Overlap(truth, hits);
    }
    return sum / queries;
  }

  std::string folder_;
  std::vector<float> rows_;
  std::vector<uint64_t> labels_;
  std::unique_ptr<ShardIndex> index_;
  std::shared_ptr<Generation> generation_;
  std::shared_ptr<const IvfSegment> segment_;
};

TEST_P(IvfSegmentTest, HoldsEveryRowAsItWasAdded) {
  Build();
  ASSERT_EQ(segment_->size(), static_cast<int64_t>(kRows));
  EXPECT_EQ(segment_->first_label(), 1u);
  EXPECT_EQ(segment_->last_label(), kRows);
  for (uint64_t label = 1; label <= kRows; ++label) {
    const int64_t slot = segment_->FindSlot(label);
    ASSERT_GE(slot, 0);
    ASSERT_EQ(segment_->label(slot), label);
    ASSERT_EQ(segment_->InLabelOrder(static_cast<int64_t>(label) - 1), slot);
    for (size_t j = 0; j < kD; ++j) {
      ASSERT_EQ(segment_->vector(slot)[j], rows_[(label - 1) * kD + j]);
    }
  }
  EXPECT_EQ(segment_->FindSlot(0), -1);
  EXPECT_EQ(segment_->FindSlot(kRows + 1), -1);
  for (int list = 0; list < generation_->nlist(); ++list) {
    for (uint32_t slot = segment_->list_begin(list) + 1; slot < segment_->list_begin(list + 1);
         ++slot) {
      ASSERT_LT(segment_->label(slot - 1), segment_->label(slot));
    }
  }
}

TEST_P(IvfSegmentTest, RecallRisesToAllWithBreadth) {
  Build();
  const int all = generation_->nlist();
  EXPECT_GE(Recall({.nprobe = all, .rerank = 1000}), 0.99);
  EXPECT_GE(Recall({.nprobe = all / 4}), 0.9);
  EXPECT_EQ(Recall({.exact = true}), 1.0);
  EXPECT_GE(Recall({.k = 100, .nprobe = all}), 0.95);
}

TEST_P(IvfSegmentTest, ScoresAreThoseOfTheFloats) {
  Build();
  const float* query = rows_.data() + 17 * kD;
  for (const Hit& hit : Find(query, {.k = 20})) {
    const double score =
        ExactScore(GetParam().metric, query, rows_.data() + (hit.label - 1) * kD, kD);
    EXPECT_NEAR(hit.score, score, 1e-4 * std::max(1.0, std::abs(score)));
  }
}

TEST_P(IvfSegmentTest, DeadRowsAreNeverFound) {
  Build();
  std::mt19937 rng(3);
  std::vector<float> rows;
  std::vector<uint64_t> labels;
  for (uint64_t label = 1; label <= kRows; ++label) {
    if (rng() % 3 == 0) {
      ASSERT_TRUE(index_->Remove(label));
      ASSERT_FALSE(index_->Remove(label));
    } else {
      labels.push_back(label);
      rows.insert(rows.end(), rows_.begin() + static_cast<ptrdiff_t>((label - 1) * kD),
                  rows_.begin() + static_cast<ptrdiff_t>(label * kD));
    }
  }
  labels_ = labels;
  rows_ = rows;
  EXPECT_GE(Recall({.nprobe = generation_->nlist(), .rerank = 500}), 0.99);
  const std::set<uint64_t> live(labels.begin(), labels.end());
  for (const Hit& hit : Find(rows_.data(), {.k = 1000, .nprobe = 1 << 20})) {
    EXPECT_TRUE(live.contains(hit.label));
  }
}

// Lets every n-th label pass.
class EveryNth final : public RowFilter {
 public:
  explicit EveryNth(uint64_t n) : n_(n) {}
  SlotBits OfSegment(const Segment& segment) const override {
    words_.assign((segment.size() + 63) / 64, 0);
    for (int64_t slot = 0; slot < segment.size(); ++slot) {
      if (segment.label(slot) % n_ == 0) words_[slot / 64] |= uint64_t{1} << (slot % 64);
    }
    return {words_.data(), segment.size()};
  }
  SlotBits OfTail(const Tail&) const override { return {&none_, 0}; }

 private:
  const uint64_t n_;
  const uint64_t none_ = 0;
  mutable std::vector<uint64_t> words_;
};

TEST_P(IvfSegmentTest, FiltersGiveTheBestOfWhatPasses) {
  Build();
  const std::vector<float> all = rows_;
  for (const uint64_t n : {2, 10, 100, 1000}) {
    std::vector<float> rows;
    std::vector<uint64_t> labels;
    for (uint64_t label = n; label <= kRows; label += n) {
      labels.push_back(label);
      rows.insert(rows.end(), all.begin() + static_cast<ptrdiff_t>((label - 1) * kD),
                  all.begin() + static_cast<ptrdiff_t>(label * kD));
    }
    rows_ = rows;
    labels_ = labels;
    const EveryNth filter(n);
    SearchParams params{.recall_target = 0.95, .filter = &filter};
    EXPECT_GE(Recall(params), 0.95) << n;
    EXPECT_EQ(Find(all.data(), params).size(), std::min<size_t>(10, labels.size())) << n;
  }
  const EveryNth nothing(kRows + 1);
  EXPECT_TRUE(Find(all.data(), {.filter = &nothing}).empty());
}

TEST_P(IvfSegmentTest, MergesCopyCodesAndDropTheDead) {
  index_ = IndexOf(GetParam().metric, rows_, kD);
  auto frozen = index_->FreezeForDrain(1);
  generation_ = Train(*frozen);
  index_->Abandon(*std::move(frozen));
  // The same rows in several tails, drained one by one.
  index_ = std::make_unique<ShardIndex>(ShardIndexOptions{GetParam().metric, kD, 1500});
  for (size_t i = 0; i < kRows; ++i) index_->Add(i + 1, rows_.data() + i * kD);
  index_->FreezeTail();
  IvfSegment::Drift drift;
  while (auto rows = index_->FreezeForDrain(1)) {
    auto segment = IvfSegment::Build(*rows, generation_, "", GoOn, &drift);
    ASSERT_TRUE(segment.ok());
    ASSERT_TRUE(index_->Publish(*std::move(rows), *segment).ok());
  }
  EXPECT_EQ(drift.rows, static_cast<int64_t>(kRows));
  EXPECT_GT(drift.squared_distance, 0);
  ASSERT_EQ(index_->Stats().segments.size(), 4u);
  std::vector<float> query(rows_.begin() + 5 * kD, rows_.begin() + 6 * kD);
  const SearchParams params{.k = 50, .nprobe = generation_->nlist() / 3};
  const auto before = Find(query.data(), params);
  auto rows = index_->FreezeForMerge(0, 4);
  drift = {};
  auto merged = IvfSegment::Build(*rows, generation_, "", GoOn, &drift);
  ASSERT_TRUE(merged.ok());
  EXPECT_EQ(drift.rows, 0);  // nothing was encoded again
  ASSERT_TRUE(index_->Publish(*std::move(rows), *merged).ok());
  const auto after = Find(query.data(), params);
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(before[i].label, after[i].label);
    EXPECT_EQ(before[i].score, after[i].score);
  }
  for (uint64_t label = 1; label <= kRows; label += 2) ASSERT_TRUE(index_->Remove(label));
  auto left = index_->FreezeForMerge(0, 1);
  auto half = IvfSegment::Build(*left, generation_, "", GoOn);
  ASSERT_TRUE(half.ok());
  EXPECT_EQ((*half)->size(), static_cast<int64_t>(kRows / 2));
  // What dies during the build is dead in what is published.
  ASSERT_TRUE(index_->Remove(2));
  ASSERT_TRUE(index_->Publish(*std::move(left), *half).ok());
  EXPECT_EQ(index_->Stats().live_rows, static_cast<int64_t>(kRows / 2 - 1));
  for (const Hit& hit : Find(rows_.data() + kD, {.k = 10})) EXPECT_NE(hit.label, 2u);
}

TEST_P(IvfSegmentTest, AFileGivesTheSameAnswers) {
  const std::string path = folder_ + "/segment-1";
  Build(path);
  const std::vector<float> gaps = {0, 0.1f, 0.15f, 0.2f, 0.3f};
  generation_->SetCalibration({.k = 10,
                               .queries = 100,
                               .rows = 1234,
                               .points = {{2, 0.5f}, {16, 0.97f}},
                               .widening = 0.5,
                               .rule = ProbeRule(0.05f, 1.25f, gaps)});
  ASSERT_TRUE(generation_->Save(folder_ + "/generation-1").ok());
  const auto loaded = Generation::Load(folder_ + "/generation-1");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->nlist(), generation_->nlist());
  EXPECT_EQ((*loaded)->centroids(), generation_->centroids());
  const Calibration& calibration = (*loaded)->calibration();
  EXPECT_EQ(calibration.points.size(), 2u);
  EXPECT_EQ(calibration.rows, 1234);
  EXPECT_EQ(calibration.widening, 0.5);
  EXPECT_EQ(calibration.rule.weight(), 0.05f);
  EXPECT_EQ(calibration.rule.fixed(), 1.25f);
  EXPECT_EQ(calibration.rule.gaps(), gaps);
  const auto opened = IvfSegment::Open(path, *loaded, SegmentFile::Verify::kAll);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_GT((*opened)->memory().mapped, 0);
  const Tombstones none(kRows);
  for (int q = 0; q < 20; ++q) {
    TopK mine(GetParam().metric, 10), other(GetParam().metric, 10);
    ASSERT_TRUE(segment_->Search(rows_.data() + q * kD, {}, none, nullptr, &mine).ok());
    ASSERT_TRUE((*opened)->Search(rows_.data() + q * kD, {}, none, nullptr, &other).ok());
    const auto a = mine.Take(), b = other.Take();
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].label, b[i].label);
      EXPECT_EQ(a[i].score, b[i].score);
    }
  }
}

TEST_P(IvfSegmentTest, DamagedFilesAreRefused) {
  const std::string path = folder_ + "/segment-1";
  Build(path);
  const auto size = std::filesystem::file_size(path);
  std::mt19937 rng(5);
  for (int i = 0; i < 40; ++i) {
    const auto at = static_cast<std::streamoff>(rng() % size);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const int byte = file.get();
    file.seekp(at);
    file.put(static_cast<char>(byte ^ 0x10));
    file.flush();
    const auto opened = IvfSegment::Open(path, generation_, SegmentFile::Verify::kAll);
    // A byte of padding between sections may change unseen; nothing reads it.
    if (opened.ok()) {
      TopK top(GetParam().metric, 10);
      EXPECT_TRUE((*opened)->Search(rows_.data(), {}, Tombstones(kRows), nullptr, &top).ok());
    } else {
      EXPECT_EQ(opened.status().code(), absl::StatusCode::kDataLoss) << opened.status();
    }
    file.seekp(at);
    file.put(static_cast<char>(byte));
  }
  const auto other =
      IvfSegment::Open(path, Train(*IndexOf(GetParam().metric, rows_, kD)->FreezeForDrain(1), 2),
                       SegmentFile::Verify::kAll);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kFailedPrecondition);
}

std::string BytesOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(file)), {});
}

// Also from several sources, of which one has codes to be copied.
TEST_P(IvfSegmentTest, AnyNumberOfThreadsWritesTheSameFile) {
  Build();
  for (int row = 0; row < 900; ++row) {
    index_->Add(static_cast<uint64_t>(kRows + 1 + row), rows_.data() + row * kD);
  }
  index_->FreezeTail();
  auto frozen = index_->FreezeForDrain(1);
  auto drained = IvfSegment::Build(*frozen, Train(*frozen, 2), "", GoOn);
  ASSERT_TRUE(drained.ok()) << drained.status();
  ASSERT_TRUE(index_->Publish(*std::move(frozen), *drained).ok());
  frozen = index_->FreezeForMerge(0, 2);
  IvfSegment::Drift alone_drift, shared_drift;
  const auto alone = IvfSegment::Build(*frozen, generation_, folder_ + "/1", GoOn, &alone_drift, 1);
  const auto shared =
      IvfSegment::Build(*frozen, generation_, folder_ + "/3", GoOn, &shared_drift, 3);
  ASSERT_TRUE(alone.ok() && shared.ok()) << alone.status() << shared.status();
  EXPECT_EQ(alone_drift.rows, 900);
  EXPECT_EQ(alone_drift.squared_distance, shared_drift.squared_distance);
  EXPECT_EQ(BytesOf(folder_ + "/1"), BytesOf(folder_ + "/3"));
  const auto calibration = CalibrateIvf({{alone->get()}}, 100, 1, GoOn, 1);
  const auto the_same = CalibrateIvf({{shared->get()}}, 100, 1, GoOn, 3);
  ASSERT_TRUE(calibration.ok() && the_same.ok());
  ASSERT_EQ(calibration->points.size(), the_same->points.size());
  for (size_t i = 0; i < calibration->points.size(); ++i) {
    EXPECT_EQ(calibration->points[i].recall, the_same->points[i].recall);
  }
}

// 32-bit offsets where they do, 64 bits where labels lie further apart.
TEST_P(IvfSegmentTest, LabelsOfAnyRangeAreKept) {
  for (const uint64_t last : {uint64_t{UINT32_MAX} + 5, uint64_t{UINT32_MAX} + 6, ~uint64_t{0}}) {
    ShardIndex index({GetParam().metric, kD, 3});
    const uint64_t labels[] = {5, 6, last};
    for (const uint64_t label : labels) index.Add(label, rows_.data() + label % 7 * kD);
    index.FreezeTail();
    auto frozen = index.FreezeForDrain(1);
    const auto generation = Train(*frozen);
    const std::string path = absl::StrCat(folder_, "/", last);
    ASSERT_TRUE(IvfSegment::Build(*frozen, generation, path, GoOn).ok());
    auto segment = IvfSegment::Open(path, generation, SegmentFile::Verify::kAll);
    ASSERT_TRUE(segment.ok()) << segment.status();
    EXPECT_EQ((*segment)->labels().bytes_each(), last - 5 <= UINT32_MAX ? 4 : 8);
    for (const uint64_t label : labels) {
      const int64_t slot = (*segment)->FindSlot(label);
      ASSERT_GE(slot, 0) << label;
      EXPECT_EQ((*segment)->label(slot), label);
    }
    for (const uint64_t label : {uint64_t{4}, uint64_t{7}, last - 1}) {
      EXPECT_EQ((*segment)->FindSlot(label), -1) << label;
    }
  }
}

TEST_P(IvfSegmentTest, FewRowsOfAnyNumberWork) {
  for (const size_t n : {1, 2, 15, 16, 17, 40, 100}) {
    const std::vector<float> rows = ClusteredRows(n, kD, GetParam().unit);
    auto index = IndexOf(GetParam().metric, rows, kD);
    auto frozen = index->FreezeForDrain(1);
    const auto generation = Train(*frozen);
    EXPECT_GE(generation->nlist(), 1);
    auto segment = IvfSegment::Build(*frozen, generation, "", GoOn);
    ASSERT_TRUE(segment.ok()) << segment.status();
    const auto calibration = CalibrateIvf({{segment->get()}}, 50, 1, GoOn);
    ASSERT_TRUE(calibration.ok()) << calibration.status();
    EXPECT_EQ(calibration->rows, static_cast<int64_t>(n));
    TopK top(GetParam().metric, 10);
    ASSERT_TRUE(
        (*segment)
            ->Search(rows.data(), {.nprobe = generation->nlist()}, Tombstones(n), nullptr, &top)
            .ok());
    EXPECT_EQ(top.Take().size(), std::min<size_t>(n, 10));
  }
}

TEST_P(IvfSegmentTest, StopsWhenAsked) {
  auto index = IndexOf(GetParam().metric, rows_, kD);
  auto frozen = index->FreezeForDrain(1);
  const auto generation = Train(*frozen);
  int calls = 0;
  const auto stop = [&] { return ++calls > 3 ? absl::CancelledError("stop") : absl::OkStatus(); };
  EXPECT_EQ(IvfSegment::Build(*frozen, generation, folder_ + "/segment-9", stop).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/segment-9"));
}

TEST_P(IvfSegmentTest, CalibrationKeepsItsPromise) {
  Build();
  auto calibration = CalibrateIvf({{segment_.get()}}, 200, 1, GoOn);
  ASSERT_TRUE(calibration.ok());
  ASSERT_FALSE(calibration->points.empty());
  for (size_t i = 1; i < calibration->points.size(); ++i) {
    EXPECT_LT(calibration->points[i - 1].breadth, calibration->points[i].breadth);
    EXPECT_LE(calibration->points[i - 1].recall, calibration->points[i].recall);
  }
  generation_->SetCalibration(*calibration);
  EXPECT_LE(generation_->NprobeFor(0.5, 10), generation_->NprobeFor(0.95, 10));
  // For more rows it takes more of them or scores more of them again.
  const RecallTable& table = generation_->calibration().table;
  const auto of = [&](int k) { return table.For(RecallTable::How::kCodes, 0.95, k, 1); };
  const auto cost = [&](int k) {
    // Where none is: comparing them all is cheaper.
    if (of(k).breadth == 0) return SearchCost::kAllRows * kRows;
    return of(k).scanned * kRows * SearchCost::kCode + of(k).rerank * SearchCost::kRow;
  };
  EXPECT_LT(cost(10), cost(100));
  EXPECT_GE(Recall({.recall_target = 0.95}, 100), 0.92);
}

// Where other shards have the rest of an answer, a shard looks for its part of it, and gives as
// many rows.
TEST_P(IvfSegmentTest, ASearchTakesWhatItsPartOfAnAnswerTakes) {
  Build();
  // As if it had been measured so.
  const auto curve = [](float breadth) {
    RecallTable::Curve curve;
    for (size_t i = 0; i < curve.size(); ++i) {
      curve[i] = {breadth, 40, RecallTable::kAims[i], 0.01f * breadth};
    }
    return curve;
  };
  Calibration calibration;
  calibration.k = 10;
  calibration.table.Add(RecallTable::How::kCodes, 1, 1, curve(2));
  calibration.table.Add(RecallTable::How::kCodes, 10, 1, curve(6));
  generation_->SetCalibration(calibration);
  const auto scanned = [&](int k, int aim_k) {
    SearchReport report;
    for (int i = 0; i < 20; ++i) {
      const auto hits = Find(rows_.data() + 50 * i * kD,
                             {.k = k, .aim_k = aim_k, .recall_target = 0.9, .report = &report});
      EXPECT_EQ(hits.size(), static_cast<size_t>(k));
    }
    EXPECT_FALSE(report.exact);
    return report.scanned;
  };
  EXPECT_LT(scanned(10, 1), scanned(10, 3));
  EXPECT_LT(scanned(10, 3), scanned(10, 10));
  EXPECT_EQ(scanned(10, 10), scanned(10, 0));
  EXPECT_EQ(scanned(10, 20), scanned(10, 0));
}

TEST(SearchParamsTest, RowsOfShard) {
  EXPECT_EQ(RowsOfShard(1, 1), 1);
  EXPECT_EQ(RowsOfShard(1, 8), 1);
  EXPECT_EQ(RowsOfShard(10, 1), 10);
  EXPECT_EQ(RowsOfShard(10, 2), 6);
  EXPECT_EQ(RowsOfShard(10, 3), 4);
  EXPECT_EQ(RowsOfShard(10, 100), 2);
  EXPECT_EQ(RowsOfShard(100, 4), 26);
  // The mean over answers, counted: shards of 20 hits drawn a million times and more.
  std::mt19937 rng(1);
  double with = 0, answers = 0;
  for (int i = 0; i < 100'000; ++i) {
    int there = 1;  // the hit itself
    for (int hit = 1; hit < 20; ++hit) there += rng() % 4 == 0 ? 1 : 0;
    with += there, ++answers;
  }
  EXPECT_NEAR(with / answers, 1 + 19 / 4.0, 0.05);
}

// As if they were one: the same truth, the same lists.
TEST_P(IvfSegmentTest, SeveralSegmentsAreCalibratedTogether) {
  Build();
  std::vector<std::shared_ptr<const IvfSegment>> halves;
  std::vector<CalibrationPart> segments;
  for (const size_t first : {size_t{0}, kRows / 3}) {
    const size_t last = first == 0 ? kRows / 3 : kRows;
    ShardIndex index({GetParam().metric, kD, static_cast<int>(kRows)});
    for (size_t row = first; row < last; ++row) index.Add(row + 1, rows_.data() + row * kD);
    index.FreezeTail();
    auto segment = IvfSegment::Build(*index.FreezeForDrain(1), generation_, "", GoOn);
    ASSERT_TRUE(segment.ok()) << segment.status();
    halves.push_back(*segment);
    segments.push_back({segment->get()});
  }
  const auto one = CalibrateIvf({{segment_.get()}}, 400, 1, GoOn);
  const auto two = CalibrateIvf(segments, 400, 1, GoOn);
  ASSERT_TRUE(one.ok() && two.ok()) << one.status() << two.status();
  EXPECT_EQ(one->rows, static_cast<int64_t>(kRows));
  EXPECT_EQ(two->rows, static_cast<int64_t>(kRows));
  EXPECT_EQ(two->k, one->k);
  EXPECT_GT(two->points.back().recall, 0.98);
  // Other rows ask, as rows have other numbers: means of 800 of them.
  const auto again_one = CalibrateIvf({{segment_.get()}}, 400, 2, GoOn);
  const auto again_two = CalibrateIvf(segments, 400, 2, GoOn);
  ASSERT_TRUE(again_one.ok() && again_two.ok());
  for (size_t i = 0; i < std::min({one->points.size(), two->points.size(), again_one->points.size(),
                                   again_two->points.size()});
       ++i) {
    EXPECT_EQ(two->points[i].breadth, one->points[i].breadth);
    EXPECT_NEAR(two->points[i].recall + again_two->points[i].recall,
                one->points[i].recall + again_one->points[i].recall, 2 * 0.06)
        << one->points[i].breadth;
  }
  const auto alone = CalibrateIvf({segments[0]}, 400, 1, GoOn);
  ASSERT_TRUE(alone.ok());
  EXPECT_EQ(alone->rows, static_cast<int64_t>(kRows / 3));
}

// An update leaves a dead row where the new one is, or near: to find that is no merit.
TEST_P(IvfSegmentTest, DeadRowsDoNotCountInACalibration) {
  Build();
  ShardIndex index({GetParam().metric, kD, static_cast<int>(kRows)});
  for (size_t row = 0; row < kRows; ++row) index.Add(kRows + row + 1, rows_.data() + row * kD);
  index.FreezeTail();
  const auto copies = IvfSegment::Build(*index.FreezeForDrain(1), generation_, "", GoOn);
  ASSERT_TRUE(copies.ok()) << copies.status();
  Tombstones dead(kRows);
  for (size_t slot = 0; slot < kRows; ++slot) dead.Kill(static_cast<int64_t>(slot));
  const auto one = CalibrateIvf({{segment_.get()}}, 1000, 1, GoOn);
  const auto two = CalibrateIvf({{segment_.get()}, {copies->get(), &dead}}, 2000, 1, GoOn);
  ASSERT_TRUE(one.ok() && two.ok()) << one.status() << two.status();
  EXPECT_EQ(two->rows, static_cast<int64_t>(kRows));
  EXPECT_NEAR(two->queries, one->queries, one->queries / 5.0);
  // The dead, each of them as near as can be, are neither asked for nor found: lists that hold
  // twins would find more of the best at the narrowest breadth.
  EXPECT_GT(two->points.back().recall, 0.98);
  EXPECT_NEAR(two->points[0].recall, one->points[0].recall, 0.12);
}

// Signs are rounded exactly, rows are not: that a query has no error of its own must not let those
// drop out whose row's error is large.
TEST(IvfSearchTest, QueriesThatRoundExactlyFindWhatRowsErrorsHide) {
  constexpr size_t kD = 128, kRows = 12'000, kK = 10;
  const std::vector<float> rows = ClusteredRows(kRows, kD, /*unit=*/true);
  const auto index = IndexOf(Metric::kInnerProduct, rows, kD);
  auto frozen = index->FreezeForDrain(1);
  auto generation = TrainGeneration(*frozen, Metric::kInnerProduct, true, kD, {.id = 1}, GoOn);
  ASSERT_TRUE(generation.ok()) << generation.status();
  auto segment = IvfSegment::Build(*frozen, *generation, "", GoOn);
  ASSERT_TRUE(segment.ok()) << segment.status();
  const Tombstones none(kRows);
  std::vector<uint64_t> some((kRows + 63) / 64, 0x1111'1111'1111'1111);  // few enough to score all
  std::mt19937 random(2);
  int found = 0, all = 0, told_apart = 0;
  for (int q = 0; q < 300; ++q) {
    std::vector<float> query(kD);
    for (float& x : query) x = random() % 2 == 0 ? 1 : -1;
    for (float& x : query) x /= std::sqrt(static_cast<float>(kD));
    const SearchParams params = {.k = kK};
    TopK exact(Metric::kInnerProduct, kK), rounded(Metric::kInnerProduct, kK);
    ASSERT_TRUE(
        (*segment)->Search(query.data(), {.k = kK, .exact = true}, none, some.data(), &exact).ok());
    IvfWork work;
    ASSERT_TRUE(
        SearchIvf({{segment->get(), &none, some.data()}}, query.data(), params, &rounded, &work)
            .ok());
    std::set<uint64_t> labels;
    for (const Hit& hit : rounded.Take()) labels.insert(hit.label);
    for (const Hit& hit : exact.Take()) {
      found += labels.contains(hit.label);
      ++all;
    }
    told_apart += work.scored > static_cast<int64_t>(kK);
  }
  EXPECT_EQ(found, all);
  EXPECT_GT(told_apart, 0);  // some were near enough to be scored by floats
}

INSTANTIATE_TEST_SUITE_P(Metrics, IvfSegmentTest,
                         testing::Values(Case{Metric::kInnerProduct, true},
                                         Case{Metric::kInnerProduct, false},
                                         Case{Metric::kL2, false}),
                         [](const auto& info) {
                           return info.param.metric == Metric::kL2 ? "L2"
                                  : info.param.unit                ? "Cosine"
                                                                   : "Dot";
                         });

}  // namespace
}  // namespace vecino::index
