// What kinds of index there are, and what may be said about each.
#pragma once

#include <cstdint>
#include <string_view>

namespace vecino::index {

// How a segment's rows are found. The numbers stand in files and never change.
enum class SegmentKind : uint32_t {
  kFlat = 1,     // every row compared: exact
  kIvf = 2,      // AUTO's: lists of 4-bit product codes, 8-bit rows, floats; may carry a graph
  kIvfFlat = 3,  // the others are FAISS's
  kIvfSq8 = 4,
  kIvfPq = 5,
  kHnsw = 6,
  kLsh = 7,
};

std::string_view SegmentKindName(SegmentKind kind);

// What a collection asks for. AUTO picks by size: exact while small, then kIvf, then a graph beside
// it.
enum class IndexKind { kAuto, kFlat, kIvfFlat, kIvfSq8, kIvfPq, kHnsw, kLsh };

std::string_view IndexKindName(IndexKind kind);  // "AUTO", "IVF_SQ8"

// Whether FAISS makes the index, rather than we.
constexpr bool IsFaissKind(IndexKind kind) {
  return kind != IndexKind::kAuto && kind != IndexKind::kFlat;
}

// Of a collection's segments once there are rows enough to train on.
SegmentKind TrainedKind(IndexKind kind);

// Zero: chosen by size and dimension.
struct IndexSpec {
  IndexKind kind = IndexKind::kAuto;
  double recall_target = 0.95;  // AUTO: what its calibration aims at
  int nlist = 0;                // AUTO, IVF_*: lists a shard; √rows to rows / 39
  int nprobe = 0;               // IVF_*: lists a search scans
  int pq_m = 0;                 // IVF_PQ: sub-quantizers; a divisor of the dimension
  int pq_bits = 0;              // IVF_PQ: 4 to 8 a code
  int hnsw_m = 0;               // HNSW: links a node (2 to 128); AUTO's graph
  int ef_construction = 0;      // HNSW: 4 to 4,096
  int ef_search = 0;            // HNSW: 1 to 4,096
  int lsh_bits = 0;             // LSH: a multiple of 8
  bool graph = true;            // AUTO: whether large quiet segments get a graph
};

}  // namespace vecino::index
