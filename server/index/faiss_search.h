// Searching a FAISS index whose rows and codes lie elsewhere, in a mapped file.
#pragma once

#include <faiss/Index.h>

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "server/index/metric.h"
#include "server/index/segment_kind.h"
#include "server/index/tombstones.h"
#include "server/index/top_k.h"

namespace vecino::index {

// Rows of d floats, one after the other or each somewhere.
struct FaissRows {
  size_t d = 0;
  const float* base = nullptr;         // row 0, or null:
  const float* const* each = nullptr;  // of each row

  const float* operator[](int64_t i) const {
    return base != nullptr ? base + static_cast<size_t>(i) * d : each[i];
  }
};

// What is searched. Rows, labels and codes go by slot.
struct FaissView {
  SegmentKind kind = SegmentKind::kIvfFlat;
  Metric metric = Metric::kInnerProduct;
  int64_t n = 0;
  // Trained and empty: IndexIVFFlat, IndexIVFScalarQuantizer or IndexIVFPQ without lists, IndexLSH
  // without codes, IndexHNSWFlat with links but without rows.
  const faiss::Index* index = nullptr;
  FaissRows rows;
  const uint64_t* labels = nullptr;      // null: the label is the slot
  const uint8_t* codes = nullptr;        // IVF_SQ8, IVF_PQ, LSH
  size_t code_size = 0;                  // bytes of one row's code
  const uint32_t* list_begin = nullptr;  // IVF: first slot of each list, and n
};

// With a filter, so few rows are compared faster than any index finds them.
inline constexpr int64_t kFaissDirectRows = 2000;

// How widely to look.
struct FaissBreadth {
  int k = 10;
  bool exact = false;
  int nprobe = 1;  // IVF: lists
  int ef = 16;     // HNSW: breadth of the beam
  int rerank = 0;  // IVF_SQ8, IVF_PQ, LSH: candidates by code that are scored by their floats
};

// What a search looked at.
struct FaissWork {
  int nprobe = 0;        // lists that were scanned; all kinds but IVF_*: 0
  int ef = 0;            // of the last walk; all kinds but HNSW: 0
  int64_t scanned = 0;   // rows whose codes or floats were compared
  int64_t rescored = 0;  // of these by floats, after their codes
  bool exact = false;    // whether all that pass were compared by their floats
};

int FaissListCount(const FaissView& view);  // of an IVF
// Candidates by code for the best k: codes of products are coarse, 8-bit ones all but exact.
int DefaultRerank(SegmentKind kind, int k);

// Pushes what it finds, with scores of the floats. Rows whose bit in `allowed` (unless null) is
// clear or that are dead are not found. At least min(k, rows that may be found) are pushed: it
// looks wider until they are there, in the end at every row. Few passing rows are compared
// directly. Thread safe; opens no OpenMP team. RESOURCE_EXHAUSTED, INTERNAL.
absl::Status SearchFaiss(const FaissView& view, const float* query, const FaissBreadth& breadth,
                         const Tombstones& dead, const uint64_t* allowed, TopK* top,
                         FaissWork* work = nullptr);

// Writes the signs of a row's projections as IndexLSH does: bits / 8 bytes. With our kernels, so
// that a row has the same code whichever rows it is encoded with.
void EncodeLsh(const faiss::Index& index, const float* row, uint8_t* code);

}  // namespace vecino::index
