// Compiled without contraction of a · b + c, so that every level rounds alike.
#include "server/index/product_quantizer.h"

#include <faiss/Clustering.h>
#include <faiss/Index.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <random>

#include "absl/strings/str_cat.h"
#include "server/index/faiss_status.h"
#include "server/index/float4.h"
#include "server/index/pq_kernels.h"

namespace vecino::index {
namespace {

constexpr size_t kMostRows = 16'384;
constexpr int kIterations = 16;  // FAISS' own 25 take 1.7 times as long for an error 0.6% lower

// What FAISS' clustering asks for the nearest codeword, because its own way through BLAS makes
// training 5 times as long for 4 dimensions.
class CodewordIndex : public faiss::Index {
 public:
  CodewordIndex() : faiss::Index(ProductQuantizer::kSubDimension, faiss::METRIC_L2) {}

  void reset() override { ntotal = 0; }

  // Only all 16 at once, as Clustering does.
  void add(idx_t n, const float* x) override {
    PqMakeKernel(x, kernel_);
    ntotal = n;
  }

  void search(idx_t n, const float* x, idx_t, float* distances, idx_t* labels,
              const faiss::SearchParameters*) const override {
    uint8_t codes[256];
    while (n > 0) {
      const auto count = std::min<idx_t>(n, std::size(codes));
      PqNearestOfOne(kernel_, static_cast<size_t>(count), x, codes, BestCpuLevel());
      for (idx_t i = 0; i < count; ++i, x += 4) {
        float score = -kernel_[64 + codes[i]], norm = 0;
        for (size_t j = 0; j < 4; ++j) {
          score += x[j] * kernel_[16 * j + codes[i]];
          norm += x[j] * x[j];
        }
        labels[i] = codes[i];
        distances[i] = std::max(0.0f, norm - 2 * score);
      }
      n -= count;
      labels += count;
      distances += count;
    }
  }

 private:
  float kernel_[kPqKernelFloats];
};

// Rows to train on, ascending.
std::vector<size_t> SampleRows(size_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<size_t> rows;
  size_t needed = std::min(n, kMostRows);
  rows.reserve(needed);
  for (size_t i = 0; needed > 0; ++i) {
    if (random() % (n - i) >= needed) continue;
    rows.push_back(i);
    --needed;
  }
  return rows;
}

// The codewords of the sub-quantizer that begins at dimension `from`.
absl::Status TrainCodewords(const float* rows, const std::vector<size_t>& sample, size_t d,
                            size_t from, uint64_t seed, float* codewords) {
  constexpr size_t kSub = ProductQuantizer::kSubDimension;
  const size_t width = std::min(kSub, d - from);
  std::vector<float> parts(sample.size() * kSub, 0.0f);
  for (size_t i = 0; i < sample.size(); ++i) {
    const float* row = rows + sample[i] * d + from;
    for (size_t j = 0; j < width; ++j) {
      if (!std::isfinite(row[j])) {
        return absl::InvalidArgumentError(absl::StrCat("product codes: dimension ", from + j,
                                                       " of row ", sample[i],
                                                       " is not a finite number"));
      }
      parts[i * kSub + j] = row[j];
    }
  }
  try {
    const OneOpenMpThread one_thread;
    faiss::ClusteringParameters parameters;
    parameters.niter = kIterations;
    parameters.seed = static_cast<int>(seed % std::numeric_limits<int>::max());
    parameters.min_points_per_centroid = 1;  // fewer than it likes are no reason to print
    parameters.max_points_per_centroid = kMostRows / ProductQuantizer::kCodewords;
    faiss::Clustering clustering(kSub, ProductQuantizer::kCodewords, parameters);
    CodewordIndex index;
    clustering.train(static_cast<faiss::Index::idx_t>(sample.size()), parts.data(), index);
    std::copy_n(clustering.centroids.data(), ProductQuantizer::kCodewords * kSub, codewords);
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("FAISS on training product codes: ", error.what()));
  }
}

}  // namespace

absl::StatusOr<ProductQuantizer> ProductQuantizer::Train(const float* rows, size_t n, size_t d,
                                                         uint64_t seed, Checkpoint checkpoint,
                                                         int threads) {
  if (n < kCodewords) {
    return absl::InvalidArgumentError(
        absl::StrCat("product codes of ", n, " rows: training needs at least ", kCodewords));
  }
  try {
    const std::vector<size_t> sample = SampleRows(n, seed);
    const size_t m = (d + kSubDimension - 1) / kSubDimension;
    std::vector<float> codebooks(m * kCodewords * kSubDimension);
    const absl::Status status = ParallelFor(threads, m, checkpoint, [&](size_t s, Checkpoint) {
      return TrainCodewords(rows, sample, d, s * kSubDimension, seed,
                            codebooks.data() + s * kCodewords * kSubDimension);
    });
    if (!status.ok()) return status;
    return ProductQuantizer(d, codebooks.data());
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory to train product codes on ", n, " rows of ", d, " dimensions"));
  }
}

