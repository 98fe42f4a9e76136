#include "server/engine/engine.h"

#include <spdlog/spdlog.h>

#include <atomic>
#include <set>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "server/engine/aliases.h"
#include "server/engine/collection.h"
#include "server/engine/collection_calls.h"
#include "server/engine/collection_update.h"
#include "server/engine/document_jobs.h"
#include "server/engine/document_streams.h"
#include "server/engine/embed_texts.h"
#include "server/engine/engine_metrics.h"
#include "server/engine/engine_operations.h"
#include "server/engine/expiry_reaper.h"
#include "server/engine/index_folders.h"
#include "server/engine/load_shards.h"
#include "server/engine/maintenance.h"
#include "server/engine/memory_budget.h"
#include "server/engine/migrations.h"
#include "server/engine/moving_ingest.h"
#include "server/engine/new_collection.h"
#include "server/engine/recall_probes.h"
#include "server/engine/recall_sampler.h"
#include "server/engine/registry.h"
#include "server/engine/rerank_texts.h"
#include "server/engine/snapshot_jobs.h"
#include "server/engine/stored_spec.h"
#include "server/engine/swap_thread.h"
#include "server/engine/token_waits.h"
#include "server/engine/validation.h"
#include "server/index/segment_file.h"

namespace vecino::engine {
namespace {

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
        filters_(std::make_shared<FilterCache>(
            options.filter_cache_bytes,
            static_cast<size_t>(std::min(options.filter_code_bytes, MachineMemory() / 32)))),
        slot_maps_(std::make_shared<SlotMaps>(
            std::min(options.slot_map_bytes, MachineMemory() / 16), &budget_)),
        maintenance_(options.maintenance_threads, &metrics_),
        sampler_(options.recall, filters_.get(), metrics),
        operations_(store, registry_.get(), &events_),
        aliases_(store, registry_.get(), &events_),
        migrations_(std::make_shared<Migrations>(Migrations::Parts{
            store, encoder, registry_.get(), &aliases_, &operations_, &events_, &definitions_mu_,
            ContextForCollections(), options.maintenance_threads})),
        snapshots_({store, encoder, registry_.get(), &events_, &definitions_mu_,
                    ContextForCollections(), options.snapshot_folder, options.server_version}),
        streams_({.max_open = options.document_streams, .max_age = options.document_stream_age},
                 store) {}

  ~EngineImpl() override {
    Shutdown();
    registry_->Clear();  // a gauge may hold the registry a little longer, but nothing in it
  }

  absl::Status Load();
  std::shared_ptr<const Registry> registry() const { return registry_; }
  std::shared_ptr<const SlotMaps> slot_maps() const { return slot_maps_; }
  std::shared_ptr<const FilterCache> filters() const { return filters_; }
  std::shared_ptr<const Migrations> migrations() const { return migrations_; }

  absl::StatusOr<CollectionInfo> CreateCollection(const CollectionSpec& spec,
                                                  bool validate_only) override;
  absl::StatusOr<CollectionInfo> GetCollection(std::string_view id) const override;
  std::vector<CollectionInfo> ListCollections() const override;
  absl::StatusOr<CollectionInfo> UpdateCollection(const CollectionUpdate& update) override {
    absl::MutexLock lock(&definitions_mu_);
    const auto found = Find(update.id);
    if (!found.ok()) return found.status();
    return engine::UpdateCollection(update, store_, migrations_.get(), &events_, found->get());
  }
  absl::Status DeleteCollection(std::string_view id, std::string_view etag) override;
  absl::StatusOr<CollectionStats> GetCollectionStats(std::string_view id) const override {
    const auto found = Find(id);
    if (!found.ok()) return found.status();
    return (*found)->Stats();
  }

