#include "server/engine/migrations.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/chunking.h"
#include "server/engine/load_shards.h"
#include "server/engine/manifest.h"
#include "server/engine/model_choice.h"
#include "server/engine/overlap.h"
#include "server/engine/stored_spec.h"
#include "server/engine/validation.h"

namespace vecino::engine {
namespace {

// Texts that a new model is timed on for an estimate.
constexpr int kEstimateTexts = 32;

absl::Status CheckRequest(const MigrationRequest& request) {
  if (request.model.empty()) {
    return InvalidField("embedding.model", "is empty; name the model of the new embeddings");
  }
  if (request.dimension < 0) {
    return InvalidField("dimension", absl::StrCat("is ", request.dimension, ", must be 0 or more"));
  }
  if (request.queries.size() > static_cast<size_t>(MigrationRequest::kMaxQueries)) {
    return InvalidField("queries", absl::StrCat("holds ", request.queries.size(), ", at most ",
                                                MigrationRequest::kMaxQueries));
  }
  size_t bytes = 0;
  for (size_t i = 0; i < request.queries.size(); ++i) {
    const std::string path = absl::StrCat("queries[", i, "]");
    if (request.queries[i].empty()) return InvalidField(path, "is empty");
    if (absl::Status status = CheckText(path, request.queries[i]); !status.ok()) return status;
    bytes += request.queries[i].size();
  }
  if (bytes > MigrationRequest::kMaxQueryBytes) {
    return InvalidField("queries", absl::StrCat("take ", bytes, " bytes together, at most ",
                                                MigrationRequest::kMaxQueryBytes));
  }
  if (request.top_k < 1 || request.top_k > MigrationRequest::kMaxTopK) {
    return InvalidField(
        "top_k", absl::StrCat("is ", request.top_k, ", must be 1 to ", MigrationRequest::kMaxTopK));
  }
  // Also where it is no number.
  if (!(request.min_overlap >= 0 && request.min_overlap <= 1)) {
    return InvalidField("min_overlap",
                        absl::StrCat("is ", request.min_overlap, ", must be 0 to 1"));
  }
  return absl::OkStatus();
}

std::string NameOf(const CollectionInfo& info) {
  return info.spec.model.empty()
             ? "its callers' vectors"
             : absl::StrCat("model ", info.spec.model, ", dimension ", info.spec.dimension);
}

// `why` names a field of the collection, which no request for a migration has.
absl::Status CannotChange(absl::string_view what, const CollectionInfo& info,
                          const std::string& model, const absl::Status& why) {
  return absl::FailedPreconditionError(absl::StrCat(
      "collection `", info.spec.id, "` has a ", what, " that model `", model,
      "` cannot follow, and that cannot change: ", why.message(), "; choose another model"));
}

}  // namespace

absl::StatusOr<storage::CollectionRecord> Migrations::MakeSide(
    const Collection& collection, const MigrationRequest& request) const {
  if (absl::Status status = CheckRequest(request); !status.ok()) return status;
  const CollectionInfo info = collection.info();
  const auto model = ChooseModel(*parts_.encoder, request.model, request.dimension, "");
  if (!model.ok()) return model.status();
  const auto prompts = ChoosePrompts(model->info, request.prompts, "");
  if (!prompts.ok()) return prompts.status();
  if (model->info.hash == info.model_hash && model->dimension == info.spec.dimension &&
      *prompts == info.spec.prompts) {
    return absl::FailedPreconditionError(
        absl::StrCat("collection `", info.spec.id, "` has embeddings by model `", info.spec.model,
                     "` with ", info.spec.dimension, " values and the prompts `", prompts->query,
                     "` and `", prompts->document, "` already"));
  }
  if (model->dimension > Limits::kMaxDimension) {
    return InvalidField("dimension",
                        absl::StrCat("is ", model->dimension, ", at most ", Limits::kMaxDimension));
  }
  const IndexSpec& index = info.spec.index;
  if (index.pq_m > 0 && model->dimension % index.pq_m != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("model `", request.model, "`: its ", model->dimension,
                     " values are not divisible by the collection's pq_m ", index.pq_m,
                     ", which cannot change; choose a model or `dimension` that is"));
  }
  if (absl::Status status = CheckIndexSpec(index, model->dimension); !status.ok()) {
    return CannotChange("index_policy", info, request.model, status);
  }
  storage::CollectionRecord record;
  record.id = info.spec.id;
  record.dimension = static_cast<uint32_t>(model->dimension);
  record.metric = ToStored(info.spec.metric);
  record.shard_count = static_cast<uint32_t>(info.spec.shard_count);
  record.index = ToStored(info.spec.index);
  record.model = request.model;
  record.model_hash = model->info.hash;
  StorePrompts(*prompts, &record);
  record.create_time_us = absl::ToUnixMicros(info.create_time);
  if (info.spec.chunking.has_value()) {
    // Split anew, into passages that are as long as before where the new model takes them.
    Chunking chunking = *info.spec.chunking;
    chunking.max_tokens = std::min(chunking.max_tokens, model->info.max_tokens);
    chunking.overlap_tokens = std::min(chunking.overlap_tokens, (chunking.max_tokens - 1) / 2);
    auto full = CheckChunking(chunking, model->info, prompts->document);
    if (!full.ok()) return CannotChange("chunking", info, request.model, full.status());
    record.chunk_tokens = static_cast<uint32_t>(full->max_tokens);
    record.chunk_overlap = static_cast<uint32_t>(full->overlap_tokens);
  }
  return record;
}

