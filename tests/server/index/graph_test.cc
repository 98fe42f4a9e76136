#include "server/index/graph.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/index/graph_data.h"

namespace vecino::index {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

bool SameHits(const std::vector<Hit>& a, const std::vector<Hit>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Hit& x, const Hit& y) {
    return x.label == y.label && x.score == y.score;
  });
}

void WriteAll(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

class GraphTest : public testing::TestWithParam<Metric> {};

TEST_P(GraphTest, FindsTheBestRowsWithTheirScores) {
  Data data(GetParam(), 6000, 48);
  const auto graph = MustBuild(data);
  const Tombstones dead(data.size());
  double recall = 0;
  constexpr int kQueries = 100;
  for (int i = 0; i < kQueries; ++i) {
    const std::vector<float> query = data.Draw();
    GraphWork work;
    const auto hits = Find(*graph, data, query.data(), Params(10, 64), dead, nullptr, &work);
    EXPECT_FALSE(work.scanned);
    EXPECT_EQ(work.walks, 1);
    EXPECT_LT(work.distances, data.size() / 2);
    ASSERT_THAT(hits, SizeIs(10));
    recall += Recall(GetParam(), hits, data.Best(query.data(), 10, [](int64_t) { return true; }));
    std::set<uint64_t> labels;
    for (const Hit& hit : hits) {
      labels.insert(hit.label);
      const auto slot = static_cast<int64_t>(hit.label - 1000) / 3;
      EXPECT_NEAR(hit.score, ExactScore(GetParam(), query.data(), data.row(slot), 48), 1e-3);
    }
    EXPECT_THAT(labels, SizeIs(10));
  }
  EXPECT_GE(recall / kQueries, 0.95);
}

TEST_P(GraphTest, AWiderListFindsMore) {
  Data data(GetParam(), 7000, 32);
  const auto graph = MustBuild(data, 8);
  const Tombstones dead(data.size());
  double narrow = 0, wide = 0;
  for (int i = 0; i < 50; ++i) {
    const std::vector<float> query = data.Draw();
    const auto truth = data.Best(query.data(), 10, [](int64_t) { return true; });
    narrow += Recall(GetParam(), Find(*graph, data, query.data(), Params(10, 10), dead), truth);
    wide += Recall(GetParam(), Find(*graph, data, query.data(), Params(10, 100), dead), truth);
  }
  EXPECT_LT(narrow, wide);
  EXPECT_GE(wide / 50, 0.97);
}

TEST_P(GraphTest, AWalkIsAsBroadAsItsPartOfAnAnswerTakes) {
  Data data(GetParam(), 6000, 12);
  // As if it had been measured so.
  const auto curve = [](float ef, size_t aims) {
    RecallTable::Curve curve;
    for (size_t i = 0; i < aims; ++i) {
      curve[i] = {ef + static_cast<float>(i), 0, RecallTable::kAims[i], 0.001f * ef};
    }
    return curve;
  };
  Calibration calibration;
  calibration.k = 10;
  calibration.table.Add(RecallTable::How::kCodes, 1, 1, curve(30, 7));
  calibration.table.Add(RecallTable::How::kCodes, 10, 1, curve(60, RecallTable::kAims.size()));
  calibration.table.Add(RecallTable::How::kCodes, 100, 1, curve(200, RecallTable::kAims.size()));
  const auto graph = MustBuild(data);
  graph->SetCalibration(calibration);
  const Tombstones dead(data.size());
  const std::vector<float> query = data.Draw();
  const auto ef = [&](int k, int aim_k, double target) {
    GraphWork work;
    const SearchParams params{.k = k, .aim_k = aim_k, .recall_target = target};
    EXPECT_THAT(Find(*graph, data, query.data(), params, dead, nullptr, &work), SizeIs(k));
    EXPECT_FALSE(work.scanned);
    return work.ef;
  };
  EXPECT_EQ(ef(10, 1, 0.5), graph->EfFor(0.5, 1));
  EXPECT_EQ(ef(10, 10, 0.5), graph->EfFor(0.5, 10));
  EXPECT_EQ(ef(10, 0, 0.5), graph->EfFor(0.5, 10));
  EXPECT_EQ(ef(10, 100, 0.5), graph->EfFor(0.5, 10));
  const int between = ef(10, 3, 0.5);
  EXPECT_GT(between, graph->EfFor(0.5, 1));
  EXPECT_LT(between, graph->EfFor(0.5, 10));
  // As many as are wanted at least.
  EXPECT_EQ(ef(70, 10, 0.5), 70);
  // What is not reached for one is for ten, of which three are.
  EXPECT_EQ(graph->EfFor(0.99, 1), data.size());
  EXPECT_EQ(ef(10, 3, 0.99), graph->EfFor(0.99, 10));
}

TEST_P(GraphTest, DeadRowsAreWalkedThroughButNotFound) {
  Data data(GetParam(), 6000, 32);
  const auto graph = MustBuild(data);
  for (const int share : {10, 50, 90}) {
    Tombstones dead(data.size());
    std::mt19937 rng(share);
    for (int64_t i = 0; i < data.size(); ++i) {
      if (static_cast<int>(rng() % 100) < share) dead.Kill(i);
    }
    double recall = 0;
    for (int i = 0; i < 50; ++i) {
      const std::vector<float> query = data.Draw();
      const auto hits = Find(*graph, data, query.data(), Params(10, 24), dead);
      ASSERT_THAT(hits, SizeIs(10));
      for (const Hit& hit : hits) {
        EXPECT_FALSE(dead.IsDead(static_cast<int64_t>(hit.label - 1000) / 3));
      }
      recall +=
          Recall(GetParam(), hits,
                 data.Best(query.data(), 10, [&](int64_t slot) { return !dead.IsDead(slot); }));
    }
    EXPECT_GE(recall / 50, 0.9) << share << "% dead";
  }
}

TEST_P(GraphTest, LooksBeyondADeadNeighbourhood) {
  Data data(GetParam(), 8000, 32, /*clusters=*/4);
  const auto graph = MustBuild(data, 8);
  const std::vector<float> query = data.Draw();
  // Half of the rows, the nearest ones.
  Tombstones dead(data.size());
  for (const Hit& hit : data.Best(query.data(), 4000, [](int64_t) { return true; })) {
    dead.Kill(static_cast<int64_t>(hit.label - 1000) / 3);
  }
  GraphWork work;
  const auto hits = Find(*graph, data, query.data(), Params(20, 20), dead, nullptr, &work);
  EXPECT_THAT(hits, SizeIs(20));
  EXPECT_TRUE(work.walks > 1 || work.scanned) << work.walks;
  const auto truth = data.Best(query.data(), 20, [&](int64_t slot) { return !dead.IsDead(slot); });
  EXPECT_GE(Recall(GetParam(), hits, truth), 0.5);
}

TEST_P(GraphTest, AFilterIsHonoured) {
  Data data(GetParam(), 6000, 32);
  const auto graph = MustBuild(data);
  Tombstones dead(data.size());
  for (int64_t i = 0; i < data.size(); i += 5) dead.Kill(i);
  for (const uint64_t one_in : {2, 10, 100, 3000}) {
    std::vector<uint64_t> allowed((data.size() + 63) / 64, 0);
    size_t live = 0;
    for (int64_t i = 0; i < data.size(); ++i) {
      if (i % one_in != 1) continue;
      allowed[i / 64] |= uint64_t{1} << (i % 64);
      live += dead.IsDead(i) ? 0 : 1;
    }
    const auto may = [&](int64_t slot) { return slot % one_in == 1 && !dead.IsDead(slot); };
    double recall = 0;
    for (int i = 0; i < 30; ++i) {
      const std::vector<float> query = data.Draw();
      const auto hits = Find(*graph, data, query.data(), Params(10, 32), dead, allowed.data());
      ASSERT_THAT(hits, SizeIs(std::min<size_t>(10, live)));
      for (const Hit& hit : hits) {
        EXPECT_TRUE(may(static_cast<int64_t>(hit.label - 1000) / 3)) << hit.label;
      }
      recall += Recall(GetParam(), hits, data.Best(query.data(), 10, may));
    }
    EXPECT_GE(recall / 30, 0.9) << "1 in " << one_in;
  }
}

TEST_P(GraphTest, ManyEqualRowsHideNoOthers) {
  Data data(GetParam(), 4000, 32);
  const std::vector<float> repeated = data.Draw();
  for (int i = 0; i < 1000; ++i) data.Add(repeated);
  const auto graph = MustBuild(data);
  const Tombstones dead(data.size());

  GraphWork work;
  const auto hits = Find(*graph, data, repeated.data(), Params(50, 50), dead, nullptr, &work);
  EXPECT_FALSE(work.scanned);
  EXPECT_DOUBLE_EQ(
      Recall(GetParam(), hits, data.Best(repeated.data(), 50, [](int64_t) { return true; })), 1);

  double recall = 0;
  for (int i = 0; i < 100; ++i) {
    const std::vector<float> query = data.Draw();
    recall += Recall(GetParam(), Find(*graph, data, query.data(), Params(10, 64), dead),
                     data.Best(query.data(), 10, [](int64_t) { return true; }));
  }
  EXPECT_GE(recall / 100, 0.95);
}

TEST_P(GraphTest, FewRows) {
  for (const int64_t n : {1, 2, 10, 65}) {
    Data data(GetParam(), n, 32);
    const auto graph = MustBuild(data);
    ASSERT_NE(graph, nullptr);
    EXPECT_EQ(graph->rows(), n);
    const Tombstones dead(n);
    const std::vector<float> query = data.Draw();
    const auto truth = data.Best(query.data(), 10, [](int64_t) { return true; });
    EXPECT_TRUE(SameHits(Find(*graph, data, query.data(), Params(10, 0), dead), truth)) << n;
  }
}

TEST_P(GraphTest, NothingIsFoundWhenAllRowsAreDead) {
  Data data(GetParam(), 3000, 32);
  const auto graph = MustBuild(data);
  Tombstones dead(data.size());
  for (int64_t i = 0; i < data.size(); ++i) dead.Kill(i);
  EXPECT_THAT(Find(*graph, data, data.Draw().data(), Params(10, 16), dead), IsEmpty());
  const Tombstones alive(data.size());
  const std::vector<uint64_t> none((data.size() + 63) / 64, 0);
  EXPECT_THAT(Find(*graph, data, data.Draw().data(), Params(10, 16), alive, none.data()),
              IsEmpty());
}

TEST_P(GraphTest, KMayExceedTheLiveRows) {
  Data data(GetParam(), 3000, 32);
  const auto graph = MustBuild(data);
  Tombstones dead(data.size());
  for (int64_t i = 7; i < data.size(); ++i) dead.Kill(i);
  EXPECT_THAT(Find(*graph, data, data.Draw().data(), Params(10, 16), dead), SizeIs(7));
  EXPECT_THAT(Find(*graph, data, data.Draw().data(), Params(5000, 0), Tombstones(3000)),
              SizeIs(3000));
}

TEST_P(GraphTest, SavedAndLoadedItFindsTheSame) {
  Data data(GetParam(), 4000, 32);
  const auto built = MustBuild(data);
  ASSERT_NE(built, nullptr);
  EXPECT_EQ(built->file(), nullptr);
  built->SetCalibration({.k = 10, .queries = 100, .points = {{16, 0.8f}, {64, 0.97f}}});
  const Tombstones dead(data.size());
  std::vector<std::vector<float>> queries;
  std::vector<std::vector<Hit>> before;
  for (int i = 0; i < 30; ++i) {
    queries.push_back(data.Draw());
    before.push_back(Find(*built, data, queries.back().data(), Params(10, 32), dead));
  }
  const std::string path = TempFile("graph");
  const int64_t bytes = built->bytes();
  ASSERT_TRUE(built->Save(path).ok());
  ASSERT_NE(built->file(), nullptr);
  EXPECT_EQ(built->file()->path(), path);
  const auto loaded = Graph::Load(path, data.size(), SegmentFile::Verify::kAll);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->bytes(), bytes);
  EXPECT_EQ((*loaded)->options().m, 16);
  EXPECT_EQ((*loaded)->calibration().queries, 100);
  EXPECT_EQ((*loaded)->EfFor(0.97, 10), 64);
  for (size_t i = 0; i < queries.size(); ++i) {
    for (const Graph* graph : {static_cast<const Graph*>(built.get()), loaded->get()}) {
      EXPECT_TRUE(SameHits(Find(*graph, data, queries[i].data(), Params(10, 32), dead), before[i]));
    }
  }
}

