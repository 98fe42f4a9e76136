#include "server/index/kmeans.h"

#include <faiss/Clustering.h>
#include <faiss/IndexFlat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "server/index/distance.h"
#include "server/index/tombstones.h"
#include "tests/server/index/clusters.h"

namespace vecino::index {
namespace {

absl::Status GoOn() { return absl::OkStatus(); }

// How well centroids serve rows, measured in double.
struct Quality {
  double sum_of_squares = 0;
  double imbalance = 0;  // 1 when all lists are equally long
};

size_t Nearest(const float* centroids, size_t k, size_t d, const float* row, double* distance) {
  size_t best = 0;
  *distance = std::numeric_limits<double>::infinity();
  for (size_t c = 0; c < k; ++c) {
    float sum = 0;
    for (size_t i = 0; i < d; ++i) {
      sum += (row[i] - centroids[c * d + i]) * (row[i] - centroids[c * d + i]);
    }
    if (sum < *distance) best = c, *distance = sum;
  }
  return best;
}

Quality Measure(const std::vector<float>& centroids, const std::vector<float>& rows, size_t d) {
  const size_t k = centroids.size() / d, n = rows.size() / d;
  Quality quality;
  std::vector<double> sizes(k, 0);
  for (size_t i = 0; i < n; ++i) {
    double distance;
    ++sizes[Nearest(centroids.data(), k, d, &rows[i * d], &distance)];
    quality.sum_of_squares += distance;
  }
  for (double s : sizes) quality.imbalance += s * s;
  quality.imbalance *= static_cast<double>(k) / (static_cast<double>(n) * static_cast<double>(n));
  return quality;
}

TEST(KMeansTest, IsAsGoodAsFaiss) {
  constexpr size_t kN = 4000, kD = 50, kClusters = 100;
  const std::vector<float> rows = ClusteredRows(kN, kD, 1);
  KMeansOptions options;
  options.clusters = kClusters;
  options.iterations = 12;
  const auto ours = TrainKMeans(rows.data(), kN, kD, options, GoOn);
  ASSERT_TRUE(ours.ok()) << ours.status();
  ASSERT_EQ(ours->size(), kClusters * kD);

  // FAISS' result depends on its random start by a percent or two here: the median of three.
  std::vector<double> sums, imbalances;
  for (int seed : {1, 2, 3}) {
    faiss::ClusteringParameters parameters;
    parameters.niter = options.iterations;
    parameters.seed = seed;
    parameters.min_points_per_centroid = 1;
    faiss::Clustering clustering(kD, kClusters, parameters);
    faiss::IndexFlatL2 index(kD);
    clustering.train(kN, rows.data(), index);
    const Quality theirs = Measure(clustering.centroids, rows, kD);
    sums.push_back(theirs.sum_of_squares);
    imbalances.push_back(theirs.imbalance);
  }
  std::sort(sums.begin(), sums.end());
  std::sort(imbalances.begin(), imbalances.end());
  const Quality quality = Measure(*ours, rows, kD);
  RecordProperty("sum_of_squares_over_faiss", std::to_string(quality.sum_of_squares / sums[1]));
  EXPECT_LE(quality.sum_of_squares, 1.01 * sums[1]);
  EXPECT_LE(quality.imbalance, 1.1 * imbalances[1]);
}

TEST(KMeansTest, CoarseIterationsComeCloseInLessTime) {
  constexpr size_t kN = 4000, kD = 50, kClusters = 100;
  const std::vector<float> rows = ClusteredRows(kN, kD, 1);
  KMeansOptions options;
  options.clusters = kClusters;
  const auto whole = TrainKMeans(rows.data(), kN, kD, options, GoOn);
  options.coarse_iterations = 6;
  const auto coarse = TrainKMeans(rows.data(), kN, kD, options, GoOn);
  options.threads = 3;
  const auto shared = TrainKMeans(rows.data(), kN, kD, options, GoOn);
  ASSERT_TRUE(whole.ok() && coarse.ok() && shared.ok());
  EXPECT_EQ(*coarse, *shared);
  EXPECT_NE(*coarse, *whole);
  const Quality best = Measure(*whole, rows, kD), quality = Measure(*coarse, rows, kD);
  EXPECT_LE(quality.sum_of_squares, 1.06 * best.sum_of_squares);
  EXPECT_LE(quality.imbalance, 1.2 * best.imbalance);
}

TEST(KMeansTest, EqualSeedsGiveEqualBytesAtEveryLevel) {
  constexpr size_t kN = 1500, kD = 37;
  const std::vector<float> rows = ClusteredRows(kN, kD, 2);
  for (const int two_level_above : {10'000, 10}) {
    KMeansOptions options;
    options.clusters = 70;
    options.max_rows_per_cluster = 16;  // so that the sample is random, too
    options.two_level_above = two_level_above;
    const auto first = TrainKMeans(rows.data(), kN, kD, options, GoOn);
    ASSERT_TRUE(first.ok());
    for (CpuLevel level : SupportedCpuLevels()) {
      const auto again = TrainKMeans(rows.data(), kN, kD, options, GoOn, level);
      ASSERT_TRUE(again.ok());
      EXPECT_EQ(*again, *first) << CpuLevelName(level) << " " << two_level_above;
    }
    options.threads = 3;
    EXPECT_EQ(*TrainKMeans(rows.data(), kN, kD, options, GoOn), *first) << two_level_above;
    options.seed = 99;
    EXPECT_NE(*TrainKMeans(rows.data(), kN, kD, options, GoOn), *first);
  }
}

TEST(KMeansTest, TwoLevelsGiveWhatWasAskedForAndNotMuchWorse) {
  constexpr size_t kN = 3000, kD = 24;
  const std::vector<float> rows = ClusteredRows(kN, kD, 3);
  KMeansOptions options;
  options.clusters = 113;
  const auto one = TrainKMeans(rows.data(), kN, kD, options, GoOn);
  options.two_level_above = 112;
  const auto two = TrainKMeans(rows.data(), kN, kD, options, GoOn);
  ASSERT_TRUE(one.ok() && two.ok());
  ASSERT_EQ(two->size(), 113 * kD);
  EXPECT_NE(*one, *two);
  EXPECT_LE(Measure(*two, rows, kD).sum_of_squares, 1.15 * Measure(*one, rows, kD).sum_of_squares);
}

TEST(KMeansTest, ClustersMustBeOneToTheNumberOfRows) {
  const std::vector<float> rows(20, 1);
  for (int clusters : {-1, 0, 6}) {
    KMeansOptions options;
    options.clusters = clusters;
    const auto result = TrainKMeans(rows.data(), 5, 4, options, GoOn);
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument) << clusters;
    EXPECT_THAT(result.status().message(), testing::HasSubstr("5 rows"));
  }
}

TEST(KMeansTest, AsManyClustersAsRowsGiveTheRows) {
  constexpr size_t kN = 40, kD = 10;
  const std::vector<float> rows = ClusteredRows(kN, kD, 4);
  for (const int two_level_above : {10'000, 1}) {
    KMeansOptions options;
    options.clusters = kN;
    options.two_level_above = two_level_above;
    const auto centroids = TrainKMeans(rows.data(), kN, kD, options, GoOn);
    ASSERT_TRUE(centroids.ok()) << centroids.status();
    ASSERT_EQ(centroids->size(), kN * kD);
    EXPECT_LT(Measure(*centroids, rows, kD).sum_of_squares, 1e-6);
  }
}

TEST(KMeansTest, EqualRowsAndZerosGiveFiniteCentroids) {
  constexpr size_t kN = 300, kD = 6;
  for (float x : {0.0f, 3.5f}) {
    const std::vector<float> rows(kN * kD, x);
    for (const int two_level_above : {10'000, 4}) {
      for (bool spherical : {false, true}) {
        KMeansOptions options;
        options.clusters = 20;
        options.two_level_above = two_level_above;
        options.spherical = spherical;
        const auto centroids = TrainKMeans(rows.data(), kN, kD, options, GoOn);
        ASSERT_TRUE(centroids.ok()) << centroids.status();
        ASSERT_EQ(centroids->size(), 20 * kD);
        for (float c : *centroids) {
          EXPECT_NEAR(c, spherical && x != 0 ? 1 / std::sqrt(6.0f) : x, 1e-5f);
        }
      }
    }
  }
}

TEST(KMeansTest, LostClustersAreReseeded) {
  // Nearly all rows are equal, so most random starts are equal and lose their rows; the 16 others
  // far apart each deserve a cluster.
  constexpr size_t kD = 16;
  std::vector<float> rows;
  for (size_t i = 0; i < 320; ++i) {
    for (size_t j = 0; j < kD; ++j) {
      rows.push_back(i < 160 ? 0.0f : (i % 16 == j ? 10.0f : 0.0f));
    }
  }
  KMeansOptions options;
  options.clusters = 17;
  options.iterations = 30;
  const auto centroids = TrainKMeans(rows.data(), 320, kD, options, GoOn);
  ASSERT_TRUE(centroids.ok());
  EXPECT_LT(Measure(*centroids, rows, kD).sum_of_squares, 1);
}

TEST(KMeansTest, SphericalCentroidsHaveLengthOne) {
  const std::vector<float> rows = ClusteredRows(600, 33, 5, /*unit=*/true);
  KMeansOptions options;
  options.clusters = 25;
  options.spherical = true;
  const auto centroids = TrainKMeans(rows.data(), 600, 33, options, GoOn);
  ASSERT_TRUE(centroids.ok());
  for (size_t c = 0; c < 25; ++c) {
    double norm = 0;
    for (size_t i = 0; i < 33; ++i) norm += std::pow((*centroids)[c * 33 + i], 2);
    EXPECT_NEAR(norm, 1, 1e-5);
  }
}

TEST(KMeansTest, OffsetsThatDwarfTheDifferencesDoNoHarm) {
  constexpr size_t kN = 800, kD = 12;
  std::vector<float> rows = ClusteredRows(kN, kD, 6);
  KMeansOptions options;
  options.clusters = 30;
  const auto plain = TrainKMeans(rows.data(), kN, kD, options, GoOn);
  const Quality before = Measure(*plain, rows, kD);
  for (float& x : rows) x += 1000;
  const auto moved = TrainKMeans(rows.data(), kN, kD, options, GoOn);
  EXPECT_NEAR(Measure(*moved, rows, kD).sum_of_squares, before.sum_of_squares,
              0.02 * before.sum_of_squares);
}

// How often a piece of work asks, and that its answer is heeded at once.
template <typename Work>
void ExpectCancels(const Work& work, int at_least) {
  int calls = 0;
  auto status = work([&] {
    ++calls;
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_GE(calls, at_least);
  const int stop_at = calls / 2 + 1;
  int asked = 0;
  status = work([&]() -> absl::Status {
    return ++asked == stop_at ? absl::CancelledError("stop") : absl::OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(asked, stop_at);
}

TEST(KMeansTest, CheckpointsAreFrequentAndCancel) {
  constexpr size_t kN = 1200, kD = 48;
  const std::vector<float> rows = ClusteredRows(kN, kD, 7);
  KMeansOptions options;
  options.clusters = 64;
  for (const int two_level_above : {10'000, 20}) {
    options.two_level_above = two_level_above;
    options.iterations = two_level_above == 20 ? 4 : 10;
    // The portable level takes 4 million products between two checkpoints: an iteration is 3.7.
    ExpectCancels(
        [&](Checkpoint checkpoint) {
          return TrainKMeans(rows.data(), kN, kD, options, checkpoint, CpuLevel::kPortable)
              .status();
        },
        two_level_above == 20 ? 1 : 6);
  }
  const CentroidAssigner assigner(rows.data(), 200, kD);
  std::vector<uint32_t> lists(kN);
  ExpectCancels(
      [&](Checkpoint checkpoint) {
        return assigner.Assign(rows.data(), kN, lists.data(), nullptr, checkpoint,
                               CpuLevel::kPortable);
      },
      2);
  std::vector<int64_t> best(200 * 3);
  std::vector<float> scores(best.size());
  ExpectCancels(
      [&](Checkpoint checkpoint) {
        return BruteForceTopK(rows.data(), kN, kD, Metric::kL2, rows.data(), 200, nullptr, 3,
                              best.data(), scores.data(), checkpoint, 1, CpuLevel::kPortable);
      },
      2);
}

TEST(CentroidAssignerTest, FindsTheNearestOrOneAsNear) {
  for (size_t d : {1, 5, 64, 130}) {
    constexpr size_t kN = 500, kClusters = 90;
    const std::vector<float> rows = ClusteredRows(kN, d, 8), centroids = ClusteredRows(90, d, 9);
    const CentroidAssigner assigner(centroids.data(), kClusters, d);
    EXPECT_EQ(assigner.count(), kClusters);
    EXPECT_GE(assigner.bytes(), static_cast<int64_t>(kClusters * d));
    std::vector<uint32_t> lists(kN), expected;
    std::vector<float> distances(kN);
    for (CpuLevel level : SupportedCpuLevels()) {
      ASSERT_TRUE(
          assigner.Assign(rows.data(), kN, lists.data(), distances.data(), GoOn, level).ok());
      if (expected.empty()) expected = lists;
      EXPECT_EQ(lists, expected) << CpuLevelName(level);
    }
    for (size_t i = 0; i < kN; ++i) {
      double least;
      Nearest(centroids.data(), kClusters, d, &rows[i * d], &least);
      ASSERT_LT(lists[i], kClusters);
      const double found = ExactScore(Metric::kL2, &rows[i * d], &centroids[lists[i] * d], d);
      const std::vector<float> zero(d, 0);  // rounding is relative to lengths
      const double slack =
          0.02 * (ExactScore(Metric::kL2, &rows[i * d], zero.data(), d) +
                  ExactScore(Metric::kL2, &centroids[lists[i] * d], zero.data(), d));
      EXPECT_LE(found, least + 2 * slack) << d;
      EXPECT_NEAR(distances[i], found, slack) << d;
    }
  }
}

TEST(CentroidAssignerTest, NoRowsAndOneCentroid) {
  const std::vector<float> rows = ClusteredRows(10, 7, 1);
  const CentroidAssigner assigner(rows.data(), 1, 7);
  EXPECT_TRUE(assigner.Assign(nullptr, 0, nullptr, nullptr, GoOn).ok());
  std::vector<uint32_t> lists(10, 5);
  ASSERT_TRUE(assigner.Assign(rows.data(), 10, lists.data(), nullptr, GoOn).ok());
  EXPECT_EQ(lists, std::vector<uint32_t>(10, 0));
}

TEST(BruteForceTopKTest, FindsWhatComparingAllFinds) {
  constexpr size_t kN = 1500, kQueries = 70;
  constexpr int kK = 10;
  for (size_t d : {3, 40, 65}) {
    std::vector<float> rows = ClusteredRows(kN, d, 10);
    std::copy_n(rows.begin(), 20 * d, rows.begin() + static_cast<ptrdiff_t>(300 * d));  // twins
    const std::vector<float> queries(rows.begin(), rows.begin() + kQueries * d);
    std::vector<int64_t> self(kQueries);
    for (size_t q = 0; q < kQueries; ++q) self[q] = static_cast<int64_t>(q);
    for (Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
      std::vector<int64_t> first;
      for (CpuLevel level : SupportedCpuLevels()) {
        std::vector<int64_t> best(kQueries * kK);
        std::vector<float> scores(best.size());
        ASSERT_TRUE(BruteForceTopK(rows.data(), kN, d, metric, queries.data(), kQueries,
                                   self.data(), kK, best.data(), scores.data(), GoOn, 1, level)
                        .ok());
        if (first.empty()) first = best;
        EXPECT_EQ(best, first) << CpuLevelName(level);
        for (size_t q = 0; q < kQueries; ++q) {
          std::vector<double> exact;
          for (size_t i = 0; i < kN; ++i) {
            if (i == q) continue;
            const double score = ExactScore(metric, &queries[q * d], &rows[i * d], d);
            exact.push_back(metric == Metric::kL2 ? score : -score);
          }
          std::partial_sort(exact.begin(), exact.begin() + kK, exact.end());
          const std::set<int64_t> found(best.begin() + q * kK, best.begin() + (q + 1) * kK);
          EXPECT_EQ(found.size(), static_cast<size_t>(kK));
          EXPECT_FALSE(found.contains(static_cast<int64_t>(q)));
          for (int i = 0; i < kK; ++i) {
            const double sign = metric == Metric::kL2 ? 1 : -1;
            EXPECT_NEAR(sign * scores[q * kK + i], exact[i], 1e-3) << d << " " << q << " " << i;
            EXPECT_NEAR(ExactScore(metric, &queries[q * d], &rows[best[q * kK + i] * d], d),
                        scores[q * kK + i], 1e-3);
          }
        }
      }
    }
  }
}

TEST(BruteForceTopKTest, DeadRowsAreNotFound) {
  constexpr size_t kN = 3000, kD = 20, kK = 5;
  std::vector<float> rows = ClusteredRows(kN, kD, /*unit=*/false);
  Tombstones dead(kN);
  // Most of the best by inner product, and among rows that fill no block.
  for (size_t row = 0; row < kN; ++row) {
    if (row % 3 != 0 && row != kN - 1) continue;
    for (size_t j = 0; j < kD; ++j) rows[row * kD + j] *= 10;
    dead.Kill(static_cast<int64_t>(row));
  }
  std::vector<int64_t> best(20 * kK);
  std::vector<float> scores(best.size());
  ASSERT_TRUE(BruteForceTopK(
                  rows.data(), kN, kD, Metric::kInnerProduct, rows.data(), 20, nullptr, kK,
                  best.data(), scores.data(), [] { return absl::OkStatus(); }, 2, BestCpuLevel(),
                  &dead)
                  .ok());
  for (size_t q = 0; q < 20; ++q) {
    std::vector<float> all;
    for (size_t row = 0; row < kN; ++row) {
      float score;
      Score(Metric::kInnerProduct, rows.data() + q * kD, rows.data() + row * kD, kD, 1, &score);
      if (!dead.IsDead(static_cast<int64_t>(row))) all.push_back(score);
    }
    std::sort(all.rbegin(), all.rend());
    for (size_t i = 0; i < kK; ++i) {
      ASSERT_GE(best[q * kK + i], 0);
      EXPECT_FALSE(dead.IsDead(best[q * kK + i]));
      EXPECT_EQ(scores[q * kK + i], all[i]);
    }
  }
}

TEST(BruteForceTopKTest, AnyNumberOfThreadsFindsTheSame) {
  constexpr size_t kN = 5000, kD = 24, kQueries = 70, kK = 20;
  std::vector<float> rows = ClusteredRows(kN, kD, 11);
  // Twins in every part of the rows, more than are kept of one part.
  for (size_t i = 100; i < kN; i += 3) std::copy_n(rows.begin(), kD, &rows[i * kD]);
  for (Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
    std::vector<int64_t> first, best(kQueries * kK);
    for (const int threads : {1, 2, 3, 8}) {
      std::vector<float> scores(best.size());
      ASSERT_TRUE(BruteForceTopK(rows.data(), kN, kD, metric, rows.data(), kQueries, nullptr, kK,
                                 best.data(), scores.data(), GoOn, threads)
                      .ok());
      if (first.empty()) first = best;
      EXPECT_EQ(best, first) << threads;
    }
  }
}

TEST(BruteForceTopKTest, FewerRowsThanAskedForAndEqualOnes) {
  const std::vector<float> rows = {1, 1, 1, 1, 1, 1};  // three equal rows
  const int64_t exclude = 1;
  int64_t best[4];
  float scores[4];
  ASSERT_TRUE(BruteForceTopK(rows.data(), 3, 2, Metric::kL2, rows.data(), 1, &exclude, 4, best,
                             scores, GoOn)
                  .ok());
  EXPECT_THAT(best, testing::ElementsAre(0, 2, -1, -1));
  EXPECT_EQ(scores[0], 0);
  EXPECT_EQ(scores[2], std::numeric_limits<float>::infinity());
  ASSERT_TRUE(BruteForceTopK(nullptr, 0, 2, Metric::kInnerProduct, rows.data(), 1, nullptr, 1, best,
                             scores, GoOn)
                  .ok());
  EXPECT_EQ(best[0], -1);
  EXPECT_EQ(
      BruteForceTopK(rows.data(), 3, 2, Metric::kL2, rows.data(), 1, nullptr, 0, best, scores, GoOn)
          .code(),
      absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace vecino::index
