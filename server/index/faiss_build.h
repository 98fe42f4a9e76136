// Training a FAISS index and putting rows into it.
#pragma once

#include <faiss/Index.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/index/faiss_search.h"
#include "server/index/generation.h"
#include "server/index/kmeans.h"
#include "server/index/metric.h"
#include "server/index/segment_kind.h"

namespace vecino::index {

// What FAISS would refuse is not asked of it: the functions below give what is nearest to the wish
// and possible. 0 is no wish.

// Lists: at most rows / 39 (FAISS's least for training), at least 1; by default
// Generation::DefaultLists.
int FaissLists(int wanted, int64_t rows);
// Sub-quantizers: the greatest divisor of d up to `wanted`; by default the least from d / 4 up.
int FaissSubQuantizers(int wanted, int d);
// Bits of a product code: 1 to 8 (FAISS's most in an IVF), with 2^bits ≤ rows; by default 8.
int FaissCodeBits(int wanted, int64_t rows);
// Bits of a signature: a multiple of 8; by default 4·d, at most 4,096.
int FaissSignatureBits(int wanted, int d);

// An index whose rows, codes and lists are kept outside it, as FaissView has them.
struct FaissParts {
  SegmentKind kind = SegmentKind::kIvfFlat;
  Metric metric = Metric::kInnerProduct;
  std::unique_ptr<faiss::Index> index;
  std::vector<uint32_t> list_begin;  // IVF: nlist + 1
  std::vector<uint32_t> row_of;      // IVF: number of the row in each slot; else empty: the same
  std::vector<uint8_t> codes;        // IVF_SQ8, IVF_PQ, LSH: by slot
  size_t code_size = 0;
};

// Trains (unless `trained`, an index of this kind as FaissParts has it, is given to be used again:
// it is taken over) and lays n ≥ 1 rows out. Slots go list by list and in order of rows in each.
// unit: whether all rows have length 1. Equal input gives equal output. Takes code_size + 16 bytes
// a row, and a sample of up to 64 rows a list while it trains. The checkpoint's error;
// RESOURCE_EXHAUSTED; INTERNAL. At 384 dimensions on one core, IVF_PQ (96 codes of 8 bits) trains
// for 5 s and encodes 3,700 rows a second; HNSW links 2,500 rows a second at 20,000 rows.
absl::StatusOr<FaissParts> BuildFaiss(SegmentKind kind, Metric metric, bool unit,
                                      const FaissRows& rows, int64_t n, const IndexSpec& spec,
                                      std::unique_ptr<faiss::Index> trained, Checkpoint checkpoint);

// Searches the parts for some of their own rows, at rising breadth (nprobe, ef, or reranked rows of
// LSH), and compares with brute force. Nothing is measured with fewer than 32 rows. rows: by slot.
absl::StatusOr<Calibration> CalibrateFaiss(const FaissView& view, Checkpoint checkpoint);

// The index with what it holds, in FAISS's own format.
absl::StatusOr<std::vector<uint8_t>> SerializeFaiss(const faiss::Index& index);
// bytes: must be what SerializeFaiss gave; whoever kept them has checked that they are undamaged.
absl::StatusOr<std::unique_ptr<faiss::Index>> DeserializeFaiss(std::span<const std::byte> bytes);

}  // namespace vecino::index
