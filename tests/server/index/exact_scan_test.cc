#include "server/index/exact_scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "server/index/flat_segment.h"
#include "server/index/search_kinds.h"
#include "server/index/shard_index.h"
#include "tests/server/index/index_fixture.h"

namespace vecino::index {
namespace {

constexpr size_t kD = 40;

// Odd slots.
class EveryOther final : public RowFilter {
 public:
  SlotBits OfSegment(const Segment& segment) const override {
    return {words_.data(), segment.size()};
  }
  SlotBits OfTail(const Tail& tail) const override { return {words_.data(), tail.size()}; }

 private:
  const std::vector<uint64_t> words_ = std::vector<uint64_t>(100, 0xAAAA'AAAA'AAAA'AAAA);
};

class ExactScanTest : public testing::TestWithParam<Metric> {
 protected:
  // A segment of 700 rows, a frozen tail of 300, a tail of 137, some of each dead.
  void SetUp() override {
    rows_ = ClusteredRows(kRows, kD, false);
    for (size_t i = 0; i < 700; ++i) Add(i);
    index_.FreezeTail();
    auto frozen = index_.FreezeForDrain(8);
    FlatSegmentBuilder builder(GetParam(), kD);
    ASSERT_TRUE(frozen
                    ->ForEachLive([&](uint64_t label, const float* vector) {
                      return builder.Add(label, vector);
                    })
                    .ok());
    ASSERT_TRUE(index_.Publish(*std::move(frozen), *builder.Build()).ok());
    for (size_t i = 700; i < 1000; ++i) Add(i);
    index_.FreezeTail();
    for (size_t i = 1000; i < kRows; ++i) Add(i);
    for (uint64_t label = 2; label < 2 * kRows; label += 14) index_.Remove(label);
  }
  void Add(size_t i) { index_.Add(Label(i), rows_.data() + i * kD); }
  static uint64_t Label(size_t i) { return 2 * (i + 1); }
  static bool IsDead(size_t i) { return Label(i) % 14 == 2; }

  // What is to be found: the rows that `in` says, best first.
  std::vector<uint64_t> Truth(const float* query, size_t k,
                              const std::function<bool(size_t)>& in) const {
    std::vector<float> rows;
    std::vector<uint64_t> labels;
    for (size_t i = 0; i < kRows; ++i) {
      if (IsDead(i) || !in(i)) continue;
      rows.insert(rows.end(), rows_.begin() + i * kD, rows_.begin() + (i + 1) * kD);
      labels.push_back(Label(i));
    }
    std::vector<uint64_t> best = BestLabels(GetParam(), rows, labels, kD, query, k);
    std::sort(best.begin(), best.end());
    return best;
  }
  // Compares a scan for several queries with the truth.
  ExactCount Check(const ExactScope& scope, const std::function<bool(size_t)>& in) const {
    constexpr size_t kQueries = 5;
    const std::vector<float> queries = ClusteredRows(kQueries, kD, false, 7);
    std::vector<TopK> tops;
    for (size_t q = 0; q < kQueries; ++q) tops.emplace_back(GetParam(), static_cast<int>(3 + q));
    std::vector<ExactQuery> asked;
    for (size_t q = 0; q < kQueries; ++q) asked.push_back({queries.data() + q * kD, &tops[q]});
    const auto count = ScanExactly(*index_.Pin(), GetParam(), kD, asked, scope, GoOn);
    EXPECT_TRUE(count.ok()) << count.status();
    for (size_t q = 0; q < kQueries; ++q) {
      std::vector<uint64_t> found;
      for (const Hit& hit : tops[q].Take()) found.push_back(hit.label);
      std::sort(found.begin(), found.end());
      EXPECT_EQ(found, Truth(asked[q].vector, 3 + q, in)) << "query " << q;
    }
    return count.value_or(ExactCount{});
  }
  static int64_t CountOf(const std::function<bool(size_t)>& in) {
    int64_t count = 0;
    for (size_t i = 0; i < kRows; ++i) count += !IsDead(i) && in(i);
    return count;
  }

