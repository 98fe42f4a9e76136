#include "server/engine/memory_budget.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "server/index/calibration.h"
#include "server/index/generation.h"
#include "server/index/int8_rows.h"
#include "server/index/pq_scan.h"
#include "server/index/training.h"
#include "server/index/trial.h"

namespace vecino::engine {

int64_t PredictIndexBytes(index::SegmentKind kind, const index::IndexSpec& spec, int64_t rows,
                          int dimension, bool graph) {
  const int64_t d = dimension;
  const int64_t labels = 12;  // label and order
  const int64_t floats = 4 * d;
  switch (kind) {
    case index::SegmentKind::kFlat:
      // Floats, 8-bit rows with scale, error and length.
      return rows * (floats + static_cast<int64_t>(index::Int8Stride(d)) + 12 + 8);
    case index::SegmentKind::kIvf: {
      const auto codes = static_cast<int64_t>(index::PqBlockBytes((d + 3) / 4) / 16);
      const int64_t links = graph ? 4 * 64 * 21 / 20 : 0;
      const int64_t narrow_labels = labels - 4;  // offsets of four bytes
      return rows *
             (codes + links + static_cast<int64_t>(index::Int8Stride(d)) + 4 + narrow_labels);
    }
    case index::SegmentKind::kIvfFlat:
      return rows * (floats + 8 + labels);
    case index::SegmentKind::kIvfSq8:
      return rows * (d + 8 + labels);
    case index::SegmentKind::kIvfPq: {
      const int64_t m = spec.pq_m > 0 ? spec.pq_m : d / 4;
      const int64_t bits = spec.pq_bits > 0 ? spec.pq_bits : 8;
      return rows * ((m * bits + 7) / 8 + 8 + labels);
    }
    case index::SegmentKind::kHnsw: {
      const int64_t m = spec.hnsw_m > 0 ? spec.hnsw_m : 16;
      return rows * (floats + 2 * m * 4 * 21 / 20 + 12 + labels);
    }
    case index::SegmentKind::kLsh:
      return rows * ((spec.lsh_bits > 0 ? spec.lsh_bits : 4 * d) / 8 + labels);
  }
  return 0;
}

int64_t PredictBuildBytes(index::SegmentKind kind, int64_t rows, int dimension,
                          int64_t sample_rows) {
  // Plan, lists, order; the sample as floats and as bytes.
  return rows * (kind == index::SegmentKind::kIvf ? 24 : 8) +
         sample_rows * (4 + 1) * static_cast<int64_t>(dimension);
}

int64_t PredictRetrainBytes(const index::IndexSpec& spec, int64_t rows, int dimension,
                            int threads) {
  const int64_t d = dimension;
  const int nlist = spec.nlist > 0 ? spec.nlist : index::Generation::DefaultLists(rows);
  const int64_t trained = rows >= index::kLeastHeldOutOf ? rows - rows / 16 : rows;
  const int64_t sample = std::min(trained, index::Generation::SampleRows(nlist));
  const auto lists = std::min<int64_t>(nlist, std::max<int64_t>(sample / 39, 1));
  const int64_t bytes_of_row = (d + 3) / 4 * 4;  // one a dimension
  const int64_t index = PredictIndexBytes(index::SegmentKind::kIvf, spec, rows, dimension, false);
  const int64_t tasks = std::max(threads, 1);
  // Centroids as floats, as bytes for searches and as columns for assignment, and their codes.
  const int64_t generation =
      lists * (4 * d + static_cast<int64_t>(index::Int8Stride(d)) + bytes_of_row + d / 8 + 20);
  // The sample as floats and as bytes with scale and norm, its numbers, lists, scores and members
  // of lists; centroids, and as columns.
  const int64_t training =
      sample * (4 * d + bytes_of_row + 24) + lists * (4 * d + bytes_of_row + 40);
  // Where each row comes from, its list and its place, or its place, label and order; or its place
  // and scales, and a section in pieces of a megabyte.
  const int64_t encoding = std::max(rows * 24, rows * 16 + (int64_t{4} << 20) * tasks) + (1 << 20);
  // Half of the rows are copied at most, and the gaps of each query's lists.
  const int64_t calibration = std::min(index::CalibrationBytes(dimension, static_cast<int>(lists)),
                                       rows * 2 * d + index::kCalibrationQueries * lists * 4) +
                              rows * 4 + index::TrialBytes(rows, dimension, threads);
  const int64_t trial = index::TrialBytes(rows, dimension, threads) + rows / 8;
  return std::max(
      {training, generation + encoding, index + generation + std::max(calibration, trial)});
}

int64_t MachineMemory() {
  int64_t bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  // cgroup v2 (where it says "max" when there is no limit), then v1, as a container sees its own.
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream file(path);
    if (int64_t limit; file >> limit && limit > 0) bytes = std::min(bytes, limit);
  }
  return bytes;
}

absl::Status MemoryBudget::Reserve(int64_t bytes, std::string_view what) {
  const int64_t before = used_.fetch_add(bytes, std::memory_order_relaxed);
  if (limit_ == 0 || before + bytes <= limit_) return absl::OkStatus();
  Release(bytes);
  return absl::ResourceExhaustedError(absl::StrCat(
      std::string(what), " needs about ", bytes >> 20, " MiB; ", before >> 20, " of the ",
      limit_ >> 20,
      " MiB that indexes may take are in use. Raise index.memory-bytes, or use more machines"));
}

}  // namespace vecino::engine
