// Which lists a search probes where there are so many that they are ranked by their codes first.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <set>

#include "tests/server/index/index_fixture.h"

namespace vecino::index {
namespace {

constexpr size_t kD = 64;
constexpr size_t kRows = 44'000;
constexpr int kLists = 1'050;  // of the rows that are not held out

struct Case {
  Metric metric;
  bool unit;
};

class GenerationProbeTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    rows_ = ClusteredRows(kRows, kD, GetParam().unit);
    index_ = IndexOf(GetParam().metric, rows_, kD);
    frozen_ = index_->FreezeForDrain(1);
    auto generation = TrainGeneration(*frozen_, GetParam().metric, GetParam().unit, kD,
                                      {.id = 1, .nlist = kLists}, GoOn);
    ASSERT_TRUE(generation.ok()) << generation.status();
    generation_ = *generation;
    ASSERT_EQ(generation_->nlist(), kLists);
  }

  std::vector<uint32_t> Probe(const float* query, int breadth, const ProbeRule* rule) {
    PqTables tables;
    generation_->quantizer().MakeTables(GetParam().metric, query, &tables);
    std::vector<uint32_t> lists;
    generation_->Probe(Int8Query(query, kD), tables, breadth, rule, &scratch_, &lists);
    EXPECT_TRUE(std::is_sorted(lists.begin(), lists.end()));
    EXPECT_EQ(std::set<uint32_t>(lists.begin(), lists.end()).size(), lists.size());
    return lists;
  }

  // By the rule's definition, from 8-bit scores of all; or the best `breadth`.
  std::vector<uint32_t> Defined(const float* query, int breadth, const ProbeRule* rule) {
    std::vector<float> gaps;
    generation_->ListGaps(Int8Query(query, kD), &gaps);
    std::vector<uint32_t> order(kLists);
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return gaps[a] < gaps[b]; });
    size_t taken = static_cast<size_t>(breadth);
    if (rule != nullptr) {
      taken = 0;
      while (taken < order.size() && gaps[order[taken]] + rule->weight() * std::log(taken + 1.0) <=
                                         rule->Threshold(breadth)) {
        ++taken;
      }
      taken = std::clamp<size_t>(taken, 1, ProbeRule::kMost * static_cast<size_t>(breadth));
    }
    order.resize(taken);
    std::sort(order.begin(), order.end());
    return order;
  }

  void ExpectAsDefined(int breadth, const ProbeRule* rule) {
    double found = 0, defined = 0, probed = 0;
    for (size_t q = 0; q < 200; ++q) {
      const float* query = rows_.data() + q * 211 * kD;
      const auto lists = Probe(query, breadth, rule), should = Defined(query, breadth, rule);
      std::vector<uint32_t> both;
      std::set_intersection(lists.begin(), lists.end(), should.begin(), should.end(),
                            std::back_inserter(both));
      found += static_cast<double>(both.size());
      defined += static_cast<double>(should.size());
      probed += static_cast<double>(lists.size());
    }
    // Codes pass over some of the lists at the edge; lists at random would share a tenth at most.
    EXPECT_GT(found / defined, 0.8) << "breadth " << breadth;
    EXPECT_GT(found / probed, 0.8) << "breadth " << breadth;
  }

  std::vector<float> rows_;
  std::unique_ptr<ShardIndex> index_;
  std::optional<FrozenRows> frozen_;
  std::shared_ptr<Generation> generation_;
  Generation::ProbeScratch scratch_;
};

TEST_P(GenerationProbeTest, TakesTheNearest) {
  for (const int breadth : {10, 60}) ExpectAsDefined(breadth, nullptr);
}

TEST_P(GenerationProbeTest, TakesWhatACalibratedRuleSays) {
  auto segment = IvfSegment::Build(*frozen_, generation_, "", GoOn);
  ASSERT_TRUE(segment.ok()) << segment.status();
  auto calibration = CalibrateIvf({{segment->get()}}, 200, 1, GoOn);
  ASSERT_TRUE(calibration.ok()) << calibration.status();
  ASSERT_TRUE(calibration->rule.on());
  for (const int breadth : {10, 60}) ExpectAsDefined(breadth, &calibration->rule);
}

INSTANTIATE_TEST_SUITE_P(Metrics, GenerationProbeTest,
                         testing::Values(Case{Metric::kInnerProduct, true},
                                         Case{Metric::kInnerProduct, false},
                                         Case{Metric::kL2, false}));

}  // namespace
}  // namespace vecino::index
