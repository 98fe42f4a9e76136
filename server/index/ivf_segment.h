// AUTO's segment: rows in lists of 4-bit product codes, beside them as 8-bit rows and as floats.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/index/frozen_rows.h"
#include "server/index/generation.h"
#include "server/index/graph.h"
#include "server/index/labels.h"
#include "server/index/segment.h"
#include "server/index/segment_file.h"

namespace vecino::index {

// Slots go list by list, and by ascending label within a list. So tombstones and filters, which are
// bits by slot, are read 16 at a time beside each block of codes. File type "ivf";
// docs/storage_format.md lists the sections.
class IvfSegment final : public Segment {
 public:
  // Encodes the live rows of `rows` under `generation`; codes of sources that are IvfSegments of
  // the same generation are copied. path: of the file to write; "": in memory. Null when no row is
  // live. Besides the file, it takes 24 bytes a row while it works. RESOURCE_EXHAUSTED, the
  // checkpoint's error. drift, unless null: of the rows that were assigned (not copied). threads:
  // of ParallelFor; any number gives the same segment. progress, unless null: raised as rows are
  // dealt with, kSteps times each.
  struct Drift {
    double squared_distance = 0;  // of each row to its centroid, the sum
    int64_t rows = 0;
    double squared_code_error = 0;  // of each row of a sample to what its codes say, the sum
    int64_t coded_rows = 0;         // in the sample: one in kSampledRows

    Drift& operator+=(const Drift& other) {
      squared_distance += other.squared_distance;
      rows += other.rows;
      squared_code_error += other.squared_code_error;
      coded_rows += other.coded_rows;
      return *this;
    }
  };
  static constexpr int64_t kSampledRows = 16;
  static constexpr int kSteps = 4;  // assigned, copied, rounded, coded
  static absl::StatusOr<std::shared_ptr<const IvfSegment>> Build(
      const FrozenRows& rows, std::shared_ptr<const Generation> generation, const std::string& path,
      Checkpoint checkpoint, Drift* drift = nullptr, int threads = 1,
      std::atomic<int64_t>* progress = nullptr);

  // FAILED_PRECONDITION when the file was made under another generation; DATA_LOSS.
  static absl::StatusOr<std::shared_ptr<const IvfSegment>> Open(
      const std::string& path, std::shared_ptr<const Generation> generation,
      SegmentFile::Verify verify);

  // The same rows and slots, with a graph over them.
  std::shared_ptr<const IvfSegment> WithGraph(std::shared_ptr<const Graph> graph) const;

  SegmentKind kind() const override { return SegmentKind::kIvf; }
  Metric metric() const override { return generation_->metric(); }
  int dimension() const override { return static_cast<int>(generation_->d()); }
  int64_t size() const override { return rows_; }
  MemoryUse memory() const override;
  uint64_t label(int64_t slot) const override { return labels_[slot]; }
  const float* vector(int64_t slot) const override {
    return vectors_ + static_cast<size_t>(slot) * generation_->d();
  }
  int64_t FindSlot(uint64_t label) const override;
  int64_t InLabelOrder(int64_t i) const override { return order_[i]; }
  absl::Status Search(const float* query, const SearchParams& params, const Tombstones& dead,
                      const uint64_t* allowed, TopK* top) const override;
  std::shared_ptr<const SegmentFile> file() const override { return file_; }

  // For the search of several segments of one generation together (ivf_search.h), merges and
  // graphs.
  const std::shared_ptr<const Generation>& generation() const { return generation_; }
  const std::shared_ptr<const Graph>& graph() const { return graph_; }
  uint32_t list_begin(int list) const {
    return list_begin_[list];
  }  // its first slot; nlist: size()
  // The block of codes (pq_scan.h) of slots 16 · i to 16 · i + 15, whatever lists they are of.
  const uint8_t* block(size_t i) const { return codes_ + i * block_bytes_; }
  const Labels& labels() const { return labels_; }  // by slot
  const Int8Rows& rounded() const { return rounded_; }
  GraphRows graph_rows() const { return {rounded_, vectors_, labels_, rows_}; }
  // n·Σs²/(Σs)² of list sizes.
  double Imbalance() const;
  // What Build would have said of the rows with labels above `after`, judged on up to `most` of
  // them; nothing of segments whose rows are all older. Reads these rows' floats.
  Drift DriftSince(uint64_t after, int64_t most) const;

 private:
  IvfSegment() = default;
  static absl::StatusOr<std::shared_ptr<const IvfSegment>> FromFile(
      std::shared_ptr<const SegmentFile> file, std::shared_ptr<const Generation> generation);

  std::shared_ptr<const SegmentFile> file_;
  std::shared_ptr<const Generation> generation_;
  std::shared_ptr<const Graph> graph_;  // null until there is one
  int64_t rows_ = 0;
  size_t block_bytes_ = 0;
  std::shared_ptr<const std::vector<uint8_t>> repacked_;  // codes of a file of format version 1
  // In the file:
  const uint32_t* list_begin_ = nullptr;  // nlist + 1
  const uint8_t* codes_ = nullptr;
  Labels labels_;
  const uint32_t* order_ = nullptr;  // slots by ascending label
  const float* vectors_ = nullptr;
  Int8Rows rounded_;
};

// Null when the segment is of another kind.
inline const IvfSegment* AsIvf(const Segment& segment) {
  return segment.kind() == SegmentKind::kIvf ? static_cast<const IvfSegment*>(&segment) : nullptr;
}

}  // namespace vecino::index
