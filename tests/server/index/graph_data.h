// Rows for tests of graphs, and searches of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/index/distance.h"
#include "server/index/graph.h"
#include "tests/server/index/vectors.h"

namespace vecino::index {

inline absl::Status GoOn() { return absl::OkStatus(); }

// Rows in clusters, with their 8-bit codes. Labels are 1000 + 3 · slot.
class Data {
 public:
  Data(Metric metric, int64_t rows, size_t d, int clusters = 40) : metric_(metric), d_(d), rng_(7) {
    for (int i = 0; i < clusters; ++i) centers_.push_back(RandomVector(rng_, d));
    for (int64_t i = 0; i < rows; ++i) Add(Draw());
  }

  // A vector of the same kind that is not a row.
  std::vector<float> Draw() {
    const std::vector<float>& center = centers_[rng_() % centers_.size()];
    std::vector<float> v = RandomVector(rng_, d_);
    double norm = 0;
    for (size_t j = 0; j < d_; ++j) {
      v[j] = center[j] + 0.5f * v[j];
      norm += v[j] * v[j];
    }
    if (metric_ == Metric::kInnerProduct) {
      for (float& x : v) x /= static_cast<float>(std::sqrt(norm));
    }
    return v;
  }

  void Add(const std::vector<float>& v) {
    const size_t stride = Int8Stride(d_), n = labels_.size();
    vectors_.insert(vectors_.end(), v.begin(), v.end());
    codes_.resize((n + 1) * stride);
    scales_.push_back(QuantizeRow(v.data(), d_, codes_.data() + n * stride));
    norms_.push_back(0);
    for (const float x : v) norms_.back() += x * x;
    labels_.push_back(1000 + 3 * n);
  }

  GraphRows rows() const {
    GraphRows rows;
    rows.rounded = {.metric = metric_,
                    .d = d_,
                    .codes = codes_.data(),
                    .scales = scales_.data(),
                    .norms = metric_ == Metric::kL2 ? norms_.data() : nullptr};
    rows.vectors = vectors_.data();
    rows.labels.wide = labels_.data();
    rows.rows = static_cast<int64_t>(labels_.size());
    return rows;
  }
  const float* row(int64_t slot) const { return vectors_.data() + slot * d_; }
  int64_t size() const { return static_cast<int64_t>(labels_.size()); }

  // The k best of the rows that `keep` wants, by floats.
  template <typename Keep>
  std::vector<Hit> Best(const float* query, int k, Keep keep) const {
    std::vector<float> scores(labels_.size());
    Score(metric_, query, vectors_.data(), d_, labels_.size(), scores.data());
    TopK top(metric_, k);
    for (int64_t i = 0; i < size(); ++i) {
      if (keep(i)) top.Push(labels_[i], scores[i]);
    }
    return top.Take();
  }

 private:
  const Metric metric_;
  const size_t d_;
  std::mt19937 rng_;
  std::vector<std::vector<float>> centers_;
  std::vector<float> vectors_, scales_, norms_;
  std::vector<uint8_t> codes_;
  std::vector<uint64_t> labels_;
};

inline std::shared_ptr<Graph> MustBuild(const Data& data, int m = 16,
                                        const Graph::Rehearsal* rehearsal = nullptr) {
  Graph::Options options;
  options.m = m;
  auto graph = Graph::Build(data.rows(), options, GoOn, rehearsal);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return graph.ok() ? *graph : nullptr;
}

inline SearchParams Params(int k, int ef) {
  SearchParams params;
  params.k = k;
  params.ef = ef;
  return params;
}

inline std::vector<Hit> Find(const Graph& graph, const Data& data, const float* query,
                             const SearchParams& params, const Tombstones& dead,
                             const uint64_t* allowed = nullptr, GraphWork* work = nullptr) {
  TopK top(data.rows().rounded.metric, params.k);
  const absl::Status status = graph.Search(data.rows(), query, params, dead, allowed, &top, work);
  EXPECT_TRUE(status.ok()) << status;
  return top.Take();
}

// The share of `truth` that `hits` reach; ties count.
inline double Recall(Metric metric, const std::vector<Hit>& hits, const std::vector<Hit>& truth) {
  if (truth.empty()) return 1;
  const float worst = truth.back().score;
  double found = 0;
  for (const Hit& hit : hits) {
    found += metric == Metric::kL2 ? hit.score <= worst + 1e-5f : hit.score >= worst - 1e-6f;
  }
  return std::min(1.0, found / static_cast<double>(truth.size()));
}

// A path that no other test has.
inline std::string TempFile(const std::string& name) {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  std::string unique = std::string(test->test_suite_name()) + "." + test->name();
  std::replace(unique.begin(), unique.end(), '/', '_');
  const std::string folder = testing::TempDir() + "/" + unique;
  std::filesystem::create_directories(folder);
  return folder + "/" + name;
}

inline std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

// Of a build with a rehearsal of these rows that has nothing to measure.
inline absl::StatusOr<std::shared_ptr<Graph>> BuildUnmeasured(const Data& data, int m,
                                                              const std::vector<uint32_t>& asked) {
  const auto measure = [](const Graph*, const Tombstones&) -> absl::StatusOr<Calibration> {
    ADD_FAILURE() << "measured";
    return Calibration();
  };
  const Graph::Rehearsal rehearsal = {.rows = asked, .measure = measure};
  Graph::Options options;
  options.m = m;
  return Graph::Build(data.rows(), options, GoOn, &rehearsal);
}

}  // namespace vecino::index
