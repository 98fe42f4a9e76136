// Writing a shard as one index file that stock FAISS opens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/index/kmeans.h"
#include "server/index/metric.h"
#include "server/index/segment_kind.h"
#include "server/index/view.h"

namespace vecino::index {

// The live rows of a view at one moment. Immutable; holds the view.
class ExportRows {
 public:
  // Copies the tombstones and notes the length of the tails: microseconds. Call it while nothing is
  // written (under the shard's lock), or an updated row may be in twice.
  explicit ExportRows(std::shared_ptr<const View> view);

  struct Part {
    const Tail* tail = nullptr;  // or else:
    const Segment* segment = nullptr;
    int64_t rows = 0;
    std::vector<uint64_t> dead;  // bits by slot

    bool IsLive(int64_t slot) const { return (dead[slot / 64] >> (slot % 64) & 1) == 0; }
  };
  const std::vector<Part>& parts() const { return parts_; }  // in order of labels
  int64_t live() const { return live_; }

 private:
  void Add(Part part, const Tombstones& dead);

  std::shared_ptr<const View> view_;
  std::vector<Part> parts_;
  int64_t live_ = 0;
};

struct ExportOptions {
  Metric metric = Metric::kInnerProduct;
  int dimension = 0;
  bool unit = false;  // all rows have length 1
  IndexSpec spec;
  // Wraps what approximates (AUTO, IVF_SQ8, IVF_PQ, LSH) into an IndexRefineFlat with the floats,
  // so that FAISS's scores are exact, as ours are. Without it the file is smaller.
  bool refine = true;
};

struct ExportedIndex {
  std::vector<uint64_t> labels;  // by FAISS id: row i of the index has labels[i]; ascending
  std::string description;       // "IndexIVFFlat, 70 lists, nprobe 9, 5000 rows"
};

// Writes an index of the kind that options.spec asks for:
//   FLAT: IndexFlat. IVF_FLAT, IVF_SQ8, IVF_PQ, LSH: quantizers and projections of the segment with
//   most rows, or trained now when there is none. HNSW: the segment's links when it is the only one
//   and no row of it is dead, else linked now. AUTO: IndexIVFPQ (4-bit codes of rows, not of
//   residuals) with centroids and code books of the newest generation, behind a
//   RemapDimensionsTransform when the dimension is not a multiple of 4; IndexFlat while there is no
//   generation.
// nprobe, efSearch and k_factor in the file are those that our own search would use for a recall of
// .95. No live row: an empty IndexFlat. Takes, besides what BuildFaiss takes, as much memory as the
// file is long. The file appears whole or not at all;
// it is not synced to disk. The checkpoint's error; RESOURCE_EXHAUSTED
// for memory or disk; UNAVAILABLE when the file cannot be written. Blocks.
absl::StatusOr<ExportedIndex> ExportFaiss(const ExportRows& rows, const ExportOptions& options,
                                          const std::string& path, Checkpoint checkpoint);

}  // namespace vecino::index
