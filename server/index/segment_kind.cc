#include "server/index/segment_kind.h"

#include <atomic>

#include "server/index/segment.h"

namespace vecino::index {

Segment::Segment() {
  static std::atomic<uint64_t> next{1};
  id_ = next.fetch_add(1);
}

std::string_view SegmentKindName(SegmentKind kind) {
  switch (kind) {
    case SegmentKind::kFlat:
      return "FLAT";
    case SegmentKind::kIvf:
      return "IVF";
    case SegmentKind::kIvfFlat:
      return "IVF_FLAT";
    case SegmentKind::kIvfSq8:
      return "IVF_SQ8";
    case SegmentKind::kIvfPq:
      return "IVF_PQ";
    case SegmentKind::kHnsw:
      return "HNSW";
    case SegmentKind::kLsh:
      return "LSH";
  }
  return "UNKNOWN";
}

std::string_view IndexKindName(IndexKind kind) {
  switch (kind) {
    case IndexKind::kAuto:
      return "AUTO";
    case IndexKind::kFlat:
      return "FLAT";
    case IndexKind::kIvfFlat:
      return "IVF_FLAT";
    case IndexKind::kIvfSq8:
      return "IVF_SQ8";
    case IndexKind::kIvfPq:
      return "IVF_PQ";
    case IndexKind::kHnsw:
      return "HNSW";
    case IndexKind::kLsh:
      return "LSH";
  }
  return "UNKNOWN";
}

SegmentKind TrainedKind(IndexKind kind) {
  switch (kind) {
    case IndexKind::kAuto:
      return SegmentKind::kIvf;
    case IndexKind::kFlat:
      return SegmentKind::kFlat;
    case IndexKind::kIvfFlat:
      return SegmentKind::kIvfFlat;
    case IndexKind::kIvfSq8:
      return SegmentKind::kIvfSq8;
    case IndexKind::kIvfPq:
      return SegmentKind::kIvfPq;
    case IndexKind::kHnsw:
      return SegmentKind::kHnsw;
    case IndexKind::kLsh:
      return SegmentKind::kLsh;
  }
  return SegmentKind::kFlat;
}

MemoryUse& MemoryUse::operator+=(const MemoryUse& other) {
  codes += other.codes;
  rounded += other.rounded;
  vectors += other.vectors;
  labels += other.labels;
  mapped += other.mapped;
  return *this;
}

}  // namespace vecino::index