absl::StatusOr<std::vector<std::shared_ptr<Collection>>> Migrations::Open(
    const std::vector<std::shared_ptr<Collection>>& collections) {
  const auto records = parts_.store->ListMigrations();
  if (!records.ok()) return records.status();
  std::vector<std::shared_ptr<Collection>> hidden;
  for (const storage::MigrationRecord& record : *records) {
    const auto at = std::find_if(collections.begin(), collections.end(),
                                 [&](const auto& one) { return one->uid() == record.uid; });
    if (at == collections.end()) {
      return absl::DataLossError(
          absl::StrCat("a migration of collection uid ", record.uid, ", which is not there"));
    }
    const std::shared_ptr<Collection>& active = *at;
    active->set_last_range(record.last_range);
    if (!record.other.has_value()) continue;
    absl::StatusOr<MigrationState> state = DecodeMigrationState(record.bytes);
    if (!state.ok()) {
      spdlog::warn("collection {}: {}; the side that is not in use is removed", active->id(),
                   state.status().ToString());
      if (absl::Status status = parts_.store->EndMigration(record.uid); !status.ok()) return status;
      continue;
    }
    auto other = std::make_shared<Collection>(*record.other, parts_.context, active.get());
    other->set_last_range(record.last_range);
    other->gate().Move();
    active->HoldChangesOnLoad();
    hidden.push_back(other);
    absl::MutexLock lock(&mu_);
    migrations_[record.other->id] = {
        .collection = record.other->id,
        .active = active,
        .hidden = std::move(other),
        .state = std::make_shared<const MigrationState>(*std::move(state)),
        .follower = nullptr,
        .operation = nullptr};
  }
  return hidden;
}

std::set<std::string> Migrations::Operations() const {
  std::set<std::string> ids;
  absl::MutexLock lock(&mu_);
  for (const auto& [id, migration] : migrations_) ids.insert(migration.state->operation);
  return ids;
}

void Migrations::Run() {
  absl::MutexLock lock(&mu_);
  for (auto& [id, migration] : migrations_) {
    auto operation = parts_.operations->FindOperation(id, migration.state->operation);
    if (operation != nullptr && !operation->done()) migration.operation = std::move(operation);
    // Whoever builds begins when it has looked whether it may.
    if (!migration.state->built && !migration.state->checked) continue;
    migration.follower = std::make_shared<Follower>(
        migration.active, migration.hidden,
        migration.state->built ? std::vector<uint64_t>() : migration.state->copy_through);
  }
  thread_ = std::jthread([this](std::stop_token stop) { Work(stop); });
}

