#include "server/engine/engine_operations.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "server/engine/engine.h"
#include "server/engine/operation_record.h"
#include "server/engine/operation_wait.h"
#include "server/engine/validation.h"

namespace vecino::engine {
namespace {

const char* NameOf(Operation::Type type) {
  switch (type) {
    case Operation::Type::kRetrain:
      return "retrain";
    case Operation::Type::kCompact:
      return "compact";
    case Operation::Type::kPurge:
      return "purge";
    case Operation::Type::kPatch:
      return "patch";
    case Operation::Type::kMigrate:
      return "migrate";
    case Operation::Type::kTune:
      return "tune";
    case Operation::Type::kSnapshot:
      return "snapshot";
    case Operation::Type::kRestore:
      return "restore";
  }
  return "unknown";
}

// The numbers of the shards that an operation is about.
absl::StatusOr<std::vector<int>> ReadShards(const Collection& collection, Operation::Type type,
                                            std::span<const int> shards) {
  auto numbers =
      CheckShards("shards", absl::MakeSpan(shards.data(), shards.size()), collection.shard_count());
  if (!numbers.ok()) return numbers.status();
  const CollectionSpec spec = collection.info().spec;
  if (type == Operation::Type::kRetrain && spec.index.kind == IndexKind::kFlat) {
    return absl::FailedPreconditionError(
        absl::StrCat("collection `", spec.id,
                     "` has an index of kind FLAT, which trains nothing; compact it instead"));
  }
  return *std::move(numbers);
}

}  // namespace

EngineOperations::EngineOperations(storage::Store* store, const Registry* registry,
                                   EventBus* events)
    : store_(*store),
      registry_(*registry),
      events_(*events),
      kept_(
          {.put = [this](const Operation::Info& info) { return Put(info); },
           .erase = [this](const Operation::Info& info) { Erase(info); },
           .ended =
               [this](const Operation::Info& info) {
                 Tell(Event::Kind::kOperationEnded, info,
                      absl::StrCat(NameOf(info.type), " (operation ", info.id, ") ",
                                   info.status.ok() ? "is done" : info.status.ToString(), "; took ",
                                   absl::FormatDuration(absl::Trunc(
                                       info.end_time - info.create_time, absl::Milliseconds(1)))));
               }}) {}

absl::Status EngineOperations::Put(const Operation::Info& info) const {
  absl::ReaderMutexLock lock(&records_mu_);
  const auto collection = registry_.FindExact(info.collection);
  // With a deleted collection its records have gone.
  if (!collection.ok()) return absl::OkStatus();
  absl::Status status = store_.PutOperation(
      {.uid = (*collection)->uid(), .number = info.number, .bytes = EncodeOperation(info)});
  if (!status.ok() && !absl::IsNotFound(status)) {
    spdlog::warn("operation {} of collection {} could not be written down: {}", info.id,
                 info.collection, status.ToString());
  }
  return status;
}

void EngineOperations::Erase(const Operation::Info& info) const {
  absl::ReaderMutexLock lock(&records_mu_);
  const auto collection = registry_.FindExact(info.collection);
  if (!collection.ok()) return;
  absl::Status status = store_.DeleteOperation((*collection)->uid(), info.number);
  if (!status.ok()) {
    spdlog::warn(
        "operation {} of collection {} could not be forgotten, and is back after a "
        "restart: {}",
        info.id, info.collection, status.ToString());
  }
}

void EngineOperations::Tell(Event::Kind kind, const Operation::Info& info,
                            std::string message) const {
  events_.Publish(kind, info.collection, std::move(message));
}

absl::Status EngineOperations::Load(const std::set<std::string>& goes_on) {
  auto records = store_.ListOperations();
  if (!records.ok()) return records.status();
  absl::flat_hash_map<uint32_t, std::string> ids;
  for (const auto& collection : registry_.All()) {
    ids[collection->uid()] = collection->id();
  }
  std::vector<Operation::Info> infos;
  for (const storage::OperationRecord& record : *records) {
    const auto id = ids.find(record.uid);
    absl::StatusOr<Operation::Info> info =
        id == ids.end() ? absl::NotFoundError("its collection is gone")
                        : DecodeOperation(id->second, record.number, record.bytes);
    if (info.ok()) {
      infos.push_back(*std::move(info));
      continue;
    }
    spdlog::warn("operation {} of collection uid {} is forgotten: {}", record.number, record.uid,
                 info.status().ToString());
    if (absl::Status status = store_.DeleteOperation(record.uid, record.number); !status.ok()) {
      return status;
    }
  }
  kept_.Restore(std::move(infos),
                [&](const Operation::Info& info) { return goes_on.contains(info.id); });
  return absl::OkStatus();
}

std::string EngineOperations::FindChanging(const Collection& collection) const {
  for (const auto& operation :
       kept_.List(collection.id(), "", std::numeric_limits<size_t>::max())) {
    const bool changes = operation->type() == Operation::Type::kPurge ||
                         operation->type() == Operation::Type::kPatch;
    if (changes && operation->working()) return operation->id();
  }
  return "";
}

std::shared_ptr<Operation> EngineOperations::FindOperation(std::string_view collection,
                                                           std::string_view id) const {
  auto found = kept_.Find(collection, id);
  return found.ok() ? *std::move(found) : nullptr;
}

absl::Status EngineOperations::WhileQuiet(absl::FunctionRef<absl::Status()> fn) {
  absl::MutexLock lock(&records_mu_);
  return fn();
}

absl::StatusOr<OperationRegistry::Created> EngineOperations::Make(const Collection& collection,
                                                                  Operation::Type type,
                                                                  std::span<const int> shards,
                                                                  double min_recall) {
  if (absl::Status status = CheckRecallGate(min_recall); !status.ok()) return status;
  const auto numbers = ReadShards(collection, type, shards);
  if (!numbers.ok()) return numbers.status();
  auto created = kept_.Create(collection.id(), type, *numbers, min_recall);
  if (created.ok() && created->made) {
    const Operation::Info info = created->operation->Snapshot();
    Tell(Event::Kind::kOperationStarted, info,
         absl::StrCat(NameOf(type), " (operation ", info.id, ") was asked for, over ",
                      numbers->size(), numbers->size() == 1 ? " shard" : " shards"));
  }
  return created;
}

absl::StatusOr<Operation::Info> EngineOperations::Start(
    const std::shared_ptr<Collection>& collection, Operation::Type type,
    std::span<const int> shards, double min_recall) {
  const auto created = Make(*collection, type, shards, min_recall);
  if (!created.ok()) return created.status();
  Operation::Info info = created->operation->Snapshot();
  if (created->made) collection->Request(created->operation);
  return info;
}

absl::StatusOr<std::shared_ptr<Operation>> EngineOperations::Create(const Collection& collection,
                                                                    Operation::Type type,
                                                                    std::span<const int> shards) {
  auto created = Make(collection, type, shards);
  if (!created.ok()) return created.status();
  return std::move(created->operation);
}

absl::StatusOr<OperationEstimate> EngineOperations::Estimate(
    const Collection& collection, Operation::Type type, std::span<const int> shards, int threads,
    const MaintenancePolicy& policy) const {
  const auto numbers = ReadShards(collection, type, shards);
  if (!numbers.ok()) return numbers.status();
  const CollectionStats stats = collection.Stats();
  std::vector<ShardStats> chosen;
  for (const int shard : *numbers) chosen.push_back(stats.shards[shard]);
  const CollectionSpec spec = collection.info().spec;
  return EstimateOperation(type, spec.index, spec.dimension, spec.chunking.has_value(), chosen,
                           threads, policy);
}

absl::StatusOr<Operation::Info> EngineOperations::Get(const Collection& collection,
                                                      std::string_view id) const {
  const auto operation = kept_.Find(collection.id(), id);
  if (!operation.ok()) return operation.status();
  return (*operation)->Snapshot();
}

absl::StatusOr<std::vector<Operation::Info>> EngineOperations::List(const Collection& collection,
                                                                    std::string_view after,
                                                                    int limit) const {
  if (limit < 1) {
    return InvalidField("page_size", absl::StrCat("is ", limit, ", must be 1 or more"));
  }
  std::vector<Operation::Info> infos;
  for (const auto& operation : kept_.List(collection.id(), after, limit)) {
    infos.push_back(operation->Snapshot());
  }
  return infos;
}

absl::Status EngineOperations::Cancel(const Collection& collection, std::string_view id) {
  const auto operation = kept_.Find(collection.id(), id);
  if (!operation.ok()) return operation.status();
  (*operation)->Cancel();
  return absl::OkStatus();
}

absl::Status EngineOperations::Delete(const Collection& collection, std::string_view id) {
  return kept_.Delete(collection.id(), id);
}

absl::StatusOr<Operation::Info> EngineOperations::Wait(const Collection& collection,
                                                       std::string_view id, absl::Duration timeout,
                                                       const CallContext& context) const {
  const auto operation = kept_.Find(collection.id(), id);
  if (!operation.ok()) return operation.status();
  return AwaitOperation(**operation, &waits_, timeout, context);
}

}  // namespace vecino::engine
