// Filtered searches of collections that are not compared row by row: k hits at any share of rows
// that pass, wherever these lie.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/filter_cache.h"
#include "tests/server/engine/filter_fixture.h"
#include "tests/server/engine/test_support.h"

namespace vecino::engine {
namespace {

using Type = Operation::Type;

enum class How { kLists, kGraph, kHnsw };

class FilterIndexTest : public EngineFilterTest, public testing::WithParamInterface<How> {
 protected:
  void SetUp() override {
    options_.maintenance.exact_rows = 200;
    OpenGate(&options_.maintenance);
    options_.maintenance.graph_rows = 300;
    options_.maintenance.graph_quiet = absl::ZeroDuration();
    options_.maintenance.graph_max_dead_share = 1;
    options_.recall.sample_every = 0;
    EngineFilterTest::SetUp();
    ASSERT_TRUE(engine_->DeleteCollection("c", "").ok());
  }
  void TearDown() override {
    engine_.reset();  // before the clock
    std::filesystem::remove_all(folder_);
  }

  void Make(const std::string& id, How how, int shards) {
    CollectionSpec spec;
    spec.id = id;
    spec.metric = Metric::kL2;
    spec.dimension = kDimension;
    spec.shard_count = shards;
    spec.index.kind = how == How::kHnsw ? IndexKind::kHnsw : IndexKind::kAuto;
    if (how != How::kHnsw) spec.index.graph = how == How::kGraph;
    ASSERT_TRUE(engine_->CreateCollection(spec, false).ok());
  }
  // Until the rows, but for a tail, are in an index as `how` says.
  void Settle(const std::string& id, How how) {
    const auto started =
        engine_->StartOperation(id, how == How::kHnsw ? Type::kCompact : Type::kRetrain, {});
    ASSERT_TRUE(started.ok()) << started.status();
    while (true) {
      const auto now = engine_->WaitOperation(id, started->id, absl::Seconds(30), {});
      ASSERT_TRUE(now.ok()) << now.status();
      if (!now->done) continue;
      ASSERT_TRUE(now->status.ok()) << now->status;
      break;
    }
    const std::string kind = how == How::kHnsw ? "HNSW" : how == How::kGraph ? "IVF+GRAPH" : "IVF";
    const absl::Time end = absl::Now() + absl::Seconds(120);
    while (true) {
      const auto stats = engine_->GetCollectionStats(id);
      ASSERT_TRUE(stats.ok()) << stats.status();
      int64_t rows = 0, of_kind = 0;
      for (const ShardStats& shard : stats->shards) {
        rows += shard.live_documents;
        for (const ShardStats::SegmentInfo& segment : shard.segment_list) {
          if (segment.kind == kind) of_kind += segment.rows - segment.dead;
        }
      }
      if (of_kind * 10 >= rows * 9) return;
      ASSERT_LT(absl::Now(), end) << of_kind << " of " << rows << " rows are in segments of kind "
                                  << kind;
      absl::SleepFor(absl::Milliseconds(20));
    }
  }
};

TEST_P(FilterIndexTest, AgreesWithAMap) {
  Make("c", GetParam(), 1);
  Write(3000);
  Settle("c", GetParam());
  CheckSome(40);
  // Without a filter fewer than all are compared.
  const SearchRequest plain{
      .query = VectorQuery{std::vector<float>(kDimension, 0.5f)}, .top_k = 3, .recall_target = 0.5};
  const auto result = engine_->Search("c", plain, {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->effort.exact);
  // What is written since, and what is dead in the index.
  Write(600);
  CheckSome(20);
  ASSERT_GT(wanted_, 0);
  EXPECT_GE(static_cast<double>(found_) / static_cast<double>(wanted_), 0.95);
}

// A filter that comes often enough has the codes of its rows by themselves: the rows that searches
// look at become fewer, what they find does not, and what dies meanwhile is not found.
class RepeatedFilterTest : public FilterIndexTest {};

TEST_P(RepeatedFilterTest, LooksAtFewerRows) {
  Make("c", GetParam(), 1);
  constexpr int kRows = 24'000, kShare = 5;  // more pass than are compared in any case
  std::vector<DocumentWrite> writes;
  std::vector<std::vector<float>> vectors;
  std::normal_distribution<float> normal;
  for (int i = 0; i < kRows; ++i) {
    std::vector<float>& vector = vectors.emplace_back(kDimension);
    for (float& x : vector) x = normal(rng_);
    writes.push_back(Vector(std::to_string(i), vector));
    writes.back().document.metadata = absl::StrCat("{\"n\": ", i % kShare, "}");
    if (writes.size() == 1000) {
      for (const WriteResult& result : Upsert("c", std::exchange(writes, {}))) {
        ASSERT_TRUE(result.status.ok()) << result.status;
      }
    }
  }
  Settle("c", GetParam());
  const auto ask = [&](double* recall) {
    SearchRequest request{.query = VectorQuery{vectors[1]}, .top_k = 10, .recall_target = 0.9};
    request.filter = "n = 2";
    const auto result = engine_->Search("c", request, {});
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return int64_t{0};
    request.exact = true;
    const auto exact = engine_->Search("c", request, {});
    EXPECT_TRUE(exact.ok()) << exact.status();
    if (!exact.ok()) return int64_t{0};
    EXPECT_EQ(result->hits.size(), 10u);
    *recall = 0;
    for (const SearchHit& hit : result->hits) {
      EXPECT_EQ(std::stoi(hit.document.id) % kShare, 2);
      *recall += hit.score <= exact->hits.back().score ? 0.1 : 0;
    }
    return result->effort.rows_scanned;
  };
  double recall = 0;
  const int64_t first = ask(&recall);
  EXPECT_GE(recall, 0.8);
  const double bits = metrics_.Value("vecino_filter_cache_bytes");
  EXPECT_GT(bits, 0);
  int64_t last = first;
  for (int i = 0; i < 2 * PassingRows::kOften; ++i) last = ask(&recall);
  EXPECT_LT(last, first);
  EXPECT_GT(metrics_.Value("vecino_filter_cache_bytes"), bits + kRows / kShare * 2);
  EXPECT_GE(recall, 0.8);
  // The nearest of them.
  SearchRequest nearest{.query = VectorQuery{vectors[1]}, .top_k = 3, .exact = true};
  nearest.filter = "n = 2";
  const auto best = engine_->Search("c", nearest, {});
  ASSERT_TRUE(best.ok()) << best.status();
  for (const SearchHit& hit : best->hits) {
    ASSERT_TRUE(Delete("c", hit.document.id).status.ok());
  }
  ask(&recall);
  EXPECT_GE(recall, 0.8);
}

// Ten clusters, one of them far from the others, where the queries are.
class FarFilterTest : public FilterIndexTest {
 protected:
  void SetUp() override {
    FilterIndexTest::SetUp();
    options_.tail_capacity = 4000;
    options_.maintenance.exact_rows = 1000;
    options_.maintenance.repair = false;  // trained once all is there
    options_.clock = [this] {
      if (std::this_thread::get_id() == test_thread_ && on_clock_ != nullptr) on_clock_();
      return absl::Now();
    };
    Reopen();
  }

  struct Row {
    std::vector<float> vector;
    int far = -1;   // number in the far cluster
    int stray = 0;  // 1 for one in 300 of the other rows
    int half = 0;   // 1 for every second row
  };

  void Fill(int rows) {
    Make("c", GetParam(), 1);
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> place(-3, 3);
    for (int c = 0; c < 9; ++c) {
      std::vector<float>& centre = centres_.emplace_back(kDimension);
      for (float& x : centre) x = place(rng_);
    }
    const std::vector<float> far(kDimension, 9);
    std::vector<DocumentWrite> writes;
    int numbered = 0;
    for (int i = 0; i < rows; ++i) {
      Row row;
      row.vector = Near(i % 10 == 9 ? far : centres_[static_cast<size_t>(i % 10)]);
      if (i % 10 == 9) row.far = numbered++;
      row.stray = i % 10 != 9 && rng_() % 300 == 0 ? 1 : 0;
      row.half = static_cast<int>(rng_() % 2);
      DocumentWrite write = Vector(std::to_string(i), row.vector);
      write.document.metadata = absl::StrCat("{\"far\": ", row.far, ", \"stray\": ", row.stray,
                                             ", \"half\": ", row.half, "}");
      rows_.push_back(std::move(row));
      writes.push_back(std::move(write));
      if (writes.size() == 500 || i + 1 == rows) {
        for (const WriteResult& result : Upsert("c", std::exchange(writes, {}))) {
          ASSERT_TRUE(result.status.ok()) << result.status;
        }
      }
    }
    Settle("c", GetParam());
  }
  std::vector<float> Near(const std::vector<float>& centre) {
    std::normal_distribution<float> normal;
    std::vector<float> vector = centre;
    for (float& x : vector) x += normal(rng_);
    return vector;
  }

  struct Figures {
    double recall = 0;
    int inexact = 0;  // searches that did not compare all that pass
    int64_t passing = 0;
  };
  static constexpr int kQueries = 20;
  // Searches from where the clusters of the many are. Each must have k hits, where k rows pass.
  template <class Passes>
  Figures Ask(const std::string& filter, int k, Passes passes) {
    SCOPED_TRACE(absl::StrCat(filter, ", k = ", k));
    Figures figures;
    for (int q = 0; q < kQueries; ++q) {
      SearchRequest request{
          .query = VectorQuery{Near(centres_[static_cast<size_t>(q) % centres_.size()])},
          .top_k = k,
          .recall_target = 0.95};
      request.filter = filter;
      const std::vector<float>& query = std::get<VectorQuery>(request.query).vector;
      std::vector<float> distances;
      for (const Row& row : rows_) {
        if (!passes(row)) continue;
        float sum = 0;
        for (size_t i = 0; i < query.size(); ++i) {
          sum += (query[i] - row.vector[i]) * (query[i] - row.vector[i]);
        }
        distances.push_back(sum);
      }
      figures.passing = static_cast<int64_t>(distances.size());
      const size_t wanted = std::min(static_cast<size_t>(k), distances.size());
      std::sort(distances.begin(), distances.end());
      const auto result = engine_->Search("c", request, {});
      EXPECT_TRUE(result.ok()) << result.status();
      if (!result.ok() || wanted == 0) return figures;
      EXPECT_EQ(result->hits.size(), wanted);
      EXPECT_EQ(result->effort.shortfall,
                wanted < static_cast<size_t>(k) ? Shortfall::kNoMoreDocuments : Shortfall::kNone);
      double found = 0;
      for (const SearchHit& hit : result->hits) {
        EXPECT_TRUE(passes(rows_[std::stoul(hit.document.id)])) << hit.document.id;
        found += hit.score <= distances[wanted - 1] * 1.0001f + 1e-4f;
      }
      figures.recall += found / static_cast<double>(wanted) / kQueries;
      figures.inexact += !result->effort.exact;
    }
    return figures;
  }

  std::vector<std::vector<float>> centres_;
  std::vector<Row> rows_;
  const std::thread::id test_thread_ = std::this_thread::get_id();
  std::function<void()> on_clock_;  // when the test's thread reads the clock, unless null
};

TEST_P(FarFilterTest, WhatLiesFarFromTheQueryIsFound) {
  // So many that the tenth of them is more than an index of lists compares in any case; under
  // ThreadSanitizer, where that takes minutes, that half of them is.
#if defined(__SANITIZE_THREAD__)
  const int rows = GetParam() == How::kLists ? 12'000 : 6'000;
#else
  const int rows = GetParam() == How::kLists ? 41'000 : 6'000;
#endif
  Fill(rows);
  const Figures plain = Ask("", 5, [](const Row&) { return true; });
  EXPECT_GT(plain.inexact, 0);
  EXPECT_GE(plain.recall, 0.85);
  const Figures half = Ask("half = 1", 5, [](const Row& row) { return row.half == 1; });
  if (GetParam() != How::kGraph) {  // whose filters are answered from lists, here by all that pass
    EXPECT_GT(half.inexact, 0);
  }
  EXPECT_GE(half.recall, 0.85);
  for (const int share : {10, 100, 1000}) {
    const int most = rows / share;
    for (const int k : {1, 10, 100}) {
      const Figures far = Ask(absl::StrCat("far >= 0 AND far < ", most), k,
                              [&](const Row& row) { return row.far >= 0 && row.far < most; });
      EXPECT_EQ(far.passing, most);
      EXPECT_GE(far.recall, 0.95) << "one in " << share << ", k = " << k;
    }
  }
  // A few of those that pass are near, as many as are asked for; the others far.
  const Figures strays = Ask("far >= 0 OR stray = 1", 10,
                             [](const Row& row) { return row.far >= 0 || row.stray == 1; });
  EXPECT_GE(strays.recall, 0.95);
}

// An index gives as many rows as pass, if fewer than were asked for do. A document that comes
// between the search and the look whether there are more is found by another, exact search.
TEST_P(FarFilterTest, WhatComesMeanwhileIsLookedForAgain) {
  Fill(3'000);
  SearchRequest request{
      .query = VectorQuery{Near(centres_[0])}, .top_k = 10, .recall_target = 0.95};
  request.filter = "far >= 0 AND far < 5";
  const auto rescans = [&] { return metrics_.Value("vecino_search_filter_rescans_total"); };
  const auto before = engine_->Search("c", request, {});
  ASSERT_TRUE(before.ok()) << before.status();
  EXPECT_EQ(before->hits.size(), 5u);
  EXPECT_EQ(before->effort.shortfall, Shortfall::kNoMoreDocuments);
  EXPECT_EQ(rescans(), 0);
  int looks = 0;  // what has expired is asked for by the search, and then by the look for more
  on_clock_ = [&] {
    if (++looks != 2) return;
    DocumentWrite late = Vector("late", std::vector<float>(kDimension, 9));
    late.document.metadata = "{\"far\": 1}";
    std::thread([&] { Upsert("c", {late}); }).join();
  };
  const auto result = engine_->Search("c", request, {});
  on_clock_ = nullptr;
  EXPECT_GE(looks, 2) << "nobody looked whether more pass";
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(rescans(), 1);
  ASSERT_EQ(result->hits.size(), 6u);
  EXPECT_TRUE(std::any_of(result->hits.begin(), result->hits.end(),
                          [](const SearchHit& hit) { return hit.document.id == "late"; }));
  EXPECT_TRUE(result->effort.exact);
  EXPECT_GT(result->effort.rows_scanned, before->effort.rows_scanned);
  EXPECT_EQ(result->effort.shortfall, Shortfall::kNoMoreDocuments);
}

std::string NameOf(const testing::TestParamInfo<How>& info) {
  return info.param == How::kHnsw ? "Hnsw" : info.param == How::kGraph ? "Graph" : "Lists";
}

INSTANTIATE_TEST_SUITE_P(Indexes, FilterIndexTest,
                         testing::Values(How::kLists, How::kGraph, How::kHnsw), NameOf);
INSTANTIATE_TEST_SUITE_P(Indexes, RepeatedFilterTest, testing::Values(How::kLists), NameOf);
INSTANTIATE_TEST_SUITE_P(Indexes, FarFilterTest,
                         testing::Values(How::kLists, How::kGraph, How::kHnsw), NameOf);

}  // namespace
}  // namespace vecino::engine