absl::StatusOr<Migrations::Migration> Migrations::Find(const Collection& collection) const {
  const std::string& id = collection.id();
  absl::MutexLock lock(&mu_);
  const auto at = migrations_.find(id);
  if (at != migrations_.end() && at->second.active->SharesStreams(collection)) return at->second;
  return absl::NotFoundError(absl::StrCat("collection `", id, "` has no migration"));
}

absl::StatusOr<Migrations::Migration> Migrations::Again(const Migration& migration) const {
  auto now = Find(*migration.active);
  if (!now.ok()) return now;
  if (now->state->operation == migration.state->operation) return now;
  return absl::NotFoundError("the migration has ended");
}

absl::Status Migrations::CheckNone(const Collection& collection) const {
  const auto migration = Find(collection);
  if (!migration.ok()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "collection `", migration->collection, "` is in a migration already: ",
      migration->state->built ? "finish it first" : "wait for its operation, or cancel it"));
}

absl::StatusOr<std::shared_ptr<Collection>> Migrations::AddSide(const Collection& collection,
                                                                storage::CollectionRecord record,
                                                                const MigrationState& state) {
  const auto records = parts_.store->ListMigrations();
  if (!records.ok()) return records.status();
  uint64_t range = 1;
  for (const storage::MigrationRecord& known : *records) {
    if (known.uid == collection.uid()) range = known.last_range + 1;
  }
  if (range > storage::kMaxRange) {
    return absl::FailedPreconditionError(
        absl::StrCat("collection `", record.id, "` was migrated ", range - 1,
                     " times, the most there may be; load it into a new collection"));
  }
  Manifest manifest;  // nothing is in segments, and nothing is to be read from the change log
  manifest.drained_through = storage::FirstOfRange(range);
  const auto uid = parts_.store->AddMigration({.uid = collection.uid(),
                                               .last_range = range,
                                               .other = record,
                                               .bytes = EncodeMigrationState(state)},
                                              EncodeManifest(manifest));
  if (!uid.ok()) return uid.status();
  record.uid = *uid;
  auto hidden = std::make_shared<Collection>(record, parts_.context, &collection);
  hidden->gate().Move();
  hidden->set_last_range(range);
  if (absl::Status status = LoadShards({hidden}, 1); !status.ok()) {
    parts_.store->EndMigration(collection.uid()).IgnoreError();
    return status;
  }
  return hidden;
}

absl::StatusOr<Operation::Info> Migrations::Start(const std::shared_ptr<Collection>& collection,
                                                  const MigrationRequest& request) {
  if (absl::Status status = CheckNone(*collection); !status.ok()) return status;
  auto record = MakeSide(*collection, request);
  if (!record.ok()) return record.status();
  const auto operation = parts_.operations->Create(*collection, Operation::Type::kMigrate, {});
  if (!operation.ok()) return operation.status();

  MigrationState state;
  state.operation = (*operation)->id();
  state.queries = request.queries;
  state.top_k = request.top_k;
  state.automatic = request.automatic;
  state.min_overlap = request.min_overlap;
  state.allow_vectorless = request.allow_vectorless;
  state.begin_time = absl::Now();
  for (int shard = 0; shard < collection->shard_count(); ++shard) {
    // M2: first the hold, then the place from which the log is needed.
    collection->shard(shard).HoldChanges(0);
    state.copy_through.push_back(collection->log(shard).LastSequence());
  }
  auto hidden = AddSide(*collection, *record, state);
  if (!hidden.ok()) {
    for (int shard = 0; shard < collection->shard_count(); ++shard) {
      collection->shard(shard).HoldChanges(Shard::kNoHold);
    }
    (*operation)->End(hidden.status());
    return hidden.status();
  }
  collection->set_last_range(storage::RangeOf((*hidden)->log(0).LastSequence()));
  spdlog::info("collection {}: new embeddings, {}, are made beside {}", record->id,
               NameOf((*hidden)->info()), NameOf(collection->info()));
  Migration migration{.collection = record->id,
                      .active = collection,
                      .hidden = *hidden,
                      .state = std::make_shared<const MigrationState>(std::move(state)),
                      .follower = nullptr,
                      .operation = *operation};
  (*operation)->Describe(Describe(migration));
  Operation::Info info = (*operation)->Snapshot();
  absl::MutexLock lock(&mu_);
  migrations_[record->id] = std::move(migration);
  changed_.SignalAll();
  return info;
}

