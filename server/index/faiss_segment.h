// A segment of one of FAISS's kinds.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/index/frozen_rows.h"
#include "server/index/generation.h"
#include "server/index/kmeans.h"
#include "server/index/segment.h"
#include "server/index/segment_file.h"

namespace faiss {
struct Index;
}

namespace vecino::index {

struct FaissView;
struct FaissWork;

// IVF_FLAT, IVF_SQ8, IVF_PQ, HNSW and LSH: trained, linked and encoded by FAISS, each segment by
// itself; its rows, labels, lists and codes lie in the file, the rest (centroids, code books,
// links, projections) in memory. Slots go list by list and by ascending label within a list; by
// ascending label without lists. Candidates come from FAISS's codes and links, scores from the
// floats. File type "faiss"; docs/storage_format.md lists the sections.
//
// Every search finds min(k, rows that may be found) rows: it widens until they are there. How
// widely it looks without being told is what was measured when the segment was built.
class FaissSegment final : public Segment {
 public:
  // spec.kind: one of the five, else INVALID_ARGUMENT. Wishes of `spec` that FAISS would refuse
  // give the nearest possible (faiss_build.h). unit: all rows have length 1. path: of the file to
  // write;
  // "": in memory. Null when no row is live. INVALID_ARGUMENT when `rows` has another dimension;
  // RESOURCE_EXHAUSTED; the checkpoint's error. Blocks for as long as training takes.
  static absl::StatusOr<std::shared_ptr<const FaissSegment>> Build(const FrozenRows& rows,
                                                                   Metric metric, int dimension,
                                                                   bool unit, const IndexSpec& spec,
                                                                   const std::string& path,
                                                                   Checkpoint checkpoint);

  // DATA_LOSS, NOT_FOUND, FAILED_PRECONDITION as SegmentFile::Open. What FAISS reads is verified in
  // any case.
  static absl::StatusOr<std::shared_ptr<const FaissSegment>> Open(const std::string& path,
                                                                  SegmentFile::Verify verify);
  ~FaissSegment() override;

  SegmentKind kind() const override { return kind_; }
  Metric metric() const override { return metric_; }
  int dimension() const override { return static_cast<int>(d_); }
  int64_t size() const override { return rows_; }
  MemoryUse memory() const override;
  uint64_t label(int64_t slot) const override { return labels_[slot]; }
  const float* vector(int64_t slot) const override {
    return vectors_ + static_cast<size_t>(slot) * d_;
  }
  int64_t FindSlot(uint64_t label) const override;
  int64_t InLabelOrder(int64_t i) const override { return order_ == nullptr ? i : order_[i]; }
  absl::Status Search(const float* query, const SearchParams& params, const Tombstones& dead,
                      const uint64_t* allowed, TopK* top) const override;
  std::shared_ptr<const SegmentFile> file() const override { return file_; }

  const Calibration& calibration() const { return calibration_; }
  // Lists of an IVF, breadth of an HNSW or reranked rows of an LSH for the best k at a recall,
  // where a share of the rows passes a filter (SearchFaiss looks wider itself then); all rows where
  // no breadth that was tried finds as much.
  int BreadthFor(double recall, int k, double share = 1) const;

  // The trained index without rows (faiss_search.h says what it then holds). For exports.
  const faiss::Index& index() const { return *index_; }

 private:
  FaissSegment();
  static absl::StatusOr<std::shared_ptr<const FaissSegment>> FromFile(
      std::shared_ptr<const SegmentFile> file);
  FaissView View() const;
  double ShareOf(const uint64_t* allowed) const;  // of the rows, above 0
  void Tell(const FaissWork& work, double recall, SearchReport* report) const;

  std::shared_ptr<const SegmentFile> file_;
  SegmentKind kind_ = SegmentKind::kIvfFlat;
  Metric metric_ = Metric::kInnerProduct;
  size_t d_ = 0;
  int64_t rows_ = 0;
  std::unique_ptr<const faiss::Index> index_;
  int64_t index_bytes_ = 0;
  Calibration calibration_;
  // In the file:
  const float* vectors_ = nullptr;
  const uint64_t* labels_ = nullptr;
  const uint32_t* order_ = nullptr;       // IVF: slots by ascending label; null: by slot
  const uint32_t* list_begin_ = nullptr;  // IVF: nlist + 1
  const uint8_t* codes_ = nullptr;        // IVF_SQ8, IVF_PQ, LSH
  size_t code_size_ = 0;
};

}  // namespace vecino::index
