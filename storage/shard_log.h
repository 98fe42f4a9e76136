// The ordered, durable writes of one shard. The seam behind which a replicated log can stand later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/document.h"
#include "storage/mark.h"
#include "storage/snapshot.h"

namespace vecino::storage {

// One write as it goes into the log. Everything needed to apply it is inside: replay uses no model,
// no clock and no randomness.
struct Mutation {
  enum class Kind : uint8_t { kPut = 1, kDelete = 2 };  // on disk: never renumber

  Kind kind = Kind::kPut;
  uint64_t sequence = 0;  // of this write; one more than the shard's last
  uint64_t replaces = 0;  // sequence of the version this write makes dead, 0 for none
  std::string id;         // of the document
  Document document;      // kPut: whole, with its vector unless it has none; kDelete: unused

  int64_t replaces_expire_time_us = 0;  // of the version `replaces`, as its IdEntry has it
};

// A change record as replay hands it out.
struct Change {
  Mutation::Kind kind = Mutation::Kind::kPut;
  uint64_t sequence = 0;
  uint64_t replaces = 0;
};

// A change with the id of its document, as those read it who carry it elsewhere.
struct NamedChange {
  Mutation::Kind kind = Mutation::Kind::kPut;
  uint64_t sequence = 0;
  std::string id;
};

// Where the current version of an id is.
struct IdEntry {
  uint64_t sequence = 0;
  int64_t create_time_us = 0;
  int64_t expire_time_us = 0;  // 0: never
};

// The durable state of one shard: documents, vectors, id map, change records, manifest.
//
// Thread safety: reads are safe from any thread at any time. Append, TrimChanges and PutManifest
// must not run at once with each other on one shard (the shard's write lock sees to it). All
// methods may block on disk. None throws. Errors of all: DATA_LOSS naming the key or file when
// stored bytes are damaged, UNAVAILABLE when the disk fails. Errors of writes besides:
// RESOURCE_EXHAUSTED when the disk is full, NOT_FOUND when the collection was dropped.
class ShardLog {
 public:
  virtual ~ShardLog() = default;

  // Highest sequence number ever appended, 0 before the first.
  virtual uint64_t LastSequence() const = 0;

  // Writes all of `mutations` (ascending sequence, contiguous from LastSequence() + 1) as one
  // atomic batch and syncs it to disk before it returns (group commit with other shards' appends).
  // Mutation::id and ::sequence are what is stored; Document::id and ::sequence are not looked at.
  // INVALID_ARGUMENT, and nothing written, for a wrong sequence, an id or a vector of a wrong
  // length, or more passages than a document may have; a document without a vector is stored as
  // such.
  //
  // On an error nothing of it is visible, LastSequence() stays, and the same numbers are to be used
  // again. After UNAVAILABLE or RESOURCE_EXHAUSTED the store takes no write of any shard until it
  // has made sure that this one cannot come back; a full disk's error says what room that
  // needs, no call waits for it, and where it cannot be (a failed sync), writes are refused until
  // the store is opened anew. Only if it is opened
  // anew first, then all of the batch or nothing of it may be there.
  //
  // In the same batch each of `marks` is put in the place of the one with its token. Marks may come
  // without mutations.
  virtual absl::Status Append(std::span<const Mutation> mutations, std::span<const Mark> marks) = 0;
  absl::Status Append(std::span<const Mutation> mutations) { return Append(mutations, {}); }

  // These three: NOT_FOUND once the collection was dropped, as part of it may be gone then.
  //
  // The current version of each id; nullopt where there is none. Same length and order as `ids`.
  virtual absl::StatusOr<std::vector<std::optional<IdEntry>>> FindIds(
      std::span<const std::string_view> ids) const = 0;

  // The documents with these sequence numbers; nullopt where that version is gone (deleted or
  // replaced). Same length and order as `sequences`.
  virtual absl::StatusOr<std::vector<std::optional<Document>>> GetDocuments(
      std::span<const uint64_t> sequences, const DocumentParts& parts) const = 0;

  // Up to `limit` (id, entry) pairs in byte order of id, strictly after `after` (empty: from the
  // start).
  virtual absl::StatusOr<std::vector<std::pair<std::string, IdEntry>>> ListIds(
      std::string_view after, size_t limit) const = 0;

  // The same as ListIds and GetDocuments at the moment of the snapshot, which must be of the same
  // store. A document's version is there if it was then. NOT_FOUND as there.
  virtual absl::StatusOr<std::vector<std::pair<std::string, IdEntry>>> ListIdsAt(
      const Snapshot& snapshot, std::string_view after, size_t limit) const = 0;
  virtual absl::StatusOr<std::vector<std::optional<Document>>> GetDocumentsAt(
      const Snapshot& snapshot, std::span<const uint64_t> sequences,
      const DocumentParts& parts) const = 0;

  // Calls `fn` with every stored vector of a live document with sequence in (after, up_to], in
  // ascending order, from one snapshot, until `fn` returns an error, which is passed on. `vector`:
  // d floats for each passage, valid during the call only.
  using VectorFn = std::function<absl::Status(uint64_t sequence, std::span<const float> vector)>;
  virtual absl::Status ScanVectors(uint64_t after, uint64_t up_to, const VectorFn& fn) const = 0;

  // Calls `fn` with every live document with sequence in (after, up_to], in ascending order, from
  // one snapshot, until `fn` returns an error, which is passed on. Vectors are not read.
  using DocumentFn = std::function<absl::Status(const Document& document)>;
  virtual absl::Status ScanDocuments(uint64_t after, uint64_t up_to, const DocumentParts& parts,
                                     const DocumentFn& fn) const = 0;

  // Calls `fn` with every change record with sequence > after, ascending. For a kPut whose document
  // is still live and has a vector, `vector` holds it, as in ScanVectors; otherwise it is empty.
  // DATA_LOSS when a record in (after, LastSequence()] is missing.
  using ChangeFn = std::function<absl::Status(const Change& change, std::span<const float> vector)>;
  virtual absl::Status ReplayChanges(uint64_t after, const ChangeFn& fn) const = 0;

  // Up to `limit` change records with sequence > after, ascending. DATA_LOSS when one of them is
  // missing, as after a trim.
  virtual absl::StatusOr<std::vector<NamedChange>> ListChanges(uint64_t after,
                                                               size_t limit) const = 0;

  // Drops change records with sequence <= up_to. They are no longer needed once a manifest covers
  // them.
  virtual absl::Status TrimChanges(uint64_t up_to) = 0;

  // The shard's manifest: bytes the engine understands, empty before the first PutManifest.
  virtual absl::StatusOr<std::string> GetManifest() const = 0;
  virtual absl::Status PutManifest(std::string_view bytes) = 0;

  // The shard's marks in byte order of token.
  virtual absl::StatusOr<std::vector<Mark>> GetMarks() const = 0;

  // Number of live documents, counted by a scan of the id map. Slow; for start and for checks.
  virtual absl::StatusOr<uint64_t> CountIds() const = 0;

  // Calls `fn` with every live document that has an expire time, soonest first. For start.
  using ExpiryFn = std::function<absl::Status(int64_t expire_time_us, uint64_t sequence)>;
  virtual absl::Status ScanExpiries(const ExpiryFn& fn) const = 0;
};

}  // namespace vecino::storage
