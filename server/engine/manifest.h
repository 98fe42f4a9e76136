// What a shard notes for its next start.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/label_scheme.h"
#include "server/index/segment_kind.h"

namespace vecino::engine {

// docs/index.md tells how it is used and why losing it loses nothing.
struct Manifest {
  // One segment of the view, oldest labels first.
  struct Segment {
    index::SegmentKind kind = index::SegmentKind::kFlat;
    uint64_t file = 0;  // number of its file; 0: in memory only, made again from stored vectors
    uint64_t generation = 0;  // that it is encoded under; 0: none
    uint64_t graph = 0;       // number of its graph's file; 0: none
    uint64_t first_label = 0, last_label = 0;
    uint64_t rows = 0;
    std::vector<uint64_t> dead;  // bits by slot, as Tombstones::Snapshot; empty: all live
  };

  // Sequence numbers up to here are in the segments (or dead), those after it are in the change
  // log.
  uint64_t drained_through = 0;
  // Live rows up to there when this was written.
  uint64_t rows = 0;
  // Where file numbers, which generations share, go on.
  uint64_t next_file = 1;
  uint64_t generation = 0;  // the one that new rows are encoded under; 0: none
  std::vector<Segment> segments;

  // One segment of documents' fields (server/fields), oldest labels first.
  struct Fields {
    uint64_t file = 0;
    uint64_t first_label = 0, last_label = 0;
    uint64_t rows = 0;
    std::vector<uint64_t> dead;  // as Segment::dead
  };
  std::vector<Fields> fields;
  // Documents up to here are in `fields` or dead; at least drained_through, unless nothing is known
  // of fields (0).
  uint64_t fields_through = 0;
};

// docs/storage_format.md describes the bytes.
std::string EncodeManifest(const Manifest& manifest);

// DATA_LOSS when `bytes` is not a whole manifest of a known version, with labels as `labels` makes
// them. One of version 1, which knew no files, comes back with one segment over all that was
// drained.
absl::StatusOr<Manifest> DecodeManifest(std::string_view bytes, LabelScheme labels = {});

}  // namespace vecino::engine