absl::StatusOr<OperationEstimate> Migrations::Estimate(const Collection& collection,
                                                       const MigrationRequest& request,
                                                       const CallContext& context) const {
  if (absl::Status status = CheckNone(collection); !status.ok()) return status;
  const auto record = MakeSide(collection, request);
  if (!record.ok()) return record.status();
  OperationEstimate estimate = EstimateOperation(
      Operation::Type::kRetrain, collection.info().spec.index, static_cast<int>(record->dimension),
      collection.chunked(), collection.Stats().shards, parts_.threads, parts_.context.policy);
  estimate.deleted_rows = 0;  // of the side that stays as it is
  const auto documents = SampleTexts(collection, kEstimateTexts, context);
  if (!documents.ok()) return documents.status();
  if (documents->empty()) return estimate;
  std::vector<std::string_view> texts;
  for (const storage::Document& document : *documents) texts.push_back(document.text);
  encoder::EmbedOptions options;
  options.prompt = record->document_prompt;
  options.dimensions = static_cast<int>(record->dimension);
  options.deadline = context.deadline;
  options.stop = context.stop;
  const absl::Time start = absl::Now();
  const auto embedded = parts_.encoder->Embed(request.model, texts, options);
  if (!embedded.ok()) return embedded.status();
  // A text takes one window of the model at most, as a passage does, and rows are passages.
  estimate.duration += (absl::Now() - start) / static_cast<double>(texts.size()) *
                       static_cast<double>(estimate.rows);
  return estimate;
}

absl::Status Migrations::Put(const Migration& migration, MigrationState state) {
  auto next = std::make_shared<const MigrationState>(std::move(state));
  absl::Status status =
      parts_.store->PutMigration(migration.active->uid(), EncodeMigrationState(*next));
  if (!status.ok()) return status;
  absl::MutexLock lock(&mu_);
  migrations_.find(migration.collection)->second.state = std::move(next);
  return absl::OkStatus();
}

absl::Status Migrations::End(const Migration& migration, const std::string& why) {
  if (migration.follower != nullptr) migration.follower->Stop();
  const absl::Status gone = absl::NotFoundError(
      absl::StrCat("these embeddings of collection `", migration.collection, "` were removed"));
  migration.hidden->Close(gone);
  if (absl::Status status = parts_.store->EndMigration(migration.active->uid()); !status.ok()) {
    // Nothing was removed, so it goes on.
    migration.hidden->Reopen();
    if (migration.follower != nullptr) {
      auto follower = std::make_shared<Follower>(
          migration.active, migration.hidden,
          migration.state->built ? std::vector<uint64_t>() : migration.state->copy_through);
      absl::MutexLock lock(&mu_);
      migrations_.find(migration.collection)->second.follower = std::move(follower);
    }
    return status;
  }
  for (int shard = 0; shard < migration.active->shard_count(); ++shard) {
    migration.active->shard(shard).HoldChanges(Shard::kNoHold);
    // Of when it was the side that callers saw; maintenance does not come to them any more.
    migration.hidden->shard(shard).FailRequests(absl::AbortedError(gone.message()));
  }
  {
    absl::MutexLock lock(&mu_);
    migrations_.erase(migration.collection);
  }
  migration.hidden->RemoveFiles();
  Tell(migration.collection,
       absl::StrCat("the migration of collection `", migration.collection, "` ", why,
                    "; it has embeddings by ", NameOf(migration.active->info())));
  return absl::OkStatus();
}