  absl::StatusOr<Operation::Info> StartOperation(std::string_view collection, Operation::Type type,
                                                 std::span<const int> shards,
                                                 double min_recall) override;
  absl::StatusOr<OperationEstimate> EstimateOperation(std::string_view collection,
                                                      Operation::Type type,
                                                      std::span<const int> shards) const override {
    const auto found = Find(collection);
    if (!found.ok()) return found.status();
    return operations_.Estimate(**found, type, shards, options_.maintenance_threads,
                                options_.maintenance);
  }
  absl::StatusOr<Operation::Info> MigrateEmbeddings(std::string_view collection,
                                                    const MigrationRequest& request) override {
    absl::MutexLock lock(&definitions_mu_);
    const auto found = Find(collection);
    return found.ok() ? migrations_->Start(*found, request) : found.status();
  }
  absl::StatusOr<OperationEstimate> EstimateMigration(std::string_view collection,
                                                      const MigrationRequest& request,
                                                      const CallContext& context) const override {
    const auto found = Find(collection);
    return found.ok() ? migrations_->Estimate(**found, request, context) : found.status();
  }
  absl::StatusOr<CollectionInfo> SwitchEmbeddings(std::string_view collection, MigrationSide to,
                                                  const CallContext& context) override {
    const auto found = Find(collection);
    if (!found.ok()) return found.status();
    const absl::Status status = migrations_->Switch(**found, to, context);
    return status.ok() ? GetCollection(collection) : status;
  }
  absl::StatusOr<CollectionInfo> FinishMigration(std::string_view collection,
                                                 std::optional<MigrationSide> keep) override {
    absl::MutexLock lock(&definitions_mu_);
    const auto found = Find(collection);
    if (!found.ok()) return found.status();
    const absl::Status status = migrations_->Finish(**found, keep);
    return status.ok() ? GetCollection(collection) : status;
  }
  absl::StatusOr<Operation::Info> GetOperation(std::string_view collection,
                                               std::string_view id) const override {
    const auto found = Find(collection);
    return found.ok() ? operations_.Get(**found, id) : found.status();
  }
  absl::StatusOr<std::vector<Operation::Info>> ListOperations(std::string_view collection,
                                                              std::string_view after,
                                                              int limit) const override {
    const auto found = Find(collection);
    if (!found.ok()) return found.status();
    return operations_.List(**found, after, limit);
  }
  absl::Status CancelOperation(std::string_view collection, std::string_view id) override {
    const auto found = Find(collection);
    return found.ok() ? operations_.Cancel(**found, id) : found.status();
  }
  absl::Status DeleteOperation(std::string_view collection, std::string_view id) override {
    const auto found = Find(collection);
    return found.ok() ? operations_.Delete(**found, id) : found.status();
  }
  absl::StatusOr<Operation::Info> WaitOperation(std::string_view collection, std::string_view id,
                                                absl::Duration timeout,
                                                const CallContext& context) const override {
    const auto found = Find(collection);
    return found.ok() ? operations_.Wait(**found, id, timeout, context) : found.status();
  }

  absl::StatusOr<AliasInfo> CreateAlias(std::string_view id, std::string_view target) override {
    absl::MutexLock lock(&definitions_mu_);
    if (absl::Status status = CheckRunning(); !status.ok()) return status;
    return aliases_.Create(id, target);
  }
  absl::StatusOr<AliasInfo> UpdateAlias(const AliasUpdate& update) override {
    absl::MutexLock lock(&definitions_mu_);
    if (absl::Status status = CheckRunning(); !status.ok()) return status;
    return aliases_.Update(update);
  }
  absl::StatusOr<AliasInfo> GetAlias(std::string_view id) const override {
    return aliases_.Get(id);
  }
  std::vector<AliasInfo> ListAliases() const override { return aliases_.List(); }
  absl::Status DeleteAlias(std::string_view id) override {
    absl::MutexLock lock(&definitions_mu_);
    if (absl::Status status = CheckRunning(); !status.ok()) return status;
    return aliases_.Delete(id);
  }
  std::optional<std::string> AliasTarget(std::string_view id) const override {
    return registry_->AliasTarget(id);
  }

