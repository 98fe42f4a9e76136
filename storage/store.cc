#include "storage/store.h"

#include <limits>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "rocksdb/convenience.h"
#include "rocksdb/write_batch.h"
#include "storage/database.h"
#include "storage/keys.h"
#include "storage/local_log.h"
#include "storage/local_store.h"
#include "storage/migration_record.h"
#include "storage/records.h"
#include "storage/rocksdb_status.h"
#include "storage/store_internal.h"

namespace vecino::storage {

absl::Status LocalStore::Load() {
  {
    absl::MutexLock lock(&mutex_);
    if (absl::Status status = LoadCollections(); !status.ok()) return status;
    if (absl::Status status = LoadMigrations(); !status.ok()) return status;
    if (absl::Status status = LoadAliases(); !status.ok()) return status;
  }
  const absl::StatusOr<std::vector<uint32_t>> dropping = FindDropping();
  if (!dropping.ok()) return dropping.status();
  for (const uint32_t uid : *dropping) {
    database_->Warn(absl::StrCat("finishing the removal of dropped collection uid ", uid));
    if (absl::Status status = RemoveRows(uid); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status LocalStore::LoadCollections() {
  const std::string next_key = MetaKey(MetaKind::kNextUid);
  const absl::StatusOr<uint64_t> next = database_->GetNumber(Family::kMeta, next_key);
  if (!next.ok()) return next.status();
  if (*next > std::numeric_limits<uint32_t>::max()) {
    return Damaged(Family::kMeta, next_key,
                   absl::DataLossError(absl::StrCat("next uid ", *next, " is over 32 bits")));
  }
  next_uid_ = *next == 0 ? 1 : static_cast<uint32_t>(*next);

  const std::string prefix = MetaKey(MetaKind::kCollection);
  return database_->Scan(
      Family::kMeta, prefix, PrefixEnd(prefix),
      [this](std::string_view key, std::string_view value) ABSL_NO_THREAD_SAFETY_ANALYSIS {
        absl::StatusOr<CollectionRecord> record = DecodeCollectionRecord(value);
        if (!record.ok()) return Damaged(Family::kMeta, key, record.status());
        uint32_t uid = 0;
        if (!ParseMetaUid(key, MetaKind::kCollection, &uid) || uid != record->uid ||
            uid >= next_uid_) {
          return Damaged(Family::kMeta, key,
                         absl::DataLossError(absl::StrCat("collection has uid ", record->uid,
                                                          ", and the next is ", next_uid_)));
        }
        Collection collection;
        collection.record = *record;
        if (!collections_.emplace(record->id, std::move(collection)).second) {
          return Damaged(Family::kMeta, key,
                         absl::DataLossError("two collections have the id " + record->id));
        }
        return absl::OkStatus();
      });
}

absl::StatusOr<std::vector<uint32_t>> LocalStore::FindDropping() const {
  std::vector<uint32_t> uids;
  const std::string prefix = MetaKey(MetaKind::kDropping);
  absl::Status status = database_->Scan(
      Family::kMeta, prefix, PrefixEnd(prefix), [&](std::string_view key, std::string_view) {
        uint32_t uid = 0;
        if (!ParseMetaUid(key, MetaKind::kDropping, &uid)) {
          return Damaged(Family::kMeta, key, absl::DataLossError("key has a wrong length"));
        }
        uids.push_back(uid);
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return uids;
}

absl::StatusOr<uint32_t> LocalStore::AddCollection(CollectionRecord record) {
  if (record.id.empty() || record.dimension == 0 || record.shard_count == 0 ||
      record.shard_count > kMaxShards) {
    return absl::InvalidArgumentError(absl::StrCat(
        "collection \"", record.id, "\" with dimension ", record.dimension, " and ",
        record.shard_count,
        " shards: the id must not be empty, the dimension at least 1, the shards 1 to ",
        kMaxShards));
  }
  absl::MutexLock lock(&mutex_);
  if (absl::Status status = CheckIdFree(record.id); !status.ok()) return status;
  if (next_uid_ == std::numeric_limits<uint32_t>::max()) {
    return absl::ResourceExhaustedError("all collection uids of this store have been given out");
  }
  record.uid = next_uid_;
  rocksdb::WriteBatch batch;
  batch.Put(database_->family(Family::kMeta), MetaKey(MetaKind::kCollection, record.uid),
            EncodeCollectionRecord(record));
  batch.Put(database_->family(Family::kMeta), MetaKey(MetaKind::kNextUid),
            EncodeNumber(uint64_t{record.uid} + 1));
  if (absl::Status status =
          database_->Write(&batch, absl::StrCat("adding collection \"", record.id, "\""));
      !status.ok()) {
    return status;
  }
  ++next_uid_;
  const uint32_t uid = record.uid;
  Collection collection;
  collection.record = std::move(record);
  collections_.emplace(collection.record.id, std::move(collection));
  return uid;
}

absl::Status LocalStore::PutIndex(uint32_t uid, const StoredIndex& index) {
  absl::MutexLock lock(&mutex_);
  const absl::StatusOr<Collection*> found = Find(uid);
  if (!found.ok()) return found.status();
  CollectionRecord record = (*found)->record;
  record.index = index;
  MigrationRecord migration = (*found)->migration;
  rocksdb::WriteBatch batch;
  auto* const meta = database_->family(Family::kMeta);
  batch.Put(meta, MetaKey(MetaKind::kCollection, uid), EncodeCollectionRecord(record));
  if (migration.other.has_value()) {
    migration.other->index = index;
    batch.Put(meta, MetaKey(MetaKind::kMigration, uid), EncodeMigration(migration));
  }
  absl::Status status =
      database_->Write(&batch, absl::StrCat("changing collection \"", record.id, "\""));
  if (!status.ok()) return status;
  (*found)->record = std::move(record);
  (*found)->migration = std::move(migration);
  return status;
}

absl::StatusOr<std::vector<CollectionRecord>> LocalStore::ListCollections() const {
  absl::MutexLock lock(&mutex_);
  std::vector<CollectionRecord> records;
  records.reserve(collections_.size());
  for (const auto& [id, collection] : collections_) records.push_back(collection.record);
  return records;
}

absl::Status LocalStore::DropCollection(uint32_t uid) {
  uint32_t hidden = 0;
  {
    absl::MutexLock lock(&mutex_);
    auto it = collections_.begin();
    while (it != collections_.end() && it->second.record.uid != uid) ++it;
    if (it == collections_.end()) {
      return absl::NotFoundError(absl::StrCat("there is no collection with uid ", uid));
    }
    for (const auto& [id, alias] : aliases_) {
      if (alias.uid != uid) continue;
      return absl::FailedPreconditionError(
          absl::StrCat("alias \"", id, "\" points to the collection"));
    }
    const std::shared_ptr<CollectionGate> gate = it->second.gate;
    const std::shared_ptr<CollectionGate> other_gate = it->second.other_gate;
    absl::WriterMutexLock gate_lock(&gate->mutex);
    absl::WriterMutexLock other_lock(&other_gate->mutex);
    if (it->second.migration.other.has_value()) hidden = it->second.migration.other->uid;
    rocksdb::WriteBatch batch;
    batch.Delete(database_->family(Family::kMeta), MetaKey(MetaKind::kCollection, uid));
    batch.Delete(database_->family(Family::kMeta), MetaKey(MetaKind::kMigration, uid));
    for (const uint32_t gone : {uid, hidden}) {
      if (gone == 0) continue;
      batch.Put(database_->family(Family::kMeta), MetaKey(MetaKind::kDropping, gone),
                EncodeNumber(gone));
    }
    if (absl::Status status =
            database_->Write(&batch, absl::StrCat("dropping collection uid ", uid));
        !status.ok()) {
      return status;
    }
    gate->dropped = true;
    other_gate->dropped = true;
    collections_.erase(it);
  }
  RemoveDropped(uid);
  if (hidden != 0) RemoveDropped(hidden);
  return absl::OkStatus();
}

// The collection is gone, durably. This frees its space; the next opening would do it too.
void LocalStore::RemoveDropped(uint32_t uid) {
  RetryRemovals();
  if (absl::Status status = RemoveRows(uid); !status.ok()) {
    database_->Warn(absl::StrCat("removing the rows of dropped collection uid ", uid,
                                 " will be tried again with the next collection that is dropped or "
                                 "restored, and at the next start: ",
                                 status.message()));
    absl::MutexLock lock(&mutex_);
    unremoved_.push_back(uid);
  }
}

void LocalStore::RetryRemovals() {
  std::vector<uint32_t> uids;
  {
    absl::MutexLock lock(&mutex_);
    uids.swap(unremoved_);
  }
  for (const uint32_t uid : uids) {
    if (RemoveRows(uid).ok()) continue;
    absl::MutexLock lock(&mutex_);
    unremoved_.push_back(uid);
  }
}

absl::Status LocalStore::RemoveRows(uint32_t uid) {
  const std::string lower = UidPrefix(uid);
  const std::string upper = PrefixEnd(lower);
  constexpr Family kRowFamilies[] = {Family::kDocuments, Family::kVectors, Family::kIds,
                                     Family::kChanges};
  rocksdb::WriteBatch batch;
  for (const Family family : kRowFamilies) {
    batch.DeleteRange(database_->family(family), lower, upper);
  }
  for (const MetaKind kind : {MetaKind::kShardState, MetaKind::kManifest, MetaKind::kExpiry,
                              MetaKind::kOperation, MetaKind::kMark}) {
    const std::string prefix = MetaKey(kind, uid);
    batch.DeleteRange(database_->family(Family::kMeta), prefix, PrefixEnd(prefix));
  }
  batch.Delete(database_->family(Family::kMeta), MetaKey(MetaKind::kDropping, uid));
  const std::string doing = absl::StrCat("removing the rows of collection uid ", uid);
  if (absl::Status status = database_->Write(&batch, doing); !status.ok()) return status;

  // Whole files go at once; the rest goes with the compactions. Running scans keep theirs.
  const rocksdb::Slice begin(lower);
  const rocksdb::Slice end(upper);
  const rocksdb::RangePtr range(&begin, &end);
  for (const Family family : kRowFamilies) {
    const rocksdb::Status status = rocksdb::DeleteFilesInRanges(
        &database_->db(), database_->family(family), &range, 1, /*include_end=*/false);
    if (!status.ok()) database_->Warn(std::string(ToStatus(status, doing).message()));
  }
  return absl::OkStatus();
}

absl::Status LocalStore::LoadAliases() {
  const std::string prefix = MetaKey(MetaKind::kAlias);
  return database_->Scan(
      Family::kMeta, prefix, PrefixEnd(prefix),
      [this](std::string_view key, std::string_view value) ABSL_NO_THREAD_SAFETY_ANALYSIS {
        std::string_view id;
        if (!ParseAliasKey(key, &id)) {
          return Damaged(Family::kMeta, key, absl::DataLossError("alias without an id"));
        }
        absl::StatusOr<AliasRecord> record = DecodeAlias(id, value);
        if (!record.ok()) return Damaged(Family::kMeta, key, record.status());
        if (!HasCollection(record->uid) || collections_.contains(record->id)) {
          return Damaged(Family::kMeta, key,
                         absl::DataLossError(absl::StrCat(
                             "alias \"", record->id, "\" of collection uid ", record->uid,
                             ": there is no such collection, or one of the alias' id")));
        }
        aliases_.emplace(record->id, *record);
        return absl::OkStatus();
      });
}

bool LocalStore::HasCollection(uint32_t uid) const {
  for (const auto& [id, collection] : collections_) {
    if (collection.record.uid == uid) return true;
  }
  return false;
}

absl::Status LocalStore::PutAlias(const AliasRecord& record) {
  if (record.id.empty()) return absl::InvalidArgumentError("an alias needs an id");
  absl::MutexLock lock(&mutex_);
  if (collections_.contains(record.id)) {
    return absl::AlreadyExistsError(absl::StrCat("a collection has the id \"", record.id, "\""));
  }
  if (!HasCollection(record.uid)) {
    return absl::NotFoundError(absl::StrCat("there is no collection with uid ", record.uid));
  }
  rocksdb::WriteBatch batch;
  batch.Put(database_->family(Family::kMeta), AliasKey(record.id), EncodeAlias(record));
  absl::Status status = database_->Write(&batch, absl::StrCat("writing alias \"", record.id, "\""));
  if (status.ok()) aliases_[record.id] = record;
  return status;
}

absl::Status LocalStore::DeleteAlias(std::string_view id) {
  absl::MutexLock lock(&mutex_);
  const auto it = aliases_.find(std::string(id));
  if (it == aliases_.end()) {
    return absl::NotFoundError(absl::StrCat("there is no alias \"", std::string(id), "\""));
  }
  rocksdb::WriteBatch batch;
  batch.Delete(database_->family(Family::kMeta), AliasKey(id));
  absl::Status status =
      database_->Write(&batch, absl::StrCat("deleting alias \"", it->first, "\""));
  if (status.ok()) aliases_.erase(it);
  return status;
}

absl::StatusOr<std::vector<AliasRecord>> LocalStore::ListAliases() const {
  absl::MutexLock lock(&mutex_);
  std::vector<AliasRecord> records;
  records.reserve(aliases_.size());
  for (const auto& [id, record] : aliases_) records.push_back(record);
  return records;
}

absl::Status LocalStore::PutOperation(const OperationRecord& record) {
  // Held while it is written, so that no record outlives its collection.
  absl::MutexLock lock(&mutex_);
  if (!HasCollection(record.uid)) {
    return absl::NotFoundError(absl::StrCat("there is no collection with uid ", record.uid));
  }
  rocksdb::WriteBatch batch;
  batch.Put(database_->family(Family::kMeta), OperationKey(record.uid, record.number),
            EncodeManifest(record.bytes));
  return database_->Write(&batch, absl::StrCat("writing operation ", record.number));
}

absl::Status LocalStore::DeleteOperation(uint32_t uid, uint64_t number) {
  rocksdb::WriteBatch batch;
  batch.Delete(database_->family(Family::kMeta), OperationKey(uid, number));
  return database_->Write(&batch, absl::StrCat("deleting operation ", number));
}

absl::StatusOr<std::vector<OperationRecord>> LocalStore::ListOperations() const {
  std::vector<OperationRecord> records;
  const std::string prefix = MetaKey(MetaKind::kOperation);
  absl::Status status = database_->Scan(
      Family::kMeta, prefix, PrefixEnd(prefix), [&](std::string_view key, std::string_view value) {
        OperationRecord record;
        if (!ParseOperationKey(key, &record.uid, &record.number)) {
          return Damaged(Family::kMeta, key, absl::DataLossError("key has a wrong length"));
        }
        absl::StatusOr<std::string> bytes = DecodeManifest(value);
        if (!bytes.ok()) return Damaged(Family::kMeta, key, bytes.status());
        record.bytes = *std::move(bytes);
        records.push_back(std::move(record));
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return records;
}

absl::StatusOr<std::unique_ptr<ShardLog>> LocalStore::OpenShard(uint32_t uid, uint32_t shard,
                                                                uint32_t dimension) {
  std::optional<CollectionRecord> found;
  std::shared_ptr<CollectionGate> gate;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, collection] : collections_) {
      const auto& other = collection.migration.other;
      if (collection.record.uid == uid) {
        found = collection.record;
        gate = collection.gate;
      } else if (other.has_value() && other->uid == uid) {
        found = other;
        gate = collection.other_gate;
      }
    }
  }
  if (!found.has_value()) {
    return absl::NotFoundError(absl::StrCat("there is no collection with uid ", uid));
  }
  if (shard >= found->shard_count || dimension != found->dimension) {
    return absl::InvalidArgumentError(absl::StrCat(
        "shard ", shard, " with dimension ", dimension, " of collection uid ", uid, ", which has ",
        found->shard_count, " shards of dimension ", found->dimension));
  }
  return LocalLog::Open(database_.get(), gate, uid, static_cast<uint16_t>(shard), dimension,
                        found->chunk_tokens > 0 ? kMaxPassages : 1);
}

absl::Status LocalStore::DropMark(uint32_t uid, std::string_view token) {
  absl::MutexLock lock(&mutex_);
  for (const auto& [id, collection] : collections_) {
    if (collection.record.uid != uid) continue;
    rocksdb::WriteBatch batch;
    for (uint32_t shard = 0; shard < collection.record.shard_count; ++shard) {
      batch.Delete(database_->family(Family::kMeta),
                   MarkKey(uid, static_cast<uint16_t>(shard), token));
    }
    return database_->Write(&batch, absl::StrCat("forgetting a mark of collection uid ", uid));
  }
  return absl::NotFoundError(absl::StrCat("there is no collection with uid ", uid));
}

absl::StatusOr<std::unique_ptr<Store>> OpenStoreOn(const StoreOptions& options, rocksdb::Env* env) {
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(options, env);
  if (!database.ok()) return database.status();
  auto store = std::make_unique<LocalStore>(*std::move(database));
  if (absl::Status status = store->Load(); !status.ok()) return status;
  return store;
}

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const StoreOptions& options) {
  return OpenStoreOn(options, nullptr);
}

}  // namespace vecino::storage
