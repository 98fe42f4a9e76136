#include "server/engine/snapshot_jobs.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/engine/engine.h"
#include "server/engine/low_priority.h"
#include "server/engine/manifest.h"
#include "server/engine/memory_budget.h"
#include "server/engine/new_collection.h"
#include "server/engine/validation.h"

namespace vecino::engine {
namespace {

// Of one document: its row, its entry in the map of ids, its vector.
constexpr int64_t kRowsOfDocument = 3;

absl::Status StoppingError() {
  return absl::UnavailableError("the server is stopping; nothing was changed, so start it again");
}

// The manifest of a restored shard: every row is read from the stored vectors.
std::string RestoredManifest(const storage::CollectionRecord& record, uint64_t last) {
  const LabelScheme labels = record.chunk_tokens > 0 ? LabelScheme::Chunked() : LabelScheme();
  Manifest manifest;
  manifest.drained_through = last;
  if (last > 0) {
    manifest.segments.push_back(
        {.first_label = labels.First(1), .last_label = labels.Last(last), .rows = 1, .dead = {}});
  }
  return EncodeManifest(manifest);
}

// Indexes are made of vectors in memory at first. Where these do not fit the process would die, at
// every start, too, once they are stored.
absl::Status CheckMemory(const storage::SnapshotManifest& manifest,
                         const std::vector<storage::RestoreTarget>& targets,
                         const MemoryBudget* budget) {
  int64_t bytes = 0;
  for (const storage::SnapshotFile& file : manifest.files) {
    const bool wanted = std::any_of(targets.begin(), targets.end(),
                                    [&](const auto& target) { return target.uid == file.uid; });
    if (wanted && file.family == storage::Family::kVectors) {
      bytes += static_cast<int64_t>(file.bytes);
    }
  }
  const int64_t all = MachineMemory();
  const int64_t free = all - (budget == nullptr ? 0 : budget->used());
  if (bytes <= free) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "the vectors of what is to be restored take ", bytes, " bytes of memory at first; of ", all,
      " bytes ", std::max<int64_t>(free, 0),
      " are free of indexes. Restore fewer collections, or on a machine with more memory"));
}

std::string NewId() { return absl::FormatTime("%Y%m%d-%H%M%S", absl::Now(), absl::UTCTimeZone()); }

// Adds up rows and tells the operation of them; CANCELLED, UNAVAILABLE.
storage::SnapshotProgressFn ReportTo(Operation* operation, std::string stage, int64_t total,
                                     std::stop_token stop) {
  return [=, rows = int64_t{0}](uint64_t more, uint64_t) mutable {
    rows += static_cast<int64_t>(more);
    operation->Report(0, stage, rows, std::max(total, rows));
    return stop.stop_requested() ? StoppingError() : operation->CheckCancelled();
  };
}

}  // namespace

SnapshotInfo ToSnapshotInfo(std::string id, const storage::SnapshotManifest& manifest) {
  SnapshotInfo info;
  info.id = std::move(id);
  info.create_time = absl::FromUnixMicros(manifest.create_time_us);
  info.server_version = manifest.server_version;
  for (const storage::SnapshotCollection& collection : manifest.collections) {
    info.collections.push_back({collection.record.id, static_cast<int64_t>(collection.documents)});
  }
  info.documents = static_cast<int64_t>(manifest.documents());
  info.bytes = static_cast<int64_t>(manifest.bytes());
  return info;
}

SnapshotJobs::SnapshotJobs(Parts parts)
    : parts_(std::move(parts)),
      folder_(parts_.folder),
      operations_({.put = nullptr,
                   .erase = nullptr,
                   .ended =
                       [this](const Operation::Info& info) {
                         parts_.events->Publish(
                             Event::Kind::kOperationEnded, "",
                             absl::StrCat("the ",
                                          info.type == Operation::Type::kSnapshot
                                              ? "making of snapshot `"
                                              : "restoring of snapshot `",
                                          info.collection, "` (operation ", info.id, ") ",
                                          info.status.ok() ? "is done" : info.status.ToString()));
                       }}),
      thread_([this](std::stop_token stop) { Work(stop); }) {}

absl::Status SnapshotJobs::Open() {
  return parts_.folder.empty() ? absl::OkStatus() : folder_.Open();
}

void SnapshotJobs::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
    changed_.SignalAll();
  }
  waits_.Stop();
  checks_.Stop();
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

absl::Status SnapshotJobs::CheckOpen() const {
  if (parts_.folder.empty()) {
    return absl::FailedPreconditionError("the server has no folder for snapshots");
  }
  absl::MutexLock lock(&mu_);
  return stopped_ ? StoppingError() : absl::OkStatus();
}

