#include "server/index/passing_codes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "server/index/ivf_search.h"
#include "server/index/pq_scan.h"
#include "tests/server/index/index_fixture.h"

namespace vecino::index {
namespace {

constexpr size_t kD = 32;

// Two segments of one generation, the rows of `Rows`, labelled from 1 in that order.
class PassingCodesTest : public testing::TestWithParam<Metric> {
 protected:
  static constexpr size_t kSecond = 6'000, kQueries = 200;
  // Of the first segment's rows, and centres that all lie about.
  explicit PassingCodesTest(size_t first = 20'000, int clusters = 1)
      : first_rows_(first), clusters_(clusters) {}
  const size_t first_rows_;
  const int clusters_;

  void SetUp() override {
    const bool unit = GetParam() == Metric::kInnerProduct;
    std::vector<float> rows =
        ClusteredRows(first_rows_ + kSecond + kQueries, kD, unit, 3, clusters_);
    queries_.assign(rows.end() - kQueries * kD, rows.end());
    rows.resize((first_rows_ + kSecond) * kD);
    rows_ = std::move(rows);
    const std::vector<float> first(rows_.begin(), rows_.begin() + first_rows_ * kD);
    index_ = IndexOf(GetParam(), first, kD);
    auto frozen = index_->FreezeForDrain(1);
    auto generation = TrainGeneration(*frozen, GetParam(), unit, kD, {.id = 1}, GoOn);
    ASSERT_TRUE(generation.ok()) << generation.status();
    Add(*frozen, *generation);
    auto calibration = CalibrateIvf({{segments_[0].get()}}, 800, 1, GoOn, 2);
    ASSERT_TRUE(calibration.ok()) << calibration.status();
    (*generation)->SetCalibration(*std::move(calibration));
    ASSERT_TRUE(index_->Publish(*std::move(frozen), segments_[0]).ok());
    for (size_t i = 0; i < kSecond; ++i) {
      index_->Add(first_rows_ + i + 1, rows_.data() + (first_rows_ + i) * kD);
      if (i + 1 == kSecond) index_->FreezeTail();
    }
    auto more = index_->FreezeForDrain(1);
    Add(*more, *generation);
    ASSERT_TRUE(index_->Publish(*std::move(more), segments_[1]).ok());
  }

  void Add(const FrozenRows& rows, const std::shared_ptr<const Generation>& generation) {
    auto segment = IvfSegment::Build(rows, generation, "", GoOn);
    ASSERT_TRUE(segment.ok()) << segment.status();
    dead_.push_back(std::make_unique<Tombstones>((*segment)->size()));
    segments_.push_back(*std::move(segment));
    allowed_.emplace_back();
    codes_.emplace_back();
  }

  // Of each segment this share at random.
  void Filter(double share, unsigned seed) {
    std::mt19937 random(seed);
    for (size_t s = 0; s < segments_.size(); ++s) {
      allowed_[s].assign(static_cast<size_t>(segments_[s]->size() + 63) / 64, 0);
      for (int64_t slot = 0; slot < segments_[s]->size(); ++slot) {
        if (random() < share * 0x1p32) allowed_[s][slot / 64] |= uint64_t{1} << (slot % 64);
      }
      codes_[s] = PassingCodes::Make(*segments_[s], allowed_[s].data());
    }
  }
  bool Passes(size_t s, int64_t slot) const { return allowed_[s][slot / 64] >> (slot % 64) & 1; }

  // coded: the segments that give codes, too.
  std::vector<Hit> Find(size_t query, const SearchParams& params, std::vector<bool> coded,
                        IvfWork* work = nullptr) const {
    std::vector<IvfPart> parts;
    for (size_t s = 0; s < segments_.size(); ++s) {
      parts.push_back({segments_[s].get(), dead_[s].get(), allowed_[s].data(),
                       coded[s] ? codes_[s].get() : nullptr});
    }
    TopK top(GetParam(), params.k);
    const absl::Status status = SearchIvf(parts, queries_.data() + query * kD, params, &top, work);
    EXPECT_TRUE(status.ok()) << status;
    return top.Take();
  }

  // Rows that may be found.
  std::vector<uint64_t> Findable() const {
    std::vector<uint64_t> labels;
    for (size_t s = 0; s < segments_.size(); ++s) {
      for (int64_t slot = 0; slot < segments_[s]->size(); ++slot) {
        if (Passes(s, slot) && !dead_[s]->IsDead(slot)) labels.push_back(segments_[s]->label(slot));
      }
    }
    return labels;
  }

  std::vector<float> rows_, queries_;
  std::unique_ptr<ShardIndex> index_;
  std::vector<std::shared_ptr<const IvfSegment>> segments_;
  std::vector<std::unique_ptr<Tombstones>> dead_;
  std::vector<std::vector<uint64_t>> allowed_;
  std::vector<std::shared_ptr<const PassingCodes>> codes_;
};

TEST_P(PassingCodesTest, AreThoseOfTheSegmentListByList) {
  for (const double share : {0.0, 0.0003, 0.03, 0.25, 1.0}) {
    Filter(share, 1);
    const IvfSegment& segment = *segments_[0];
    const PassingCodes& codes = *codes_[0];
    const size_t m = segment.generation()->quantizer().m();
    std::vector<uint8_t> wanted(m), got(m);
    uint32_t place = 0;
    for (int list = 0; list < segment.generation()->nlist(); ++list) {
      EXPECT_EQ(codes.list_begin(list), place);
      for (uint32_t slot = segment.list_begin(list); slot < segment.list_begin(list + 1); ++slot) {
        if (!Passes(0, slot)) continue;
        ASSERT_LT(place, codes.size());
        EXPECT_EQ(codes.slot(place), slot);
        PqUnpack(segment.block(slot / kPqBlockRows), m, slot % kPqBlockRows, wanted.data());
        PqUnpack(codes.block(place / kPqBlockRows), m, place % kPqBlockRows, got.data());
        EXPECT_EQ(got, wanted);
        ++place;
      }
    }
    EXPECT_EQ(codes.size(), place);
    EXPECT_EQ(codes.list_begin(segment.generation()->nlist()), place);
    EXPECT_GE(codes.bytes(), place * (PqBlockBytes(m) / kPqBlockRows + sizeof(uint32_t)));
    if (place > 0) {
      EXPECT_EQ(codes.bytes(), PassingCodes::BytesOf(segment, place));
    }
  }
}

TEST_P(PassingCodesTest, WhetherTheyLieInTheListsByChance) {
  using Spread = PassingCodes::Spread;
  for (const double share : {0.05, 0.1, 0.25, 0.5}) {
    for (unsigned seed = 1; seed <= 20; ++seed) {
      Filter(share, seed);
      EXPECT_EQ(codes_[0]->spread(), Spread::kEven) << share;
      EXPECT_EQ(codes_[1]->spread(), Spread::kEven) << share;
    }
  }
  Filter(0.005, 1);
  EXPECT_EQ(codes_[0]->spread(), Spread::kUnknown);
  // Rows of a part of the lists, near each other; as many in all as of a fortieth of the rows. The
  // wider that part the more it takes to tell.
  const IvfSegment& segment = *segments_[0];
  const int nlist = segment.generation()->nlist();
  std::mt19937 random(9);
  for (const double part : {0.1, 0.3, 0.6}) {
    std::vector<uint64_t> words(allowed_[0].size());
    for (uint32_t slot = 0; slot < segment.list_begin(static_cast<int>(part * nlist)); ++slot) {
      if (random() < 0.025 / part * 0x1p32) words[slot / 64] |= uint64_t{1} << (slot % 64);
    }
    EXPECT_EQ(PassingCodes::Make(segment, words.data())->spread(), Spread::kUneven) << part;
  }
}

TEST_P(PassingCodesTest, WhichAreDeadIsSaidByTheTombstones) {
  Filter(0.1, 2);
  const PassingCodes& codes = *codes_[0];
  std::mt19937 random(5);
  for (int64_t place = 0; place < codes.size(); ++place) {
    if (random() % 3 == 0) dead_[0]->Kill(codes.slot(static_cast<uint32_t>(place)));
  }
  const auto blocks = static_cast<size_t>(codes.size() + kPqBlockRows - 1) / kPqBlockRows;
  for (size_t block = 0; block < blocks; ++block) {
    const uint16_t live = codes.Live(block, *dead_[0]);
    for (uint32_t row = 0; row < kPqBlockRows; ++row) {
      const auto place = static_cast<uint32_t>(block * kPqBlockRows) + row;
      const bool lives = place >= codes.size() || !dead_[0]->IsDead(codes.slot(place));
      EXPECT_EQ((live >> row & 1) != 0, lives) << place;
    }
  }
}

// The same lists, the same codes, the same rows scored again: the same answer, whichever segments
// have codes, and also where rows are dead.
TEST_P(PassingCodesTest, AScanOfListsFindsTheSame) {
  Filter(0.3, 3);
  std::mt19937 random(6);
  size_t fewer = 0;
  for (const bool some_dead : {false, true}) {
    for (size_t s = 0; some_dead && s < segments_.size(); ++s) {
      for (int64_t slot = 0; slot < segments_[s]->size(); ++slot) {
        if (random() % 10 == 0) dead_[s]->Kill(slot);
      }
    }
    for (const int nprobe : {1, 7, 30}) {
      const SearchParams params = {.k = 10, .nprobe = nprobe, .rerank = 80};
      for (size_t q = 0; q < kQueries; ++q) {
        IvfWork without;
        const std::vector<Hit> wanted = Find(q, params, {false, false}, &without);
        EXPECT_EQ(wanted.size(), 10u);
        EXPECT_TRUE(without.by_codes);
        for (const bool both : {false, true}) {
          IvfWork with;
          const std::vector<Hit> hits = Find(q, params, {true, both}, &with);
          ASSERT_EQ(hits.size(), wanted.size());
          for (size_t i = 0; i < hits.size(); ++i) {
            EXPECT_EQ(hits[i].label, wanted[i].label);
            EXPECT_EQ(hits[i].score, wanted[i].score);
          }
          EXPECT_EQ(with.nprobe, without.nprobe);
          fewer += with.scanned < without.scanned;
          EXPECT_LE(with.scanned, without.scanned);
        }
      }
    }
  }
  EXPECT_GT(fewer, 2 * 3 * kQueries);
}

// Rows about one centre, of which no few lists have the nearest (with others few lists are enough).
class AllPassingCodesTest : public PassingCodesTest {};

// Few rows pass, so all of their codes are scanned; a third of these rows is dead.
TEST_P(AllPassingCodesTest, AllThatPassAreScannedWhereThatTakesLess) {
  Filter(0.24, 4);
  std::mt19937 random(7);
  for (size_t s = 0; s < segments_.size(); ++s) {
    for (int64_t slot = 0; slot < segments_[s]->size(); ++slot) {
      if (random() % 3 == 0) dead_[s]->Kill(slot);
    }
  }
  const std::vector<uint64_t> labels = Findable();
  std::vector<float> findable;
  for (const uint64_t label : labels) {
    findable.insert(findable.end(), rows_.begin() + static_cast<ptrdiff_t>((label - 1) * kD),
                    rows_.begin() + static_cast<ptrdiff_t>(label * kD));
  }
  ASSERT_GT(codes_[0]->size() + codes_[1]->size(), kGather);
  double recall = 0;
  int of_all = 0;
  for (size_t q = 0; q < kQueries; ++q) {
    IvfWork work;
    const std::vector<Hit> hits = Find(q, {.k = 10, .recall_target = 0.95}, {true, true}, &work);
    ASSERT_EQ(hits.size(), 10u);
    for (const Hit& hit : hits) {
      EXPECT_TRUE(std::binary_search(labels.begin(), labels.end(), hit.label) ||
                  std::find(labels.begin(), labels.end(), hit.label) != labels.end());
    }
    const std::vector<uint64_t> best =
        BestLabels(GetParam(), findable, labels, kD, queries_.data() + q * kD, 10);
    recall += Overlap(best, hits) / kQueries;
    IvfWork own;
    Find(q, {.k = 10, .recall_target = 0.95, .rerank = 777}, {true, true}, &own);
    if (own.all_codes) {
      EXPECT_EQ(own.reranked, 777);
    }
    of_all += work.scanned == codes_[0]->size() + codes_[1]->size();
    EXPECT_TRUE(work.by_codes);
  }
  EXPECT_GE(recall, 0.95);
  EXPECT_EQ(of_all, static_cast<int>(kQueries));
}

// A filter that goes with the vectors, and queries where it passes: nearly all rows that are looked
// at pass, so that more of them look like the best by their codes than of rows at random.
class NearPassingCodesTest : public PassingCodesTest {
 protected:
  NearPassingCodesTest() : PassingCodesTest(70'000, 20) {}
};

TEST_P(NearPassingCodesTest, AFilterThatGoesWithTheVectorsFindsAsMuchAsWithout) {
  constexpr size_t kPass = 4'600;
  const size_t n = rows_.size() / kD;
  std::vector<uint64_t> labels(n);
  std::iota(labels.begin(), labels.end(), 1);
  const float* const middle = rows_.data();
  const std::vector<uint64_t> near = BestLabels(GetParam(), rows_, labels, kD, middle, kPass);
  std::vector<bool> passes(n + 1);
  for (const uint64_t label : near) passes[label] = true;
  for (size_t s = 0; s < segments_.size(); ++s) {
    allowed_[s].assign(static_cast<size_t>(segments_[s]->size() + 63) / 64, 0);
    for (int64_t slot = 0; slot < segments_[s]->size(); ++slot) {
      if (passes[segments_[s]->label(slot)]) allowed_[s][slot / 64] |= uint64_t{1} << (slot % 64);
    }
    codes_[s] = PassingCodes::Make(*segments_[s], allowed_[s].data());
  }
  EXPECT_EQ(codes_[0]->spread(), PassingCodes::Spread::kUneven);
  std::vector<float> passing;
  for (const uint64_t label : near) {
    passing.insert(passing.end(), rows_.begin() + static_cast<ptrdiff_t>((label - 1) * kD),
                   rows_.begin() + static_cast<ptrdiff_t>(label * kD));
  }
  // The queries nearest to the middle.
  std::vector<uint64_t> numbers(kQueries);
  std::iota(numbers.begin(), numbers.end(), 0);
  const auto inside = BestLabels(GetParam(), queries_, numbers, kD, middle, 40);
  double with = 0, without = 0;
  for (const uint64_t q : inside) {
    const SearchParams params = {.k = 10, .recall_target = 0.95};
    const auto best = BestLabels(GetParam(), passing, near, kD, queries_.data() + q * kD, 10);
    IvfWork work;
    without += Overlap(best, Find(q, params, {false, false})) / static_cast<double>(inside.size());
    with +=
        Overlap(best, Find(q, params, {true, true}, &work)) / static_cast<double>(inside.size());
    EXPECT_FALSE(work.all_codes);
  }
  EXPECT_GE(without, 0.94);
  EXPECT_GE(with, without - 0.005);
}

INSTANTIATE_TEST_SUITE_P(Metrics, NearPassingCodesTest,
                         testing::Values(Metric::kInnerProduct, Metric::kL2), [](const auto& info) {
                           return info.param == Metric::kL2 ? "L2" : "Cosine";
                         });
INSTANTIATE_TEST_SUITE_P(Metrics, PassingCodesTest,
                         testing::Values(Metric::kInnerProduct, Metric::kL2), [](const auto& info) {
                           return info.param == Metric::kL2 ? "L2" : "Cosine";
                         });

INSTANTIATE_TEST_SUITE_P(Metrics, AllPassingCodesTest, testing::Values(Metric::kL2),
                         [](const auto&) { return "L2"; });

}  // namespace
}  // namespace vecino::index
