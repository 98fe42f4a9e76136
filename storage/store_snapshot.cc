// Copies of collections in files, and collections made of them.
#include <algorithm>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "rocksdb/snapshot.h"
#include "storage/codec.h"
#include "storage/keys.h"
#include "storage/local_store.h"
#include "storage/records.h"
#include "storage/snapshot_tables.h"

namespace vecino::storage {
namespace {

constexpr Family kRowFamilies[] = {Family::kDocuments, Family::kVectors, Family::kIds};
// In order of their keys. Manifests and operations are of this server, changes are in the rows.
constexpr MetaKind kMetaKinds[] = {MetaKind::kMark, MetaKind::kShardState, MetaKind::kExpiry};
constexpr size_t kMetaUidAt = 2, kRowUidAt = 1;  // of the uid in a key
constexpr size_t kUidBytes = 4;
constexpr size_t kShardStateKeyBytes = kMetaUidAt + kUidBytes + 2;
constexpr size_t kBatchBytes = 1u << 20;
constexpr uint64_t kProgressRows = 1024;

// A row's key with another uid; DATA_LOSS when it is no key that WriteSnapshot writes.
absl::StatusOr<std::string> MoveKey(const SnapshotFile& file, std::string_view key, uint32_t uid) {
  std::string expected;
  bool known = file.family != Family::kMeta && file.family != Family::kChanges;
  size_t at = kRowUidAt;
  if (known) {
    expected = UidPrefix(file.uid);
  } else if (file.family == Family::kMeta) {
    at = kMetaUidAt;
    for (const MetaKind kind : kMetaKinds) {
      expected = MetaKey(kind, file.uid);
      known = known || key.starts_with(expected);
      if (known) break;
    }
  }
  if (!known || !key.starts_with(expected)) {
    return absl::DataLossError(absl::StrCat("file ", file.name, " of the snapshot holds the key ",
                                            ToHex(key), ", which is none of its collection"));
  }
  std::string big_endian;
  AppendBigEndian32(uid, &big_endian);
  std::string moved(key);
  moved.replace(at, kUidBytes, big_endian);
  return moved;
}

// Counts rows, and tells of them at times.
class RowProgress {
 public:
  explicit RowProgress(const SnapshotProgressFn& fn) : fn_(fn) {}
  absl::Status Add() {
    if (++rows_ < kProgressRows) return absl::OkStatus();
    return Tell();
  }
  absl::Status Tell() {
    return fn_ == nullptr ? absl::OkStatus() : fn_(std::exchange(rows_, 0), 0);
  }

 private:
  const SnapshotProgressFn& fn_;
  uint64_t rows_ = 0;
};

// Whether the disk has room for the files' rows, as far as it tells. A restore that filled it would
// stop all writes, and could not even remove what it wrote.
absl::Status CheckRoom(const rocksdb::DB& db, const SnapshotManifest& manifest,
                       std::span<const RestoreTarget> targets) {
  uint64_t needed = 0, free = 0;
  for (const SnapshotFile& file : manifest.files) {
    const bool wanted = std::any_of(targets.begin(), targets.end(),
                                    [&](const auto& target) { return target.uid == file.uid; });
    if (wanted) needed += file.bytes;
  }
  if (!db.GetEnv()->GetFreeSpace(db.GetName(), &free).ok() || needed <= free) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("the disk that holds ", db.GetName(), " has ", free,
                   " bytes free, and what is to be restored takes ", needed,
                   "; free disk space, or restore fewer collections, and try again"));
}

}  // namespace

absl::Status LocalStore::CheckIdFree(const std::string& id) const {
  if (collections_.contains(id)) {
    return absl::AlreadyExistsError(absl::StrCat("collection \"", id, "\" exists already"));
  }
  if (aliases_.contains(id)) {
    return absl::AlreadyExistsError(absl::StrCat("an alias has the id \"", id, "\""));
  }
  return absl::OkStatus();
}

std::optional<CollectionRecord> LocalStore::FindSide(uint32_t uid) const {
  for (const auto& [id, collection] : collections_) {
    if (collection.record.uid == uid) return collection.record;
    const auto& other = collection.migration.other;
    if (other.has_value() && other->uid == uid) return other;
  }
  return std::nullopt;
}

