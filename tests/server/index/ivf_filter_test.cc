// Filters whose rows lie together, and where a search under them looks.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "server/index/ivf_search.h"
#include "server/index/ivf_segment.h"
#include "server/index/search_report.h"
#include "server/index/view.h"
#include "tests/server/index/index_fixture.h"

namespace vecino::index {
namespace {

struct Case {
  Metric metric;
  bool unit;
};

class IvfFilterTest : public testing::TestWithParam<Case> {};

// Lets the labels pass whose bit is set.
class Labels final : public RowFilter {
 public:
  explicit Labels(std::vector<bool> passing) : passing_(std::move(passing)) {}
  SlotBits OfSegment(const Segment& segment) const override {
    words_.assign(static_cast<size_t>(segment.size() + 63) / 64, 0);
    for (int64_t slot = 0; slot < segment.size(); ++slot) {
      if (passing_[segment.label(slot)]) words_[slot / 64] |= uint64_t{1} << (slot % 64);
    }
    return {words_.data(), segment.size()};
  }
  SlotBits OfTail(const Tail&) const override { return {&none_, 0}; }

 private:
  const std::vector<bool> passing_;  // by label
  const uint64_t none_ = 0;
  mutable std::vector<uint64_t> words_;
};

// Two groups of clusters far apart; queries are of the one, and the filter lets the other pass. Its
// rows are more than are compared in any case, and the nearest lists, as many as are enough for a
// filter that goes by chance, have none of them.
TEST_P(IvfFilterTest, AFilterThatGoesWithTheVectorsFindsTheBestToo) {
  constexpr size_t kD = 32, kRows = 6000, kHere = 1900, kQueries = 30;
  constexpr int kK = 10;
  const Metric metric = GetParam().metric;
  static_assert(static_cast<int64_t>(kRows - kHere) > kGather);
  const auto make = [](size_t n, float at, unsigned seed) {
    std::vector<float> rows = ClusteredRows(n, kD, /*unit=*/false, seed);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < 8; ++j) rows[i * kD + j] += at;
      double norm = 0;
      for (size_t j = 0; j < kD; ++j) norm += double{rows[i * kD + j]} * rows[i * kD + j];
      const auto scale = GetParam().unit ? static_cast<float>(1 / std::sqrt(norm)) : 1.0f;
      for (size_t j = 0; j < kD; ++j) rows[i * kD + j] *= scale;
    }
    return rows;
  };
  std::vector<float> rows = make(kHere + kQueries, 3, 1);
  const std::vector<float> queries(rows.begin() + kHere * kD, rows.end());
  rows.resize(kHere * kD);
  const std::vector<float> there = make(kRows - kHere, -3, 2);
  rows.insert(rows.end(), there.begin(), there.end());
  const auto index = IndexOf(metric, rows, kD);
  auto frozen = index->FreezeForDrain(1);
  auto generation = TrainGeneration(*frozen, metric, GetParam().unit, kD, {.id = 1}, GoOn);
  ASSERT_TRUE(generation.ok()) << generation.status();
  auto segment = IvfSegment::Build(*frozen, *generation, "", GoOn);
  ASSERT_TRUE(segment.ok()) << segment.status();
  ASSERT_TRUE(index->Publish(*std::move(frozen), *segment).ok());
  const auto find = [&](const float* query, const SearchParams& params) {
    auto hits = Search(*index->Pin(), metric, query, params, GoOn);
    EXPECT_TRUE(hits.ok()) << hits.status();
    return hits.ok() ? *std::move(hits) : std::vector<Hit>();
  };
  std::vector<bool> passing(kRows + 1, true);
  std::fill_n(passing.begin(), kHere + 1, false);
  const Labels filter(passing);
  std::vector<uint64_t> labels(kRows - kHere);
  std::iota(labels.begin(), labels.end(), kHere + 1);
  double recall = 0;
  for (size_t q = 0; q < kQueries; ++q) {
    const float* query = queries.data() + q * kD;
    SearchReport report;
    const std::vector<Hit> hits =
        find(query, {.k = kK, .recall_target = 0.95, .filter = &filter, .report = &report});
    ASSERT_EQ(hits.size(), static_cast<size_t>(kK));
    for (const Hit& hit : hits) EXPECT_TRUE(passing[hit.label]);
    recall += Overlap(BestLabels(metric, there, labels, kD, query, kK), hits) / kQueries;
    // Some lists, and then all that pass.
    EXPECT_GT(report.scanned, static_cast<int64_t>(there.size() / kD));
    EXPECT_TRUE(report.exact);
    EXPECT_EQ(report.nprobe, 0);
    // For who says how many lists there are more of them only until there are k rows.
    SearchReport own;
    EXPECT_EQ(find(query, {.k = kK, .nprobe = 2, .filter = &filter, .report = &own}).size(),
              static_cast<size_t>(kK));
    EXPECT_GT(own.nprobe, 2);
    EXPECT_FALSE(own.exact);
  }
  EXPECT_GE(recall, 0.97);
}

INSTANTIATE_TEST_SUITE_P(Metrics, IvfFilterTest,
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
