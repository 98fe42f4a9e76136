#include "tests/server/engine/memory_store.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"

namespace vecino::engine {
namespace {

// A copy of every shard.
class MemorySnapshot : public storage::Snapshot {
 public:
  explicit MemorySnapshot(std::shared_ptr<std::atomic<int>> count) : count_(std::move(count)) {
    ++*count_;
  }
  ~MemorySnapshot() override { --*count_; }

  struct Shard {
    std::map<uint64_t, storage::Document> documents;
    std::map<std::string, storage::IdEntry> ids;
  };
  std::map<const MemoryStore::Shard*, Shard> shards;

 private:
  const std::shared_ptr<std::atomic<int>> count_;
};

storage::Document PartsOf(const storage::Document& stored, const storage::DocumentParts& parts) {
  storage::Document document = stored;
  if (document.passages.size() <= 1 || !(parts.passages || parts.vector)) {
    document.passages.clear();
  }
  if (parts.passages && document.has_vector && document.passages.empty()) {
    document.passages.push_back({0, static_cast<uint32_t>(document.text.size())});
  }
  if (!parts.text) document.text.clear();
  if (!parts.metadata) document.metadata.clear();
  if (!parts.vector) document.vector.clear();
  return document;
}

class MemoryLog : public storage::ShardLog {
 public:
  MemoryLog(MemoryStore* store, std::shared_ptr<MemoryStore::Shard> data, uint32_t uid,
            uint32_t dimension)
      : store_(store), data_(std::move(data)), uid_(uid), dimension_(dimension) {}

  uint64_t LastSequence() const override {
    std::lock_guard lock(data_->mu);
    return data_->last;
  }

