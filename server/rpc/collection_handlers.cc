#include "server/rpc/collection_handlers.h"

#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "server/engine/validation.h"
#include "server/rpc/collection_update.h"
#include "server/rpc/conversions.h"
#include "server/rpc/export_stream.h"
#include "server/rpc/index_conversions.h"
#include "server/rpc/page_token.h"
#include "server/rpc/recall_conversions.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

// Each keeps a worker while its index is made, and a whole index in memory.
constexpr int kMaxExports = 4;

// Each keeps a worker and a processor for as long as its exact searches take.
constexpr int kMaxEvaluations = 2;

}  // namespace

absl::Status CollectionHandlers::CreateCollection(const v1::CreateCollectionRequest& request,
                                                  v1::CreateCollectionResponse* response,
                                                  const engine::CallContext&) {
  if (absl::Status status = CheckCollectionId("collection_id", request.collection_id());
      !status.ok()) {
    return status;
  }
  if (!request.has_collection()) {
    return engine::InvalidField("collection",
                                "is missing; it says the dimension or the "
                                "embedding model");
  }
  auto spec = ReadCollection(request.collection_id(), request.collection());
  if (!spec.ok()) return spec.status();
  auto info = engine_.CreateCollection(*spec, request.validate_only());
  if (!info.ok()) return info.status();
  WriteCollection(*info, response->mutable_collection());
  return absl::OkStatus();
}

absl::Status CollectionHandlers::GetCollection(const v1::GetCollectionRequest& request,
                                               v1::GetCollectionResponse* response,
                                               const engine::CallContext&) {
  auto id = ParseCollectionName("name", request.name());
  if (!id.ok()) return id.status();
  auto info = engine_.GetCollection(*id);
  if (!info.ok()) return info.status();
  WriteCollection(*info, response->mutable_collection());
  return absl::OkStatus();
}

absl::Status CollectionHandlers::ListCollections(const v1::ListCollectionsRequest& request,
                                                 v1::ListCollectionsResponse* response,
                                                 const engine::CallContext&) {
  auto page_size = ReadPageSize(request.page_size());
  if (!page_size.ok()) return page_size.status();
  PagePosition position;
  if (!request.page_token().empty()) {
    auto read = ReadPageToken("ListCollections", "", request.page_token());
    if (!read.ok()) return read.status();
    position = *std::move(read);
  }
  const std::vector<engine::CollectionInfo> all = engine_.ListCollections();
  auto next = std::upper_bound(
      all.begin(), all.end(), position.after_id,
      [](const std::string& id, const engine::CollectionInfo& info) { return id < info.spec.id; });
  for (; next != all.end() && response->collections_size() < *page_size; ++next) {
    WriteCollection(*next, response->add_collections());
  }
  if (next != all.end()) {
    response->set_next_page_token(
        MakePageToken("ListCollections", "", {.after_id = std::prev(next)->spec.id}));
  }
  return absl::OkStatus();
}

absl::Status CollectionHandlers::UpdateCollection(const v1::UpdateCollectionRequest& request,
                                                  v1::UpdateCollectionResponse* response,
                                                  const engine::CallContext&) {
  if (!request.has_collection()) return engine::InvalidField("collection", "is missing");
  auto id = ParseCollectionName("collection.name", request.collection().name());
  if (!id.ok()) return id.status();
  if (absl::Status status = CheckCollectionMask(request.update_mask()); !status.ok()) return status;
  auto info = engine_.GetCollection(*id);
  if (!info.ok()) return info.status();
  auto update = ReadCollectionUpdate(request, *info);
  if (!update.ok()) return update.status();
  update->id = *id;
  info = engine_.UpdateCollection(*update);
  if (!info.ok()) return info.status();
  WriteCollection(*info, response->mutable_collection());
  return absl::OkStatus();
}

absl::Status CollectionHandlers::DeleteCollection(const v1::DeleteCollectionRequest& request,
                                                  v1::DeleteCollectionResponse*,
                                                  const engine::CallContext&) {
  auto id = ParseCollectionName("name", request.name());
  if (!id.ok()) return id.status();
  absl::Status status = engine_.DeleteCollection(*id, request.etag());
  if (absl::IsNotFound(status) && request.allow_missing()) return absl::OkStatus();
  return status;
}

