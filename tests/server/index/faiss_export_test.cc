#include "server/index/faiss_export.h"

#include <faiss/Index.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/index_io.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "server/index/faiss_segment.h"
#include "server/index/flat_segment.h"
#include "server/index/ivf_segment.h"
#include "server/index/shard_index.h"
#include "tests/server/index/faiss_rows.h"

namespace vecino::index {
namespace {

const auto kGoOn = [] { return absl::OkStatus(); };
constexpr int kRows = 2000;
constexpr int kQueries = 30;
constexpr int kK = 10;

// A shard with two segments, frozen tails and a tail, all with some dead rows.
class Shard {
 public:
  Shard(IndexKind kind, Metric metric, bool unit, int d)
      : rows_(ClusteredRows(kRows + kQueries, d, unit)),
        options_{.metric = metric, .dimension = d, .unit = unit, .spec = {.kind = kind}},
        index_({.metric = metric, .dimension = d, .tail_capacity = 200}) {
    options_.spec.ef_construction = 60;
  }

  void Fill() {
    Add(0, 900);
    Drain();
    Add(900, 1500);
    Drain();
    Add(1500, kRows);
    for (int i = 0; i < kRows; i += 7) Remove(i);
  }

  void Add(int begin, int end) {
    for (int i = begin; i < end; ++i) {
      index_.Add(LabelOf(i), row(i));
      live_.insert(i);
    }
  }
  void Remove(int i) {
    EXPECT_TRUE(index_.Remove(LabelOf(i)));
    live_.erase(i);
  }
  void Drain() {
    index_.FreezeTail();
    auto frozen = index_.FreezeForDrain(100);
    ASSERT_TRUE(frozen.has_value());
    std::shared_ptr<const Segment> segment;
    if (options_.spec.kind == IndexKind::kAuto) {
      if (generation_ == nullptr) {
        auto generation = Generation::Train(
            options_.metric, options_.unit, static_cast<size_t>(options_.dimension), rows_.data(),
            800, {.id = 1, .nlist = 20, .expected_rows = kRows}, kGoOn);
        ASSERT_TRUE(generation.ok()) << generation.status();
        generation_ = *generation;
      }
      auto built = IvfSegment::Build(*frozen, generation_, "", kGoOn);
      ASSERT_TRUE(built.ok()) << built.status();
      segment = *built;
    } else if (options_.spec.kind == IndexKind::kFlat) {
      FlatSegmentBuilder builder(options_.metric, options_.dimension);
      ASSERT_TRUE(frozen
                      ->ForEachLive(
                          [&](uint64_t label, const float* row) { return builder.Add(label, row); })
                      .ok());
      segment = *builder.Build();
    } else {
      auto built = FaissSegment::Build(*frozen, options_.metric, options_.dimension, options_.unit,
                                       options_.spec, "", kGoOn);
      ASSERT_TRUE(built.ok()) << built.status();
      segment = *built;
    }
    ASSERT_TRUE(index_.Publish(*std::move(frozen), segment).ok());
  }

  absl::StatusOr<ExportedIndex> Export(const std::string& path, Checkpoint checkpoint = kGoOn) {
    return ExportFaiss(ExportRows(index_.Pin()), options_, path, checkpoint);
  }

  const float* row(int i) const { return &rows_[static_cast<size_t>(i) * options_.dimension]; }
  const float* query(int i) const { return row(kRows + i); }
  const std::set<int>& live() const { return live_; }
  ExportOptions& options() { return options_; }
  ShardIndex& index() { return index_; }