  absl::StatusOr<std::unique_ptr<DocumentStream>> OpenDocumentStream(
      std::string_view collection, const DocumentStreamRequest& request) override {
    const auto found = Find(collection);
    if (!found.ok()) return found.status();
    return streams_.Open(*found, request);
  }
  absl::StatusOr<std::unique_ptr<EventBus::Watcher>> WatchEvents(
      std::string_view collection) override {
    if (collection.empty()) return events_.Watch("");
    const auto found = Find(collection);
    return found.ok() ? events_.Watch((*found)->id()) : found.status();
  }

  absl::StatusOr<std::vector<WriteResult>> Upsert(std::string_view collection,
                                                  std::vector<DocumentWrite> writes,
                                                  Truncate truncate,
                                                  const CallContext& context) override {
    return Write(collection, context, [&](Collection& one) {
      return one.Upsert(std::move(writes), truncate, context);  // called once
    });
  }
  absl::StatusOr<std::vector<WriteResult>> Delete(std::string_view collection,
                                                  std::span<const std::string> ids,
                                                  const CallContext& context) override {
    return Write(collection, context, [&](Collection& one) { return one.Delete(ids, context); });
  }
  absl::StatusOr<Operation::Info> ChangeDocuments(std::string_view collection,
                                                  std::string_view filter, PatchFn patch) override;
  absl::StatusOr<WriteResult> DeleteVersion(std::string_view collection, const std::string& id,
                                            const std::string& etag,
                                            const CallContext& context) override {
    return Write(collection, context,
                 [&](Collection& one) { return one.DeleteVersion(id, etag, context); });
  }
  absl::StatusOr<WriteResult> Modify(std::string_view collection, const std::string& id,
                                     const ModifyFn& fn, Truncate truncate,
                                     const CallContext& context) override {
    return Write(collection, context,
                 [&](Collection& one) { return one.Modify(id, fn, truncate, context); });
  }
  absl::StatusOr<std::unique_ptr<IngestStream>> OpenIngest(std::string_view collection,
                                                           std::string_view resume_token,
                                                           Truncate truncate) override {
    const auto found = Find(collection);
    if (!found.ok()) return found.status();
    // By its own id: where an alias points by then does not matter.
    return OpenMovingIngest([this, id = (*found)->id()] { return Find(id); }, resume_token,
                            truncate);
  }
  absl::StatusOr<std::vector<std::optional<storage::Document>>> Get(
      std::string_view collection, std::span<const std::string> ids,
      const storage::DocumentParts& parts, size_t max_bytes) const override {
    return Read(collection, [&](const Collection& one) { return one.Get(ids, parts, max_bytes); });
  }
  absl::StatusOr<IdPage> List(std::string_view collection, const IdPage::Position& from, int limit,
                              size_t max_bytes, const storage::DocumentParts& parts,
                              std::string_view filter) const override;
  absl::StatusOr<int64_t> Count(std::string_view collection,
                                std::string_view filter) const override {
    const auto found = Find(collection);
    return found.ok() ? (*found)->Count(filter) : found.status();
  }
  absl::StatusOr<std::vector<Facet>> CountValues(std::string_view collection,
                                                 std::span<const std::string> fields,
                                                 std::string_view filter,
                                                 int limit) const override {
    const auto found = Find(collection);
    return found.ok() ? (*found)->CountValues(fields, filter, limit) : found.status();
  }
  absl::StatusOr<SearchResult> Search(std::string_view collection, const SearchRequest& request,
                                      const CallContext& context) const override {
    return Read(collection, [&](const Collection& one) { return one.Search(request, context); });
  }
  absl::StatusOr<SearchBatchResult> SearchBatch(std::string_view collection,
                                                std::span<const SearchRequest> requests,
                                                size_t max_bytes,
                                                const CallContext& context) const override {
    return Read(collection, [&](const Collection& one) {
      return one.SearchBatch(requests, max_bytes, context);
    });
  }