  absl::Status Append(std::span<const storage::Mutation> mutations,
                      std::span<const storage::Mark> marks) override {
    if (absl::Status status = store_->Fail("Append"); !status.ok()) return status;
    {
      std::lock_guard lock(data_->mu);
      if (data_->dropped) return absl::NotFoundError("was dropped");
      for (size_t i = 0; i < mutations.size(); ++i) {
        const storage::Mutation& m = mutations[i];
        if (m.sequence != data_->last + 1 + i || m.replaces >= m.sequence) {
          return absl::InvalidArgumentError("sequence numbers out of order");
        }
        const std::vector<float>& vector = m.document.vector;
        const size_t rows = std::max<size_t>(1, m.document.passages.size());
        if (m.kind == storage::Mutation::Kind::kPut && !vector.empty() &&
            vector.size() != rows * dimension_) {
          return absl::InvalidArgumentError("wrong dimension");
        }
      }
      for (const storage::Mutation& m : mutations) {
        if (m.replaces != 0) {
          const auto replaced = data_->documents.find(m.replaces);
          if (replaced != data_->documents.end() &&
              replaced->second.expire_time_us != m.replaces_expire_time_us) {
            return absl::InvalidArgumentError("what is replaced is another version");
          }
          data_->documents.erase(m.replaces);
        }
        if (m.kind == storage::Mutation::Kind::kPut) {
          storage::Document& document = data_->documents[m.sequence] = m.document;
          document.uid = uid_;
          document.has_vector = !document.vector.empty();
          data_->ids[m.id] = {m.sequence, document.create_time_us, document.expire_time_us};
        } else {
          data_->ids.erase(m.id);
        }
        data_->changes[m.sequence] = {m.kind, m.sequence, m.replaces};
        data_->changed_ids[m.sequence] = m.id;
        data_->last = m.sequence;
      }
      for (const storage::Mark& mark : marks) data_->marks[mark.token] = mark;
      data_->appends.push_back(mutations.size());
    }
    if (store_->after_append) store_->after_append();
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<std::optional<storage::IdEntry>>> FindIds(
      std::span<const std::string_view> ids) const override {
    if (absl::Status status = store_->Fail("FindIds"); !status.ok()) return status;
    std::lock_guard lock(data_->mu);
    if (data_->dropped) return absl::NotFoundError("was dropped");
    std::vector<std::optional<storage::IdEntry>> entries;
    for (const std::string_view id : ids) {
      const auto it = data_->ids.find(std::string(id));
      entries.push_back(it == data_->ids.end() ? std::nullopt : std::optional(it->second));
    }
    return entries;
  }

  absl::StatusOr<std::vector<std::optional<storage::Document>>> GetDocuments(
      std::span<const uint64_t> sequences, const storage::DocumentParts& parts) const override {
    if (absl::Status status = store_->Fail("GetDocuments"); !status.ok()) return status;
    std::lock_guard lock(data_->mu);
    if (data_->dropped) return absl::NotFoundError("was dropped");
    store_->documents_read += static_cast<int64_t>(sequences.size());
    std::vector<std::optional<storage::Document>> documents;
    for (const uint64_t sequence : sequences) {
      auto& document = documents.emplace_back();
      const auto it = data_->documents.find(sequence);
      if (it == data_->documents.end()) continue;
      document = PartsOf(it->second, parts);
    }
    return documents;
  }

  absl::StatusOr<std::vector<std::pair<std::string, storage::IdEntry>>> ListIds(
      std::string_view after, size_t limit) const override {
    if (absl::Status status = store_->Fail("ListIds"); !status.ok()) return status;
    std::lock_guard lock(data_->mu);
    if (data_->dropped) return absl::NotFoundError("was dropped");
    std::vector<std::pair<std::string, storage::IdEntry>> ids;
    for (auto it = data_->ids.upper_bound(std::string(after));
         it != data_->ids.end() && ids.size() < limit; ++it) {
      ids.emplace_back(*it);
    }
    return ids;
  }

  absl::StatusOr<std::vector<std::pair<std::string, storage::IdEntry>>> ListIdsAt(
      const storage::Snapshot& snapshot, std::string_view after, size_t limit) const override {
    if (absl::Status status = store_->Fail("ListIdsAt"); !status.ok()) return status;
    const auto* shard = ShardAt(snapshot);
    if (shard == nullptr) return absl::NotFoundError("was dropped");
    std::vector<std::pair<std::string, storage::IdEntry>> ids;
    for (auto it = shard->ids.upper_bound(std::string(after));
         it != shard->ids.end() && ids.size() < limit; ++it) {
      ids.emplace_back(*it);
    }
    return ids;
  }

  absl::StatusOr<std::vector<std::optional<storage::Document>>> GetDocumentsAt(
      const storage::Snapshot& snapshot, std::span<const uint64_t> sequences,
      const storage::DocumentParts& parts) const override {
    if (absl::Status status = store_->Fail("GetDocumentsAt"); !status.ok()) return status;
    const auto* shard = ShardAt(snapshot);
    if (shard == nullptr) return absl::NotFoundError("was dropped");
    std::vector<std::optional<storage::Document>> documents;
    for (const uint64_t sequence : sequences) {
      auto& document = documents.emplace_back();
      const auto it = shard->documents.find(sequence);
      if (it == shard->documents.end()) continue;
      document = PartsOf(it->second, parts);
    }
    return documents;
  }

  absl::Status ScanVectors(uint64_t after, uint64_t up_to, const VectorFn& fn) const override {
    if (absl::Status status = store_->Fail("ScanVectors"); !status.ok()) return status;
    std::lock_guard lock(data_->mu);
    for (const auto& [sequence, document] : data_->documents) {
      if (sequence <= after || sequence > up_to || !document.has_vector) continue;
      if (absl::Status status = fn(sequence, document.vector); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status ScanDocuments(uint64_t after, uint64_t up_to, const storage::DocumentParts& parts,
                             const DocumentFn& fn) const override {
    if (absl::Status status = store_->Fail("ScanDocuments"); !status.ok()) return status;
    std::lock_guard lock(data_->mu);
    for (const auto& [sequence, document] : data_->documents) {
      if (sequence <= after || sequence > up_to) continue;
      storage::Document copy = document;
      copy.sequence = sequence;
      copy.vector.clear();
      if (!parts.text) copy.text.clear();
      if (!parts.metadata) copy.metadata.clear();
      if (absl::Status status = fn(copy); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status ReplayChanges(uint64_t after, const ChangeFn& fn) const override {
    if (absl::Status status = store_->Fail("ReplayChanges"); !status.ok()) return status;
    std::lock_guard lock(data_->mu);
    for (uint64_t sequence = after + 1; sequence <= data_->last; ++sequence) {
      const auto change = data_->changes.find(sequence);
      if (change == data_->changes.end()) {
        return absl::DataLossError(absl::StrCat("change record ", sequence, " is missing"));
      }
      const auto document = data_->documents.find(sequence);
      const absl::Status status =
          fn(change->second, document == data_->documents.end()
                                 ? std::span<const float>()
                                 : std::span<const float>(document->second.vector));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<storage::NamedChange>> ListChanges(uint64_t after,
                                                                size_t limit) const override {
    if (absl::Status status = store_->Fail("ListChanges"); !status.ok()) return status;
    std::lock_guard lock(data_->mu);
    std::vector<storage::NamedChange> found;
    for (uint64_t sequence = after + 1; sequence <= data_->last && found.size() < limit;
         ++sequence) {
      const auto change = data_->changes.find(sequence);
      if (change == data_->changes.end()) {
        return absl::DataLossError(absl::StrCat("change record ", sequence, " is missing"));
      }
      found.push_back({change->second.kind, sequence, data_->changed_ids.at(sequence)});
    }
    return found;
  }

  absl::Status TrimChanges(uint64_t up_to) override {
    if (absl::Status status = store_->Fail("TrimChanges"); !status.ok()) return status;
    std::lock_guard lock(data_->mu);
    data_->changes.erase(data_->changes.begin(), data_->changes.upper_bound(up_to));
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> GetManifest() const override {
    if (absl::Status status = store_->Fail("GetManifest"); !status.ok()) return status;
    std::lock_guard lock(data_->mu);
    return data_->manifest;
  }

  absl::Status PutManifest(std::string_view bytes) override {
    if (absl::Status status = store_->Fail("PutManifest"); !status.ok()) return status;
    std::lock_guard lock(data_->mu);
    data_->manifest = std::string(bytes);
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<storage::Mark>> GetMarks() const override {
    if (absl::Status status = store_->Fail("GetMarks"); !status.ok()) return status;
    std::lock_guard lock(data_->mu);
    std::vector<storage::Mark> marks;
    for (const auto& [token, mark] : data_->marks) marks.push_back(mark);
    return marks;
  }

  absl::StatusOr<uint64_t> CountIds() const override {
    std::lock_guard lock(data_->mu);
    return data_->ids.size();
  }

  absl::Status ScanExpiries(const ExpiryFn& fn) const override {
    if (absl::Status status = store_->Fail("ScanExpiries"); !status.ok()) return status;
    std::lock_guard lock(data_->mu);
    std::set<std::pair<int64_t, uint64_t>> expiries;
    for (const auto& [sequence, document] : data_->documents) {
      if (document.expire_time_us != 0) expiries.emplace(document.expire_time_us, sequence);
    }
    for (const auto& [time, sequence] : expiries) {
      if (absl::Status status = fn(time, sequence); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  const MemorySnapshot::Shard* ShardAt(const storage::Snapshot& snapshot) const {
    {
      std::lock_guard lock(data_->mu);
      if (data_->dropped) return nullptr;
    }
    static const MemorySnapshot::Shard empty;
    const auto& shards = static_cast<const MemorySnapshot&>(snapshot).shards;
    const auto it = shards.find(data_.get());
    return it == shards.end() ? &empty : &it->second;
  }

  MemoryStore* const store_;
  const std::shared_ptr<MemoryStore::Shard> data_;
  const uint32_t uid_;
  const uint32_t dimension_;
};

}  // namespace

absl::StatusOr<uint32_t> MemoryStore::AddCollection(storage::CollectionRecord record) {
  if (absl::Status status = Fail("AddCollection"); !status.ok()) return status;
  std::lock_guard lock(mu_);
  for (const auto& [uid, other] : collections_) {
    if (other.id == record.id) return absl::AlreadyExistsError(record.id);
  }
  if (aliases_.contains(record.id)) return absl::AlreadyExistsError(record.id);
  record.uid = ++last_uid_;
  collections_[record.uid] = record;
  return record.uid;
}

absl::StatusOr<std::vector<storage::CollectionRecord>> MemoryStore::ListCollections() const {
  std::lock_guard lock(mu_);
  std::vector<storage::CollectionRecord> records;
  for (const auto& [uid, record] : collections_) records.push_back(record);
  std::sort(records.begin(), records.end(),
            [](const auto& a, const auto& b) { return a.id < b.id; });
  return records;
}

absl::Status MemoryStore::DropCollection(uint32_t uid) {
  if (absl::Status status = Fail("DropCollection"); !status.ok()) return status;
  std::lock_guard lock(mu_);
  for (const auto& [id, alias] : aliases_) {
    if (alias.uid == uid) return absl::FailedPreconditionError("has an alias");
  }
  if (collections_.erase(uid) == 0) return absl::NotFoundError("no such uid");
  std::erase_if(operations_, [&](const auto& entry) { return entry.first.first == uid; });
  Clear(uid);
  if (const auto migration = migrations_.find(uid); migration != migrations_.end()) {
    if (migration->second.other.has_value()) Clear(migration->second.other->uid);
    migrations_.erase(migration);
  }
  return absl::OkStatus();
}

void MemoryStore::Clear(uint32_t uid) {
  for (const auto& [key, shard] : shards_) {
    if (key.first != uid) continue;
    std::lock_guard shard_lock(shard->mu);  // logs that are still open find nothing
    shard->documents.clear();
    shard->ids.clear();
    shard->changes.clear();
    shard->changed_ids.clear();
    shard->manifest.clear();
    shard->dropped = true;
    shard->marks.clear();
  }
}

absl::Status MemoryStore::PutIndex(uint32_t uid, const storage::StoredIndex& index) {
  if (absl::Status status = Fail("PutIndex"); !status.ok()) return status;
  std::lock_guard lock(mu_);
  const auto at = collections_.find(uid);
  if (at == collections_.end()) return absl::NotFoundError("no such uid");
  at->second.index = index;
  if (const auto migration = migrations_.find(uid);
      migration != migrations_.end() && migration->second.other.has_value()) {
    migration->second.other->index = index;
  }
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> MemoryStore::AddMigration(storage::MigrationRecord record,
                                                   std::string_view manifest) {
  if (absl::Status status = Fail("AddMigration"); !status.ok()) return status;
  std::lock_guard lock(mu_);
  storage::MigrationRecord& known = migrations_[record.uid];
  if (!collections_.contains(record.uid)) return absl::NotFoundError("no such uid");
  if (known.other.has_value()) return absl::FailedPreconditionError("has a hidden side");
  if (record.last_range <= known.last_range) return absl::InvalidArgumentError("range");
  record.other->uid = ++last_uid_;
  for (uint32_t number = 0; number < record.other->shard_count; ++number) {
    auto& shard = shards_[{last_uid_, number}];
    shard = std::make_shared<Shard>();
    shard->last = storage::FirstOfRange(record.last_range);
    shard->manifest = std::string(manifest);
  }
  known = std::move(record);
  return last_uid_;
}

absl::StatusOr<std::vector<storage::MigrationRecord>> MemoryStore::ListMigrations() const {
  std::lock_guard lock(mu_);
  std::vector<storage::MigrationRecord> records;
  for (const auto& [uid, record] : migrations_) records.push_back(record);
  return records;
}

absl::Status MemoryStore::PutMigration(uint32_t uid, std::string_view bytes) {
  if (absl::Status status = Fail("PutMigration"); !status.ok()) return status;
  std::lock_guard lock(mu_);
  migrations_.at(uid).bytes = std::string(bytes);
  return absl::OkStatus();
}

absl::Status MemoryStore::SwitchMigration(uint32_t uid, std::string_view bytes,
                                          std::string_view follower,
                                          std::span<const uint64_t> through) {
  if (absl::Status status = Fail("SwitchMigration"); !status.ok()) return status;
  std::lock_guard lock(mu_);
  storage::MigrationRecord next = migrations_.at(uid);
  const storage::CollectionRecord to = *next.other;
  next.uid = to.uid;
  next.other = collections_.at(uid);
  next.bytes = std::string(bytes);
  collections_.erase(uid);
  migrations_.erase(uid);
  collections_[to.uid] = to;
  migrations_[to.uid] = std::move(next);
  for (auto& [id, alias] : aliases_) {
    if (alias.uid == uid) alias.uid = to.uid;
  }
  std::map<std::pair<uint32_t, uint64_t>, std::string> operations;
  for (auto& [key, value] : operations_) {
    operations[{key.first == uid ? to.uid : key.first, key.second}] = std::move(value);
  }
  operations_.swap(operations);
  for (uint32_t number = 0; number < to.shard_count; ++number) {
    Shard& source = *shards_[{uid, number}];
    Shard& target = *shards_[{to.uid, number}];
    std::scoped_lock shard_lock(source.mu, target.mu);
    target.marks = source.marks;
    target.marks.erase(std::string(follower));
    storage::Mark mark;
    mark.token = std::string(follower);
    mark.through = through[number];
    source.marks[mark.token] = mark;
  }
  return absl::OkStatus();
}

absl::Status MemoryStore::EndMigration(uint32_t uid) {
  if (absl::Status status = Fail("EndMigration"); !status.ok()) return status;
  std::lock_guard lock(mu_);
  storage::MigrationRecord& record = migrations_.at(uid);
  if (record.other.has_value()) Clear(record.other->uid);
  record.other = std::nullopt;
  record.bytes.clear();
  return absl::OkStatus();
}

absl::Status MemoryStore::PutAlias(const storage::AliasRecord& record) {
  if (absl::Status status = Fail("PutAlias"); !status.ok()) return status;
  std::lock_guard lock(mu_);
  if (!collections_.contains(record.uid)) return absl::NotFoundError("no such uid");
  for (const auto& [uid, other] : collections_) {
    if (other.id == record.id) return absl::AlreadyExistsError(record.id);
  }
  aliases_[record.id] = record;
  return absl::OkStatus();
}

absl::Status MemoryStore::DeleteAlias(std::string_view id) {
  if (absl::Status status = Fail("DeleteAlias"); !status.ok()) return status;
  std::lock_guard lock(mu_);
  return aliases_.erase(std::string(id)) == 1 ? absl::OkStatus() : absl::NotFoundError("no alias");
}

absl::StatusOr<std::vector<storage::AliasRecord>> MemoryStore::ListAliases() const {
  std::lock_guard lock(mu_);
  std::vector<storage::AliasRecord> records;
  for (const auto& [id, record] : aliases_) records.push_back(record);
  return records;
}

absl::Status MemoryStore::PutOperation(const storage::OperationRecord& record) {
  if (absl::Status status = Fail("PutOperation"); !status.ok()) return status;
  std::lock_guard lock(mu_);
  if (!collections_.contains(record.uid)) return absl::NotFoundError("no such uid");
  operations_[{record.uid, record.number}] = record.bytes;
  return absl::OkStatus();
}

absl::Status MemoryStore::DeleteOperation(uint32_t uid, uint64_t number) {
  if (absl::Status status = Fail("DeleteOperation"); !status.ok()) return status;
  std::lock_guard lock(mu_);
  operations_.erase({uid, number});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<storage::OperationRecord>> MemoryStore::ListOperations() const {
  std::lock_guard lock(mu_);
  std::vector<storage::OperationRecord> records;
  for (const auto& [key, bytes] : operations_) records.push_back({key.first, key.second, bytes});
  return records;
}

std::unique_ptr<storage::Snapshot> MemoryStore::TakeSnapshot() const {
  auto snapshot = std::make_unique<MemorySnapshot>(snapshots_);
  std::lock_guard lock(mu_);
  for (const auto& [key, shard] : shards_) {
    std::lock_guard shard_lock(shard->mu);
    snapshot->shards[shard.get()] = {shard->documents, shard->ids};
  }
  return snapshot;
}

absl::Status MemoryStore::DropMark(uint32_t uid, std::string_view token) {
  if (absl::Status status = Fail("DropMark"); !status.ok()) return status;
  std::lock_guard lock(mu_);
  for (const auto& [key, shard] : shards_) {
    if (key.first != uid) continue;
    std::lock_guard shard_lock(shard->mu);
    shard->marks.erase(std::string(token));
  }
  return absl::OkStatus();
}

std::shared_ptr<MemoryStore::Shard> MemoryStore::shard(uint32_t uid, uint32_t number) {
  std::lock_guard lock(mu_);
  auto& shard = shards_[{uid, number}];
  if (shard == nullptr) shard = std::make_shared<Shard>();
  return shard;
}

absl::StatusOr<std::unique_ptr<storage::ShardLog>> MemoryStore::OpenShard(uint32_t uid,
                                                                          uint32_t number,
                                                                          uint32_t dimension) {
  if (absl::Status status = Fail("OpenShard"); !status.ok()) return status;
  return std::make_unique<MemoryLog>(this, shard(uid, number), uid, dimension);
}

}  // namespace vecino::engine