TEST_P(GraphTest, TheSameSeedGivesTheSameLinks) {
  Data data(GetParam(), 2000, 32);
  const std::string a = TempFile("a"), b = TempFile("b"), c = TempFile("c");
  ASSERT_TRUE(MustBuild(data)->Save(a).ok());
  ASSERT_TRUE(MustBuild(data)->Save(b).ok());
  EXPECT_EQ(ReadAll(a), ReadAll(b));
  Graph::Options options;
  options.m = 16;
  options.seed = 99;
  auto other = Graph::Build(data.rows(), options, GoOn);
  ASSERT_TRUE(other.ok());
  ASSERT_TRUE((*other)->Save(c).ok());
  EXPECT_NE(ReadAll(a), ReadAll(c));
}

INSTANTIATE_TEST_SUITE_P(Metrics, GraphTest, testing::Values(Metric::kInnerProduct, Metric::kL2),
                         [](const auto& metric) {
                           return metric.param == Metric::kL2 ? "L2" : "InnerProduct";
                         });

TEST(GraphArguments, OutOfRangeIsRefused) {
  Data data(Metric::kL2, 10, 32);
  Graph::Options options;
  options.m = 1;
  auto graph = Graph::Build(data.rows(), options, GoOn);
  EXPECT_EQ(graph.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(graph.status().message(), HasSubstr("m = 1"));
  options.m = 257;
  EXPECT_EQ(Graph::Build(data.rows(), options, GoOn).status().code(),
            absl::StatusCode::kInvalidArgument);
  options.m = 8;
  options.ef_construction = 0;
  EXPECT_EQ(Graph::Build(data.rows(), options, GoOn).status().code(),
            absl::StatusCode::kInvalidArgument);
  GraphRows none = data.rows();
  none.rows = 0;
  EXPECT_EQ(Graph::Build(none, {}, GoOn).status().code(), absl::StatusCode::kInvalidArgument);
  using Rows = std::vector<uint32_t>;
  for (const Rows& rows : {Rows{3, 2}, Rows{4, 4}, Rows{10}, Rows{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}) {
    EXPECT_EQ(BuildUnmeasured(data, 32, rows).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(GraphArguments, RowsOfAnotherSegmentAreRefused) {
  Data data(Metric::kL2, 100, 32), other(Metric::kL2, 99, 32);
  const auto graph = MustBuild(data);
  TopK top(Metric::kL2, 1);
  EXPECT_EQ(graph->Search(other.rows(), data.row(0), {}, Tombstones(99), nullptr, &top).code(),
            absl::StatusCode::kInternal);
}

TEST(GraphBuild, TheCheckpointEndsIt) {
  Data data(Metric::kL2, 2000, 32);
  int calls = 0;
  const auto checkpoint = [&]() -> absl::Status {
    return ++calls == 20 ? absl::CancelledError("enough") : absl::OkStatus();
  };
  const auto graph = Graph::Build(data.rows(), {}, checkpoint);
  EXPECT_EQ(graph.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 20);
}

class GraphFile : public testing::Test {
 protected:
  GraphFile() : data_(Metric::kL2, 3000, 32), path_(TempFile("graph")) {
    EXPECT_TRUE(MustBuild(data_, 8)->Save(path_).ok());
  }

  // Writes the sections anew, changed, with right checksums; then loads them.
  absl::Status LoadChanged(const std::string& section, size_t element, uint32_t value) {
    auto file = SegmentFile::Open(path_, "graph", SegmentFile::Verify::kAll);
    EXPECT_TRUE(file.ok());
    const std::string changed = TempFile("changed");
    SegmentFileWriter writer(changed, "graph");
    for (const char* name : {"meta", "levels", "base", "upper_slots", "upper", "calibration"}) {
      const auto bytes = (*file)->Section(name);
      EXPECT_TRUE(bytes.ok()) << bytes.status();
      std::string copy(reinterpret_cast<const char*>(bytes->data()), bytes->size());
      if (name == section) std::memcpy(copy.data() + element * 4, &value, 4);
      EXPECT_TRUE(writer.AddSection(name, copy.data(), copy.size()).ok());
    }
    EXPECT_TRUE(writer.Commit().ok());
    return Graph::Load(changed, data_.size(), SegmentFile::Verify::kAll).status();
  }

  Data data_;
  const std::string path_;
};

TEST_F(GraphFile, EveryLinkMustLeadSomewhere) {
  EXPECT_TRUE(LoadChanged("base", 0, 2999).ok());
  const absl::Status beyond = LoadChanged("base", 3000 * 16 - 1, 3000);
  EXPECT_EQ(beyond.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(beyond.message(), HasSubstr("beyond its 3000 rows"));
  EXPECT_EQ(LoadChanged("base", 0, 0xfffffffe).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(LoadChanged("upper_slots", 3, 3000).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(LoadChanged("upper_slots", 0, 5).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(LoadChanged("upper", 0, 2999).code(), absl::StatusCode::kDataLoss);
}

TEST_F(GraphFile, SizesMustFitTogether) {
  EXPECT_EQ(LoadChanged("meta", 0, 3001).code(), absl::StatusCode::kDataLoss);  // rows
  EXPECT_EQ(LoadChanged("meta", 4, 9).code(), absl::StatusCode::kDataLoss);     // m
  EXPECT_EQ(LoadChanged("meta", 4, 0).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(LoadChanged("meta", 6, 3000).code(), absl::StatusCode::kDataLoss);  // entry
  EXPECT_EQ(LoadChanged("meta", 7, 1000).code(), absl::StatusCode::kDataLoss);  // levels
  EXPECT_EQ(LoadChanged("meta", 10, 7).code(), absl::StatusCode::kDataLoss);    // points
  EXPECT_EQ(LoadChanged("levels", 0, 4000).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(LoadChanged("levels", 0, 0).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Graph::Load(path_, 2999, SegmentFile::Verify::kAll).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(Graph::Load(path_ + "x", 3000, SegmentFile::Verify::kAll).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(GraphFile, ADamagedByteIsNoticed) {
  std::string bytes = ReadAll(path_);
  bytes[bytes.size() / 2] ^= 1;
  WriteAll(path_, bytes);
  EXPECT_EQ(Graph::Load(path_, 3000, SegmentFile::Verify::kAll).status().code(),
            absl::StatusCode::kDataLoss);
  bytes.resize(bytes.size() - 10);
  WriteAll(path_, bytes);
  EXPECT_EQ(Graph::Load(path_, 3000, SegmentFile::Verify::kTable).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(GraphConcurrency, SearchesRunSideBySideWhileRowsDie) {
  Data data(Metric::kInnerProduct, 4000, 32);
  const auto graph = MustBuild(data, 8);
  Tombstones dead(data.size());
  std::vector<std::vector<float>> queries;
  for (int i = 0; i < 40; ++i) queries.push_back(data.Draw());
  std::atomic<int> bad = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int round = 0; round < 5; ++round) {
        for (const auto& query : queries) {
          const bool was_dead = dead.IsDead(0);
          const auto hits = Find(*graph, data, query.data(), Params(10, 16), dead);
          if (hits.size() != 10) ++bad;
          for (const Hit& hit : hits) {
            if (was_dead && hit.label == 1000) ++bad;
          }
        }
      }
    });
  }
  for (int64_t i = 0; i < 2000; ++i) dead.Kill(i);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(bad, 0);
  for (const auto& query : queries) {
    for (const Hit& hit : Find(*graph, data, query.data(), Params(10, 16), dead)) {
      EXPECT_GE(hit.label, 1000u + 3 * 2000);
    }
  }
}

}  // namespace
}  // namespace vecino::index
