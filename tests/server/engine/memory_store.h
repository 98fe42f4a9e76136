// A store in memory, with faults to order.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "storage/store.h"

namespace vecino::engine {

// Does what Store and ShardLog say. What is stored stays with this object, so a second engine
// opened on it sees what the first one left. Thread safe.
class MemoryStore : public storage::Store {
 public:
  struct Shard {
    std::mutex mu;
    uint64_t last = 0;
    std::map<uint64_t, storage::Document> documents;
    std::map<std::string, storage::IdEntry> ids;
    std::map<uint64_t, storage::Change> changes;
    std::map<uint64_t, std::string> changed_ids;
    std::string manifest;
    std::map<std::string, storage::Mark> marks;
    std::vector<size_t> appends;  // mutations in each
    bool dropped = false;
  };

  absl::StatusOr<uint32_t> AddCollection(storage::CollectionRecord record) override;
  absl::Status PutIndex(uint32_t uid, const storage::StoredIndex& index) override;
  absl::StatusOr<std::vector<storage::CollectionRecord>> ListCollections() const override;
  absl::Status DropCollection(uint32_t uid) override;
  absl::StatusOr<std::unique_ptr<storage::ShardLog>> OpenShard(uint32_t uid, uint32_t shard,
                                                               uint32_t dimension) override;
  absl::StatusOr<uint32_t> AddMigration(storage::MigrationRecord record,
                                        std::string_view manifest) override;
  absl::StatusOr<std::vector<storage::MigrationRecord>> ListMigrations() const override;
  absl::Status PutMigration(uint32_t uid, std::string_view bytes) override;
  absl::Status SwitchMigration(uint32_t uid, std::string_view bytes, std::string_view follower,
                               std::span<const uint64_t> through) override;
  absl::Status EndMigration(uint32_t uid) override;
  absl::Status PutAlias(const storage::AliasRecord& record) override;
  absl::Status DeleteAlias(std::string_view id) override;
  absl::StatusOr<std::vector<storage::AliasRecord>> ListAliases() const override;
  absl::Status PutOperation(const storage::OperationRecord& record) override;
  absl::Status DeleteOperation(uint32_t uid, uint64_t number) override;
  absl::StatusOr<std::vector<storage::OperationRecord>> ListOperations() const override;
  std::unique_ptr<storage::Snapshot> TakeSnapshot() const override;
  absl::Status DropMark(uint32_t uid, std::string_view token) override;
  absl::Status Flush() override { return Fail("Flush"); }
  // Files are for a store on a disk; a check finds nothing.
  absl::StatusOr<storage::SnapshotManifest> WriteSnapshot(
      const std::string&, std::span<const std::string>, std::string_view,
      const storage::SnapshotProgressFn&) override {
    return absl::UnimplementedError("snapshots of a store in memory");
  }
  absl::StatusOr<std::vector<storage::CollectionRecord>> RestoreSnapshot(
      const std::string&, const storage::SnapshotManifest&, std::span<const storage::RestoreTarget>,
      const ShardManifestFn&, const storage::SnapshotProgressFn&) override {
    return absl::UnimplementedError("snapshots of a store in memory");
  }
  absl::Status CheckFiles(const storage::IntegritySink&) const override {
    return Fail("CheckFiles");
  }
  absl::Status CheckShard(uint32_t, uint32_t, const storage::IntegritySink&) const override {
    return Fail("CheckShard");
  }

  // Snapshots that live.
  int snapshots() const { return snapshots_->load(); }
  // What is stored of operations, for changing it.
  std::map<std::pair<uint32_t, uint64_t>, std::string>& operations() { return operations_; }

  // Asked before every operation, by the name of its method; not OK: the operation fails with it.
  // May be set at any time: maintenance calls the store too. Calls under way keep the one they had.
  class Fault {
   public:
    using Function = std::function<absl::Status(std::string_view operation)>;
    void operator=(Function function) {
      auto next = std::make_shared<const Function>(std::move(function));
      std::lock_guard lock(mu_);
      function_.swap(next);
    }
    absl::Status operator()(std::string_view operation) const {
      std::shared_ptr<const Function> function;
      {
        std::lock_guard lock(mu_);
        function = function_;
      }
      return function != nullptr && *function ? (*function)(operation) : absl::OkStatus();
    }

   private:
    mutable std::mutex mu_;
    std::shared_ptr<const Function> function_;
  };
  Fault fault;
  // Runs in Append after everything is stored, before it returns.
  std::function<void()> after_append;
  std::atomic<int64_t> documents_read{0};  // asked of GetDocuments

  absl::Status Fail(std::string_view operation) const { return fault(operation); }
  std::shared_ptr<Shard> shard(uint32_t uid, uint32_t number);

 private:
  void Clear(uint32_t uid);  // with mu_ held

  mutable std::mutex mu_;
  uint32_t last_uid_ = 0;
  std::map<uint32_t, storage::MigrationRecord> migrations_;  // by the uid that callers see
  std::map<uint32_t, storage::CollectionRecord> collections_;
  std::map<std::pair<uint32_t, uint32_t>, std::shared_ptr<Shard>> shards_;
  std::map<std::string, storage::AliasRecord> aliases_;
  std::map<std::pair<uint32_t, uint64_t>, std::string> operations_;
  const std::shared_ptr<std::atomic<int>> snapshots_ = std::make_shared<std::atomic<int>>(0);
};

}  // namespace vecino::engine
