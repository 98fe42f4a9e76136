// The hidden sides of collections whose embeddings are migrated.
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/keys.h"
#include "storage/local_store.h"
#include "storage/mark.h"
#include "storage/records.h"

namespace vecino::storage {

absl::Status LocalStore::LoadMigrations() {
  const std::string prefix = MetaKey(MetaKind::kMigration);
  return database_->Scan(
      Family::kMeta, prefix, PrefixEnd(prefix),
      [this](std::string_view key, std::string_view value) ABSL_NO_THREAD_SAFETY_ANALYSIS {
        uint32_t uid = 0;
        if (!ParseMetaUid(key, MetaKind::kMigration, &uid)) {
          return Damaged(Family::kMeta, key, absl::DataLossError("key has a wrong length"));
        }
        absl::StatusOr<MigrationRecord> record = DecodeMigration(uid, value);
        if (!record.ok()) return Damaged(Family::kMeta, key, record.status());
        const absl::StatusOr<Collection*> collection = Find(uid);
        if (!collection.ok()) return Damaged(Family::kMeta, key, collection.status());
        const auto& other = record->other;
        if (other.has_value() &&
            (other->uid == uid || other->uid >= next_uid_ || HasCollection(other->uid) ||
             other->id != (*collection)->record.id ||
             other->shard_count != (*collection)->record.shard_count)) {
          return Damaged(Family::kMeta, key,
                         absl::DataLossError(absl::StrCat("the hidden side, uid ", other->uid,
                                                          ", is none of this collection")));
        }
        (*collection)->migration = *std::move(record);
        return absl::OkStatus();
      });
}

absl::StatusOr<LocalStore::Collection*> LocalStore::Find(uint32_t uid) {
  for (auto& [id, collection] : collections_) {
    if (collection.record.uid == uid) return &collection;
  }
  return absl::NotFoundError(absl::StrCat("there is no collection with uid ", uid));
}

absl::StatusOr<LocalStore::Collection*> LocalStore::FindMigrating(uint32_t uid) {
  absl::StatusOr<Collection*> found = Find(uid);
  if (!found.ok() || (*found)->migration.other.has_value()) return found;
  return absl::NotFoundError(absl::StrCat("collection uid ", uid, " has no hidden side"));
}

absl::StatusOr<uint32_t> LocalStore::AddMigration(MigrationRecord record,
                                                  std::string_view manifest) {
  absl::MutexLock lock(&mutex_);
  const absl::StatusOr<Collection*> found = Find(record.uid);
  if (!found.ok()) return found.status();
  Collection& collection = **found;
  if (collection.migration.other.has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat("collection uid ", record.uid, " has a hidden side already"));
  }
  if (!record.other.has_value() || record.other->id != collection.record.id ||
      record.other->shard_count != collection.record.shard_count || record.other->dimension == 0 ||
      record.last_range <= collection.migration.last_range || record.last_range > kMaxRange) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the hidden side of collection uid ", record.uid, " must have its id and its ",
        collection.record.shard_count,
        " shards, a dimension, and a range of sequence numbers from ",
        collection.migration.last_range + 1, " to ", kMaxRange, ", not ", record.last_range));
  }
  if (next_uid_ == std::numeric_limits<uint32_t>::max()) {
    return absl::ResourceExhaustedError("all collection uids of this store have been given out");
  }
  record.other->uid = next_uid_;
  rocksdb::WriteBatch batch;
  auto* const meta = database_->family(Family::kMeta);
  batch.Put(meta, MetaKey(MetaKind::kMigration, record.uid), EncodeMigration(record));
  batch.Put(meta, MetaKey(MetaKind::kNextUid), EncodeNumber(uint64_t{next_uid_} + 1));
  for (uint32_t shard = 0; shard < record.other->shard_count; ++shard) {
    const auto number = static_cast<uint16_t>(shard);
    batch.Put(meta, MetaKey(MetaKind::kShardState, next_uid_, number),
              EncodeNumber(FirstOfRange(record.last_range)));
    batch.Put(meta, MetaKey(MetaKind::kManifest, next_uid_, number), EncodeManifest(manifest));
  }
  if (absl::Status status = database_->Write(
          &batch, absl::StrCat("adding a hidden side to collection uid ", record.uid));
      !status.ok()) {
    return status;
  }
  collection.migration = std::move(record);
  collection.other_gate = std::make_shared<CollectionGate>();
  return next_uid_++;
}

absl::StatusOr<std::vector<MigrationRecord>> LocalStore::ListMigrations() const {
  std::map<uint32_t, MigrationRecord> by_uid;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, collection] : collections_) {
      if (collection.migration.last_range > 0) {
        by_uid[collection.migration.uid] = collection.migration;
      }
    }
  }
  std::vector<MigrationRecord> records;
  for (auto& [uid, record] : by_uid) records.push_back(std::move(record));
  return records;
}

absl::Status LocalStore::PutMigration(uint32_t uid, std::string_view bytes) {
  absl::MutexLock lock(&mutex_);
  const absl::StatusOr<Collection*> found = FindMigrating(uid);
  if (!found.ok()) return found.status();
  MigrationRecord next = (*found)->migration;
  next.bytes = std::string(bytes);
  rocksdb::WriteBatch batch;
  batch.Put(database_->family(Family::kMeta), MetaKey(MetaKind::kMigration, uid),
            EncodeMigration(next));
  absl::Status status =
      database_->Write(&batch, absl::StrCat("writing the migration of collection uid ", uid));
  if (status.ok()) (*found)->migration = std::move(next);
  return status;
}