absl::StatusOr<Operation::Info> SnapshotJobs::Start(std::string_view snapshot, Operation::Type type,
                                                    SnapshotWork described, WorkFn work) {
  absl::MutexLock lock(&mu_);
  if (stopped_) return StoppingError();
  if (waiting_.size() >= kMaxWaiting) {
    return absl::ResourceExhaustedError(absl::StrCat(
        kMaxWaiting, " snapshots wait to be made or restored; wait for some of them to be done"));
  }
  std::string id(snapshot);
  const auto taken = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return held_.contains(id) || folder_.Contains(id);
  };
  if (id.empty()) {
    // Chosen under the lock: of two calls in one second each gets an id of its own.
    const std::string now = NewId();
    id = now;
    for (int i = 2; taken(); ++i) id = absl::StrCat(now, "-", i);
  } else if (type == Operation::Type::kSnapshot && taken()) {
    return absl::AlreadyExistsError(absl::StrCat("snapshot `", id,
                                                 "` exists already, or is being made or deleted; "
                                                 "take another id or delete it"));
  } else if (type == Operation::Type::kRestore &&
             (deleting_.contains(id) || !folder_.Contains(id))) {
    // Since its manifest was read.
    return absl::NotFoundError(absl::StrCat("snapshot `", id, "` was deleted a moment ago"));
  }
  auto created = operations_.Create(id, type, {0});
  if (!created.ok()) return created.status();
  ++held_[id];
  created->operation->DescribeSnapshot(std::move(described));
  Operation::Info info = created->operation->Snapshot();
  waiting_.push_back({created->operation, std::move(work)});
  changed_.Signal();
  return info;
}

void SnapshotJobs::Release(const std::string& snapshot) {
  absl::MutexLock lock(&mu_);
  if (--held_[snapshot] <= 0) held_.erase(snapshot);
}

void SnapshotJobs::Work(std::stop_token stop) {
  LowerPriority();
  while (true) {
    Job job;
    bool stopped = false;
    {
      absl::MutexLock lock(&mu_);
      while (waiting_.empty() && !stopped_) changed_.Wait(&mu_);
      if (waiting_.empty()) return;
      job = std::move(waiting_.front());
      waiting_.pop_front();
      stopped = stopped_;
    }
    absl::Status status = stopped ? StoppingError() : job.operation->CheckCancelled();
    if (status.ok()) status = job.work(*job.operation, stop);
    if (!status.ok()) {
      spdlog::warn("snapshot {}, operation {}: {}", job.operation->collection(),
                   job.operation->id(), status.ToString());
    }
    Release(job.operation->collection());
    job.operation->Finish(0, std::move(status));
  }
}

absl::StatusOr<Operation::Info> SnapshotJobs::Create(std::string_view id,
                                                     std::span<const std::string> collections) {
  if (absl::Status status = CheckOpen(); !status.ok()) return status;
  if (!id.empty()) {
    absl::Status status = CheckCollectionId("snapshot_id", id);
    if (!status.ok()) return status;
  }
  SnapshotWork work;
  for (size_t i = 0; i < collections.size(); ++i) {
    const auto found = parts_.registry->Find(collections[i]);
    if (!found.ok()) return found.status();
    const std::string& exact = (*found)->id();
    if (std::find(work.collections.begin(), work.collections.end(), exact) !=
        work.collections.end()) {
      return InvalidField(absl::StrCat("collections[", i, "]"),
                          absl::StrCat("names collection `", exact, "` a second time"));
    }
    work.collections.push_back(exact);
  }
  return Start(id, Operation::Type::kSnapshot, work,
               [this, chosen = work.collections](Operation& operation, std::stop_token stop) {
                 return Copy(operation.collection(), chosen, operation, stop);
               });
}