absl::StatusOr<SnapshotManifest> LocalStore::WriteSnapshot(const std::string& folder,
                                                           std::span<const std::string> ids,
                                                           std::string_view server_version,
                                                           const SnapshotProgressFn& progress) {
  SnapshotManifest manifest;
  manifest.server_version = std::string(server_version);
  std::optional<rocksdb::ManagedSnapshot> moment;
  {
    // The catalog is written under the lock, so it and the snapshot agree.
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, collection] : collections_) {
      if (!ids.empty() && std::find(ids.begin(), ids.end(), id) == ids.end()) continue;
      manifest.collections.push_back(
          {.record = collection.record, .last_range = collection.migration.last_range});
    }
    for (const std::string& id : ids) {
      if (collections_.contains(id)) continue;
      return absl::NotFoundError(absl::StrCat("there is no collection \"", id, "\""));
    }
    moment.emplace(&database_->db());
    manifest.create_time_us = absl::ToUnixMicros(absl::Now());
  }
  rocksdb::Env* const env = database_->db().GetEnv();
  RowProgress rows(progress);
  for (SnapshotCollection& collection : manifest.collections) {
    const uint32_t uid = collection.record.uid;
    const auto copy = [&](Family family, const std::string& prefix, SnapshotTableWriter* writer) {
      return database_->Scan(
          family, prefix, PrefixEnd(prefix),
          [&](std::string_view key, std::string_view value) {
            ++collection.rows;
            if (family == Family::kIds) ++collection.documents;
            absl::Status status = writer->Add(key, value, progress);
            return status.ok() ? rows.Add() : status;
          },
          moment->snapshot());
    };
    for (const Family family : kRowFamilies) {
      SnapshotTableWriter writer(env, folder, uid, family, &manifest.files);
      absl::Status status = copy(family, UidPrefix(uid), &writer);
      if (status.ok()) status = writer.Finish(progress);
      if (!status.ok()) return status;
    }
    SnapshotTableWriter writer(env, folder, uid, Family::kMeta, &manifest.files);
    for (const MetaKind kind : kMetaKinds) {
      absl::Status status = copy(Family::kMeta, MetaKey(kind, uid), &writer);
      if (!status.ok()) return status;
    }
    if (absl::Status status = writer.Finish(progress); !status.ok()) return status;
    // A dropped collection's files go whatever snapshots there are: part of it may be missing.
    absl::MutexLock lock(&mutex_);
    if (!FindSide(uid).has_value()) {
      return absl::NotFoundError(absl::StrCat(
          "collection \"", collection.record.id,
          "\" was deleted, or its embeddings were replaced, while it was copied; try again"));
    }
  }
  if (absl::Status status = rows.Tell(); !status.ok()) return status;
  return manifest;
}

absl::StatusOr<std::vector<CollectionRecord>> LocalStore::BeginRestore(
    const SnapshotManifest& manifest, std::span<const RestoreTarget> targets) {
  std::vector<CollectionRecord> records;
  std::set<std::string> ids;
  const int64_t now = absl::ToUnixMicros(absl::Now());
  absl::MutexLock lock(&mutex_);
  rocksdb::WriteBatch batch;
  uint32_t uid = next_uid_;
  for (const RestoreTarget& target : targets) {
    const auto from = std::find_if(
        manifest.collections.begin(), manifest.collections.end(),
        [&](const SnapshotCollection& collection) { return collection.record.uid == target.uid; });
    if (from == manifest.collections.end() || target.id.empty() || !ids.insert(target.id).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("cannot restore uid ", target.uid, " as \"", target.id,
                       "\": the snapshot has no such uid, or the id is empty or stands twice"));
    }
    if (absl::Status status = CheckIdFree(target.id); !status.ok()) return status;
    if (uid == std::numeric_limits<uint32_t>::max()) {
      return absl::ResourceExhaustedError("all collection uids of this store have been given out");
    }
    CollectionRecord& record = records.emplace_back(from->record);
    record.uid = uid++;
    record.id = target.id;
    record.create_time_us = now;
    batch.Put(database_->family(Family::kMeta), MetaKey(MetaKind::kDropping, record.uid),
              EncodeNumber(record.uid));
  }
  batch.Put(database_->family(Family::kMeta), MetaKey(MetaKind::kNextUid),
            EncodeNumber(uint64_t{uid}));
  if (absl::Status status = database_->Write(&batch, "beginning to restore a snapshot");
      !status.ok()) {
    return status;
  }
  next_uid_ = uid;
  return records;
}