absl::Status LocalStore::MoveRows(uint32_t from, uint32_t to, uint32_t shard_count,
                                  std::string_view follower, rocksdb::WriteBatch* batch) {
  auto* const meta = database_->family(Family::kMeta);
  for (const auto& [id, alias] : aliases_) {
    if (alias.uid != from) continue;
    AliasRecord moved = alias;
    moved.uid = to;
    batch->Put(meta, AliasKey(id), EncodeAlias(moved));
  }
  const std::string operations = MetaKey(MetaKind::kOperation, from);
  absl::Status status = database_->Scan(
      Family::kMeta, operations, PrefixEnd(operations),
      [&](std::string_view key, std::string_view value) {
        uint32_t uid = 0;
        uint64_t number = 0;
        if (!ParseOperationKey(key, &uid, &number)) {
          return Damaged(Family::kMeta, key, absl::DataLossError("key has a wrong length"));
        }
        batch->Delete(meta, rocksdb::Slice(key.data(), key.size()));
        batch->Put(meta, OperationKey(to, number), std::string(value));
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  for (uint32_t shard = 0; shard < shard_count; ++shard) {
    const auto number = static_cast<uint16_t>(shard);
    const std::string target = MetaKey(MetaKind::kMark, to, number);
    batch->DeleteRange(meta, target, PrefixEnd(target));
    const std::string source = MetaKey(MetaKind::kMark, from, number);
    status = database_->Scan(Family::kMeta, source, PrefixEnd(source),
                             [&](std::string_view key, std::string_view value) {
                               const std::string_view token = key.substr(source.size());
                               if (token == follower) return absl::OkStatus();
                               batch->Put(meta, MarkKey(to, number, token), std::string(value));
                               return absl::OkStatus();
                             });
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status LocalStore::SwitchMigration(uint32_t uid, std::string_view bytes,
                                         std::string_view follower,
                                         std::span<const uint64_t> through) {
  absl::MutexLock lock(&mutex_);
  const absl::StatusOr<Collection*> found = FindMigrating(uid);
  if (!found.ok()) return found.status();
  Collection& collection = **found;
  const uint32_t shard_count = collection.record.shard_count;
  if (through.size() != shard_count) {
    return absl::InvalidArgumentError(
        absl::StrCat("marks for ", through.size(), " shards, not ", shard_count));
  }
  MigrationRecord next = collection.migration;
  next.other = collection.record;
  next.uid = collection.migration.other->uid;
  next.bytes = std::string(bytes);

  rocksdb::WriteBatch batch;
  auto* const meta = database_->family(Family::kMeta);
  batch.Delete(meta, MetaKey(MetaKind::kCollection, uid));
  batch.Delete(meta, MetaKey(MetaKind::kMigration, uid));
  batch.Put(meta, MetaKey(MetaKind::kCollection, next.uid),
            EncodeCollectionRecord(*collection.migration.other));
  batch.Put(meta, MetaKey(MetaKind::kMigration, next.uid), EncodeMigration(next));
  if (absl::Status status = MoveRows(uid, next.uid, shard_count, follower, &batch); !status.ok()) {
    return status;
  }
  for (uint32_t shard = 0; shard < shard_count; ++shard) {
    Mark mark;
    mark.token = std::string(follower);
    mark.through = through[shard];
    if (absl::Status status = CheckMark(mark); !status.ok()) return status;
    batch.Put(meta, MarkKey(uid, static_cast<uint16_t>(shard), follower), EncodeMark(mark));
  }
  if (absl::Status status = database_->Write(
          &batch, absl::StrCat("switching collection uid ", uid, " to uid ", next.uid));
      !status.ok()) {
    return status;
  }
  collection.record = *collection.migration.other;
  std::swap(collection.gate, collection.other_gate);
  for (auto& [id, alias] : aliases_) {
    if (alias.uid == uid) alias.uid = next.uid;
  }
  collection.migration = std::move(next);
  return absl::OkStatus();
}

absl::Status LocalStore::EndMigration(uint32_t uid) {
  uint32_t hidden = 0;
  {
    absl::MutexLock lock(&mutex_);
    const absl::StatusOr<Collection*> found = Find(uid);
    if (!found.ok()) return found.status();
    Collection& collection = **found;
    if (!collection.migration.other.has_value()) return absl::OkStatus();
    hidden = collection.migration.other->uid;
    MigrationRecord ended = collection.migration;
    ended.other = std::nullopt;
    ended.bytes.clear();
    const std::shared_ptr<CollectionGate> gate = collection.other_gate;
    absl::WriterMutexLock gate_lock(&gate->mutex);
    rocksdb::WriteBatch batch;
    auto* const meta = database_->family(Family::kMeta);
    batch.Put(meta, MetaKey(MetaKind::kMigration, uid), EncodeMigration(ended));
    batch.Put(meta, MetaKey(MetaKind::kDropping, hidden), EncodeNumber(hidden));
    if (absl::Status status = database_->Write(
            &batch, absl::StrCat("removing the hidden side of collection uid ", uid));
        !status.ok()) {
      return status;
    }
    gate->dropped = true;
    collection.migration = std::move(ended);
  }
  RemoveDropped(hidden);
  return absl::OkStatus();
}

}  // namespace vecino::storage
