// Compiled without contraction of a · b + c, so that every level rounds alike.
#include "server/index/centroid_order.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

#include "server/index/int8_rows.h"
#include "server/index/pacer.h"

namespace vecino::index {
namespace {

// A part's 8-bit rows stay in the L2 cache (2,048 · 384 bytes).
constexpr size_t kChain = 2048;
// Steps of power iteration towards the longest axis, and rows that it looks at.
constexpr int kAxisSteps = 6;
constexpr size_t kAxisRows = 4096;

class Order {
 public:
  Order(const float* centroids, size_t d, Checkpoint checkpoint)
      : centroids_(centroids), d_(d), pacer_(checkpoint, BestCpuLevel()) {}

  // Appends `part`, which is reordered, to result.
  absl::Status Take(std::span<uint32_t> part) {
    if (part.size() <= kChain) return Chain(part);
    // Sums of floats, one after the other, cost several times what 8-bit products do.
    constexpr double kOfFloats = 8;
    const double products = kOfFloats * static_cast<double>(d_ * part.size());
    if (absl::Status status = pacer_.Did(products); !status.ok()) return status;
    const std::vector<float> axis = Axis(part);
    std::vector<std::pair<float, uint32_t>> places;
    for (const uint32_t i : part) places.emplace_back(Along(axis, i), i);
    std::sort(places.begin(), places.end());
    // The half that is nearer to what came last goes first.
    if (!result.empty()) {
      const float last = Along(axis, result.back());
      if (places.back().first - last < last - places.front().first) {
        std::reverse(places.begin(), places.end());
      }
    }
    for (size_t i = 0; i < part.size(); ++i) part[i] = places[i].second;
    const size_t half = part.size() / 2;
    if (absl::Status status = Take(part.first(half)); !status.ok()) return status;
    return Take(part.subspan(half));
  }

  std::vector<uint32_t> result;

 private:
  const float* row(uint32_t i) const { return centroids_ + size_t{i} * d_; }

  float Along(const std::vector<float>& axis, uint32_t i) const {
    float sum = 0;
    for (size_t j = 0; j < d_; ++j) sum += axis[j] * row(i)[j];
    return sum;
  }

  // Leaves zeros as they are: of equal centroids any order does.
  static void Normalise(std::vector<float>* axis) {
    double square = 0;
    for (const float x : *axis) square += double{x} * x;
    if (!(square > 0)) return;
    for (float& x : *axis) x = static_cast<float>(x / std::sqrt(square));
  }

  std::vector<float> Axis(std::span<const uint32_t> part) const {
    const size_t step = (part.size() + kAxisRows - 1) / kAxisRows;
    std::vector<float> mean(d_), axis(d_), next(d_);
    size_t rows = 0;
    for (size_t i = 0; i < part.size(); i += step, ++rows) {
      for (size_t j = 0; j < d_; ++j) mean[j] += row(part[i])[j];
    }
    for (float& x : mean) x /= static_cast<float>(rows);
    for (size_t j = 0; j < d_; ++j) axis[j] = row(part[0])[j] - mean[j];
    Normalise(&axis);
    for (int round = 0; round < kAxisSteps; ++round) {
      const float centre = std::inner_product(axis.begin(), axis.end(), mean.begin(), 0.0f);
      std::fill(next.begin(), next.end(), 0.0f);
      for (size_t i = 0; i < part.size(); i += step) {
        const float weight = Along(axis, part[i]) - centre;
        for (size_t j = 0; j < d_; ++j) next[j] += weight * (row(part[i])[j] - mean[j]);
      }
      axis = next;
      Normalise(&axis);
    }
    return axis;
  }

  absl::Status Chain(std::span<const uint32_t> part) {
    if (part.empty()) return absl::OkStatus();
    const size_t n = part.size(), stride = Int8Stride(d_);
    std::vector<uint8_t> codes(n * stride);
    std::vector<float> scales(n), norms(n), scores(n);
    for (size_t i = 0; i < n; ++i) {
      scales[i] = QuantizeRow(row(part[i]), d_, codes.data() + i * stride);
      norms[i] = std::inner_product(row(part[i]), row(part[i]) + d_, row(part[i]), 0.0f);
    }
    const Int8Rows rows = {.metric = Metric::kL2,
                           .d = d_,
                           .codes = codes.data(),
                           .scales = scales.data(),
                           .norms = norms.data()};
    Int8Query query(result.empty() ? row(part[0]) : row(result.back()), d_);
    for (size_t step = 0; step < n; ++step) {
      const auto products = static_cast<double>(n * d_);
      if (absl::Status status = pacer_.Did(products); !status.ok()) return status;
      ScoreRange(rows, query, 0, n, scores.data());
      const auto nearest =
          static_cast<size_t>(std::min_element(scores.begin(), scores.end()) - scores.begin());
      norms[nearest] = std::numeric_limits<float>::infinity();  // taken: as far as can be
      result.push_back(part[nearest]);
      query.Assign(row(part[nearest]), d_);
    }
    return absl::OkStatus();
  }

  const float* const centroids_;
  const size_t d_;
  Pacer pacer_;
};

}  // namespace

absl::StatusOr<std::vector<uint32_t>> CentroidOrder(const float* centroids, size_t n, size_t d,
                                                    Checkpoint checkpoint) {
  std::vector<uint32_t> all(n);
  std::iota(all.begin(), all.end(), 0u);
  Order order(centroids, d, checkpoint);
  order.result.reserve(n);
  if (absl::Status status = order.Take(all); !status.ok()) return status;
  return std::move(order.result);
}

}  // namespace vecino::index
