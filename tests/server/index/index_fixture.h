// Rows in clusters, as real data lies, and the ways into an index that the tests of this folder
// share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "server/index/ivf_segment.h"
#include "server/index/shard_index.h"
#include "server/index/training.h"
#include "tests/server/index/vectors.h"

namespace vecino::index {

inline absl::Status GoOn() { return absl::OkStatus(); }

// n × d: normal noise around clusters; unit: of length 1.
inline std::vector<float> ClusteredRows(size_t n, size_t d, bool unit, unsigned seed = 1,
                                        int clusters = 50) {
  std::mt19937 rng(seed);
  std::vector<std::vector<float>> centers;
  for (int i = 0; i < clusters; ++i) centers.push_back(RandomVector(rng, d));
  std::vector<float> rows;
  for (size_t i = 0; i < n; ++i) {
    const std::vector<float>& center = centers[rng() % centers.size()];
    std::vector<float> row = RandomVector(rng, d);
    double norm = 0;
    for (size_t j = 0; j < d; ++j) {
      row[j] = center[j] + 0.6f * row[j];
      norm += double{row[j]} * row[j];
    }
    if (unit) {
      for (float& x : row) x = static_cast<float>(x / std::sqrt(norm));
    }
    rows.insert(rows.end(), row.begin(), row.end());
  }
  return rows;
}

// Labels of the best k rows of rows[i] with label labels[i], in double.
inline std::vector<uint64_t> BestLabels(Metric metric, const std::vector<float>& rows,
                                        const std::vector<uint64_t>& labels, size_t d,
                                        const float* query, size_t k) {
  std::vector<std::pair<double, uint64_t>> scored;
  for (size_t i = 0; i < labels.size(); ++i) {
    const double score = ExactScore(metric, query, rows.data() + i * d, d);
    scored.push_back({metric == Metric::kL2 ? score : -score, labels[i]});
  }
  k = std::min(k, scored.size());
  std::partial_sort(scored.begin(), scored.begin() + static_cast<ptrdiff_t>(k), scored.end());
  std::vector<uint64_t> best;
  for (size_t i = 0; i < k; ++i) best.push_back(scored[i].second);
  return best;
}

inline double Overlap(const std::vector<uint64_t>& truth, const std::vector<Hit>& hits) {
  const std::set<uint64_t> wanted(truth.begin(), truth.end());
  size_t found = 0;
  for (const Hit& hit : hits) found += wanted.contains(hit.label);
  return truth.empty() ? 1.0 : static_cast<double>(found) / static_cast<double>(truth.size());
}

// An index whose rows stand in one frozen tail, labelled from 1.
inline std::unique_ptr<ShardIndex> IndexOf(Metric metric, const std::vector<float>& rows,
                                           size_t d) {
  const size_t n = rows.size() / d;
  auto index = std::make_unique<ShardIndex>(
      ShardIndexOptions{metric, static_cast<int>(d), static_cast<int>(std::max<size_t>(n, 1))});
  for (size_t i = 0; i < n; ++i) index->Add(i + 1, rows.data() + i * d);
  index->FreezeTail();
  return index;
}

}  // namespace vecino::index