absl::Status SnapshotJobs::Copy(const std::string& id, const std::vector<std::string>& collections,
                                Operation& operation, std::stop_token stop) {
  int64_t documents = 0;
  SnapshotWork work;
  for (const auto& collection : parts_.registry->All()) {
    const std::string& name = collection->id();
    if (!collections.empty() &&
        std::find(collections.begin(), collections.end(), name) == collections.end()) {
      continue;
    }
    work.collections.push_back(name);
    documents += collection->LiveDocuments();
  }
  operation.DescribeSnapshot(work);
  const auto folder = folder_.Begin(id);
  if (!folder.ok()) return folder.status();
  auto manifest = parts_.store->WriteSnapshot(
      *folder, collections, parts_.server_version,
      ReportTo(&operation, "copying", documents * kRowsOfDocument, stop));
  absl::Status status = manifest.ok() ? operation.CheckCancelled() : manifest.status();
  if (status.ok()) status = folder_.Publish(id, *manifest);
  if (!status.ok()) {
    folder_.Abandon(id);
    return status;
  }
  work.made = ToSnapshotInfo(id, *manifest);
  work.collections.clear();
  for (const SnapshotInfo::Collection& one : work.made->collections) {
    work.collections.push_back(one.id);
  }
  spdlog::info("snapshot {} made: {} collections, {} documents, {} bytes", id,
               work.collections.size(), work.made->documents, work.made->bytes);
  operation.DescribeSnapshot(std::move(work));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SnapshotInfo>> SnapshotJobs::List(std::string_view after,
                                                             int limit) const {
  if (absl::Status status = CheckOpen(); !status.ok()) return status;
  const auto ids = folder_.List();
  if (!ids.ok()) return ids.status();
  std::vector<SnapshotInfo> infos;
  for (auto at = std::upper_bound(ids->begin(), ids->end(), after);
       at != ids->end() && static_cast<int>(infos.size()) < limit; ++at) {
    const auto manifest = folder_.Read(*at);
    if (absl::IsNotFound(manifest.status())) continue;  // deleted meanwhile
    if (manifest.ok()) {
      infos.push_back(ToSnapshotInfo(*at, *manifest));
    } else {
      SnapshotInfo& info = infos.emplace_back();
      info.id = *at;
      info.damage = manifest.status();
    }
  }
  return infos;
}

absl::Status SnapshotJobs::Delete(std::string_view id) {
  if (absl::Status status = CheckOpen(); !status.ok()) return status;
  const std::string name(id);
  {
    absl::MutexLock lock(&mu_);
    if (deleting_.contains(name)) {
      return absl::FailedPreconditionError(absl::StrCat(
          "snapshot `", name, "` is being deleted by another call; list them to see when it has"));
    }
    if (held_.contains(name)) {
      if (!folder_.Contains(name)) {
        return absl::NotFoundError(absl::StrCat("there is no snapshot `", name,
                                                "`: it is being made; cancel its operation"));
      }
      return absl::FailedPreconditionError(
          absl::StrCat("snapshot `", name, "` is being restored; wait for that, or cancel it"));
    }
    // So that nobody begins to restore it, or makes another of the id.
    deleting_.insert(name);
    ++held_[name];
  }
  // Without the lock: to free large files takes a file system a while.
  absl::Status status = folder_.Delete(name);
  {
    absl::MutexLock lock(&mu_);
    deleting_.erase(name);
  }
  Release(name);
  return status;
}

absl::StatusOr<Operation::Info> SnapshotJobs::Restore(const RestoreRequest& request) {
  if (absl::Status status = CheckOpen(); !status.ok()) return status;
  auto manifest = folder_.Read(request.snapshot);
  if (!manifest.ok()) return manifest.status();
  SnapshotWork work;
  std::vector<storage::RestoreTarget> targets;
  for (const storage::SnapshotCollection& collection : manifest->collections) {
    const std::string& id = collection.record.id;
    if (!request.source.empty() && request.source != id) continue;
    if (absl::Status status = CheckRecord(collection.record); !status.ok()) return status;
    targets.push_back(
        {collection.record.uid, request.collection.empty() ? id : request.collection});
  }
  if (targets.empty()) {
    if (request.source.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("snapshot `", request.snapshot, "` holds no collection"));
    }
    return absl::NotFoundError(absl::StrCat("snapshot `", request.snapshot,
                                            "` holds no collection `", request.source, "`"));
  }
  if (targets.size() > 1 && !request.collection.empty()) {
    return InvalidField("collection_id",
                        absl::StrCat("is set, but the snapshot holds ", targets.size(),
                                     " collections; name one in source_collection"));
  }
  for (const storage::RestoreTarget& target : targets) {
    if (absl::Status status = CheckCollectionId("collection_id", target.id); !status.ok()) {
      return status;
    }
    if (absl::Status status = CheckFree(target.id, *parts_.registry); !status.ok()) return status;
    work.collections.push_back(target.id);
  }
  return Start(request.snapshot, Operation::Type::kRestore, std::move(work),
               [this, id = request.snapshot, manifest = *std::move(manifest),
                targets = std::move(targets)](Operation& operation, std::stop_token stop) {
                 return RestoreNow(id, manifest, targets, operation, stop);
               });
}

