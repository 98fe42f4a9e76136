// A store that counts its writes as steps at which the process may die, and remembers manifests.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "storage/store.h"
#include "tests/server/engine/engine_kill_calls.h"

namespace vecino::engine {

// Passes everything on. Thread safe as what it wraps.
class WatchedStore : public storage::Store {
 public:
  explicit WatchedStore(std::unique_ptr<storage::Store> store) : store_(std::move(store)) {}

  absl::StatusOr<uint32_t> AddCollection(storage::CollectionRecord record) override {
    const WatchedStep step(kAddCollection);
    auto uid = store_->AddCollection(std::move(record));
    step.After();
    return uid;
  }
  absl::Status PutIndex(uint32_t uid, const storage::StoredIndex& index) override {
    return store_->PutIndex(uid, index);
  }
  absl::StatusOr<std::vector<storage::CollectionRecord>> ListCollections() const override {
    return store_->ListCollections();
  }
  absl::Status DropCollection(uint32_t uid) override {
    const WatchedStep step(kDropCollection);
    absl::Status status = store_->DropCollection(uid);
    step.After();
    std::lock_guard lock(mu_);
    std::erase_if(manifests_, [&](const auto& entry) { return entry.first.first == uid; });
    return status;
  }
  absl::StatusOr<std::unique_ptr<storage::ShardLog>> OpenShard(uint32_t uid, uint32_t shard,
                                                               uint32_t dimension) override {
    auto log = store_->OpenShard(uid, shard, dimension);
    if (!log.ok()) return log.status();
    const auto manifest = (*log)->GetManifest();
    if (!manifest.ok()) return manifest.status();
    SetManifest({uid, shard}, *manifest);
    return std::make_unique<Log>(this, std::pair(uid, shard), *std::move(log));
  }
  absl::StatusOr<uint32_t> AddMigration(storage::MigrationRecord record,
                                        std::string_view manifest) override {
    return store_->AddMigration(std::move(record), manifest);
  }
  absl::StatusOr<std::vector<storage::MigrationRecord>> ListMigrations() const override {
    return store_->ListMigrations();
  }
  absl::Status PutMigration(uint32_t uid, std::string_view bytes) override {
    return store_->PutMigration(uid, bytes);
  }
  absl::Status SwitchMigration(uint32_t uid, std::string_view bytes, std::string_view follower,
                               std::span<const uint64_t> through) override {
    return store_->SwitchMigration(uid, bytes, follower, through);
  }
  absl::Status EndMigration(uint32_t uid) override { return store_->EndMigration(uid); }
  absl::Status PutAlias(const storage::AliasRecord& record) override {
    return store_->PutAlias(record);
  }
  absl::Status DeleteAlias(std::string_view id) override { return store_->DeleteAlias(id); }
  absl::StatusOr<std::vector<storage::AliasRecord>> ListAliases() const override {
    return store_->ListAliases();
  }
  absl::Status PutOperation(const storage::OperationRecord& record) override {
    return store_->PutOperation(record);
  }
  absl::Status DeleteOperation(uint32_t uid, uint64_t number) override {
    return store_->DeleteOperation(uid, number);
  }
  absl::StatusOr<std::vector<storage::OperationRecord>> ListOperations() const override {
    return store_->ListOperations();
  }
  std::unique_ptr<storage::Snapshot> TakeSnapshot() const override {
    return store_->TakeSnapshot();
  }
  absl::Status DropMark(uint32_t uid, std::string_view token) override {
    return store_->DropMark(uid, token);
  }
  absl::Status Flush() override { return store_->Flush(); }
  absl::StatusOr<storage::SnapshotManifest> WriteSnapshot(
      const std::string& folder, std::span<const std::string> ids, std::string_view server_version,
      const storage::SnapshotProgressFn& progress) override {
    return store_->WriteSnapshot(folder, ids, server_version, progress);
  }
  absl::StatusOr<std::vector<storage::CollectionRecord>> RestoreSnapshot(
      const std::string& folder, const storage::SnapshotManifest& manifest,
      std::span<const storage::RestoreTarget> targets, const ShardManifestFn& shard_manifest,
      const storage::SnapshotProgressFn& progress) override {
    return store_->RestoreSnapshot(folder, manifest, targets, shard_manifest, progress);
  }
  absl::Status CheckFiles(const storage::IntegritySink& sink) const override {
    return store_->CheckFiles(sink);
  }
  absl::Status CheckShard(uint32_t uid, uint32_t shard,
                          const storage::IntegritySink& sink) const override {
    return store_->CheckShard(uid, shard, sink);
  }

