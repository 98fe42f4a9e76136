// What a graph learns from rows before they are inserted, and what becomes of these.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "server/index/segment_file.h"
#include "tests/server/index/graph_data.h"

namespace vecino::index {
namespace {

using testing::ContainerEq;
using testing::IsEmpty;

bool All(int64_t) { return true; }

class GraphRehearsalTest : public testing::TestWithParam<Metric> {
 protected:
  // Of all rows.
  static std::vector<uint32_t> Every(const Data& data, uint32_t step) {
    std::vector<uint32_t> rows;
    for (uint32_t i = 1; i < data.size(); i += step) rows.push_back(i);
    return rows;
  }
  static uint32_t RowOf(const Hit& hit) { return static_cast<uint32_t>((hit.label - 1000) / 3); }
  // The first level above the lowest, from the graph's file.
  struct Upper {
    size_t nodes = 0, reached = 0;   // from the entry
    double links = 0, distance = 0;  // of a node; of those that are linked, by 1 − cosine
  };
  static Upper UpperOf(Graph& graph, const Data& data, const std::string& name) {
    Upper upper;
    const std::string path = TempFile(name);
    EXPECT_TRUE(graph.Save(path).ok());
    const auto file = SegmentFile::Open(path, "graph", SegmentFile::Verify::kAll);
    EXPECT_TRUE(file.ok()) << file.status();
    if (!file.ok()) return upper;
    const auto values = [&](const char* section) {
      const auto bytes = (*file)->Section(section);
      EXPECT_TRUE(bytes.ok()) << bytes.status();
      const auto* const first = reinterpret_cast<const uint32_t*>(bytes->data());
      return std::vector<uint32_t>(first, first + bytes->size() / sizeof(uint32_t));
    };
    const std::vector<uint32_t> slots = values("upper_slots"), links = values("upper");
    upper.nodes = slots.size();
    const auto m = static_cast<size_t>(graph.options().m);
    std::vector<bool> seen(upper.nodes);
    std::vector<uint32_t> reached = {0};
    seen[0] = true;
    size_t count = 0;
    for (size_t i = 0; i < reached.size(); ++i) {
      for (size_t j = 0; j < m; ++j) {
        const uint32_t to = links[reached[i] * m + j];
        if (to == ~uint32_t{0}) continue;
        ++count;
        const float *a = data.row(slots[reached[i]]), *b = data.row(slots[to]);
        double ab = 0, aa = 0, bb = 0;
        for (int x = 0; x < 32; ++x) ab += a[x] * b[x], aa += a[x] * a[x], bb += b[x] * b[x];
        upper.distance += 1 - ab / std::sqrt(aa * bb);
        if (!seen[to]) seen[to] = true, reached.push_back(to);
      }
    }
    upper.reached = reached.size();
    upper.links = static_cast<double>(count) / static_cast<double>(upper.nodes);
    upper.distance /= static_cast<double>(count);
    return upper;
  }
  // How well each of the rows finds its own neighbours, itself among them.
  static double RecallOf(const Graph& graph, const Data& data, const std::vector<uint32_t>& rows) {
    const Tombstones dead(data.size());
    double recall = 0;
    for (const uint32_t row : rows) {
      recall += Recall(GetParam(), Find(graph, data, data.row(row), Params(10, 64), dead),
                       data.Best(data.row(row), 10, All));
    }
    return recall / static_cast<double>(rows.size());
  }
};

TEST_P(GraphRehearsalTest, ItsRowsAreNewWhenItIsCalledAndFoundAfterwards) {
  Data data(GetParam(), 5000, 32);
  // Equal rows: a hundred of one that is asked for, and pairs, of which some are.
  for (int i = 0; i < 300; ++i) {
    const float* const row = data.row(i < 100 ? 1 : 2 + 3 * i);
    data.Add(std::vector<float>(row, row + 32));
  }
  const std::vector<uint32_t> asked = Every(data, 10);
  std::set<uint32_t> expected(asked.begin(), asked.end());
  expected.erase(1);  // it has too many
  for (uint32_t row = 5000; row < 5100; ++row) expected.erase(row);
  for (uint32_t row = 5100; row < 5300; ++row) {
    const uint32_t twin = 2 + 3 * (row - 5000);
    if (!expected.contains(row) && !expected.contains(twin)) continue;
    expected.insert({row, twin});
  }
  int calls = 0;
  const auto measure = [&](const Graph* graph,
                           const Tombstones& missing) -> absl::StatusOr<Calibration> {
    ++calls;
    std::set<uint32_t> lacks;
    for (int64_t i = 0; i < data.size(); ++i) {
      if (missing.IsDead(i)) lacks.insert(static_cast<uint32_t>(i));
    }
    EXPECT_THAT(lacks, ContainerEq(expected));
    const Tombstones none(data.size());
    double recall = 0;
    for (size_t i = 1; i <= 200; ++i) {
      const float* const query = data.row(asked[i]);
      GraphWork work;
      const auto hits = Find(*graph, data, query, Params(10, 64), none, nullptr, &work);
      EXPECT_FALSE(work.scanned);
      for (const Hit& hit : hits) EXPECT_FALSE(lacks.contains(RowOf(hit)));
      recall += Recall(GetParam(), hits,
                       data.Best(query, 10, [&](int64_t slot) { return !missing.IsDead(slot); }));
    }
    EXPECT_GE(recall / 200, 0.95);
    // Equal rows that are not asked for are there, all of them.
    for (uint32_t row = 5101; row < 5300; row += 5) {
      if (lacks.contains(row)) continue;
      const auto hits = Find(*graph, data, data.row(row), Params(2, 64), none);
      EXPECT_EQ(Recall(GetParam(), hits, data.Best(data.row(row), 2, All)), 1) << row;
    }
    Calibration calibration;
    calibration.queries = 7;
    return calibration;
  };
  const Graph::Rehearsal rehearsal = {.rows = asked, .measure = measure};
  const auto graph = MustBuild(data, 16, &rehearsal);
  ASSERT_NE(graph, nullptr);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(graph->calibration().queries, 7);
  EXPECT_GE(RecallOf(*graph, data, asked), 0.97);
  EXPECT_GE(RecallOf(*graph, data, Every(data, 7)), 0.97);
  const Tombstones none(data.size());
  EXPECT_EQ(Recall(GetParam(), Find(*graph, data, data.row(1), Params(50, 64), none),
                   data.Best(data.row(1), 50, All)),
            1);
  // As good as one that was built at once, on every level.
  const auto plain = MustBuild(data, 16);
  double with = 0, without = 0;
  for (int i = 0; i < 200; ++i) {
    const std::vector<float> query = data.Draw();
    const auto best = data.Best(query.data(), 10, All);
    with += Recall(GetParam(), Find(*graph, data, query.data(), Params(10, 16), none), best);
    without += Recall(GetParam(), Find(*plain, data, query.data(), Params(10, 16), none), best);
  }
  EXPECT_NEAR(with / 200, without / 200, 0.02);
  const Upper upper = UpperOf(*graph, data, "graph"), of_plain = UpperOf(*plain, data, "plain");
  EXPECT_GT(upper.nodes, 100u);
  EXPECT_NEAR(upper.links, of_plain.links, of_plain.links * 0.1);
  EXPECT_NEAR(upper.distance, of_plain.distance, of_plain.distance * 0.1);
  EXPECT_EQ(upper.reached, upper.nodes);
}

TEST_P(GraphRehearsalTest, TheSameGivesTheSameLinks) {
  Data data(GetParam(), 2000, 32);
  const std::vector<uint32_t> asked = Every(data, 20);
  const auto measure = [](const Graph*, const Tombstones&) -> absl::StatusOr<Calibration> {
    return Calibration();
  };
  const Graph::Rehearsal rehearsal = {.rows = asked, .measure = measure};
  std::vector<std::string> bytes;
  for (const char* name : {"a", "b"}) {
    const auto graph = MustBuild(data, 8, &rehearsal);
    ASSERT_NE(graph, nullptr);
    ASSERT_TRUE(graph->Save(TempFile(name)).ok());
    bytes.push_back(ReadAll(TempFile(name)));
  }
  EXPECT_GT(bytes[0].size(), 100'000u);
  EXPECT_EQ(bytes[0], bytes[1]);
}

TEST_P(GraphRehearsalTest, ItsErrorEndsTheBuild) {
  Data data(GetParam(), 500, 32);
  const std::vector<uint32_t> asked = Every(data, 50);
  const auto measure = [](const Graph*, const Tombstones&) -> absl::StatusOr<Calibration> {
    return absl::CancelledError("enough");
  };
  const Graph::Rehearsal rehearsal = {.rows = asked, .measure = measure};
  EXPECT_EQ(Graph::Build(data.rows(), {}, GoOn, &rehearsal).status().code(),
            absl::StatusCode::kCancelled);
}

TEST_P(GraphRehearsalTest, WithoutMoreThanHalfOfTheRowsNothingIsMeasured) {
  Data data(GetParam(), 1, 32);
  const std::vector<float> row(data.row(0), data.row(0) + 32);
  for (int i = 0; i < 99; ++i) data.Add(i < 15 ? row : data.Draw());
  std::vector<uint32_t> asked = Every(data, 1);
  asked.resize(60);
  const auto graph = BuildUnmeasured(data, 4, asked);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(Find(**graph, data, row.data(), Params(100, 100), Tombstones(100)).size(), 100u);
  EXPECT_EQ((*graph)->calibration().queries, 0);
}

TEST_P(GraphRehearsalTest, OfManyEqualRowsNothingIsMeasured) {
  Data data(GetParam(), 1, 32);
  const std::vector<float> row(data.row(0), data.row(0) + 32);
  for (int i = 0; i < 99; ++i) data.Add(row);
  const std::vector<uint32_t> asked = Every(data, 20);
  const auto graph = BuildUnmeasured(data, 4, asked);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(Find(**graph, data, row.data(), Params(100, 100), Tombstones(100)).size(), 100u);
}

// Of so many queries that all find all it is sure.
TEST_P(GraphRehearsalTest, HighTargetsAreReachedWithoutLookingAtAllRows) {
  Data data(GetParam(), 6000, 32);
  const std::vector<uint32_t> asked = Every(data, 15);
  const auto measure = [&](const Graph* graph, const Tombstones& missing) {
    return CalibrateGraph(*graph, data.rows(), missing, asked, 10, GoOn);
  };
  const Graph::Rehearsal rehearsal = {.rows = asked, .measure = measure};
  const auto graph = MustBuild(data, 32, &rehearsal);
  ASSERT_NE(graph, nullptr);
  EXPECT_EQ(graph->calibration().queries, 400);
  EXPECT_LE(graph->EfFor(0.999, 10), 512);
}

// On a thread that has not searched before.
TEST_P(GraphRehearsalTest, CalibrationMeasuresWhatSearchesFind) {
  Data data(GetParam(), 7000, 32);
  const std::vector<uint32_t> asked = Every(data, 17);
  absl::StatusOr<Calibration> calibration = absl::UnknownError("");
  const auto measure = [&](const Graph* graph, const Tombstones& missing) {
    std::thread([&] {
      calibration = CalibrateGraph(*graph, data.rows(), missing, asked, 10, GoOn);
    }).join();
    return calibration;
  };
  const Graph::Rehearsal rehearsal = {.rows = asked, .measure = measure};
  const auto graph = MustBuild(data, 4, &rehearsal);
  ASSERT_NE(graph, nullptr);
  EXPECT_EQ(calibration->k, 10);
  EXPECT_EQ(calibration->queries, static_cast<int>(asked.size()));
  ASSERT_GE(calibration->points.size(), 8u);
  for (size_t i = 1; i < calibration->points.size(); ++i) {
    EXPECT_GT(calibration->points[i].breadth, calibration->points[i - 1].breadth);
    EXPECT_GE(calibration->points[i].recall, calibration->points[i - 1].recall);
  }
  EXPECT_LT(calibration->points.front().recall, 0.97);
  EXPECT_GT(calibration->points.back().recall, 0.98);
  // What is measured on rows that were new is what new queries find, at every breadth.
  const Tombstones none(data.size());
  std::vector<std::vector<float>> queries;
  for (int i = 0; i < 600; ++i) queries.push_back(data.Draw());
  for (const Calibration::Point& point : calibration->points) {
    double recall = 0;
    for (const std::vector<float>& query : queries) {
      recall +=
          Recall(GetParam(), Find(*graph, data, query.data(), Params(10, point.breadth), none),
                 data.Best(query.data(), 10, All));
    }
    EXPECT_NEAR(recall / 600, point.recall, 0.02) << "ef " << point.breadth;
    if (point.recall > 0.995) break;
  }
  double recall = 0;
  for (const std::vector<float>& query : queries) {
    SearchParams params = Params(10, 0);
    params.recall_target = 0.95;
    recall += Recall(GetParam(), Find(*graph, data, query.data(), params, none),
                     data.Best(query.data(), 10, All));
  }
  EXPECT_NEAR(recall / 600, 0.96, 0.02);
}

INSTANTIATE_TEST_SUITE_P(Metrics, GraphRehearsalTest,
                         testing::Values(Metric::kInnerProduct, Metric::kL2),
                         [](const auto& metric) {
                           return metric.param == Metric::kL2 ? "L2" : "InnerProduct";
                         });

TEST(GraphCalibration, CanBeCancelled) {
  Data data(Metric::kL2, 2000, 32);
  const auto graph = MustBuild(data);
  const auto checkpoint = [&]() -> absl::Status { return absl::CancelledError("enough"); };
  Tombstones dead(data.size());
  const auto calibrate = [&] {
    return CalibrateGraph(*graph, data.rows(), dead, {1, 2, 3}, 10, checkpoint).status().code();
  };
  dead.Kill(1);
  dead.Kill(2);
  EXPECT_EQ(calibrate(), absl::StatusCode::kInvalidArgument);  // row 3 would find itself
  dead.Kill(3);
  EXPECT_EQ(calibrate(), absl::StatusCode::kCancelled);
}

// Of which all find all.
TEST(GraphCalibration, AFewQueriesAreNotSure) {
  Data data(Metric::kL2, 3000, 32);
  std::vector<uint32_t> asked = {100, 200, 300, 400};
  const auto measure = [&](const Graph* graph, const Tombstones& missing) {
    return CalibrateGraph(*graph, data.rows(), missing, asked, 10, GoOn);
  };
  const Graph::Rehearsal rehearsal = {.rows = asked, .measure = measure};
  const auto graph = MustBuild(data, 32, &rehearsal);
  ASSERT_NE(graph, nullptr);
  ASSERT_GT(graph->calibration().points.size(), 2u);
  EXPECT_GE(graph->calibration().points[2].recall, 0.95);  // ef 24
  EXPECT_GE(graph->EfFor(0.95, 10), 96);
}

TEST(GraphCalibration, WithoutAnyTheBreadthIsGenerous) {
  Data data(Metric::kL2, 100, 32);
  const auto graph = MustBuild(data);
  EXPECT_GE(graph->EfFor(0.95, 10), 64);
  EXPECT_GE(graph->EfFor(0.95, 1000), 1000);
  const auto calibration =
      CalibrateGraph(*graph, data.rows(), Tombstones(data.size()), {}, 10, GoOn);
  ASSERT_TRUE(calibration.ok());
  EXPECT_EQ(calibration->queries, 0);
  EXPECT_THAT(calibration->points, IsEmpty());
}

}  // namespace
}  // namespace vecino::index