absl::Status LocalStore::EndRestore(const SnapshotManifest& manifest,
                                    std::span<const RestoreTarget> targets,
                                    std::span<const CollectionRecord> records,
                                    rocksdb::WriteBatch* batch) {
  auto* const meta = database_->family(Family::kMeta);
  std::vector<Collection> restored;
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < records.size(); ++i) {
    const CollectionRecord& record = records[i];
    if (absl::Status status = CheckIdFree(record.id); !status.ok()) return status;
    Collection& collection = restored.emplace_back();
    collection.record = record;
    for (const SnapshotCollection& from : manifest.collections) {
      if (from.record.uid != targets[i].uid || from.last_range == 0) continue;
      // So that no range of sequence numbers is given out twice.
      collection.migration.uid = record.uid;
      collection.migration.last_range = from.last_range;
      batch->Put(meta, MetaKey(MetaKind::kMigration, record.uid),
                 EncodeMigration(collection.migration));
    }
    batch->Put(meta, MetaKey(MetaKind::kCollection, record.uid), EncodeCollectionRecord(record));
    batch->Delete(meta, MetaKey(MetaKind::kDropping, record.uid));
  }
  if (absl::Status status = database_->Write(batch, "restoring a snapshot"); !status.ok()) {
    return status;
  }
  for (Collection& collection : restored) {
    std::string id = collection.record.id;
    collections_.emplace(std::move(id), std::move(collection));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<CollectionRecord>> LocalStore::RestoreSnapshot(
    const std::string& folder, const SnapshotManifest& manifest,
    std::span<const RestoreTarget> targets, const ShardManifestFn& shard_manifest,
    const SnapshotProgressFn& progress) {
  // An attempt that the full disk ended may have left its rows, and they take the room of this one.
  RetryRemovals();
  if (absl::Status status = CheckRoom(database_->db(), manifest, targets); !status.ok()) {
    return status;
  }
  absl::StatusOr<std::vector<CollectionRecord>> records = BeginRestore(manifest, targets);
  if (!records.ok()) return records.status();
  RowProgress rows(progress);
  rocksdb::WriteBatch last_batch;  // manifests, then what makes it visible
  const auto restore = [&](const SnapshotFile& file, const CollectionRecord& record) {
    rocksdb::WriteBatch batch;
    auto* const family = database_->family(file.family);
    const auto write = [&] {
      absl::Status status = database_->Write(&batch, "restoring rows of a snapshot");
      batch.Clear();
      return status;
    };
    absl::Status status = ReadSnapshotTable(
        database_->db().GetEnv(), folder, file, [&](std::string_view key, std::string_view value) {
          absl::StatusOr<std::string> moved = MoveKey(file, key, record.uid);
          if (!moved.ok()) return moved.status();
          if (file.family == Family::kMeta &&
              key.starts_with(MetaKey(MetaKind::kShardState, file.uid))) {
            const absl::StatusOr<uint64_t> last = DecodeNumber(value);
            if (!last.ok() || key.size() != kShardStateKeyBytes) {
              return Damaged(file.family, key, absl::DataLossError("no number of a shard"));
            }
            const std::string key_of_manifest = MetaKey(MetaKind::kManifest, record.uid) +
                                                std::string(key.substr(kMetaUidAt + kUidBytes));
            last_batch.Put(family, key_of_manifest, EncodeManifest(shard_manifest(record, *last)));
          }
          batch.Put(family, *moved, rocksdb::Slice(value.data(), value.size()));
          absl::Status told = rows.Add();
          return told.ok() && batch.GetDataSize() >= kBatchBytes ? write() : told;
        });
    if (status.ok() && batch.Count() > 0) status = write();
    return status;
  };
  absl::Status status = absl::OkStatus();
  for (size_t i = 0; status.ok() && i < records->size(); ++i) {
    for (const SnapshotFile& file : manifest.files) {
      if (status.ok() && file.uid == targets[i].uid) status = restore(file, (*records)[i]);
    }
  }
  if (status.ok()) status = rows.Tell();
  if (status.ok()) status = EndRestore(manifest, targets, *records, &last_batch);
  if (status.ok()) return records;
  for (const CollectionRecord& record : *records) RemoveDropped(record.uid);
  return status;
}

}  // namespace vecino::storage
