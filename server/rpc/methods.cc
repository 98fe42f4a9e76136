#include "server/rpc/methods.h"

#include <exception>
#include <type_traits>
#include <utility>

#include "google/protobuf/arena.h"
#include "server/rpc/alias_names.h"
#include "server/rpc/reply_budget.h"
#include "server/rpc/search_session.h"
#include "server/rpc/text.h"
#include "server/rpc/wire.h"

namespace vecino::rpc {
namespace {

// Resolves aliases, but for a request whose names are meant as they stand: one that deletes a
// collection shall not reach it by another name. Those on aliases name no collection where
// ResolveAliases looks.
template <class Request>
void ResolveNames(const engine::Engine& engine, Request* request) {
  if constexpr (!std::is_same_v<Request, v1::DeleteCollectionRequest>) {
    ResolveAliases(engine, request);
  }
}

}  // namespace

const std::vector<const google::protobuf::ServiceDescriptor*>& Services() {
  static const auto& services = *new std::vector<const google::protobuf::ServiceDescriptor*>{
      v1::GetCollectionRequest::descriptor()->file()->service(0),
      v1::GetDocumentRequest::descriptor()->file()->service(0),
      v1::SearchDocumentsRequest::descriptor()->file()->service(0),
      v1::EmbedTextRequest::descriptor()->file()->service(0),
      v1::GetServerStatusRequest::descriptor()->file()->service(0),
      google::longrunning::Operation::descriptor()->file()->service(0)};
  return services;
}

std::string MethodPath(const google::protobuf::MethodDescriptor& method) {
  return Concat("/", method.service()->full_name(), "/", method.name());
}

Handlers::Handlers(engine::Engine* engine, const WorkerPool* workers, ServerFacts facts,
                   size_t max_reply_bytes, const WorkerPool* bulk_workers, Generator* generator)
    : max_reply_bytes_(max_reply_bytes),
      engine_(*engine),
      collections_(engine),
      aliases_(engine),
      migrations_(engine),
      operations_(engine),
      documents_(engine, max_reply_bytes),
      ingest_(engine),
      search_(engine, max_reply_bytes),
      answers_(engine, generator, max_reply_bytes),
      embedding_(engine, max_reply_bytes),
      admin_(engine, workers, std::move(facts), bulk_workers),
      snapshots_(engine) {}

template <class Handler, class Request, class Response>
Method Handlers::Bind(Handler* handler,
                      absl::Status (Handler::*method)(const Request&, Response*,
                                                      const engine::CallContext&),
                      size_t max_reply_bytes, std::string_view advice) const {
  return [=, engine = &engine_](const grpc::ByteBuffer& bytes, grpc::ByteBuffer* reply,
                                const engine::CallContext& context) {
    google::protobuf::Arena arena;
    auto* request = google::protobuf::Arena::CreateMessage<Request>(&arena);
    auto* response = google::protobuf::Arena::CreateMessage<Response>(&arena);
    try {
      if (absl::Status status = ReadMessage(bytes, request); !status.ok()) return status;
      ResolveNames(*engine, request);
      absl::Status status = (handler->*method)(*request, response, context);
      if (!status.ok()) return status;
      return WriteMessage(*response, max_reply_bytes, advice, reply);
    } catch (const std::bad_alloc&) {
      return absl::ResourceExhaustedError("the server has no memory left for this call");
    }
  };
}

template <class Handler, class Request>
StreamMethod Handlers::Bind(Handler* handler,
                            absl::StatusOr<std::unique_ptr<MessageStream>> (Handler::*method)(
                                const Request&, const engine::CallContext&)) const {
  return [=, engine = &engine_](
             const grpc::ByteBuffer& bytes,
             const engine::CallContext& context) -> absl::StatusOr<std::unique_ptr<MessageStream>> {
    try {
      Request request;
      if (absl::Status status = ReadMessage(bytes, &request); !status.ok()) return status;
      ResolveAliases(*engine, &request);
      return (handler->*method)(request, context);
    } catch (const std::bad_alloc&) {
      return absl::ResourceExhaustedError("the server has no memory left for this call");
    }
  };
}

StreamTable Handlers::Streams() {
  return {
      {"/vecino.v1.CollectionService/ExportIndex",
       Bind(&collections_, &CollectionHandlers::ExportIndex)},
      {"/vecino.v1.SearchService/AnswerQuestion", Bind(&answers_, &AnswerHandlers::AnswerQuestion)},
      {"/vecino.v1.DocumentService/StreamDocuments",
       Bind(&documents_, &DocumentHandlers::StreamDocuments)},
      {"/vecino.v1.AdminService/WatchEvents", Bind(&admin_, &AdminHandlers::WatchEvents)},
      {"/vecino.v1.AdminService/VerifyIntegrity",
       Bind(&snapshots_, &SnapshotHandlers::VerifyIntegrity)}};
}

BidiTable Handlers::Bidis() {
  return {{"/vecino.v1.DocumentService/IngestDocuments", [this] { return ingest_.NewSession(); }},
          {"/vecino.v1.SearchService/StreamSearchDocuments",
           [this] { return std::make_shared<SearchSession>(&search_, max_reply_bytes_); }}};
}

ShortTable Handlers::Shorts() {
  return {{"/vecino.v1.SearchService/SearchDocuments",
           [this](const grpc::ByteBuffer& request) { return search_.IsShort(request); }}};
}

BulkTable Handlers::Bulk() {
  return {"/vecino.v1.DocumentService/BatchUpsertDocuments",
          "/vecino.v1.DocumentService/BatchDeleteDocuments",
          "/vecino.v1.DocumentService/IngestDocuments",
          "/vecino.v1.DocumentService/StreamDocuments"};
}

MethodTable Handlers::Methods() {
  const size_t max = max_reply_bytes_;
  const std::string collection = "/vecino.v1.CollectionService/";
  const std::string document = "/vecino.v1.DocumentService/";
  const std::string operation = "/google.longrunning.Operations/";
  const std::string embedding = "/vecino.v1.EmbeddingService/";
  const std::string admin = "/vecino.v1.AdminService/";
  return {
      {collection + "CreateCollection",
       Bind(&collections_, &CollectionHandlers::CreateCollection, max)},
      {collection + "GetCollection", Bind(&collections_, &CollectionHandlers::GetCollection, max)},
      {collection + "ListCollections",
       Bind(&collections_, &CollectionHandlers::ListCollections, max, "lower page_size")},
      {collection + "UpdateCollection",
       Bind(&collections_, &CollectionHandlers::UpdateCollection, max)},
      {collection + "DeleteCollection",
       Bind(&collections_, &CollectionHandlers::DeleteCollection, max)},
      {collection + "CreateAlias", Bind(&aliases_, &AliasHandlers::CreateAlias, max)},
      {collection + "UpdateAlias", Bind(&aliases_, &AliasHandlers::UpdateAlias, max)},
      {collection + "GetAlias", Bind(&aliases_, &AliasHandlers::GetAlias, max)},
      {collection + "ListAliases",
       Bind(&aliases_, &AliasHandlers::ListAliases, max, "lower page_size")},
      {collection + "DeleteAlias", Bind(&aliases_, &AliasHandlers::DeleteAlias, max)},
      {collection + "GetCollectionStats",
       Bind(&collections_, &CollectionHandlers::GetCollectionStats, max)},
      {collection + "EvaluateRecall",
       Bind(&collections_, &CollectionHandlers::EvaluateRecall, max)},
      {collection + "RetrainIndex", Bind(&collections_, &CollectionHandlers::RetrainIndex, max)},
      {collection + "CompactIndex", Bind(&collections_, &CollectionHandlers::CompactIndex, max)},
      {collection + "TuneIndex", Bind(&collections_, &CollectionHandlers::TuneIndex, max)},
      {collection + "MigrateEmbeddings",
       Bind(&migrations_, &MigrationHandlers::MigrateEmbeddings, max)},
      {collection + "SwitchEmbeddings",
       Bind(&migrations_, &MigrationHandlers::SwitchEmbeddings, max)},
      {collection + "FinishEmbeddingMigration",
       Bind(&migrations_, &MigrationHandlers::FinishEmbeddingMigration, max)},
      {operation + "ListOperations",
       Bind(&operations_, &OperationHandlers::ListOperations, max, "lower page_size")},
      {operation + "GetOperation", Bind(&operations_, &OperationHandlers::GetOperation, max)},
      {operation + "DeleteOperation", Bind(&operations_, &OperationHandlers::DeleteOperation, max)},
      {operation + "CancelOperation", Bind(&operations_, &OperationHandlers::CancelOperation, max)},
      {operation + "WaitOperation", Bind(&operations_, &OperationHandlers::WaitOperation, max)},
      {document + "CreateDocument", Bind(&documents_, &DocumentHandlers::CreateDocument, max)},
      {document + "UpdateDocument", Bind(&documents_, &DocumentHandlers::UpdateDocument, max)},
      {document + "BatchUpsertDocuments",
       Bind(&documents_, &DocumentHandlers::BatchUpsertDocuments, max, "send smaller batches")},
      {document + "GetDocument",
       Bind(&documents_, &DocumentHandlers::GetDocument, max, kFewerFields)},
      {document + "BatchGetDocuments",
       Bind(&documents_, &DocumentHandlers::BatchGetDocuments, max, kFewerIds)},
      {document + "DeleteDocument", Bind(&documents_, &DocumentHandlers::DeleteDocument, max)},
      {document + "BatchDeleteDocuments",
       Bind(&documents_, &DocumentHandlers::BatchDeleteDocuments, max, "send smaller batches")},
      {document + "ListDocuments",
       Bind(&documents_, &DocumentHandlers::ListDocuments, max, "lower page_size")},
      {document + "CountDocuments", Bind(&documents_, &DocumentHandlers::CountDocuments, max)},
      {document + "PurgeDocuments", Bind(&documents_, &DocumentHandlers::PurgeDocuments, max)},
      {document + "PatchDocuments", Bind(&documents_, &DocumentHandlers::PatchDocuments, max)},
      {document + "FacetDocuments",
       Bind(&documents_, &DocumentHandlers::FacetDocuments, max, "lower limit")},
      {"/vecino.v1.SearchService/SearchDocuments",
       Bind(&search_, &SearchHandlers::SearchDocuments, max, kFewerHits)},
      {"/vecino.v1.SearchService/BatchSearchDocuments",
       Bind(&search_, &SearchHandlers::BatchSearchDocuments, max, kFewerSearches)},
      {"/vecino.v1.SearchService/HybridSearchDocuments",
       Bind(&search_, &SearchHandlers::HybridSearchDocuments, max, kFewerHits)},
      {embedding + "EmbedText",
       Bind(&embedding_, &EmbeddingHandlers::EmbedText, max, "send fewer texts")},
      {embedding + "RerankTexts",
       Bind(&embedding_, &EmbeddingHandlers::RerankTexts, max, "send fewer texts")},
      {embedding + "ListModels", Bind(&embedding_, &EmbeddingHandlers::ListModels, max)},
      {embedding + "GetModel", Bind(&embedding_, &EmbeddingHandlers::GetModel, max)},
      {admin + "GetServerStatus", Bind(&admin_, &AdminHandlers::GetServerStatus, max)},
      {admin + "CreateSnapshot", Bind(&snapshots_, &SnapshotHandlers::CreateSnapshot, max)},
      {admin + "ListSnapshots",
       Bind(&snapshots_, &SnapshotHandlers::ListSnapshots, max, "lower page_size")},
      {admin + "RestoreSnapshot", Bind(&snapshots_, &SnapshotHandlers::RestoreSnapshot, max)},
      {admin + "DeleteSnapshot", Bind(&snapshots_, &SnapshotHandlers::DeleteSnapshot, max)},
  };
}

}  // namespace vecino::rpc