absl::Status Migrations::Finish(const Collection& collection, std::optional<MigrationSide> keep) {
  const auto migration = Find(collection);
  if (!migration.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("collection `", collection.id(), "` is in no migration"));
  }
  if (!migration->state->built) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the new embeddings of collection `", migration->collection,
        "` are still being made; to drop them cancel operation ", migration->state->operation));
  }
  const char* const active = migration->side() == MigrationSide::kNew ? "NEW" : "OLD";
  if (keep.has_value() && *keep != migration->side()) {
    return absl::FailedPreconditionError(
        absl::StrCat("collection `", migration->collection, "` uses its ", active,
                     " embeddings, and those are kept; switch first"));
  }
  const auto operation = migration->operation;
  absl::Status status = End(*migration, "is finished");
  if (status.ok() && operation != nullptr) {
    operation->End(absl::AbortedError("the migration was finished before its cut-over"));
  }
  return status;
}

void Migrations::SetIndex(const Collection& collection, const IndexSpec& spec) {
  if (const auto migration = Find(collection); migration.ok()) migration->hidden->SetIndex(spec);
}

void Migrations::Close(const Collection& collection, const absl::Status& why) {
  if (const auto migration = Find(collection); migration.ok()) migration->hidden->Close(why);
}

void Migrations::Reopen(const Collection& collection) {
  if (const auto migration = Find(collection); migration.ok()) migration->hidden->Reopen();
}

void Migrations::Forget(const Collection& collection) {
  const auto migration = Find(collection);
  if (!migration.ok()) return;
  if (migration->follower != nullptr) migration->follower->Stop();
  {
    absl::MutexLock lock(&mu_);
    migrations_.erase(migration->collection);
  }
  migration->hidden->RemoveFiles();
}

MigrationInfo Migrations::Describe(const Migration& migration) {
  const MigrationState& state = *migration.state;
  MigrationInfo info;
  info.active = migration.side();
  info.state = !state.built     ? MigrationInfo::State::kBuilding
               : state.switched ? MigrationInfo::State::kCutOver
                                : MigrationInfo::State::kReady;
  const auto side = [](const Collection& collection) {
    return MigrationInfo::Side{.model = collection.info().spec.model,
                               .model_hash = collection.info().model_hash,
                               .prompts = collection.info().spec.prompts,
                               .dimension = collection.info().spec.dimension,
                               .without_vector = collection.WithoutVector()};
  };
  info.old_side = side(state.switched ? *migration.hidden : *migration.active);
  info.new_side = side(state.switched ? *migration.active : *migration.hidden);
  info.documents_total = migration.active->LiveDocuments();
  info.documents_done = std::min(migration.hidden->LiveDocuments(), info.documents_total);
  if (migration.follower != nullptr) {
    info.lag = migration.follower->Lag();
    info.problem = migration.follower->problem();
  }
  info.overlap = state.overlap;
  info.operation = state.operation;
  info.begin_time = state.begin_time;
  info.switch_time = state.switch_time;
  return info;
}

std::optional<MigrationInfo> Migrations::Info(const Collection& collection) const {
  const auto migration = Find(collection);
  if (!migration.ok()) return std::nullopt;
  return Describe(*migration);
}

int64_t Migrations::Lag() const {
  std::vector<std::shared_ptr<Follower>> followers;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& [id, migration] : migrations_) {
      if (migration.follower != nullptr) followers.push_back(migration.follower);
    }
  }
  int64_t lag = 0;
  for (const auto& follower : followers) lag += follower->Lag();
  return lag;
}

void Migrations::Tell(std::string_view collection, std::string message) const {
  spdlog::info("{}", message);
  parts_.events->Publish(Event::Kind::kMigration, std::string(collection), std::move(message));
}

void Migrations::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
    changed_.SignalAll();
  }
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
  std::map<std::string, Migration, std::less<>> gone;
  {
    absl::MutexLock lock(&mu_);
    gone.swap(migrations_);
  }
  for (auto& [id, migration] : gone) {
    if (migration.follower != nullptr) migration.follower->Stop();
    migration.hidden->Close(absl::UnavailableError("the server is stopping; try again"));
  }
}

}  // namespace vecino::engine