  absl::StatusOr<Embedded> Embed(const EmbedRequest& request, const CallContext& context) override {
    if (absl::Status status = CheckRunning(); !status.ok()) return status;
    return EmbedTexts(*encoder_, request, context);
  }
  absl::StatusOr<RerankedTexts> Rerank(const RerankRequest& request,
                                       const CallContext& context) override {
    if (absl::Status status = CheckRunning(); !status.ok()) return status;
    return RerankTexts(*encoder_, request, context);
  }
  absl::StatusOr<std::unique_ptr<IndexExport>> ExportIndex(std::string_view collection,
                                                           const ExportRequest& request,
                                                           const CallContext& context) override {
    const auto found = Find(collection);
    return found.ok() ? (*found)->ExportIndex(request, context) : found.status();
  }
  absl::StatusOr<RecallEvaluation> EvaluateRecall(std::string_view collection,
                                                  const RecallRequest& request,
                                                  const CallContext& context) const override {
    const auto found = Find(collection);
    return found.ok() ? (*found)->EvaluateRecall(request, context) : found.status();
  }
  absl::StatusOr<Operation::Info> TuneIndex(std::string_view collection, const TuneRequest& request,
                                            const CallContext& context) override;
  absl::StatusOr<OperationEstimate> EstimateTuning(std::string_view collection,
                                                   const TuneRequest& request,
                                                   const CallContext& context) const override {
    const auto found = Find(collection);
    return found.ok() ? (*found)->EstimateTuning(request, context) : found.status();
  }
  absl::StatusOr<int> CountTokens(std::string_view collection,
                                  std::string_view text) const override {
    const auto found = Find(collection);
    return found.ok() ? (*found)->CountTokens(text) : found.status();
  }
  bool IsSearchShort(std::string_view collection, std::string_view filter) const override {
    const auto found = Find(collection);
    return !found.ok() || (!(*found)->chunked() && (*found)->IsFilterAtHand(filter));
  }
  Snapshots& snapshots() override { return snapshots_; }
  std::vector<encoder::ModelInfo> Models() const override { return encoder_->Models(); }
  encoder::EncoderStats EncoderStats() const override { return encoder_->Stats(); }

  void BeginShutdown() override {
    token_waits_.Stop();
    operations_.StopWaits();
    snapshots_.StopWaits();
  }
  void Shutdown() override;
  void StartReaper() { reaper_.emplace(options_.reap_interval, ReapAll(registry_)); }
  void StartSampler() { sampler_.Start(ProbeAll(registry_, &maintenance_)); }

 private:
  absl::Status CheckRunning() const;
  absl::StatusOr<std::shared_ptr<Collection>> Find(std::string_view id) const;
  // See collection_calls.h.
  template <typename Fn>
  std::invoke_result_t<Fn, Collection&> Write(std::string_view id, const CallContext& context,
                                              const Fn& fn) const {
    return WriteCollection([&] { return Find(id); }, context, fn);
  }
  template <typename Fn>
  std::invoke_result_t<Fn, const Collection&> Read(std::string_view id, const Fn& fn) const {
    return ReadCollection([&] { return Find(id); }, fn);
  }
  CollectionInfo InfoOf(const Collection& collection) const {
    CollectionInfo info = collection.info();
    info.migration = migrations_->Info(collection);
    return info;
  }
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
            filters_.get(),
            &filter_texts_,
            slot_maps_.get(),
            options_.clock,
            &events_,
            options_.hooks,
            &sampler_,
            options_.recall.window,
            &swaps_,
            options_.call_vector_bytes};
  }

  const EngineOptions options_;
  storage::Store* const store_;
  encoder::Encoder* const encoder_;
  EngineMetrics metrics_;
  mutable MemoryBudget budget_;
  HeadCache heads_;
  const std::shared_ptr<FilterCache> filters_;  // gauges may ask for both a little longer
  mutable FilterTexts filter_texts_;
  const std::shared_ptr<SlotMaps> slot_maps_;
  EventBus events_;
  SwapThread swaps_;
  Maintenance maintenance_;
  RecallSampler sampler_;
  TokenWaits token_waits_;
  std::atomic<bool> stopping_{false};
  // Creating, changing and deleting, one at a time. Taken before the registry's lock, which is only
  // for look-ups.
  absl::Mutex definitions_mu_;
  const std::shared_ptr<Registry> registry_ = std::make_shared<Registry>();
  EngineOperations operations_;
  Aliases aliases_;
  const std::shared_ptr<Migrations> migrations_;
  SnapshotJobs snapshots_;
  DocumentStreams streams_;
  DocumentJobs jobs_, tunings_{"tunings"};
  std::optional<ExpiryReaper> reaper_;  // last: it uses what is above
};

