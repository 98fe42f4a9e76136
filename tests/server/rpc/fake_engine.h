// An engine whose answers a test sets, and which remembers what it was asked.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/engine.h"
#include "tests/server/rpc/fake_snapshots.h"

namespace vecino::rpc {

class FakeEngine final : public engine::Engine {
 public:
  // Returned by every method that can fail, unless OK.
  absl::Status failure;
  double min_recall = -1;  // of the last StartOperation

  std::vector<engine::CollectionInfo> collections;  // in order of id
  std::string chunked;                              // one whose documents are split
  std::string filter_at_hand;
  engine::CollectionStats stats;
  std::map<std::string, storage::Document> documents;  // of every collection
  std::function<engine::WriteResult(size_t, const engine::DocumentWrite&)> write;
  std::function<engine::WriteResult(const std::string&)> erase;
  engine::SearchResult search_result;
  std::function<absl::Status(const engine::CallContext&)> on_search;         // before the result
  std::function<absl::StatusOr<engine::SearchResult>(size_t)> batch_result;  // unset: search_result
  std::vector<engine::Operation::Info> operations;                           // in order of creation
  engine::OperationEstimate estimate;
  engine::MigrationRequest migration;         // of the last call
  std::optional<engine::MigrationSide> side;  // of the last call
  engine::RecallEvaluation evaluation;
  engine::TuneRequest tune_request;  // of the last call
  std::function<std::unique_ptr<engine::IndexExport>()> make_export;
  std::function<absl::StatusOr<std::unique_ptr<engine::IngestStream>>(
      std::string_view collection, std::string_view resume_token, engine::Truncate truncate)>
      open_ingest;
  std::vector<encoder::ModelInfo> models;
  std::vector<encoder::EmbedResult> embeddings;
  std::vector<encoder::RerankResult> rerankings;
  encoder::EmbedTimings timings;
  std::function<void(const engine::CallContext&)> while_embedding;
  encoder::EncoderStats encoder_stats;

  // What it was asked last.
  engine::CollectionSpec spec;
  engine::CollectionUpdate update;
  bool validate_only = false;
  std::string collection, etag, model, query;
  std::vector<engine::DocumentWrite> writes;
  engine::Truncate truncate = engine::Truncate::kAuto;
  std::vector<std::string> ids, texts;
  storage::DocumentParts parts;
  size_t max_bytes = 0;
  engine::SearchRequest search;
  std::string filter;
  engine::PatchFn patch;
  engine::Operation::Info change;
  std::vector<std::string> facet_fields;
  int facet_limit = 0;
  std::vector<engine::Facet> facets;
  std::vector<engine::SearchRequest> searches;
  encoder::InputType input_type = encoder::InputType::kDocument;
  std::string prompt;
  int dimensions = 0;
  int lists = 0;
  engine::Operation::Type type = engine::Operation::Type::kRetrain;
  std::vector<int> shards;
  std::string operation;
  absl::Duration timeout;
  engine::ExportRequest export_request;
  engine::RecallRequest recall_request;
  engine::AliasUpdate alias_update;
  std::atomic<int> alias_lookups = 0;
  engine::DocumentStreamRequest stream_request;

  std::vector<engine::AliasInfo> aliases;  // in order of id
  engine::EventBus events;
  FakeSnapshots fake_snapshots;
  size_t stream_step = 2;
  absl::Status stream_end;  // after the last document, instead of the end

  struct Stream final : public engine::DocumentStream {
    const engine::CollectionInfo& info() const override { return collection_info; }
    absl::StatusOr<engine::DocumentChunk> Next(size_t, const engine::CallContext&) override {
      engine::DocumentChunk chunk;
      auto at = engine->documents.upper_bound(after);
      for (size_t i = 0; at != engine->documents.end() && i < engine->stream_step; ++at, ++i) {
        if (at->second.text != "hidden") chunk.documents.push_back({0, at->second});
        chunk.after_id = after = at->first;
      }
      chunk.end = at == engine->documents.end() && engine->stream_end.ok();
      if (chunk.documents.empty() && chunk.after_id.empty() && !chunk.end) {
        return engine->stream_end;
      }
      return chunk;
    }
    FakeEngine* engine = nullptr;
    engine::CollectionInfo collection_info;
    std::string after;
  };

