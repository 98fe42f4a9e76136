#include "tests/server/index/promise.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>
#include <utility>

#include "server/index/kmeans.h"
#include "server/index/training.h"

namespace vecino::index {
namespace {

absl::Status GoOn() { return absl::OkStatus(); }

void Check(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

double CpuSeconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

constexpr int kMostWanted = 100;

}  // namespace

PromiseData PromiseData::Make(size_t rows, size_t queries, size_t d, size_t inner, size_t clusters,
                              unsigned seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  const auto draw = [&](size_t n) {
    std::vector<float> numbers(n);
    for (float& x : numbers) x = normal(random);
    return numbers;
  };
  // Where inner dimensions lie, and each centre.
  const std::vector<float> axes = draw(inner * d),
                           centres = draw(std::max<size_t>(clusters, 1) * d);
  PromiseData data;
  data.d = d;
  std::vector<float> row(d);
  for (size_t i = 0; i < rows + queries; ++i) {
    const double u = static_cast<double>(random() >> 11) * 0x1p-53;
    const auto cluster = static_cast<size_t>(u * u * static_cast<double>(clusters));
    std::fill(row.begin(), row.end(), 0.0f);
    if (clusters > 0)
      std::copy_n(centres.begin() + static_cast<ptrdiff_t>(cluster * d), d, row.begin());
    if (inner == d) {
      for (float& x : row) x += normal(random);
    } else {
      const float scale = std::sqrt(1.0f / static_cast<float>(inner));
      for (size_t a = 0; a < inner; ++a) {
        const float along = 1.2f * scale * normal(random);
        for (size_t j = 0; j < d; ++j) row[j] += along * axes[a * d + j];
      }
      for (float& x : row) x += 0.15f * normal(random);
    }
    double norm = 0;
    for (const float x : row) norm += double{x} * x;
    const auto scale = static_cast<float>(1 / std::sqrt(norm));
    for (float& x : row) x *= scale;
    std::vector<float>& to = i < rows ? data.rows : data.queries;
    to.insert(to.end(), row.begin(), row.end());
  }
  return data;
}

Promise::Promise(PromiseData data, int threads) : data_(std::move(data)) {
  const size_t n = data_.row_count(), d = data_.d;
  ShardIndex index({Metric::kInnerProduct, static_cast<int>(d), static_cast<int>(n)});
  for (size_t i = 0; i < n; ++i) index.Add(i + 1, data_.rows.data() + i * d);
  index.FreezeTail();
  const auto frozen = index.FreezeForDrain(1);
  data_.rows = {};
  double start = CpuSeconds();
  const auto lap = [&] {
    const double now = CpuSeconds();
    return now - std::exchange(start, now);
  };
  auto generation =
      TrainGeneration(*frozen, Metric::kInnerProduct, true, d, {.id = 1, .threads = threads}, GoOn);
  Check(generation.status());
  train_seconds = lap();
  auto segment = IvfSegment::Build(*frozen, *generation, "", GoOn, nullptr, threads);
  Check(segment.status());
  segment_ = *segment;
  encode_seconds = lap();
  auto calibration = CalibrateIvf({{segment_.get()}}, kCalibrationQueries, 1, GoOn, threads);
  Check(calibration.status());
  calibrate_seconds = lap();
  (*generation)->SetCalibration(*std::move(calibration));
  Filter(1);
}

void Promise::Filter(double share) {
  const size_t n = static_cast<size_t>(segment_->size()), d = data_.d;
  std::mt19937_64 random(77);
  std::vector<float> rows;
  passing_ = 0;
  allowed_.clear();
  if (share < 1) allowed_.resize((n + 63) / 64);
  for (size_t slot = 0; slot < n && share < 1; ++slot) {
    if (static_cast<double>(random() >> 11) * 0x1p-53 >= share) continue;
    allowed_[slot / 64] |= uint64_t{1} << (slot % 64);
    const float* row = segment_->vector(static_cast<int64_t>(slot));
    rows.insert(rows.end(), row, row + d);
    ++passing_;
  }
  if (share >= 1) passing_ = static_cast<int64_t>(n);
  const float* const among = share < 1 ? rows.data() : segment_->vector(0);
  best_ = static_cast<int>(std::min<int64_t>(kMostWanted, passing_));
  const size_t count = queries();
  std::vector<int64_t> best(count * static_cast<size_t>(best_));
  scores_.resize(best.size());
  Check(BruteForceTopK(among, static_cast<size_t>(passing_), d, Metric::kInnerProduct,
                       data_.queries.data(), count, nullptr, best_, best.data(), scores_.data(),
                       GoOn));
}

PromiseAnswer Promise::Ask(const SearchParams& params, size_t queries) const {
  const Tombstones none(segment_->size());
  const std::vector<IvfPart> parts = {
      {segment_.get(), &none, allowed_.empty() ? nullptr : allowed_.data()}};
  const int k = std::min(params.k, best_);
  PromiseAnswer answer;
  double found = 0;
  const double start = CpuSeconds();
  for (size_t q = 0; q < queries; ++q) {
    TopK top(Metric::kInnerProduct, params.k);
    IvfWork work;
    Check(SearchIvf(parts, data_.queries.data() + q * data_.d, params, &top, &work));
    const float least =
        scores_[q * static_cast<size_t>(best_) + static_cast<size_t>(k) - 1] - 1e-6f;
    for (const Hit& hit : top.Take()) found += hit.score >= least;
    const auto scanned = static_cast<double>(work.scanned);
    const auto reranked = static_cast<double>(work.reranked);
    const auto gathered = static_cast<double>(work.gathered);
    answer.breadth += work.breadth;
    answer.scanned += scanned;
    answer.reranked += reranked;
    answer.compared += gathered;
    answer.expected += work.recall;
    answer.cost += scanned * (work.by_codes ? SearchCost::kCode : SearchCost::kSkip) +
                   reranked * SearchCost::kRow + gathered * SearchCost::kAllRows;
  }
  answer.micros = 1e6 * (CpuSeconds() - start);
  const auto n = static_cast<double>(queries);
  // Where lists are scanned, centroids were ranked, by their codes.
  if (answer.breadth > 0) answer.cost += n * generation().nlist() * SearchCost::kCode;
  answer.recall = found / (n * k);
  for (double* x : {&answer.breadth, &answer.scanned, &answer.reranked, &answer.compared,
                    &answer.cost, &answer.micros, &answer.expected}) {
    *x /= n;
  }
  return answer;
}

}  // namespace vecino::index
