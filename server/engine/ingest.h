// A stream of numbered writes into one collection, which can be taken up again where it broke off.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/engine/types.h"
#include "server/fields/row.h"

namespace vecino::engine {

// One item of a stream.
struct IngestWrite {
  uint64_t item = 0;   // its number, above those before
  bool erase = false;  // delete write.document.id; otherwise write.document is written
  DocumentWrite write;
  fields::Row fields;  // of its metadata and text; made by Prepare, once
  bool has_fields = false;
  WriteResult result;    // without a token when the item was done on a stream before
  bool settled = false;  // `result` is final
  // Of the last Prepare: the collection's side that it was for, and whether that side's model makes
  // the vector.
  uint32_t prepared_for = 0;
  bool embedded = false;
};

// How near the server is to what it can take, each 0 (far from it) to 1 (at it).
struct IngestPressure {
  double encoder = 0;  // tokens that wait for the model
  double memory = 0;   // of what indexes may take
  double index = 0;    // tails that wait to be drained
  double Highest() const { return std::max({encoder, memory, index}); }
};

// Items go through Prepare, several calls of which may run at once, and then through Commit in the
// order of their numbers, one call at a time. Once an item of a number was committed, no item up to
// that number may be.
//
// Exactly once: with each commit the store remembers, per shard, how far the stream has come and
// which items failed (storage::Mark). An item of a number up to there is answered and not done
// again.
//
// Thread safety: as said; Pressure and done_through from any thread. The collection may be deleted
// meanwhile.
class IngestStream {
 public:
  virtual ~IngestStream() = default;

  // When the stream was opened: all items up to this number were done.
  virtual uint64_t done_through() const = 0;

  // Checks items, embeds texts, and settles what needs no commit: faults of the item itself, and
  // what a stream before did. Passes over what is settled. Paths in statuses are `documents[i]…`,
  // by place. On an error nothing has changed: RESOURCE_EXHAUSTED (the encoder's queue is full; try
  // again), CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE. Blocks.
  virtual absl::Status Prepare(absl::Span<IngestWrite> writes, const CallContext& context) = 0;

  // Writes what is not settled; durable and visible to every search on return. done_through: all
  // items up to this number are done. On an error some are settled and the others were not done,
  // as far as is known: after RESOURCE_EXHAUSTED call again with the same items; after any other
  // the stream is at its end. Blocks.
  virtual absl::Status Commit(absl::Span<IngestWrite> writes, uint64_t done_through,
                              const CallContext& context) = 0;

  // Forgets how far the stream has come: it is complete. Blocks. Errors as of writes.
  virtual absl::Status Finish() = 0;

  virtual IngestPressure Pressure() const = 0;
};

}  // namespace vecino::engine