  absl::StatusOr<engine::CollectionInfo> CreateCollection(const engine::CollectionSpec& s,
                                                          bool v) override {
    spec = s;
    validate_only = v;
    if (!failure.ok()) return failure;
    engine::CollectionInfo info;
    info.spec = s;
    info.etag = "etag-1";
    info.create_time = absl::FromUnixSeconds(1700000000);
    if (!s.model.empty()) info.model_hash = "abc";
    return info;
  }
  absl::StatusOr<engine::CollectionInfo> GetCollection(std::string_view id) const override {
    for (const auto& info : collections) {
      if (info.spec.id == id) return info;
    }
    return absl::NotFoundError("no such collection");
  }
  std::vector<engine::CollectionInfo> ListCollections() const override { return collections; }
  absl::StatusOr<engine::CollectionInfo> UpdateCollection(
      const engine::CollectionUpdate& asked) override {
    update = asked;
    if (!failure.ok()) return failure;
    return GetCollection(asked.id);
  }
  absl::Status DeleteCollection(std::string_view id, std::string_view e) override {
    collection = std::string(id);
    etag = std::string(e);
    return failure;
  }
  absl::StatusOr<engine::CollectionStats> GetCollectionStats(std::string_view) const override {
    if (!failure.ok()) return failure;
    return stats;
  }
  absl::StatusOr<engine::Operation::Info> StartOperation(std::string_view c,
                                                         engine::Operation::Type t,
                                                         std::span<const int> s,
                                                         double recall) override {
    collection = std::string(c);
    type = t;
    min_recall = recall;
    shards.assign(s.begin(), s.end());
    if (!failure.ok()) return failure;
    return operations.at(0);
  }
  absl::StatusOr<engine::OperationEstimate> EstimateOperation(
      std::string_view c, engine::Operation::Type t, std::span<const int> s) const override {
    auto* self = const_cast<FakeEngine*>(this);
    self->collection = std::string(c);
    self->type = t;
    self->shards.assign(s.begin(), s.end());
    if (!failure.ok()) return failure;
    return estimate;
  }
  absl::StatusOr<engine::Operation::Info> MigrateEmbeddings(
      std::string_view c, const engine::MigrationRequest& request) override {
    collection = std::string(c);
    migration = request;
    if (!failure.ok()) return failure;
    return operations.at(0);
  }
  absl::StatusOr<engine::OperationEstimate> EstimateMigration(
      std::string_view c, const engine::MigrationRequest& request,
      const engine::CallContext&) const override {
    auto* self = const_cast<FakeEngine*>(this);
    self->collection = std::string(c);
    self->migration = request;
    if (!failure.ok()) return failure;
    return estimate;
  }
  absl::StatusOr<engine::CollectionInfo> SwitchEmbeddings(std::string_view c,
                                                          engine::MigrationSide to,
                                                          const engine::CallContext&) override {
    side = to;
    if (!failure.ok()) return failure;
    return GetCollection(c);
  }
  absl::StatusOr<engine::CollectionInfo> FinishMigration(
      std::string_view c, std::optional<engine::MigrationSide> keep) override {
    side = keep;
    if (!failure.ok()) return failure;
    return GetCollection(c);
  }
  absl::StatusOr<engine::Operation::Info> GetOperation(std::string_view c,
                                                       std::string_view id) const override {
    for (const auto& info : operations) {
      if (info.collection == c && info.id == id) return info;
    }
    return absl::NotFoundError("no such operation");
  }
  absl::StatusOr<std::vector<engine::Operation::Info>> ListOperations(std::string_view c,
                                                                      std::string_view after,
                                                                      int limit) const override {
    if (!failure.ok()) return failure;
    std::vector<engine::Operation::Info> found;
    bool past = after.empty();
    for (const auto& info : operations) {
      if (past && info.collection == c && static_cast<int>(found.size()) < limit) {
        found.push_back(info);
      }
      past = past || info.id == after;
    }
    return found;
  }
  absl::Status CancelOperation(std::string_view c, std::string_view id) override {
    collection = std::string(c);
    operation = std::string(id);
    return failure;
  }
  absl::Status DeleteOperation(std::string_view c, std::string_view id) override {
    collection = std::string(c);
    operation = std::string(id);
    return failure;
  }
  absl::StatusOr<engine::Operation::Info> WaitOperation(std::string_view c, std::string_view id,
                                                        absl::Duration t,
                                                        const engine::CallContext&) const override {
    const_cast<FakeEngine*>(this)->timeout = t;
    return GetOperation(c, id);
  }
  absl::StatusOr<engine::AliasInfo> CreateAlias(std::string_view id,
                                                std::string_view target) override {
    alias_update = {.id = std::string(id), .target = std::string(target), .expected_target = ""};
    if (!failure.ok()) return failure;
    return engine::AliasInfo{.id = std::string(id), .target = std::string(target)};
  }
  absl::StatusOr<engine::AliasInfo> UpdateAlias(const engine::AliasUpdate& update) override {
    alias_update = update;
    if (!failure.ok()) return failure;
    return engine::AliasInfo{.id = update.id, .target = update.target};
  }
  absl::StatusOr<engine::AliasInfo> GetAlias(std::string_view id) const override {
    for (const auto& info : aliases) {
      if (info.id == id) return info;
    }
    return absl::NotFoundError("no such alias");
  }
  std::vector<engine::AliasInfo> ListAliases() const override { return aliases; }
  absl::Status DeleteAlias(std::string_view id) override {
    alias_update.id = std::string(id);
    return failure;
  }
  std::optional<std::string> AliasTarget(std::string_view id) const override {
    ++const_cast<FakeEngine*>(this)->alias_lookups;
    const auto info = GetAlias(id);
    return info.ok() ? std::optional(info->target) : std::nullopt;
  }
  // The documents in one shard after request.after_id, `stream_step` at a time.
  absl::StatusOr<std::unique_ptr<engine::DocumentStream>> OpenDocumentStream(
      std::string_view c, const engine::DocumentStreamRequest& request) override {
    collection = std::string(c);
    stream_request = request;
    if (!failure.ok()) return failure;
    auto info = GetCollection(c);
    if (!info.ok()) return info.status();
    auto stream = std::make_unique<Stream>();
    stream->engine = this;
    stream->collection_info = *info;
    stream->after = request.after_id;
    return stream;
  }
  absl::StatusOr<std::unique_ptr<engine::EventBus::Watcher>> WatchEvents(
      std::string_view c) override {
    collection = std::string(c);
    if (!failure.ok()) return failure;
    return events.Watch(c);
  }
  absl::StatusOr<std::vector<engine::WriteResult>> Upsert(std::string_view c,
                                                          std::vector<engine::DocumentWrite> w,
                                                          engine::Truncate t,
                                                          const engine::CallContext&) override {
    collection = std::string(c);
    truncate = t;
    writes = std::move(w);
    if (!failure.ok()) return failure;
    std::vector<engine::WriteResult> results;
    for (size_t i = 0; i < writes.size(); ++i) results.push_back(write(i, writes[i]));
    return results;
  }
  absl::StatusOr<std::vector<engine::WriteResult>> Delete(std::string_view c,
                                                          std::span<const std::string> i,
                                                          const engine::CallContext&) override {
    collection = std::string(c);
    ids.assign(i.begin(), i.end());
    if (!failure.ok()) return failure;
    std::vector<engine::WriteResult> results;
    for (const std::string& id : ids) results.push_back(erase(id));
    return results;
  }
  absl::StatusOr<engine::WriteResult> DeleteVersion(std::string_view c, const std::string& id,
                                                    const std::string& e,
                                                    const engine::CallContext&) override {
    collection = std::string(c);
    ids = {id};
    etag = e;
    if (!failure.ok()) return failure;
    return erase(id);
  }
  absl::StatusOr<engine::WriteResult> Modify(std::string_view c, const std::string& id,
                                             const engine::ModifyFn& fn, engine::Truncate t,
                                             const engine::CallContext&) override {
    collection = std::string(c);
    truncate = t;
    if (!failure.ok()) return failure;
    const auto at = documents.find(id);
    auto next = fn(at == documents.end() ? nullptr : &at->second);
    if (!next.ok()) return next.status();
    writes = {*std::move(next)};
    return write(0, writes[0]);
  }
  absl::StatusOr<std::vector<std::optional<storage::Document>>> Get(std::string_view,
                                                                    std::span<const std::string> i,
                                                                    const storage::DocumentParts& p,
                                                                    size_t m) const override {
    const_cast<FakeEngine*>(this)->parts = p;
    const_cast<FakeEngine*>(this)->max_bytes = m;
    if (!failure.ok()) return failure;
    std::vector<std::optional<storage::Document>> found;
    for (const std::string& id : i) {
      const auto at = documents.find(id);
      found.push_back(at == documents.end() ? std::nullopt : std::optional(at->second));
    }
    return found;
  }
  absl::StatusOr<engine::Operation::Info> ChangeDocuments(std::string_view c, std::string_view f,
                                                          engine::PatchFn p) override {
    collection = std::string(c);
    filter = std::string(f);
    patch = std::move(p);
    if (!failure.ok()) return failure;
    return change;
  }
  // One shard, in order of id.
  absl::StatusOr<engine::IdPage> List(std::string_view, const engine::IdPage::Position& from,
                                      int limit, size_t, const storage::DocumentParts& p,
                                      std::string_view f) const override {
    const_cast<FakeEngine*>(this)->parts = p;
    const_cast<FakeEngine*>(this)->filter = std::string(f);
    ++const_cast<FakeEngine*>(this)->lists;
    if (!failure.ok()) return failure;
    engine::IdPage page;
    auto at = documents.upper_bound(from.after_id);
    for (; at != documents.end() && static_cast<int>(page.documents.size()) < limit; ++at) {
      page.documents.push_back(at->second);
    }
    if (at != documents.end()) page.next = engine::IdPage::Position{0, page.documents.back().id};
    return page;
  }
  absl::StatusOr<int64_t> Count(std::string_view, std::string_view f) const override {
    const_cast<FakeEngine*>(this)->filter = std::string(f);
    if (!failure.ok()) return failure;
    return static_cast<int64_t>(documents.size());
  }
  absl::StatusOr<std::vector<engine::Facet>> CountValues(std::string_view,
                                                         std::span<const std::string> fields,
                                                         std::string_view f,
                                                         int limit) const override {
    auto* self = const_cast<FakeEngine*>(this);
    self->filter = std::string(f);
    self->facet_fields.assign(fields.begin(), fields.end());
    self->facet_limit = limit;
    if (!failure.ok()) return failure;
    return facets;
  }
  absl::StatusOr<engine::SearchResult> Search(std::string_view c,
                                              const engine::SearchRequest& request,
                                              const engine::CallContext& context) const override {
    // The waiting must not hold what other calls of the test need.
    if (on_search) {
      if (absl::Status status = on_search(context); !status.ok()) return status;
      return search_result;
    }
    const_cast<FakeEngine*>(this)->collection = std::string(c);
    const_cast<FakeEngine*>(this)->search = request;
    if (!failure.ok()) return failure;
    return search_result;
  }
  absl::StatusOr<engine::SearchBatchResult> SearchBatch(
      std::string_view c, std::span<const engine::SearchRequest> requests, size_t m,
      const engine::CallContext&) const override {
    auto* self = const_cast<FakeEngine*>(this);
    self->collection = std::string(c);
    self->searches.assign(requests.begin(), requests.end());
    self->max_bytes = m;
    if (!failure.ok()) return failure;
    engine::SearchBatchResult results;
    for (size_t i = 0; i < requests.size(); ++i) {
      results.push_back(batch_result ? batch_result(i) : search_result);
    }
    return results;
  }
  absl::StatusOr<std::unique_ptr<engine::IngestStream>> OpenIngest(std::string_view c,
                                                                   std::string_view resume_token,
                                                                   engine::Truncate t) override {
    if (open_ingest == nullptr) return absl::NotFoundError("no such collection");
    return open_ingest(c, resume_token, t);
  }
  absl::StatusOr<engine::Embedded> Embed(const engine::EmbedRequest& request,
                                         const engine::CallContext& context) override {
    if (while_embedding) while_embedding(context);
    model = request.model;
    texts.assign(request.texts.begin(), request.texts.end());
    input_type = request.input_type;
    prompt = request.prompt;
    truncate = request.truncate;
    dimensions = request.dimensions;
    if (!failure.ok()) return failure;
    return engine::Embedded{models.empty() ? encoder::ModelInfo{} : models[0], embeddings, timings};
  }
  absl::StatusOr<engine::RerankedTexts> Rerank(const engine::RerankRequest& request,
                                               const engine::CallContext&) override {
    model = request.model;
    query = std::string(request.query);
    texts.assign(request.texts.begin(), request.texts.end());
    truncate = request.truncate;
    if (!failure.ok()) return failure;
    return engine::RerankedTexts{models.empty() ? encoder::ModelInfo{} : models[0], rerankings,
                                 timings};
  }
  absl::StatusOr<std::unique_ptr<engine::IndexExport>> ExportIndex(
      std::string_view c, const engine::ExportRequest& request,
      const engine::CallContext&) override {
    collection = std::string(c);
    export_request = request;
    if (!failure.ok()) return failure;
    return make_export();
  }
  absl::StatusOr<engine::RecallEvaluation> EvaluateRecall(
      std::string_view c, const engine::RecallRequest& request,
      const engine::CallContext& context) const override {
    if (on_search) {
      if (absl::Status status = on_search(context); !status.ok()) return status;
      return evaluation;
    }
    auto* self = const_cast<FakeEngine*>(this);
    self->collection = std::string(c);
    self->recall_request = request;
    if (!failure.ok()) return failure;
    return evaluation;
  }
  absl::StatusOr<engine::Operation::Info> TuneIndex(std::string_view c,
                                                    const engine::TuneRequest& request,
                                                    const engine::CallContext&) override {
    collection = std::string(c);
    tune_request = request;
    if (!failure.ok()) return failure;
    return operations.at(0);
  }
  absl::StatusOr<engine::OperationEstimate> EstimateTuning(
      std::string_view c, const engine::TuneRequest& request,
      const engine::CallContext&) const override {
    auto* self = const_cast<FakeEngine*>(this);
    self->collection = std::string(c);
    self->tune_request = request;
    if (!failure.ok()) return failure;
    return estimate;
  }
  bool IsSearchShort(std::string_view collection, std::string_view filter) const override {
    return collection != chunked && (filter.empty() || filter == filter_at_hand);
  }
  // One for each word.
  absl::StatusOr<int> CountTokens(std::string_view, std::string_view text) const override {
    if (!failure.ok()) return failure;
    int words = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      const auto space = [](char c) { return c == ' ' || c == '\n'; };
      words += !space(text[i]) && (i == 0 || space(text[i - 1]));
    }
    return words;
  }
  std::vector<encoder::ModelInfo> Models() const override { return models; }
  encoder::EncoderStats EncoderStats() const override { return encoder_stats; }
  engine::Snapshots& snapshots() override { return fake_snapshots; }
  void BeginShutdown() override {}
  void Shutdown() override {}
};

}  // namespace vecino::rpc
