// The documents of a collection as they are at one moment, read one after another. What has expired
// by then is left out.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/types.h"
#include "storage/document.h"

namespace vecino::engine {

// One of `total` parts of a collection, whose union is everything and no two of which share a
// document.
struct DocumentSlice {
  int index = 0;  // 0 to total - 1
  int total = 1;  // 1 to kMaxSlices
  static constexpr int kMaxSlices = 1024;
};

struct DocumentStreamRequest {
  storage::DocumentParts parts;
  DocumentSlice slice;
  std::string filter;  // only documents that it lets pass; empty: all
  // Where to begin: behind this id in this shard.
  int shard = 0;
  std::string after_id;
};

struct StreamedDocument {
  int shard = 0;
  storage::Document document;
};

struct DocumentChunk {
  std::vector<StreamedDocument> documents;
  bool end = false;  // nothing comes after these
  // The place behind them, and behind what was looked at and does not pass: where a stream goes on.
  int shard = 0;
  std::string after_id;
};

// Thread safety: none; it is used by one thread at a time. Must not outlive the engine.
class DocumentStream {
 public:
  virtual ~DocumentStream() = default;

  // Of the collection that the stream was opened on, whatever has its name now.
  virtual const CollectionInfo& info() const = 0;

  // The next documents by shard, then id: as many as take about max_bytes; fewer, or none, when
  // many were looked at that do not pass. Blocks on disk. UNAVAILABLE when the stream has lived for
  // too long, NOT_FOUND when the collection was dropped, CANCELLED, DEADLINE_EXCEEDED, DATA_LOSS.
  virtual absl::StatusOr<DocumentChunk> Next(size_t max_bytes, const CallContext& context) = 0;
};

// The slice of `total` that a document belongs to. Slices are cut from the shards laid end to end,
// each ordered by a hash of the id: so a slice touches few shards, and it is always the same for an
// id, over restarts too. A shard of n ids is read by about total / shard_count + 1 slices.
int SliceOf(int shard, int shard_count, std::string_view id, int total);
// Whether any id of the shard can belong to the slice.
bool SliceTouches(const DocumentSlice& slice, int shard, int shard_count);

}  // namespace vecino::engine
