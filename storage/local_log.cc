#include "storage/local_log.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "rocksdb/write_batch.h"
#include "storage/codec.h"
#include "storage/keys.h"
#include "storage/records.h"
#include "storage/rocksdb_status.h"
#include "storage/slices.h"

namespace vecino::storage {
namespace {

constexpr uint64_t kMaxSequence = std::numeric_limits<uint64_t>::max();

// The values at `keys` in one call, as of `snapshot` (null: now). An absent key has status
// NotFound.
struct MultiGetResult {
  std::vector<rocksdb::PinnableSlice> values;
  std::vector<rocksdb::Status> statuses;
};
MultiGetResult MultiGet(const Database& database, Family family,
                        const std::vector<std::string>& keys, const rocksdb::Snapshot* snapshot) {
  rocksdb::ReadOptions options;
  options.snapshot = snapshot;
  const std::vector<rocksdb::Slice> slices(keys.begin(), keys.end());
  MultiGetResult result;
  result.values = std::vector<rocksdb::PinnableSlice>(keys.size());
  result.statuses.resize(keys.size());
  if (!keys.empty()) {
    database.db().MultiGet(options, database.family(family), keys.size(), slices.data(),
                           result.values.data(), result.statuses.data());
  }
  return result;
}

absl::Status ReadError(Family family, const std::string& key, const rocksdb::Status& status) {
  return Damaged(family, key, ToStatus(status, "reading"));
}

}  // namespace

LocalLog::LocalLog(Database* database, std::shared_ptr<CollectionGate> gate, uint32_t uid,
                   uint16_t shard, uint32_t dimension, size_t max_passages)
    : database_(database),
      gate_(std::move(gate)),
      uid_(uid),
      shard_(shard),
      dimension_(dimension),
      max_passages_(max_passages) {}

absl::StatusOr<std::unique_ptr<LocalLog>> LocalLog::Open(Database* database,
                                                         std::shared_ptr<CollectionGate> gate,
                                                         uint32_t uid, uint16_t shard,
                                                         uint32_t dimension, size_t max_passages) {
  {
    absl::MutexLock lock(&gate->shards_mutex);
    if (!gate->open_shards.insert(shard).second) {
      return absl::FailedPreconditionError(
          absl::StrCat("the log of shard ", shard, " of collection uid ", uid, " is open already"));
    }
  }
  std::unique_ptr<LocalLog> log(
      new LocalLog(database, std::move(gate), uid, shard, dimension, max_passages));
  if (absl::Status status = log->LoadLastSequence(); !status.ok()) return status;
  return log;
}

LocalLog::~LocalLog() {
  absl::MutexLock lock(&gate_->shards_mutex);
  gate_->open_shards.erase(shard_);
}

absl::Status LocalLog::LoadLastSequence() {
  const std::string key = MetaKey(MetaKind::kShardState, uid_, shard_);
  const absl::StatusOr<uint64_t> last = database_->GetNumber(Family::kMeta, key);
  if (!last.ok()) return last.status();
  last_sequence_.store(*last);
  if (*last == kMaxSequence) return absl::OkStatus();
  // A number given out twice would make one label mean two rows, so look that none lies beyond.
  for (const Family family : {Family::kChanges, Family::kVectors, Family::kDocuments}) {
    absl::Status status = database_->Scan(
        family, SequenceKey(uid_, shard_, *last + 1), PrefixEnd(ShardPrefix(uid_, shard_)),
        [&](std::string_view row, std::string_view) {
          return Damaged(family, row,
                         absl::DataLossError(absl::StrCat(
                             Name(), " has a row beyond its last sequence number ", *last)));
        });
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

std::string LocalLog::Name() const {
  return absl::StrCat("shard ", shard_, " of collection uid ", uid_);
}

absl::Status LocalLog::CheckMutation(const Mutation& mutation, uint64_t expected_sequence) const {
  if (mutation.sequence != expected_sequence) {
    return absl::InvalidArgumentError(absl::StrCat("sequence number ", mutation.sequence,
                                                   " in an append to ", Name(), ", expected ",
                                                   expected_sequence));
  }
  if (mutation.replaces >= mutation.sequence) {
    return absl::InvalidArgumentError(absl::StrCat("write ", mutation.sequence, " to ", Name(),
                                                   " replaces ", mutation.replaces,
                                                   ", which is not before it"));
  }
  if (mutation.id.empty() || mutation.id.size() > kMaxIdBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("document id of ", mutation.id.size(), " bytes, must be 1 to ", kMaxIdBytes));
  }
  const size_t passages = std::max<size_t>(1, mutation.document.passages.size());
  if (mutation.kind == Mutation::Kind::kPut && passages > max_passages_) {
    return absl::InvalidArgumentError(absl::StrCat("document of ", passages, " passages for ",
                                                   Name(), ", may have ", max_passages_));
  }
  if (mutation.kind == Mutation::Kind::kPut && !mutation.document.vector.empty() &&
      mutation.document.vector.size() != passages * dimension_) {
    return absl::InvalidArgumentError(absl::StrCat("vector of ", mutation.document.vector.size(),
                                                   " floats for ", Name(), ", must be ",
                                                   passages * dimension_));
  }
  if (mutation.kind == Mutation::Kind::kPut && mutation.document.expire_time_us < 0) {
    return absl::InvalidArgumentError(absl::StrCat("expire time ", mutation.document.expire_time_us,
                                                   " for ", Name(), ", must be 0 or more"));
  }
  return absl::OkStatus();
}

void LocalLog::AddToBatch(const Mutation& mutation, rocksdb::WriteBatch* batch) const {
  // Within a batch a later operation on a key wins, so a version made and replaced in one batch is
  // gone.
  const std::string row = SequenceKey(uid_, shard_, mutation.sequence);
  const std::string id_key = IdKey(uid_, shard_, mutation.id);
  if (mutation.replaces != 0) {
    const std::string dead = SequenceKey(uid_, shard_, mutation.replaces);
    batch->Delete(database_->family(Family::kDocuments), dead);
    batch->Delete(database_->family(Family::kVectors), dead);
    if (mutation.replaces_expire_time_us != 0) {
      batch->Delete(database_->family(Family::kMeta),
                    ExpiryKey(uid_, shard_, mutation.replaces_expire_time_us, mutation.replaces));
    }
  }
  if (mutation.kind == Mutation::Kind::kPut) {
    const Document& document = mutation.document;
    batch->Put(database_->family(Family::kDocuments), row, EncodeDocument(mutation.id, document));
    if (!document.vector.empty()) {
      batch->Put(database_->family(Family::kVectors), row,
                 EncodeVectors(document.vector, document.passages.size()));
    }
    batch->Put(
        database_->family(Family::kIds), id_key,
        EncodeIdEntry({mutation.sequence, document.create_time_us, document.expire_time_us}));
    if (document.expire_time_us != 0) {
      batch->Put(database_->family(Family::kMeta),
                 ExpiryKey(uid_, shard_, document.expire_time_us, mutation.sequence),
                 EncodeExpiry());
    }
  } else {
    batch->Delete(database_->family(Family::kIds), id_key);
  }
  batch->Put(database_->family(Family::kChanges), row,
             EncodeChange({mutation.kind, mutation.replaces, mutation.id}));
}

absl::Status LocalLog::Write(rocksdb::WriteBatch* batch, std::string_view doing) {
  absl::ReaderMutexLock lock(&gate_->mutex);
  if (gate_->dropped) return absl::NotFoundError(absl::StrCat(Name(), " was dropped"));
  return database_->Write(batch, absl::StrCat(std::string(doing), " ", Name()));
}

absl::Status LocalLog::Append(std::span<const Mutation> mutations, std::span<const Mark> marks) {
  if (mutations.empty() && marks.empty()) return absl::OkStatus();
  const uint64_t last = last_sequence_.load();
  rocksdb::WriteBatch batch;
  for (size_t i = 0; i < mutations.size(); ++i) {
    if (absl::Status status = CheckMutation(mutations[i], last + i + 1); !status.ok()) {
      return status;
    }
    AddToBatch(mutations[i], &batch);
  }
  const uint64_t new_last = mutations.empty() ? last : mutations.back().sequence;
  for (const Mark& mark : marks) {
    if (absl::Status status = CheckMark(mark); !status.ok()) return status;
    batch.Put(database_->family(Family::kMeta), MarkKey(uid_, shard_, mark.token),
              EncodeMark(mark));
  }
  batch.Put(database_->family(Family::kMeta), MetaKey(MetaKind::kShardState, uid_, shard_),
            EncodeNumber(new_last));
  if (absl::Status status = Write(&batch, "appending to"); !status.ok()) return status;
  last_sequence_.store(new_last);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::optional<IdEntry>>> LocalLog::FindIds(
    std::span<const std::string_view> ids) const {
  auto entries = ReadEntries(ids);
  if (absl::Status status = CheckNotDropped(); !status.ok()) return status;
  return entries;
}

absl::StatusOr<std::vector<std::optional<IdEntry>>> LocalLog::ReadEntries(
    std::span<const std::string_view> ids) const {
  std::vector<std::string> keys;
  keys.reserve(ids.size());
  for (const std::string_view id : ids) keys.push_back(IdKey(uid_, shard_, id));
  const MultiGetResult found = MultiGet(*database_, Family::kIds, keys, nullptr);
  std::vector<std::optional<IdEntry>> entries(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    if (found.statuses[i].IsNotFound()) continue;
    if (!found.statuses[i].ok()) return ReadError(Family::kIds, keys[i], found.statuses[i]);
    absl::StatusOr<IdEntry> entry = DecodeIdEntry(AsView(found.values[i]));
    if (!entry.ok()) return Damaged(Family::kIds, keys[i], entry.status());
    entries[i] = *entry;
  }
  return entries;
}

absl::StatusOr<std::vector<std::optional<Document>>> LocalLog::GetDocuments(
    std::span<const uint64_t> sequences, const DocumentParts& parts) const {
  // A document and its vector must be read at one moment, or a delete between looks like damage.
  std::optional<rocksdb::ManagedSnapshot> snapshot;
  if (parts.vector) snapshot.emplace(&database_->db());
  auto documents = ReadDocuments(parts.vector ? snapshot->snapshot() : nullptr, sequences, parts);
  if (absl::Status status = CheckNotDropped(); !status.ok()) return status;
  return documents;
}

absl::StatusOr<std::vector<std::optional<Document>>> LocalLog::ReadDocuments(
    const rocksdb::Snapshot* at, std::span<const uint64_t> sequences,
    const DocumentParts& parts) const {
  std::vector<std::string> keys;
  keys.reserve(sequences.size());
  for (const uint64_t sequence : sequences) keys.push_back(SequenceKey(uid_, shard_, sequence));
  const MultiGetResult rows = MultiGet(*database_, Family::kDocuments, keys, at);
  const MultiGetResult vectors =
      parts.vector ? MultiGet(*database_, Family::kVectors, keys, at) : MultiGetResult();

  std::vector<std::optional<Document>> documents(sequences.size());
  for (size_t i = 0; i < sequences.size(); ++i) {
    if (rows.statuses[i].IsNotFound()) continue;
    if (!rows.statuses[i].ok()) return ReadError(Family::kDocuments, keys[i], rows.statuses[i]);
    Document& document = documents[i].emplace();
    document.sequence = sequences[i];
    document.uid = uid_;
    if (absl::Status status = DecodeDocument(AsView(rows.values[i]), parts, &document);
        !status.ok()) {
      return Damaged(Family::kDocuments, keys[i], status);
    }
    if (!parts.vector) continue;
    if (vectors.statuses[i].IsNotFound()) {
      if (!document.has_vector) continue;
      return Damaged(Family::kVectors, keys[i],
                     absl::DataLossError("the vector of a stored document is missing"));
    }
    if (!vectors.statuses[i].ok()) return ReadError(Family::kVectors, keys[i], vectors.statuses[i]);
    if (!document.has_vector) {
      return Damaged(Family::kVectors, keys[i],
                     absl::DataLossError("a document that has no vector has one stored"));
    }
    absl::Status status =
        DecodeVectors(AsView(vectors.values[i]), dimension_, max_passages_, &document.vector);
    if (status.ok() &&
        document.vector.size() != std::max<size_t>(1, document.passages.size()) * dimension_) {
      status = absl::DataLossError(absl::StrCat("a document of ", document.passages.size(),
                                                " passages has ", document.vector.size(),
                                                " floats stored"));
    }
    if (!status.ok()) return Damaged(Family::kVectors, keys[i], status);
  }
  return documents;
}

absl::StatusOr<std::vector<std::pair<std::string, IdEntry>>> LocalLog::ListIds(
    std::string_view after, size_t limit) const {
  auto ids = ReadIds(nullptr, after, limit);
  if (absl::Status status = CheckNotDropped(); !status.ok()) return status;
  return ids;
}

absl::StatusOr<std::vector<std::pair<std::string, IdEntry>>> LocalLog::ReadIds(
    const rocksdb::Snapshot* at, std::string_view after, size_t limit) const {
  const std::string upper = PrefixEnd(ShardPrefix(uid_, shard_));
  const rocksdb::Slice upper_bound(upper);
  rocksdb::ReadOptions options;
  options.snapshot = at;
  options.iterate_upper_bound = &upper_bound;
  const std::unique_ptr<rocksdb::Iterator> it(
      database_->db().NewIterator(options, database_->family(Family::kIds)));
  const std::string start = IdKey(uid_, shard_, after);
  std::vector<std::pair<std::string, IdEntry>> ids;
  for (it->Seek(start); it->Valid() && ids.size() < limit; it->Next()) {
    const std::string_view key = AsView(it->key());
    if (key == start) continue;
    absl::StatusOr<IdEntry> entry = DecodeIdEntry(AsView(it->value()));
    if (!entry.ok()) return Damaged(Family::kIds, key, entry.status());
    ids.emplace_back(key.substr(kShardPrefixBytes), *entry);
  }
  if (!it->status().ok()) return ToStatus(it->status(), "listing the ids of " + Name());
  return ids;
}

// Looked at after a read: the rows of a dropped collection go whatever snapshots there are.
absl::Status LocalLog::CheckNotDropped() const {
  absl::ReaderMutexLock lock(&gate_->mutex);
  if (!gate_->dropped) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(Name(), " was dropped"));
}

absl::StatusOr<std::vector<std::pair<std::string, IdEntry>>> LocalLog::ListIdsAt(
    const Snapshot& snapshot, std::string_view after, size_t limit) const {
  auto ids = ReadIds(static_cast<const LocalSnapshot&>(snapshot).get(), after, limit);
  if (absl::Status status = CheckNotDropped(); !status.ok()) return status;
  return ids;
}

absl::StatusOr<std::vector<std::optional<Document>>> LocalLog::GetDocumentsAt(
    const Snapshot& snapshot, std::span<const uint64_t> sequences,
    const DocumentParts& parts) const {
  auto documents =
      ReadDocuments(static_cast<const LocalSnapshot&>(snapshot).get(), sequences, parts);
  if (absl::Status status = CheckNotDropped(); !status.ok()) return status;
  return documents;
}

absl::StatusOr<std::vector<Mark>> LocalLog::GetMarks() const {
  std::vector<Mark> marks;
  const std::string prefix = MetaKey(MetaKind::kMark, uid_, shard_);
  absl::Status status = database_->Scan(Family::kMeta, prefix, PrefixEnd(prefix),
                                        [&](std::string_view key, std::string_view value) {
                                          absl::StatusOr<Mark> mark = DecodeMark(value);
                                          if (!mark.ok())
                                            return Damaged(Family::kMeta, key, mark.status());
                                          mark->token = key.substr(prefix.size());
                                          marks.push_back(*std::move(mark));
                                          return absl::OkStatus();
                                        });
  if (!status.ok()) return status;
  return marks;
}

absl::StatusOr<uint64_t> LocalLog::CountIds() const {
  uint64_t count = 0;
  const std::string prefix = ShardPrefix(uid_, shard_);
  absl::Status status = database_->Scan(Family::kIds, prefix, PrefixEnd(prefix),
                                        [&](std::string_view, std::string_view) {
                                          ++count;
                                          return absl::OkStatus();
                                        });
  if (!status.ok()) return status;
  return count;
}

absl::Status LocalLog::ScanExpiries(const ExpiryFn& fn) const {
  const std::string prefix = MetaKey(MetaKind::kExpiry, uid_, shard_);
  return database_->Scan(Family::kMeta, prefix, PrefixEnd(prefix),
                         [&](std::string_view key, std::string_view value) {
                           int64_t expire_time_us = 0;
                           uint64_t sequence = 0;
                           absl::Status status = CheckExpiry(value);
                           if (status.ok() && !ParseExpiry(key, &expire_time_us, &sequence)) {
                             status = absl::DataLossError("key is malformed");
                           }
                           if (!status.ok()) return Damaged(Family::kMeta, key, status);
                           return fn(expire_time_us, sequence);
                         });
}

absl::Status LocalLog::ScanVectors(uint64_t after, uint64_t up_to, const VectorFn& fn) const {
  if (after >= up_to) return absl::OkStatus();
  const std::string upper = up_to == kMaxSequence ? PrefixEnd(ShardPrefix(uid_, shard_))
                                                  : SequenceKey(uid_, shard_, up_to + 1);
  std::vector<float> vector;
  return database_->Scan(Family::kVectors, SequenceKey(uid_, shard_, after + 1), upper,
                         [&](std::string_view key, std::string_view value) {
                           uint64_t sequence = 0;
                           absl::Status status =
                               ParseSequence(key, &sequence)
                                   ? DecodeVectors(value, dimension_, max_passages_, &vector)
                                   : absl::DataLossError("key has a wrong length");
                           if (!status.ok()) return Damaged(Family::kVectors, key, status);
                           return fn(sequence, vector);
                         });
}

absl::Status LocalLog::ScanDocuments(uint64_t after, uint64_t up_to, const DocumentParts& parts,
                                     const DocumentFn& fn) const {
  if (after >= up_to) return absl::OkStatus();
  const std::string upper = up_to == kMaxSequence ? PrefixEnd(ShardPrefix(uid_, shard_))
                                                  : SequenceKey(uid_, shard_, up_to + 1);
  return database_->Scan(Family::kDocuments, SequenceKey(uid_, shard_, after + 1), upper,
                         [&](std::string_view key, std::string_view value) {
                           Document document;
                           document.uid = uid_;
                           absl::Status status =
                               ParseSequence(key, &document.sequence)
                                   ? DecodeDocument(value, parts, &document)
                                   : absl::DataLossError("key has a wrong length");
                           if (!status.ok()) return Damaged(Family::kDocuments, key, status);
                           return fn(document);
                         });
}

absl::Status LocalLog::ReplayChanges(uint64_t after, const ChangeFn& fn) const {
  rocksdb::ManagedSnapshot snapshot(&database_->db());
  const absl::StatusOr<uint64_t> last = database_->GetNumber(
      Family::kMeta, MetaKey(MetaKind::kShardState, uid_, shard_), snapshot.snapshot());
  if (!last.ok()) return last.status();
  if (after > *last) {
    return absl::DataLossError(absl::StrCat(Name(), " ends at sequence number ", *last,
                                            ", but changes after ", after, " were asked for"));
  }
  if (after == *last) return absl::OkStatus();

  const std::string upper = PrefixEnd(ShardPrefix(uid_, shard_));
  const rocksdb::Slice upper_bound(upper);
  rocksdb::ReadOptions options;
  options.snapshot = snapshot.snapshot();
  options.iterate_upper_bound = &upper_bound;
  options.readahead_size = Database::kReadaheadBytes;
  options.fill_cache = false;
  const auto iterator = [&](Family family) {
    return std::unique_ptr<rocksdb::Iterator>(
        database_->db().NewIterator(options, database_->family(family)));
  };
  const std::unique_ptr<rocksdb::Iterator> changes = iterator(Family::kChanges);
  const std::unique_ptr<rocksdb::Iterator> vectors = iterator(Family::kVectors);
  const std::string start = SequenceKey(uid_, shard_, after + 1);
  std::vector<float> vector;
  uint64_t expected = after + 1;
  vectors->Seek(start);
  for (changes->Seek(start); changes->Valid(); changes->Next(), ++expected) {
    const std::string_view key = AsView(changes->key());
    Change change;
    if (!ParseSequence(key, &change.sequence) || change.sequence != expected) break;
    const absl::StatusOr<ChangeRecord> record = DecodeChange(AsView(changes->value()));
    if (!record.ok()) return Damaged(Family::kChanges, key, record.status());
    change.kind = record->kind;
    change.replaces = record->replaces;
    // Keys of both families are alike, and both are read in order.
    while (vectors->Valid() && AsView(vectors->key()) < key) vectors->Next();
    if (!vectors->status().ok()) break;
    std::span<const float> live;
    if (vectors->Valid() && AsView(vectors->key()) == key) {
      absl::Status status =
          DecodeVectors(AsView(vectors->value()), dimension_, max_passages_, &vector);
      if (!status.ok()) return Damaged(Family::kVectors, key, status);
      live = vector;
    }
    if (absl::Status status = fn(change, live); !status.ok()) return status;
  }
  for (const auto* it : {changes.get(), vectors.get()}) {
    if (!it->status().ok()) return ToStatus(it->status(), "replaying the changes of " + Name());
  }
  if (expected != *last + 1) {
    return Damaged(Family::kChanges, SequenceKey(uid_, shard_, expected),
                   absl::DataLossError(absl::StrCat("change record ", expected, " of ", Name(),
                                                    " is missing; the log ends at ", *last)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<NamedChange>> LocalLog::ListChanges(uint64_t after, size_t limit) const {
  std::vector<NamedChange> found;
  const uint64_t last = last_sequence_.load();
  if (after >= last || limit == 0) return found;
  const std::string upper = PrefixEnd(ShardPrefix(uid_, shard_));
  const rocksdb::Slice upper_bound(upper);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &upper_bound;
  const std::unique_ptr<rocksdb::Iterator> it(
      database_->db().NewIterator(options, database_->family(Family::kChanges)));
  uint64_t expected = after + 1;
  const std::string start = SequenceKey(uid_, shard_, expected);
  for (it->Seek(start); it->Valid() && found.size() < limit; it->Next(), ++expected) {
    const std::string_view key = AsView(it->key());
    NamedChange change;
    if (!ParseSequence(key, &change.sequence) || change.sequence != expected) break;
    const absl::StatusOr<ChangeRecord> record = DecodeChange(AsView(it->value()));
    if (!record.ok()) return Damaged(Family::kChanges, key, record.status());
    change.kind = record->kind;
    change.id = std::string(record->id);
    found.push_back(std::move(change));
  }
  if (!it->status().ok()) return ToStatus(it->status(), "reading the changes of " + Name());
  if (found.size() < limit && expected <= last) {
    return Damaged(Family::kChanges, SequenceKey(uid_, shard_, expected),
                   absl::DataLossError(absl::StrCat("change record ", expected, " of ", Name(),
                                                    " is missing; the log ends at ", last)));
  }
  return found;
}

absl::Status LocalLog::TrimChanges(uint64_t up_to) {
  up_to = std::min(up_to, last_sequence_.load());
  if (up_to <= trimmed_) return absl::OkStatus();
  rocksdb::WriteBatch batch;
  // Ranges of successive trims do not overlap; overlapping range deletions would slow reads.
  batch.DeleteRange(database_->family(Family::kChanges), SequenceKey(uid_, shard_, trimmed_ + 1),
                    up_to == kMaxSequence ? PrefixEnd(ShardPrefix(uid_, shard_))
                                          : SequenceKey(uid_, shard_, up_to + 1));
  if (absl::Status status = Write(&batch, "trimming the changes of"); !status.ok()) return status;
  trimmed_ = up_to;
  return absl::OkStatus();
}

absl::StatusOr<std::string> LocalLog::GetManifest() const {
  const std::string key = MetaKey(MetaKind::kManifest, uid_, shard_);
  const absl::StatusOr<std::string> value = database_->Get(Family::kMeta, key);
  if (absl::IsNotFound(value.status())) return std::string();
  if (!value.ok()) return value.status();
  absl::StatusOr<std::string> manifest = DecodeManifest(*value);
  if (!manifest.ok()) return Damaged(Family::kMeta, key, manifest.status());
  return manifest;
}

absl::Status LocalLog::PutManifest(std::string_view bytes) {
  rocksdb::WriteBatch batch;
  batch.Put(database_->family(Family::kMeta), MetaKey(MetaKind::kManifest, uid_, shard_),
            EncodeManifest(bytes));
  return Write(&batch, "writing the manifest of");
}

}  // namespace vecino::storage