absl::Status CollectionHandlers::GetCollectionStats(const v1::GetCollectionStatsRequest& request,
                                                    v1::GetCollectionStatsResponse* response,
                                                    const engine::CallContext&) {
  auto id = ParseCollectionName("name", request.name());
  if (!id.ok()) return id.status();
  auto stats = engine_.GetCollectionStats(*id);
  if (!stats.ok()) return stats.status();
  WriteStats(*id, *stats, response->mutable_stats());
  return absl::OkStatus();
}

absl::Status CollectionHandlers::EvaluateRecall(const v1::EvaluateRecallRequest& request,
                                                v1::EvaluateRecallResponse* response,
                                                const engine::CallContext& context) {
  auto id = ParseCollectionName("name", request.name());
  if (!id.ok()) return id.status();
  auto asked = ReadRecallRequest(request);
  if (!asked.ok()) return asked.status();
  const absl::Cleanup leave = [this] { evaluations_.fetch_sub(1); };
  if (evaluations_.fetch_add(1) >= kMaxEvaluations) {
    return absl::ResourceExhaustedError(Concat(kMaxEvaluations,
                                               " evaluations of recall are under way, the most "
                                               "there may be; try again later"));
  }
  auto evaluation = engine_.EvaluateRecall(*id, *asked, context);
  if (!evaluation.ok()) return evaluation.status();
  WriteEvaluation(*evaluation, response);
  return absl::OkStatus();
}

absl::Status CollectionHandlers::Start(std::string_view name, engine::Operation::Type type,
                                       std::span<const int> shards, bool validate_only,
                                       google::longrunning::Operation* response,
                                       double min_recall) {
  auto id = ParseCollectionName("name", name);
  if (!id.ok()) return id.status();
  if (absl::Status status = engine::CheckRecallGate(min_recall); !status.ok()) return status;
  if (validate_only) {
    auto estimate = engine_.EstimateOperation(*id, type, shards);
    if (!estimate.ok()) return estimate.status();
    WriteEstimate(*id, type, *estimate, response);
    return absl::OkStatus();
  }
  auto info = engine_.StartOperation(*id, type, shards, min_recall);
  if (!info.ok()) return info.status();
  WriteOperation(*info, response);
  return absl::OkStatus();
}

absl::Status CollectionHandlers::RetrainIndex(const v1::RetrainIndexRequest& request,
                                              google::longrunning::Operation* response,
                                              const engine::CallContext&) {
  return Start(request.name(), engine::Operation::Type::kRetrain,
               {request.shards().data(), static_cast<size_t>(request.shards_size())},
               request.validate_only(), response, request.min_recall_gate());
}

absl::Status CollectionHandlers::CompactIndex(const v1::CompactIndexRequest& request,
                                              google::longrunning::Operation* response,
                                              const engine::CallContext&) {
  return Start(request.name(), engine::Operation::Type::kCompact,
               {request.shards().data(), static_cast<size_t>(request.shards_size())},
               request.validate_only(), response);
}

absl::Status CollectionHandlers::TuneIndex(const v1::TuneIndexRequest& request,
                                           google::longrunning::Operation* response,
                                           const engine::CallContext& context) {
  auto id = ParseCollectionName("name", request.name());
  if (!id.ok()) return id.status();
  auto asked = ReadTuneRequest(request);
  if (!asked.ok()) return asked.status();
  if (request.validate_only()) {
    auto estimate = engine_.EstimateTuning(*id, *asked, context);
    if (!estimate.ok()) return estimate.status();
    WriteEstimate(*id, engine::Operation::Type::kTune, *estimate, response);
    return absl::OkStatus();
  }
  auto info = engine_.TuneIndex(*id, *asked, context);
  if (!info.ok()) return info.status();
  WriteOperation(*info, response);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<MessageStream>> CollectionHandlers::ExportIndex(
    const v1::ExportIndexRequest& request, const engine::CallContext& context) {
  auto id = ParseCollectionName("name", request.name());
  if (!id.ok()) return id.status();
  const bool full = exports_.fetch_add(1) >= kMaxExports;
  const std::shared_ptr<const void> place(&exports_,
                                          [this](const void*) { exports_.fetch_sub(1); });
  if (full) {
    return absl::ResourceExhaustedError(
        Concat(kMaxExports, " exports are under way, the most there may be; try again later"));
  }
  auto index = engine_.ExportIndex(
      *id, {.shard = request.shard(), .vectors = !request.omit_vectors()}, context);
  if (!index.ok()) return index.status();
  return std::make_unique<ExportStream>(*std::move(index), place);
}

}  // namespace vecino::rpc
