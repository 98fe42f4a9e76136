#include "server/engine/operation_estimate.h"

#include <algorithm>
#include <functional>

#include "server/engine/memory_budget.h"
#include "server/index/calibration.h"
#include "server/index/generation.h"
#include "server/index/trial.h"

namespace vecino::engine {
namespace {

using index::IndexKind;
using index::SegmentKind;

// Rates of one core.
constexpr double kCopyBytesPerSecond = 5e8;      // read, check, write, sync
constexpr double kByteProductsPerSecond = 1e11;  // 8-bit k-means and assignment
constexpr double kProductsPerSecond = 5e9;       // FAISS' k-means and assignment, in floats
constexpr double kEncodeSeconds = 3e-9;          // a row and dimension: product codes
constexpr double kLinkSeconds = 5e-8;            // a row, dimension and candidate of HNSW
constexpr int kFaissIterations = 25;             // FAISS' own default
constexpr int kDefaultEfConstruction = 100;

SegmentKind KindFor(const IndexSpec& spec, int64_t rows, const MaintenancePolicy& policy) {
  return rows <= policy.exact_rows ? SegmentKind::kFlat : index::TrainedKind(spec.kind);
}

// Multiply-adds of training nlist centroids on a sample and finding the nearest for every row.
double ListProducts(int64_t rows, int nlist, int64_t sample, double iterations, int dimension) {
  return (static_cast<double>(sample) * iterations + static_cast<double>(rows)) * nlist * dimension;
}

double BuildSeconds(SegmentKind kind, bool retrain, const IndexSpec& spec, int64_t rows, int nlist,
                    int64_t sample, int dimension) {
  const double cells = static_cast<double>(rows) * dimension;
  switch (kind) {
    case SegmentKind::kFlat:
      return 0;
    case SegmentKind::kIvf: {
      if (!retrain) return 0;  // codes are copied
      // Calibration and the trial compare their queries with every row.
      const double compared = cells * (index::kCalibrationQueries + index::Trial::kQueries +
                                       index::Trial::kFilteredQueries);
      return (ListProducts(rows, nlist, sample, index::Generation::kPasses, dimension) + compared) /
                 kByteProductsPerSecond +
             cells * kEncodeSeconds;
    }
    case SegmentKind::kIvfFlat:
    case SegmentKind::kIvfSq8:
    case SegmentKind::kIvfPq:
      return ListProducts(rows, nlist, sample, kFaissIterations, dimension) / kProductsPerSecond +
             cells * kEncodeSeconds;
    case SegmentKind::kHnsw: {
      const int breadth = spec.ef_construction > 0 ? spec.ef_construction : kDefaultEfConstruction;
      return cells * breadth * kLinkSeconds;
    }
    case SegmentKind::kLsh:
      return cells * (spec.lsh_bits > 0 ? spec.lsh_bits : 4 * dimension) / kProductsPerSecond;
  }
  return 0;
}

}  // namespace

int64_t LiveRows(const ShardStats& shard, bool chunked) {
  if (!chunked) return shard.live_documents;
  int64_t rows = shard.tail_rows - shard.deleted_rows;
  for (const ShardStats::SegmentInfo& segment : shard.segment_list) rows += segment.rows;
  return std::max<int64_t>(rows, 0);
}

OperationEstimate EstimateOperation(Operation::Type type, const IndexSpec& spec, int dimension,
                                    bool chunked, const std::vector<ShardStats>& shards,
                                    int threads, const MaintenancePolicy& policy) {
  OperationEstimate estimate;
  double seconds = 0;
  double longest = 0;
  std::vector<int64_t> peaks;
  for (const ShardStats& shard : shards) {
    const int64_t rows = LiveRows(shard, chunked);
    const SegmentKind kind = KindFor(spec, rows, policy);
    const int nlist = spec.nlist > 0 ? spec.nlist : index::Generation::DefaultLists(rows);
    const int64_t sample = std::min(rows, index::Generation::SampleRows(nlist));
    const int64_t bytes = PredictIndexBytes(kind, spec, rows, dimension, /*graph=*/false);
    const double row_bytes = 4.0 * static_cast<double>(rows) * dimension;
    const double one =
        (row_bytes + static_cast<double>(bytes)) / kCopyBytesPerSecond +
        BuildSeconds(kind, type == Operation::Type::kRetrain, spec, rows, nlist, sample, dimension);
    estimate.rows += rows;
    estimate.deleted_rows += shard.deleted_rows;
    estimate.index_bytes += bytes;
    const bool trains = kind == SegmentKind::kIvf && type == Operation::Type::kRetrain;
    peaks.push_back(trains ? PredictRetrainBytes(spec, rows, dimension, threads)
                           : bytes + PredictBuildBytes(kind, rows, dimension, 0));
    seconds += one;
    longest = std::max(longest, one);
  }
  threads = std::max(threads, 1);
  estimate.duration = absl::Seconds(std::max(longest, seconds / threads));
  std::sort(peaks.begin(), peaks.end(), std::greater<>());
  for (size_t i = 0; i < std::min<size_t>(peaks.size(), threads); ++i) {
    estimate.peak_bytes += peaks[i];
  }
  return estimate;
}

}  // namespace vecino::engine