 private:
  const std::vector<float> rows_;
  ExportOptions options_;
  ShardIndex index_;
  std::set<int> live_;
  std::shared_ptr<const Generation> generation_;
};

std::string TempPath(const std::string& name) {
  return testing::TempDir() + "/faiss_export_" + std::to_string(getpid()) + "_" + name;
}

using Param = std::tuple<IndexKind, Metric, bool>;

std::string NameOf(const Param& param) {
  return std::string(IndexKindName(std::get<0>(param))) + (std::get<2>(param) ? "_unit"
                                                           : std::get<1>(param) == Metric::kL2
                                                               ? "_l2"
                                                               : "_ip");
}

class FaissExportTest : public testing::TestWithParam<Param> {};

// Reads the file with FAISS, searches it with FAISS, and compares with the rows.
void CheckFile(const Shard& shard, const ExportOptions& options, const ExportedIndex& exported,
               const std::string& path, double recall_bound) {
  const std::unique_ptr<faiss::Index> index(faiss::read_index(path.c_str()));
  const auto n = static_cast<int64_t>(shard.live().size());
  ASSERT_EQ(index->ntotal, n);
  ASSERT_EQ(index->d, options.dimension);
  EXPECT_TRUE(index->is_trained);
  ASSERT_EQ(static_cast<int64_t>(exported.labels.size()), n);
  int64_t id = 0;
  for (const int row : shard.live()) ASSERT_EQ(exported.labels[id++], LabelOf(row));
  double found = 0;
  for (int q = 0; q < kQueries; ++q) {
    std::vector<float> scores(kK);
    std::vector<int64_t> ids(kK);
    index->search(1, shard.query(q), kK, scores.data(), ids.data());
    std::vector<double> truth;
    for (const int row : shard.live()) {
      truth.push_back(
          ExactScore(options.metric, shard.query(q), shard.row(row), options.dimension));
    }
    std::sort(truth.begin(), truth.end());
    if (options.metric != Metric::kL2) std::reverse(truth.begin(), truth.end());
    for (int i = 0; i < kK; ++i) {
      ASSERT_GE(ids[i], 0);
      ASSERT_LT(ids[i], n);
      const int row = static_cast<int>((exported.labels[ids[i]] - 100) / 3);
      const double exact =
          ExactScore(options.metric, shard.query(q), shard.row(row), options.dimension);
      EXPECT_NEAR(scores[i], exact, 1e-3 * std::max(1.0, std::abs(exact)));
      found += options.metric == Metric::kL2 ? exact <= truth[kK - 1] + 1e-5
                                             : exact >= truth[kK - 1] - 1e-5;
    }
  }
  EXPECT_GE(found / (kQueries * kK), recall_bound) << exported.description;
}

TEST_P(FaissExportTest, FaissReadsAndSearchesWhatIsLive) {
  const auto [kind, metric, unit] = GetParam();
  const std::string path = TempPath(NameOf(GetParam()));
  for (const int d : {22, 24}) {  // the first is not a multiple of 4, which matters to AUTO
    if (d == 24 && kind != IndexKind::kAuto) continue;
    Shard shard(kind, metric, unit, d);
    ASSERT_NO_FATAL_FAILURE(shard.Fill());
    const auto exported = shard.Export(path);
    ASSERT_TRUE(exported.ok()) << exported.status();
    EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
    CheckFile(shard, shard.options(), *exported, path,
              kind == IndexKind::kFlat   ? 1
              : kind == IndexKind::kAuto ? 0.8
                                         : 0.88);
  }
  std::filesystem::remove(path);
}

TEST_P(FaissExportTest, RowsOfTheTailAloneAreTrainedOn) {
  const auto [kind, metric, unit] = GetParam();
  const std::string path = TempPath("tail_" + NameOf(GetParam()));
  for (const int n : {1, 700}) {
    Shard shard(kind, metric, unit, 16);
    shard.Add(0, n);
    const auto exported = shard.Export(path);
    ASSERT_TRUE(exported.ok()) << exported.status();
    if (n > kK) {
      CheckFile(shard, shard.options(), *exported, path, 0.85);
    } else {
      const std::unique_ptr<faiss::Index> index(faiss::read_index(path.c_str()));
      EXPECT_EQ(index->ntotal, 1);
    }
  }
  std::filesystem::remove(path);
}

INSTANTIATE_TEST_SUITE_P(Kinds, FaissExportTest,
                         testing::Combine(testing::Values(IndexKind::kAuto, IndexKind::kFlat,
                                                          IndexKind::kIvfFlat, IndexKind::kIvfSq8,
                                                          IndexKind::kIvfPq, IndexKind::kHnsw,
                                                          IndexKind::kLsh),
                                          testing::Values(Metric::kInnerProduct, Metric::kL2),
                                          testing::Values(false)),
                         [](const auto& param) { return NameOf(param.param); });
INSTANTIATE_TEST_SUITE_P(
    Unit, FaissExportTest,
    testing::Combine(testing::Values(IndexKind::kAuto, IndexKind::kIvfFlat, IndexKind::kLsh),
                     testing::Values(Metric::kInnerProduct), testing::Values(true)),
    [](const auto& param) { return NameOf(param.param); });

TEST(FaissExport, LinksOfALoneWholeSegmentAreKept) {
  const std::string path = TempPath("links");
  Shard shard(IndexKind::kHnsw, Metric::kL2, false, 8);
  shard.Add(0, 800);
  ASSERT_NO_FATAL_FAILURE(shard.Drain());
  ASSERT_TRUE(shard.Export(path).ok());
  const auto view = shard.index().Pin();
  const auto& segment = dynamic_cast<const FaissSegment&>(*view->segments[0].segment);
  const auto& links = dynamic_cast<const faiss::IndexHNSW&>(segment.index()).hnsw;
  const std::unique_ptr<faiss::Index> index(faiss::read_index(path.c_str()));
  EXPECT_EQ(dynamic_cast<const faiss::IndexHNSW&>(*index).hnsw.neighbors, links.neighbors);
  std::filesystem::remove(path);
}

TEST(FaissExport, WithoutRefineTheIndexStandsAlone) {
  const std::string path = TempPath("plain");
  Shard shard(IndexKind::kIvfPq, Metric::kL2, false, 16);
  shard.Add(0, 1000);
  shard.options().refine = false;
  ASSERT_TRUE(shard.Export(path).ok());
  const std::unique_ptr<faiss::Index> index(faiss::read_index(path.c_str()));
  const auto* ivf = dynamic_cast<const faiss::IndexIVF*>(index.get());
  ASSERT_NE(ivf, nullptr);
  EXPECT_GE(ivf->nprobe, 1u);
  std::filesystem::remove(path);
}

TEST(FaissExport, NoRowGivesAnEmptyIndex) {
  const std::string path = TempPath("empty");
  Shard shard(IndexKind::kHnsw, Metric::kInnerProduct, false, 5);
  const auto exported = shard.Export(path);
  ASSERT_TRUE(exported.ok()) << exported.status();
  EXPECT_TRUE(exported->labels.empty());
  const std::unique_ptr<faiss::Index> index(faiss::read_index(path.c_str()));
  EXPECT_EQ(index->ntotal, 0);
  EXPECT_EQ(index->d, 5);
  std::filesystem::remove(path);
}

TEST(FaissExport, AFileThatCannotBeWrittenLeavesNothing) {
  Shard shard(IndexKind::kFlat, Metric::kL2, false, 4);
  shard.Add(0, 20);
  const auto failed = shard.Export(TempPath("no_such_folder") + "/index");
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(failed.status().message().find("No such file"), absl::string_view::npos)
      << failed.status();
  if (std::filesystem::exists("/dev/full")) {
    const std::string path = TempPath("full");
    std::filesystem::create_symlink("/dev/full", path + ".tmp");
    EXPECT_EQ(shard.Export(path).status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_FALSE(std::filesystem::exists(path));
    EXPECT_FALSE(std::filesystem::is_symlink(path + ".tmp"));
  }
}

TEST(FaissExport, ACheckpointEndsIt) {
  const std::string path = TempPath("cancelled");
  for (const IndexKind kind : {IndexKind::kFlat, IndexKind::kIvfPq, IndexKind::kHnsw}) {
    Shard shard(kind, Metric::kL2, false, 8);
    shard.Add(0, 500);
    EXPECT_EQ(shard.Export(path, [] { return absl::CancelledError("enough"); }).status().code(),
              absl::StatusCode::kCancelled);
    EXPECT_FALSE(std::filesystem::exists(path));
  }
}

}  // namespace
}  // namespace vecino::index