absl::Status EngineImpl::Load() {
  const absl::Time start = absl::Now();
  if (absl::Status status = snapshots_.Open(); !status.ok()) return status;
  const auto records = store_->ListCollections();
  if (!records.ok()) return records.status();
  std::vector<std::shared_ptr<Collection>> collections;
  for (const storage::CollectionRecord& record : *records) {
    if (absl::Status status = CheckRecord(record); !status.ok()) return status;
    collections.push_back(std::make_shared<Collection>(record, ContextForCollections()));
  }
  const auto hidden = migrations_->Open(collections);
  if (!hidden.ok()) return hidden.status();
  std::vector<std::shared_ptr<Collection>> all = collections;
  all.insert(all.end(), hidden->begin(), hidden->end());
  std::set<uint32_t> uids;
  for (const auto& collection : all) uids.insert(collection->uid());
  RemoveStrayIndexFolders(options_.index_folder, uids);
  if (absl::Status status = LoadShards(all, options_.load_threads); !status.ok()) return status;
  int64_t documents = 0;
  for (auto& collection : collections) {
    WarnOfModel(collection->info(), *encoder_);
    documents += collection->LiveDocuments();
    registry_->Insert(collection);
  }
  if (absl::Status status = aliases_.Load(); !status.ok()) return status;
  if (absl::Status status = operations_.Load(migrations_->Operations()); !status.ok())
    return status;
  migrations_->Run();
  spdlog::info("loaded: {} collection(s), {} document(s), in {}", collections.size(), documents,
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

absl::StatusOr<CollectionInfo> EngineImpl::CreateCollection(const CollectionSpec& spec,
                                                            bool validate_only) {
  if (absl::Status status = CheckRunning(); !status.ok()) return status;
  absl::StatusOr<storage::CollectionRecord> record = MakeCollectionRecord(spec, *encoder_);
  if (!record.ok()) return record.status();
  absl::MutexLock lock(&definitions_mu_);
  if (absl::Status status = CheckFree(spec.id, *registry_); !status.ok()) return status;
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
  events_.Publish(Event::Kind::kCollectionCreated, spec.id,
                  absl::StrCat("collection `", spec.id, "` was created"));
  return collection->info();
}

absl::StatusOr<CollectionInfo> EngineImpl::GetCollection(std::string_view id) const {
  const auto collection = Find(id);
  if (!collection.ok()) return collection.status();
  return InfoOf(**collection);
}

std::vector<CollectionInfo> EngineImpl::ListCollections() const {
  std::vector<CollectionInfo> infos;
  for (const auto& collection : registry_->All()) infos.push_back(InfoOf(*collection));
  return infos;
}

absl::Status EngineImpl::DeleteCollection(std::string_view id, std::string_view etag) {
  absl::MutexLock lock(&definitions_mu_);
  if (absl::Status status = CheckRunning(); !status.ok()) return status;
  if (const auto target = registry_->AliasTarget(id); target.has_value()) {
    return absl::NotFoundError(absl::StrCat("`", std::string(id), "` is an alias of collection `",
                                            *target, "`; name the collection itself to delete it"));
  }
  const auto collection = registry_->FindExact(id);
  if (!collection.ok()) return collection.status();
  const CollectionInfo info = (*collection)->info();
  if (absl::Status status = CheckEtag(info, etag); !status.ok()) return status;
  if (absl::Status status = aliases_.CheckUnused(**collection); !status.ok()) return status;
  const absl::Status deleted =
      absl::NotFoundError(absl::StrCat("collection `", info.spec.id, "` was deleted"));
  (*collection)->Close(deleted);
  migrations_->Close(**collection, deleted);
  if (absl::Status status = store_->DropCollection((*collection)->uid()); !status.ok()) {
    (*collection)->Reopen();  // nothing was removed
    migrations_->Reopen(**collection);
    return status;
  }
  migrations_->Forget(**collection);
  registry_->Erase(id);
  operations_.Drop(id, deleted);
  (*collection)->RemoveFiles();
  spdlog::info("deleted collection {}", info.spec.id);
  events_.Publish(Event::Kind::kCollectionDeleted, info.spec.id,
                  absl::StrCat("collection `", info.spec.id, "` was deleted"));
  return absl::OkStatus();
}

absl::StatusOr<Operation::Info> EngineImpl::StartOperation(std::string_view collection,
                                                           Operation::Type type,
                                                           std::span<const int> shards,
                                                           double min_recall) {
  // No collection goes away between the look-up and the request.
  absl::MutexLock lock(&definitions_mu_);
  const auto found = Find(collection);
  if (!found.ok()) return found.status();
  return operations_.Start(*found, type, shards, min_recall);
}

absl::StatusOr<Operation::Info> EngineImpl::ChangeDocuments(std::string_view collection,
                                                            std::string_view filter,
                                                            PatchFn patch) {
  absl::MutexLock lock(&definitions_mu_);
  const auto found = Find(collection);
  if (!found.ok()) return found.status();
  if (const auto read = (*found)->ReadFilter(filter); !read.ok()) return read.status();
  const auto type = patch == nullptr ? Operation::Type::kPurge : Operation::Type::kPatch;
  return jobs_.Start(operations_.Create(**found, type, {}),
                     {*found, nullptr, std::string(filter), std::move(patch), std::nullopt});
}

absl::StatusOr<Operation::Info> EngineImpl::TuneIndex(std::string_view collection,
                                                      const TuneRequest& request,
                                                      const CallContext& context) {
  const auto found = Find(collection);
  if (!found.ok()) return found.status();
  auto tuning = (*found)->PrepareTuning(request, context);  // embeds, so without the lock
  if (!tuning.ok()) return tuning.status();
  tuning->find = [this, id = (*found)->id()] { return Find(id); };
  absl::MutexLock lock(&definitions_mu_);
  if (absl::Status status = (*found)->CheckInUse(*tuning); !status.ok()) return status;
  auto operation = operations_.Create(**found, Operation::Type::kTune, tuning->request.shards);
  return tunings_.Start(std::move(operation), {*found, nullptr, "", nullptr, *std::move(tuning)});
}

absl::StatusOr<IdPage> EngineImpl::List(std::string_view collection, const IdPage::Position& from,
                                        int limit, size_t max_bytes,
                                        const storage::DocumentParts& parts,
                                        std::string_view filter) const {
  return Read(collection, [&](const Collection& one) {
    return one.List(from, limit, max_bytes, parts, filter);
  });
}

void EngineImpl::Shutdown() {
  BeginShutdown();
  if (stopping_.exchange(true)) return;
  if (reaper_.has_value()) reaper_->Stop();
  sampler_.Stop();
  jobs_.Stop();
  tunings_.Stop();
  snapshots_.Stop();
  migrations_->Stop();
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
  engine->StartSampler();
  RegisterIndexGauges(engine->registry(), metrics);
  RegisterFilterGauges(engine->slot_maps(), engine->filters(), metrics);
  RegisterMigrationGauge(engine->migrations(), metrics);
  RegisterRecallGauges(engine->registry(), metrics);
  return engine;
}

}  // namespace vecino::engine
