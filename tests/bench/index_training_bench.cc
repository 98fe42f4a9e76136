// What training costs beside FAISS: CPU seconds, within-cluster sum of squares and imbalance of
// k-means; then assigning, product codes and brute force. One thread; set OMP_NUM_THREADS=1,
// OPENBLAS_NUM_THREADS=1 and OPENBLAS_CORETYPE as for vecinod.
//
// index_training_bench (--rows N) (--clusters K) (--sample N) (--dim D) (--iterations N)
//   (--seed S) (--no-faiss)
#include <faiss/Clustering.h>
#include <faiss/IndexFlat.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <random>
#include <vector>

#include "server/index/kmeans.h"
#include "server/index/product_quantizer.h"

namespace {

using vecino::index::CentroidAssigner;
using vecino::index::CpuLevel;
using vecino::index::CpuLevelName;
using vecino::index::Metric;

// CPU time of this thread, so that what else runs matters less.
class Timer {
 public:
  double Seconds() const { return Now() - begin_; }

 private:
  static double Now() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
  }

  double begin_ = Now();
};

absl::Status GoOn() { return absl::OkStatus(); }

// Unit rows around clusters of different sizes, which lie around a few topics.
std::vector<float> ClusteredRows(size_t n, size_t d) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const size_t topics = 40, clusters = n / 60 + 1;
  std::vector<float> topic(topics * d), centre(clusters * d), rows(n * d);
  for (float& x : topic) x = normal(random);
  for (size_t c = 0; c < clusters; ++c) {
    const float* t = &topic[random() % topics * d];
    for (size_t i = 0; i < d; ++i) centre[c * d + i] = t[i] + normal(random);
  }
  for (size_t r = 0; r < n; ++r) {
    const double u = static_cast<double>(random()) / 4294967296.0;
    const auto c = static_cast<size_t>(u * u * static_cast<double>(clusters));
    double norm = 0;
    for (size_t i = 0; i < d; ++i) {
      rows[r * d + i] = centre[c * d + i] + 1.2f * normal(random);
      norm += static_cast<double>(rows[r * d + i]) * rows[r * d + i];
    }
    const auto scale = static_cast<float>(1 / std::sqrt(norm));
    for (size_t i = 0; i < d; ++i) rows[r * d + i] *= scale;
  }
  return rows;
}

void Judge(const char* name, double seconds, const float* centroids, size_t k,
           const std::vector<float>& rows, size_t n, size_t d) {
  std::vector<uint32_t> lists(n);
  CentroidAssigner(centroids, k, d)
      .Assign(rows.data(), n, lists.data(), nullptr, GoOn)
      .IgnoreError();
  double sum = 0, squares = 0;
  std::vector<double> sizes(k, 0);
  for (size_t i = 0; i < n; ++i) {
    ++sizes[lists[i]];
    for (size_t j = 0; j < d; ++j) {
      const double off = rows[i * d + j] - centroids[lists[i] * d + j];
      sum += off * off;
    }
  }
  for (double s : sizes) squares += s * s;
  std::printf("k-means %-8s %6.2f s  sum of squares %.2f  imbalance %.3f\n", name, seconds, sum,
              squares * static_cast<double>(k) / (static_cast<double>(n) * static_cast<double>(n)));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Training of the index beside FAISS");
  size_t n = 150'000, k = 1'560, d = 384, sample = 100'000;
  int iterations = 10;
  uint64_t seed = 1;
  bool no_faiss = false;
  app.add_option("--rows", n);
  app.add_option("--clusters", k);
  app.add_option("--sample", sample, "Rows that k-means goes over");
  app.add_option("--dim", d);
  app.add_option("--iterations", iterations);
  app.add_option("--seed", seed);
  app.add_flag("--no-faiss", no_faiss);
  CLI11_PARSE(app, argc, argv);
  const std::vector<float> rows = ClusteredRows(n, d);
  sample = std::min(sample, n);

  vecino::index::KMeansOptions options;
  options.clusters = static_cast<int>(k);
  options.iterations = iterations;
  options.seed = seed;
  options.max_rows_per_cluster = static_cast<int>(sample / k + 1);
  const Timer training;
  const auto centroids = vecino::index::TrainKMeans(rows.data(), sample, d, options, GoOn);
  if (!centroids.ok()) {
    std::fprintf(stderr, "%s\n", centroids.status().ToString().c_str());
    return 1;
  }
  Judge("ours", training.Seconds(), centroids->data(), k, rows, sample, d);
  if (!no_faiss) {
    faiss::ClusteringParameters parameters;
    parameters.niter = iterations;
    parameters.seed = static_cast<int>(seed);
    parameters.min_points_per_centroid = 1;
    parameters.max_points_per_centroid = static_cast<int>(sample / k + 1);
    faiss::Clustering clustering(static_cast<int>(d), static_cast<int>(k), parameters);
    faiss::IndexFlatL2 index(static_cast<int64_t>(d));
    const Timer peer;
    clustering.train(static_cast<int64_t>(sample), rows.data(), index);
    Judge("faiss", peer.Seconds(), clustering.centroids.data(), k, rows, sample, d);
  }

  const CentroidAssigner assigner(centroids->data(), k, d);
  std::vector<uint32_t> lists(n);
  for (const CpuLevel level : vecino::index::SupportedCpuLevels()) {
    const size_t count = level == CpuLevel::kPortable ? n / 50 : n;
    const Timer timer;
    assigner.Assign(rows.data(), count, lists.data(), nullptr, GoOn, level).IgnoreError();
    const double seconds = timer.Seconds();
    std::printf("assign %zu rows, %s: %.3f s, %.0f G products/s\n", count,
                std::string(CpuLevelName(level)).c_str(), seconds,
                static_cast<double>(count * k * d) / seconds / 1e9);
  }

  const Timer codes;
  const auto quantizer = vecino::index::ProductQuantizer::Train(rows.data(), n, d, 1, GoOn);
  if (!quantizer.ok()) return 1;
  std::printf("product codes: trained in %.2f s\n", codes.Seconds());
  const size_t m = quantizer->m(), encoded = std::min<size_t>(n, 50'000);
  std::vector<uint8_t> bytes(encoded * m);
  vecino::index::PqTables tables;
  for (const CpuLevel level : vecino::index::SupportedCpuLevels()) {
    const Timer encoding;
    quantizer->Encode(rows.data(), encoded, bytes.data(), level);
    const double row_us = encoding.Seconds() * 1e6 / static_cast<double>(encoded);
    const Timer making;
    for (size_t i = 0; i < 20'000; ++i) {
      quantizer->MakeTables(Metric::kInnerProduct, &rows[i % n * d], &tables, level);
    }
    std::printf("%s: encode %.2f us a row, tables %.2f us\n",
                std::string(CpuLevelName(level)).c_str(), row_us, making.Seconds() * 1e6 / 20'000);
  }

  const size_t queries = std::min<size_t>(n, 1'000);
  std::vector<int64_t> best(queries * 10);
  std::vector<float> scores(best.size());
  const Timer brute;
  vecino::index::BruteForceTopK(rows.data(), n, d, Metric::kInnerProduct, rows.data(), queries,
                                nullptr, 10, best.data(), scores.data(), GoOn)
      .IgnoreError();
  std::printf("brute force, %zu queries x %zu rows: %.3f s\n", queries, n, brute.Seconds());
  return 0;
}