  // What is stored now, by uid and shard.
  std::map<std::pair<uint32_t, uint32_t>, std::string> manifests() const {
    std::lock_guard lock(mu_);
    return manifests_;
  }

 private:
  using Key = std::pair<uint32_t, uint32_t>;

  class Log : public storage::ShardLog {
   public:
    Log(WatchedStore* store, Key key, std::unique_ptr<ShardLog> log)
        : store_(store), key_(key), log_(std::move(log)) {}

    uint64_t LastSequence() const override { return log_->LastSequence(); }
    absl::Status Append(std::span<const storage::Mutation> mutations,
                        std::span<const storage::Mark> marks) override {
      const WatchedStep step(kAppend);
      absl::Status status = log_->Append(mutations, marks);
      step.After();
      return status;
    }
    absl::StatusOr<std::vector<std::optional<storage::IdEntry>>> FindIds(
        std::span<const std::string_view> ids) const override {
      return log_->FindIds(ids);
    }
    absl::StatusOr<std::vector<std::optional<storage::Document>>> GetDocuments(
        std::span<const uint64_t> sequences, const storage::DocumentParts& parts) const override {
      return log_->GetDocuments(sequences, parts);
    }
    absl::StatusOr<std::vector<std::pair<std::string, storage::IdEntry>>> ListIds(
        std::string_view after, size_t limit) const override {
      return log_->ListIds(after, limit);
    }
    absl::Status ScanDocuments(uint64_t after, uint64_t up_to, const storage::DocumentParts& parts,
                               const DocumentFn& fn) const override {
      return log_->ScanDocuments(after, up_to, parts, fn);
    }
    absl::StatusOr<std::vector<std::pair<std::string, storage::IdEntry>>> ListIdsAt(
        const storage::Snapshot& snapshot, std::string_view after, size_t limit) const override {
      return log_->ListIdsAt(snapshot, after, limit);
    }
    absl::StatusOr<std::vector<std::optional<storage::Document>>> GetDocumentsAt(
        const storage::Snapshot& snapshot, std::span<const uint64_t> sequences,
        const storage::DocumentParts& parts) const override {
      return log_->GetDocumentsAt(snapshot, sequences, parts);
    }
    absl::Status ScanVectors(uint64_t after, uint64_t up_to, const VectorFn& fn) const override {
      return log_->ScanVectors(after, up_to, fn);
    }
    absl::Status ReplayChanges(uint64_t after, const ChangeFn& fn) const override {
      return log_->ReplayChanges(after, fn);
    }
    absl::StatusOr<std::vector<storage::NamedChange>> ListChanges(uint64_t after,
                                                                  size_t limit) const override {
      return log_->ListChanges(after, limit);
    }
    absl::Status TrimChanges(uint64_t up_to) override {
      const WatchedStep step(kTrimChanges);
      absl::Status status = log_->TrimChanges(up_to);
      step.After();
      return status;
    }
    absl::StatusOr<std::string> GetManifest() const override { return log_->GetManifest(); }
    absl::Status PutManifest(std::string_view bytes) override {
      const WatchedStep step(kPutManifest);
      absl::Status status = log_->PutManifest(bytes);
      step.After();
      if (status.ok()) store_->SetManifest(key_, std::string(bytes));
      return status;
    }
    absl::StatusOr<std::vector<storage::Mark>> GetMarks() const override {
      return log_->GetMarks();
    }
    absl::StatusOr<uint64_t> CountIds() const override { return log_->CountIds(); }
    absl::Status ScanExpiries(const ExpiryFn& fn) const override { return log_->ScanExpiries(fn); }

   private:
    WatchedStore* const store_;
    const Key key_;
    const std::unique_ptr<ShardLog> log_;
  };

  void SetManifest(Key key, std::string bytes) {
    std::lock_guard lock(mu_);
    manifests_[key] = std::move(bytes);
  }

  const std::unique_ptr<storage::Store> store_;
  mutable std::mutex mu_;
  std::map<Key, std::string> manifests_;
};

}  // namespace vecino::engine