ProductQuantizer::ProductQuantizer(size_t d, const float* codebooks)
    : d_(d),
      m_((d + kSubDimension - 1) / kSubDimension),
      codebooks_(codebooks, codebooks + m_ * kCodewords * kSubDimension),
      kernel_(m_ * kPqKernelFloats) {
  for (size_t s = 0; s < m_; ++s) {
    PqMakeKernel(codebooks + s * kCodewords * kSubDimension, &kernel_[s * kPqKernelFloats]);
  }
}

void ProductQuantizer::Encode(const float* rows, size_t n, uint8_t* codes, CpuLevel level) const {
  const size_t whole = d_ / kSubDimension, rest = d_ % kSubDimension;
  for (size_t i = 0; i < n; ++i, rows += d_, codes += m_) {
    PqNearest(kernel_.data(), whole, rows, codes, level);
    if (rest == 0) continue;
    float last[kSubDimension] = {};
    std::copy_n(rows + whole * kSubDimension, rest, last);
    PqNearest(&kernel_[whole * kPqKernelFloats], 1, last, codes + whole, level);
  }
}

void ProductQuantizer::Decode(const uint8_t* codes, float* row) const {
  for (size_t i = 0; i < d_; ++i) {
    const size_t s = i / kSubDimension;
    row[i] = codebooks_[(s * kCodewords + codes[s]) * kSubDimension + i % kSubDimension];
  }
}

void ProductQuantizer::MakeTables(Metric metric, const float* query, PqTables* tables,
                                  CpuLevel level) const {
  const size_t whole = d_ / kSubDimension, rest = d_ % kSubDimension;
  const auto scores = std::make_unique_for_overwrite<float[]>(m_ * kCodewords);
  const auto lowest = std::make_unique_for_overwrite<float[]>(m_);
  PqProducts(kernel_.data(), whole, query, scores.get(), level);
  if (rest != 0) {
    float last[kSubDimension] = {};
    std::copy_n(query + whole * kSubDimension, rest, last);
    PqProducts(&kernel_[whole * kPqKernelFloats], 1, last, &scores[whole * kCodewords], level);
  }
  const bool l2 = metric == Metric::kL2;
  if (l2) {  // ‖q − c‖² = ‖q‖² − 2 · score
    for (size_t s = 0; s < m_; ++s) {
      for (size_t c = 0; c < kCodewords; c += 4) {
        float* at = &scores[s * kCodewords + c];
        Store(Load(at) - Load(&kernel_[s * kPqKernelFloats + 64 + c]), at);
      }
    }
  }
  float range = 0;
  double sum_of_lowest = 0;
  for (size_t s = 0; s < m_; ++s) {
    const float* at = &scores[s * kCodewords];
    const Float4 a = Load(at), b = Load(at + 4), c = Load(at + 8), e = Load(at + 12);
    const Float4 low = Min(Min(a, b), Min(c, e)), high = Max(Max(a, b), Max(c, e));
    lowest[s] = std::min(std::min(low[0], low[1]), std::min(low[2], low[3]));
    const float most = std::max(std::max(high[0], high[1]), std::max(high[2], high[3]));
    range = std::max(range, most - lowest[s]);
    sum_of_lowest += lowest[s];
  }
  // One step for all, or sums would mean nothing. Entry e stands for lowest + step · (e − 1).
  const float step = range > 1e-30f ? range / 254 : 1;
  const float inverse = 1 / step;
  constexpr float kShift = 12582912;  // 1.5 · 2^23: adding it leaves the integer in the low bits
  const int32_t shift = std::bit_cast<int32_t>(kShift) - 1;
  tables->bytes.assign(PqTableBytes(m_), 0);
  for (size_t s = 0; s < m_; ++s) {
    Int4 entries[4];
    for (size_t c = 0; c < 4; ++c) {
      const Float4 steps = (Load(&scores[s * kCodewords + 4 * c]) - lowest[s]) * inverse + kShift;
      entries[c] = std::bit_cast<Int4>(steps) - shift;
    }
    StoreBytes(entries, &tables->bytes[s * kCodewords]);
  }
  const double offset = sum_of_lowest - static_cast<double>(step) * static_cast<double>(m_);
  tables->step = step;
  tables->offset = static_cast<float>(offset);
  if (!l2) return;
  double norm = 0;
  for (size_t i = 0; i < d_; ++i) norm += static_cast<double>(query[i]) * query[i];
  tables->step = -2 * step;
  tables->offset = static_cast<float>(norm - 2 * offset);
}

}  // namespace vecino::index