  static constexpr size_t kRows = 1137;
  std::vector<float> rows_;
  ShardIndex index_{{GetParam(), kD, 10'000}};
};

TEST_P(ExactScanTest, FindsTheBestOfAllParts) {
  const auto all = [](size_t) { return true; };
  const ExactCount count = Check({}, all);
  EXPECT_EQ(count.live, CountOf(all));
  EXPECT_EQ(count.passing, count.live);
}

TEST_P(ExactScanTest, GoesByTheFilter) {
  const EveryOther filter;
  const auto in = [](size_t i) {
    const size_t slot = i < 700 ? i : i < 1000 ? i - 700 : i - 1000;
    return slot % 2 == 1;
  };
  const ExactCount count = Check({.filter = &filter}, in);
  EXPECT_EQ(count.live, CountOf([](size_t) { return true; }));
  EXPECT_EQ(count.passing, CountOf(in));
}

TEST_P(ExactScanTest, LeavesOutWhatCameLaterAndWhatIsNamed) {
  for (const size_t last : {size_t{1050}, size_t{800}, size_t{300}}) {
    const std::vector<uint64_t> left_out = {Label(10), Label(299), Label(720)};
    const auto in = [&](size_t i) { return i <= last && i != 10 && i != 299 && i != 720; };
    const ExactCount count = Check({.last_label = Label(last), .left_out = left_out}, in);
    EXPECT_EQ(count.live, CountOf(in)) << last;
  }
}

TEST_P(ExactScanTest, StopsWhenAsked) {
  int calls = 0;
  const auto stop = [&] { return ++calls == 3 ? absl::CancelledError("stop") : absl::OkStatus(); };
  TopK top(GetParam(), 3);
  const ExactQuery query{rows_.data(), &top};
  EXPECT_EQ(ScanExactly(*index_.Pin(), GetParam(), kD, {&query, 1}, {}, stop).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 3);
}

INSTANTIATE_TEST_SUITE_P(Metrics, ExactScanTest,
                         testing::Values(Metric::kInnerProduct, Metric::kL2), [](const auto& info) {
                           return info.param == Metric::kL2 ? "L2" : "InnerProduct";
                         });

TEST(SearchKindsTest, EverySearchHasOneKindThatDescribesIt) {
  std::map<size_t, int> seen;
  for (const int k : {1, 2, 10, 11, 100, 101, 1000}) {
    for (const double share : {1.0, 0.51, 0.5, 0.2, 0.1, 0.05, 0.01, 0.005, 0.001, 0.0001, 0.0}) {
      const size_t number = SearchKindOf(k, share);
      ASSERT_LT(number, kSearchKinds);
      ++seen[number];
      const SearchKind kind = DescribeSearchKind(number);
      EXPECT_LE(kind.min_k, k);
      EXPECT_GE(kind.max_k, k);
      EXPECT_TRUE(share > kind.above_share || kind.above_share == 0) << share;
      EXPECT_LE(share, kind.up_to_share);
    }
  }
  EXPECT_EQ(seen.size(), kSearchKinds);
}

TEST(SearchKindsTest, CorrectionsAreOfOneKindAndBounded) {
  Corrections corrections;
  EXPECT_EQ(corrections.Of(10, 1), 1);
  corrections.Set(SearchKindOf(10, 1), 1.5);
  EXPECT_EQ(corrections.Of(5, 0.7), 1.5);
  EXPECT_EQ(corrections.Of(11, 0.7), 1);
  EXPECT_EQ(corrections.Of(5, 0.4), 1);
  corrections.Set(0, 100);
  EXPECT_EQ(corrections.OfKind(0), Corrections::kMost);
  corrections.Set(0, 0);
  EXPECT_NEAR(corrections.OfKind(0), Corrections::kLeast, 1e-6);
  corrections.Reset();
  EXPECT_EQ(corrections.Of(5, 0.7), 1);
}

}  // namespace
}  // namespace vecino::index
