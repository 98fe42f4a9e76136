#include "server/engine/engine.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "server/engine/collection.h"
#include "server/engine/engine_metrics.h"
#include "server/engine/expiry_reaper.h"
#include "server/engine/index_folders.h"
#include "server/engine/maintenance.h"
#include "server/engine/memory_budget.h"
#include "server/engine/registry.h"
#include "server/engine/stored_spec.h"
#include "server/engine/token_waits.h"
#include "server/engine/validation.h"
#include "server/index/segment_file.h"

namespace vecino::engine {
namespace {

// Runs every job on up to `threads` threads; the first error, by order of jobs.
absl::Status RunAll(const std::vector<std::function<absl::Status()>>& jobs, int threads) {
  std::vector<absl::Status> statuses(jobs.size());
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  const auto work = [&] {
    for (size_t i = next++; i < jobs.size() && !failed; i = next++) {
      statuses[i] = jobs[i]();
      if (!statuses[i].ok()) failed = true;
    }
  };
  if (threads <= 0) threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::thread> pool;
  for (size_t i = 1; i < std::min<size_t>(threads, jobs.size()); ++i) pool.emplace_back(work);
  work();
  for (std::thread& thread : pool) thread.join();
  for (const absl::Status& status : statuses) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status LoadShards(const std::vector<std::shared_ptr<Collection>>& collections, int threads) {
  std::vector<std::function<absl::Status()>> jobs;
  for (const auto& collection : collections) {
    for (int shard = 0; shard < collection->shard_count(); ++shard) {
      jobs.push_back([collection, shard] { return collection->LoadShard(shard); });
    }
  }
  return RunAll(jobs, threads);
}

class EngineImpl final : public Engine {
 public:
  EngineImpl(const EngineOptions& options, storage::Store* store, encoder::Encoder* encoder,
             Metrics* metrics)
      : options_(options),
        store_(store),
        encoder_(encoder),
        metrics_(metrics),
        budget_(options.index_memory_bytes),
        heads_(options.head_cache_bytes),
        filters_(options.filter_cache_bytes),
        maintenance_(options.maintenance_threads, &metrics_) {}

  ~EngineImpl() override {
    Shutdown();
    registry_->Clear();  // a gauge may hold the registry a little longer, but nothing in it
  }

  absl::Status Load();
  std::shared_ptr<const Registry> registry() const { return registry_; }

  absl::StatusOr<CollectionInfo> CreateCollection(const CollectionSpec& spec,
                                                  bool validate_only) override;
  absl::StatusOr<CollectionInfo> GetCollection(std::string_view id) const override;
  std::vector<CollectionInfo> ListCollections() const override;
  absl::Status DeleteCollection(std::string_view id, std::string_view etag) override;
  absl::StatusOr<CollectionStats> GetCollectionStats(std::string_view id) const override;

  absl::StatusOr<Operation::Info> StartOperation(std::string_view collection, Operation::Type type,
                                                 std::span<const int> shards) override;
  absl::StatusOr<OperationEstimate> EstimateOperation(std::string_view collection,
                                                      Operation::Type type,
                                                      std::span<const int> shards) const override;
  absl::StatusOr<Operation::Info> GetOperation(std::string_view collection,
                                               std::string_view id) const override;
  absl::StatusOr<std::vector<Operation::Info>> ListOperations(std::string_view collection,
                                                              std::string_view after,
                                                              int limit) const override;
  absl::Status CancelOperation(std::string_view collection, std::string_view id) override;
  absl::Status DeleteOperation(std::string_view collection, std::string_view id) override;
  absl::StatusOr<Operation::Info> WaitOperation(std::string_view collection, std::string_view id,
                                                absl::Duration timeout,
                                                const CallContext& context) const override;

  absl::StatusOr<std::vector<WriteResult>> Upsert(std::string_view collection,
                                                  std::vector<DocumentWrite> writes,
                                                  Truncate truncate,
                                                  const CallContext& context) override;
  absl::StatusOr<std::vector<WriteResult>> Delete(std::string_view collection,
                                                  std::span<const std::string> ids,
                                                  const CallContext& context) override;
  absl::StatusOr<WriteResult> DeleteVersion(std::string_view collection, const std::string& id,
                                            const std::string& etag,
                                            const CallContext& context) override {
    const auto found = Find(collection);
    return found.ok() ? (*found)->DeleteVersion(id, etag, context) : found.status();
  }
  absl::StatusOr<WriteResult> Modify(std::string_view collection, const std::string& id,
                                     const ModifyFn& fn, Truncate truncate,
                                     const CallContext& context) override {
    const auto found = Find(collection);
    return found.ok() ? (*found)->Modify(id, fn, truncate, context) : found.status();
  }
  absl::StatusOr<std::unique_ptr<IngestStream>> OpenIngest(std::string_view collection,
                                                           std::string_view resume_token,
                                                           Truncate truncate) override {
    const auto found = Find(collection);
    if (!found.ok()) return found.status();
    return Collection::OpenIngest(*found, resume_token, truncate);
  }
  absl::StatusOr<std::vector<std::optional<storage::Document>>> Get(
      std::string_view collection, std::span<const std::string> ids,
      const storage::DocumentParts& parts, size_t max_bytes) const override;
  absl::StatusOr<IdPage> List(std::string_view collection, const IdPage::Position& from, int limit,
                              size_t max_bytes, const storage::DocumentParts& parts,
                              std::string_view filter) const override;
  absl::StatusOr<int64_t> Count(std::string_view collection,
                                std::string_view filter) const override;
  absl::StatusOr<std::vector<Facet>> CountValues(std::string_view collection,
                                                 std::span<const std::string> fields,
                                                 std::string_view filter, int limit) const override;
  absl::StatusOr<SearchResult> Search(std::string_view collection, const SearchRequest& request,
                                      const CallContext& context) const override;

  absl::StatusOr<Embedded> Embed(const EmbedRequest& request, const CallContext& context) override;
  absl::StatusOr<std::unique_ptr<IndexExport>> ExportIndex(std::string_view collection,
                                                           const ExportRequest& request,
                                                           const CallContext& context) override {
    const auto found = Find(collection);
    return found.ok() ? (*found)->ExportIndex(request, context) : found.status();
  }
  std::vector<encoder::ModelInfo> Models() const override { return encoder_->Models(); }
  encoder::EncoderStats EncoderStats() const override { return encoder_->Stats(); }

  void BeginShutdown() override {
    token_waits_.Stop();
    operation_waits_.Stop();
  }
  void Shutdown() override;
  void StartReaper() { reaper_.emplace(options_.reap_interval, ReapAll(registry_)); }

 private:
  absl::Status CheckRunning() const;
  absl::StatusOr<std::shared_ptr<Collection>> Find(std::string_view id) const;
  CollectionContext ContextForCollections() {
    return {store_,
            encoder_,
            &metrics_,
            &maintenance_,
            &token_waits_,
            options_.tail_capacity,
            options_.index_folder,
            &budget_,
            options_.maintenance,
            options_.maintenance_threads,
            &heads_,
            &filters_,
            options_.clock};
  }
  absl::StatusOr<storage::CollectionRecord> MakeRecord(const CollectionSpec& spec) const;
  // The collection, and the shards of it that an operation is about.
  struct Target {
    std::shared_ptr<Collection> collection;
    std::vector<int> shards;
  };
  absl::StatusOr<Target> FindTarget(std::string_view collection, Operation::Type type,
                                    std::span<const int> shards) const;
  absl::StatusOr<std::shared_ptr<Operation>> FindOperation(std::string_view collection,
                                                           std::string_view id) const;

  const EngineOptions options_;
  storage::Store* const store_;
  encoder::Encoder* const encoder_;
  EngineMetrics metrics_;
  mutable MemoryBudget budget_;
  HeadCache heads_;
  FilterCache filters_;
  Maintenance maintenance_;
  TokenWaits token_waits_;
  mutable TokenWaits operation_waits_;
  OperationRegistry operations_;
  std::atomic<bool> stopping_{false};
  // Creating and deleting, one at a time. Taken before the registry's lock, which is only for
  // look-ups.
  absl::Mutex definitions_mu_;
  const std::shared_ptr<Registry> registry_ = std::make_shared<Registry>();
  std::optional<ExpiryReaper> reaper_;  // last: it uses what is above
};

absl::Status EngineImpl::Load() {
  const absl::Time start = absl::Now();
  const auto records = store_->ListCollections();
  if (!records.ok()) return records.status();
  std::vector<std::shared_ptr<Collection>> collections;
  for (const storage::CollectionRecord& record : *records) {
    if (record.shard_count < 1 || record.shard_count > Limits::kMaxShards || record.dimension < 1 ||
        record.dimension > Limits::kMaxDimension) {
      return absl::DataLossError(absl::StrCat("the record of collection `", record.id, "` has ",
                                              record.shard_count, " shards and dimension ",
                                              record.dimension, ", which cannot be"));
    }
    collections.push_back(std::make_shared<Collection>(record, ContextForCollections()));
  }
  std::set<uint32_t> uids;
  for (const auto& collection : collections) uids.insert(collection->uid());
  RemoveStrayIndexFolders(options_.index_folder, uids);
  if (absl::Status status = LoadShards(collections, options_.load_threads); !status.ok()) {
    return status;
  }
  int64_t documents = 0;
  for (auto& collection : collections) {
    const CollectionSpec& spec = collection->info().spec;
    if (!spec.model.empty()) {
      const auto model = encoder_->Model(spec.model);
      if (!model.ok() || model->hash != collection->info().model_hash) {
        spdlog::warn(
            "collection {} was made with model {} ({}), which the server does not have; its "
            "vectors are served, texts are refused",
            spec.id, spec.model, collection->info().model_hash);
      }
    }
    documents += collection->LiveDocuments();
    registry_->Insert(collection);
  }
  spdlog::info("loaded {} collections with {} documents in {}", collections.size(), documents,
               absl::FormatDuration(absl::Now() - start));
  return absl::OkStatus();
}

absl::Status EngineImpl::CheckRunning() const {
  if (!stopping_.load()) return absl::OkStatus();
  return absl::UnavailableError("the server is stopping; try again");
}

absl::StatusOr<std::shared_ptr<Collection>> EngineImpl::Find(std::string_view id) const {
  if (absl::Status status = CheckRunning(); !status.ok()) return status;
  return registry_->Find(id);
}

// A record with every default filled in, but without uid.
absl::StatusOr<storage::CollectionRecord> EngineImpl::MakeRecord(const CollectionSpec& spec) const {
  if (absl::Status status = CheckCollectionId("collection_id", spec.id); !status.ok()) {
    return status;
  }
  if (spec.shard_count < 1 || spec.shard_count > Limits::kMaxShards) {
    return InvalidField(
        "collection.shard_count",
        absl::StrCat("is ", spec.shard_count, ", must be 1 to ", Limits::kMaxShards));
  }
  storage::CollectionRecord record;
  record.id = spec.id;
  record.shard_count = static_cast<uint32_t>(spec.shard_count);
  record.metric = ToStored(spec.metric);
  record.create_time_us = absl::ToUnixMicros(absl::Now());
  int dimension = spec.dimension;
  if (!spec.model.empty()) {
    const auto model = encoder_->Model(spec.model);
    if (!model.ok()) return model.status();
    if (dimension == 0) dimension = model->dimension;
    const auto& fewer = model->matryoshka;
    if (dimension != model->dimension &&
        std::find(fewer.begin(), fewer.end(), dimension) == fewer.end()) {
      return InvalidField(
          "collection.dimension",
          absl::StrCat("is ", dimension, ", but model `", spec.model, "` makes ", model->dimension,
                       " values",
                       fewer.empty() ? "" : absl::StrCat(" or ", absl::StrJoin(fewer, ", ")),
                       "; leave it 0 to take ", model->dimension));
    }
    record.model = spec.model;
    record.model_hash = model->hash;
  }
  if (dimension < 1 || dimension > Limits::kMaxDimension) {
    return InvalidField("collection.dimension",
                        absl::StrCat("is ", dimension, ", must be 1 to ", Limits::kMaxDimension,
                                     ", or 0 with an embedding model"));
  }
  record.dimension = static_cast<uint32_t>(dimension);
  if (absl::Status status = CheckIndexSpec(spec.index, dimension); !status.ok()) return status;
  record.index = ToStored(spec.index);
  return record;
}

absl::StatusOr<CollectionInfo> EngineImpl::CreateCollection(const CollectionSpec& spec,
                                                            bool validate_only) {
  if (absl::Status status = CheckRunning(); !status.ok()) return status;
  absl::StatusOr<storage::CollectionRecord> record = MakeRecord(spec);
  if (!record.ok()) return record.status();
  absl::MutexLock lock(&definitions_mu_);
  if (registry_->Find(spec.id).ok()) {
    return absl::AlreadyExistsError(absl::StrCat("collection `", spec.id, "` exists already"));
  }
  if (validate_only) {
    CollectionInfo info = Collection(*record, ContextForCollections()).info();
    info.etag.clear();
    return info;
  }
  const absl::StatusOr<uint32_t> uid = store_->AddCollection(*record);
  if (!uid.ok()) return uid.status();
  record->uid = *uid;
  auto collection = std::make_shared<Collection>(*record, ContextForCollections());
  if (absl::Status status = LoadShards({collection}, 1); !status.ok()) {
    const absl::Status dropped = store_->DropCollection(*uid);
    if (!dropped.ok()) {
      spdlog::warn(
          "collection {} could not be made ({}) nor removed ({}); it is there, empty, "
          "after a restart",
          spec.id, status.ToString(), dropped.ToString());
    }
    return status;
  }
  registry_->Insert(collection);
  spdlog::info("created collection {}: dimension {}, {} shards, index {}, model {}", spec.id,
               record->dimension, record->shard_count, index::IndexKindName(spec.index.kind),
               record->model.empty() ? "-" : record->model);
  return collection->info();
}

absl::StatusOr<CollectionInfo> EngineImpl::GetCollection(std::string_view id) const {
  const auto collection = Find(id);
  if (!collection.ok()) return collection.status();
  return (*collection)->info();
}

std::vector<CollectionInfo> EngineImpl::ListCollections() const {
  std::vector<CollectionInfo> infos;
  for (const auto& collection : registry_->All()) infos.push_back(collection->info());
  return infos;
}

absl::Status EngineImpl::DeleteCollection(std::string_view id, std::string_view etag) {
  absl::MutexLock lock(&definitions_mu_);
  const auto collection = Find(id);
  if (!collection.ok()) return collection.status();
  const CollectionInfo& info = (*collection)->info();
  if (!etag.empty() && etag != info.etag) {
    return absl::AbortedError(absl::StrCat("collection `", info.spec.id, "` has etag `", info.etag,
                                           "`, not the one given; read it again"));
  }
  const absl::Status deleted =
      absl::NotFoundError(absl::StrCat("collection `", info.spec.id, "` was deleted"));
  (*collection)->Close(deleted);
  if (absl::Status status = store_->DropCollection((*collection)->uid()); !status.ok()) {
    (*collection)->Reopen();  // nothing was removed
    return status;
  }
  registry_->Erase(id);
  operations_.Drop(id, deleted);
  // A build that is under way may leave files yet; the next start takes them.
  RemoveIndexFolder(options_.index_folder, (*collection)->uid());
  spdlog::info("deleted collection {}", info.spec.id);
  return absl::OkStatus();
}

absl::StatusOr<CollectionStats> EngineImpl::GetCollectionStats(std::string_view id) const {
  const auto collection = Find(id);
  if (!collection.ok()) return collection.status();
  return (*collection)->Stats();
}

absl::StatusOr<EngineImpl::Target> EngineImpl::FindTarget(std::string_view collection,
                                                          Operation::Type type,
                                                          std::span<const int> shards) const {
  auto found = Find(collection);
  if (!found.ok()) return found.status();
  auto numbers =
      CheckShards("shards", absl::MakeSpan(shards.data(), shards.size()), (*found)->shard_count());
  if (!numbers.ok()) return numbers.status();
  const CollectionSpec& spec = (*found)->info().spec;
  if (type == Operation::Type::kRetrain && spec.index.kind == IndexKind::kFlat) {
    return absl::FailedPreconditionError(
        absl::StrCat("collection `", spec.id,
                     "` has an index of kind FLAT, which trains nothing; compact it instead"));
  }
  return Target{*std::move(found), *std::move(numbers)};
}

absl::StatusOr<Operation::Info> EngineImpl::StartOperation(std::string_view collection,
                                                           Operation::Type type,
                                                           std::span<const int> shards) {
  // No collection goes away between the look-up and the request.
  absl::MutexLock lock(&definitions_mu_);
  const auto target = FindTarget(collection, type, shards);
  if (!target.ok()) return target.status();
  const auto created = operations_.Create(collection, type, target->shards);
  if (!created.ok()) return created.status();
  if (created->made) target->collection->Request(created->operation);
  return created->operation->Snapshot();
}

absl::StatusOr<OperationEstimate> EngineImpl::EstimateOperation(std::string_view collection,
                                                                Operation::Type type,
                                                                std::span<const int> shards) const {
  const auto target = FindTarget(collection, type, shards);
  if (!target.ok()) return target.status();
  const CollectionStats stats = target->collection->Stats();
  std::vector<ShardStats> chosen;
  for (const int shard : target->shards) chosen.push_back(stats.shards[shard]);
  const CollectionSpec& spec = target->collection->info().spec;
  return engine::EstimateOperation(type, spec.index, spec.dimension, chosen,
                                   options_.maintenance_threads, options_.maintenance);
}

absl::StatusOr<std::shared_ptr<Operation>> EngineImpl::FindOperation(std::string_view collection,
                                                                     std::string_view id) const {
  if (const auto found = Find(collection); !found.ok()) return found.status();
  return operations_.Find(collection, id);
}

absl::StatusOr<Operation::Info> EngineImpl::GetOperation(std::string_view collection,
                                                         std::string_view id) const {
  const auto operation = FindOperation(collection, id);
  if (!operation.ok()) return operation.status();
  return (*operation)->Snapshot();
}

absl::StatusOr<std::vector<Operation::Info>> EngineImpl::ListOperations(std::string_view collection,
                                                                        std::string_view after,
                                                                        int limit) const {
  if (const auto found = Find(collection); !found.ok()) return found.status();
  if (limit < 1) {
    return InvalidField("page_size", absl::StrCat("is ", limit, ", must be 1 or more"));
  }
  std::vector<Operation::Info> infos;
  for (const auto& operation : operations_.List(collection, after, limit)) {
    infos.push_back(operation->Snapshot());
  }
  return infos;
}

absl::Status EngineImpl::CancelOperation(std::string_view collection, std::string_view id) {
  const auto operation = FindOperation(collection, id);
  if (!operation.ok()) return operation.status();
  (*operation)->Cancel();
  return absl::OkStatus();
}

absl::Status EngineImpl::DeleteOperation(std::string_view collection, std::string_view id) {
  if (const auto found = Find(collection); !found.ok()) return found.status();
  return operations_.Delete(collection, id);
}

absl::StatusOr<Operation::Info> EngineImpl::WaitOperation(std::string_view collection,
                                                          std::string_view id,
                                                          absl::Duration timeout,
                                                          const CallContext& context) const {
  const auto operation = FindOperation(collection, id);
  if (!operation.ok()) return operation.status();
  TokenWaits::Place place(&operation_waits_);
  if ((*operation)->done() || !place.Take().ok()) return (*operation)->Snapshot();
  std::stop_source stop;  // of the caller or of the engine
  const std::stop_callback caller(context.stop, [&] { stop.request_stop(); });
  const std::stop_callback engine(operation_waits_.stop(), [&] { stop.request_stop(); });
  CallContext patience;
  patience.deadline =
      std::min(context.deadline, absl::Now() + std::min(timeout, kMaxOperationWait));
  patience.stop = stop.get_token();
  const absl::Status waited = (*operation)->Wait(patience);
  if (!waited.ok() && context.stop.stop_requested()) return waited;
  return (*operation)->Snapshot();
}

absl::StatusOr<std::vector<WriteResult>> EngineImpl::Upsert(std::string_view collection,
                                                            std::vector<DocumentWrite> writes,
                                                            Truncate truncate,
                                                            const CallContext& context) {
  const auto found = Find(collection);
  if (!found.ok()) return found.status();
  return (*found)->Upsert(std::move(writes), truncate, context);
}

absl::StatusOr<std::vector<WriteResult>> EngineImpl::Delete(std::string_view collection,
                                                            std::span<const std::string> ids,
                                                            const CallContext& context) {
  const auto found = Find(collection);
  if (!found.ok()) return found.status();
  return (*found)->Delete(ids, context);
}

absl::StatusOr<std::vector<std::optional<storage::Document>>> EngineImpl::Get(
    std::string_view collection, std::span<const std::string> ids,
    const storage::DocumentParts& parts, size_t max_bytes) const {
  const auto found = Find(collection);
  if (!found.ok()) return found.status();
  return (*found)->Get(ids, parts, max_bytes);
}

absl::StatusOr<IdPage> EngineImpl::List(std::string_view collection, const IdPage::Position& from,
                                        int limit, size_t max_bytes,
                                        const storage::DocumentParts& parts,
                                        std::string_view filter) const {
  const auto found = Find(collection);
  if (!found.ok()) return found.status();
  if (limit < 1) {
    return InvalidField("page_size", absl::StrCat("is ", limit, ", must be 1 or more"));
  }
  return (*found)->List(from, limit, max_bytes, parts, filter);
}

absl::StatusOr<int64_t> EngineImpl::Count(std::string_view collection,
                                          std::string_view filter) const {
  const auto found = Find(collection);
  if (!found.ok()) return found.status();
  return (*found)->Count(filter);
}

absl::StatusOr<std::vector<Facet>> EngineImpl::CountValues(std::string_view collection,
                                                           std::span<const std::string> fields,
                                                           std::string_view filter,
                                                           int limit) const {
  const auto found = Find(collection);
  if (!found.ok()) return found.status();
  return (*found)->CountValues(fields, filter, limit);
}

absl::StatusOr<SearchResult> EngineImpl::Search(std::string_view collection,
                                                const SearchRequest& request,
                                                const CallContext& context) const {
  const auto found = Find(collection);
  if (!found.ok()) return found.status();
  return (*found)->Search(request, context);
}

absl::StatusOr<Embedded> EngineImpl::Embed(const EmbedRequest& request,
                                           const CallContext& context) {
  if (absl::Status status = CheckRunning(); !status.ok()) return status;
  if (absl::Status status = CheckBatchSize("texts", request.texts.size()); !status.ok())
    return status;
  const auto& texts = request.texts;
  std::string name = request.model;
  if (name.empty()) {
    // In its own precision: others are asked for by name.
    std::vector<encoder::ModelInfo> models = encoder_->Models();
    std::erase_if(models, [](const encoder::ModelInfo& one) { return one.precision != "fp32"; });
    if (models.size() != 1) {
      std::string names;
      for (const auto& one : models) absl::StrAppend(&names, names.empty() ? "" : ", ", one.name);
      return InvalidField("model",
                          absl::StrCat("is empty, and the server has ", models.size(),
                                       " models to choose from", names.empty() ? "" : ": ", names));
    }
    name = models.front().name;
  }
  absl::StatusOr<encoder::ModelInfo> info = encoder_->Model(name);
  if (!info.ok()) return info.status();

  Embedded reply{.model = *std::move(info), .results = {}, .timings = {}};
  std::vector<encoder::EmbedResult>& results = reply.results;
  results.resize(texts.size());
  std::vector<std::string_view> good;
  std::vector<size_t> places;
  for (size_t i = 0; i < texts.size(); ++i) {
    results[i].status = CheckText(absl::StrCat("texts[", i, "]"), texts[i]);
    if (!results[i].status.ok()) continue;
    good.push_back(texts[i]);
    places.push_back(i);
  }
  if (good.empty()) return reply;
  encoder::EmbedOptions options;
  options.input_type = request.input_type;
  options.lane = request.input_type == encoder::InputType::kQuery ? encoder::Lane::kQuery
                                                                  : encoder::Lane::kBulk;
  options.truncate =
      request.truncate == Truncate::kError ? encoder::Truncate::kError : encoder::Truncate::kAuto;
  options.dimensions = request.dimensions;
  options.deadline = context.deadline;
  options.stop = context.stop;
  options.timings = &reply.timings;
  auto embedded = encoder_->Embed(name, good, options);
  if (!embedded.ok()) return embedded.status();
  for (size_t j = 0; j < places.size(); ++j) {
    encoder::EmbedResult& result = results[places[j]];
    result = std::move((*embedded)[j]);
    if (absl::IsInvalidArgument(result.status)) {
      result.status = InvalidField(absl::StrCat("texts[", places[j], "]"),
                                   std::string(result.status.message()));
    }
  }
  return reply;
}

void EngineImpl::Shutdown() {
  BeginShutdown();
  if (stopping_.exchange(true)) return;
  if (reaper_.has_value()) reaper_->Stop();
  maintenance_.Stop();
  for (const auto& collection : registry_->All()) {
    collection->Close(absl::UnavailableError("the server is stopping; try again"));
  }
  if (absl::Status status = store_->Flush(); !status.ok()) {
    spdlog::warn("flushing the store at the end failed; the next start replays its log: {}",
                 status.ToString());
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Open(const EngineOptions& options,
                                                     storage::Store* store,
                                                     encoder::Encoder* encoder, Metrics* metrics) {
  if (options.tail_capacity < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("tail_capacity is ", options.tail_capacity, ", must be 1 or more"));
  }
  if (const int64_t locked = MachineMemory() / 100 * options.index_locked_percent; locked > 0) {
    if (absl::Status status = index::SegmentFile::KeepInMemory(locked); !status.ok()) {
      spdlog::warn("{}", std::string(status.message()));
    }
  }
  auto engine = std::make_unique<EngineImpl>(options, store, encoder, metrics);
  if (absl::Status status = engine->Load(); !status.ok()) return status;
  engine->StartReaper();
  RegisterIndexGauges(engine->registry(), metrics);
  return engine;
}

}  // namespace vecino::engine