absl::Status SnapshotJobs::RestoreNow(const std::string& id,
                                      const storage::SnapshotManifest& manifest,
                                      const std::vector<storage::RestoreTarget>& targets,
                                      Operation& operation, std::stop_token stop) {
  const auto wanted = [&](const storage::SnapshotFile& file) {
    return std::any_of(targets.begin(), targets.end(),
                       [&](const auto& target) { return target.uid == file.uid; });
  };
  if (absl::Status status = CheckMemory(manifest, targets, parts_.context.budget); !status.ok()) {
    return status;
  }
  uint64_t total = 0;
  for (const storage::SnapshotFile& file : manifest.files) total += wanted(file) ? file.rows : 0;
  const auto checking = ReportTo(&operation, "checking", static_cast<int64_t>(total), stop);
  for (const storage::SnapshotFile& file : manifest.files) {
    if (!wanted(file)) continue;
    absl::Status status = folder_.CheckFile(id, file, checking);
    if (status.ok()) status = checking(file.rows, 0);
    if (!status.ok()) return status;
  }
  const auto records = parts_.store->RestoreSnapshot(
      folder_.PathOf(id), manifest, targets, RestoredManifest,
      ReportTo(&operation, "copying", static_cast<int64_t>(total), stop));
  if (!records.ok()) return records.status();
  return Serve(manifest, targets, *records, operation, stop);
}

absl::Status SnapshotJobs::Serve(const storage::SnapshotManifest& manifest,
                                 const std::vector<storage::RestoreTarget>& targets,
                                 const std::vector<storage::CollectionRecord>& records,
                                 Operation& operation, std::stop_token stop) {
  std::vector<std::shared_ptr<Collection>> collections;
  absl::Status status;
  for (size_t i = 0; status.ok() && i < records.size(); ++i) {
    operation.Report(0, "indexing", static_cast<int64_t>(i), static_cast<int64_t>(records.size()));
    auto collection = std::make_shared<Collection>(records[i], parts_.context);
    for (const storage::SnapshotCollection& from : manifest.collections) {
      if (from.record.uid == targets[i].uid) collection->set_last_range(from.last_range);
    }
    for (int shard = 0; status.ok() && shard < collection->shard_count(); ++shard) {
      status = stop.stop_requested() ? StoppingError() : operation.CheckCancelled();
      if (status.ok()) status = collection->LoadShard(shard);
    }
    collections.push_back(std::move(collection));
  }
  if (!status.ok()) {
    for (const auto& collection : collections) collection->RemoveFiles();
    collections.clear();
    for (const storage::CollectionRecord& record : records) {
      const absl::Status dropped = parts_.store->DropCollection(record.uid);
      if (dropped.ok()) continue;
      spdlog::warn(
          "collection {} could not be restored ({}) nor removed ({}); it is there after a "
          "restart",
          record.id, status.ToString(), dropped.ToString());
    }
    return status;
  }
  absl::MutexLock lock(parts_.definitions);
  for (const auto& collection : collections) {
    WarnOfModel(collection->info(), *parts_.encoder);
    parts_.registry->Insert(collection);
    const std::string& id = collection->id();
    spdlog::info("restored collection {} from snapshot {}: {} documents", id,
                 operation.collection(), collection->LiveDocuments());
    parts_.events->Publish(Event::Kind::kCollectionCreated, id,
                           absl::StrCat("collection `", id, "` was restored from snapshot `",
                                        operation.collection(), "`"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<IntegrityCheck>> SnapshotJobs::Verify(
    const IntegrityRequest& request) {
  IntegrityPlan plan;
  plan.store = parts_.store;
  plan.folder = parts_.folder.empty() ? nullptr : &folder_;
  if (!request.collection.empty() && !request.snapshot.empty()) {
    return InvalidField("name", "names a collection and a snapshot; take one of them");
  }
  if (!request.collection.empty()) {
    auto found = parts_.registry->Find(request.collection);
    if (!found.ok()) return found.status();
    plan.collections.push_back(*std::move(found));
  } else if (!request.snapshot.empty()) {
    if (absl::Status status = CheckOpen(); !status.ok()) return status;
    if (!folder_.Contains(request.snapshot)) {
      return absl::NotFoundError(absl::StrCat("there is no snapshot `", request.snapshot, "`"));
    }
    plan.snapshots.push_back(request.snapshot);
  } else {
    plan.files = true;
    plan.collections = parts_.registry->All();
    if (plan.folder != nullptr) {
      auto ids = folder_.List();
      if (!ids.ok()) return ids.status();
      plan.snapshots = *std::move(ids);
    }
  }
  return checks_.Start(std::move(plan));
}

}  // namespace vecino::engine
