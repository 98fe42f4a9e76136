// vecino.v1.DocumentService without gRPC: checks, converts, calls the engine.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "server/rpc/message_stream.h"
#include "server/rpc/request_ids.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/update_mask.h"
#include "vecino/v1/document_service.pb.h"
#include "vecino/v1/index_operation.pb.h"

namespace vecino::rpc {

// A page of documents is cut before it grows over this, serialized; under the 4 MiB that stock
// clients accept, with room for the document that crosses it.
inline constexpr size_t kMaxPageBytes = 3u << 20;

// Thread safety: all methods are safe from any thread; they block as the engine does. The contract
// of each is the comment in document_service.proto.
class DocumentHandlers {
 public:
  // `engine` must outlive it. Documents that do not fit into a reply of `max_reply_bytes` are not
  // read further than that. StreamDocuments leaves out the passages' vectors of such a one.
  DocumentHandlers(engine::Engine* engine, size_t max_reply_bytes)
      : engine_(*engine), max_reply_bytes_(max_reply_bytes) {}

  absl::Status CreateDocument(const v1::CreateDocumentRequest& request,
                              v1::CreateDocumentResponse* response,
                              const engine::CallContext& context);
  absl::Status UpdateDocument(const v1::UpdateDocumentRequest& request,
                              v1::UpdateDocumentResponse* response,
                              const engine::CallContext& context);
  absl::Status BatchUpsertDocuments(const v1::BatchUpsertDocumentsRequest& request,
                                    v1::BatchUpsertDocumentsResponse* response,
                                    const engine::CallContext& context);
  absl::Status GetDocument(const v1::GetDocumentRequest& request, v1::GetDocumentResponse* response,
                           const engine::CallContext& context);
  absl::Status BatchGetDocuments(const v1::BatchGetDocumentsRequest& request,
                                 v1::BatchGetDocumentsResponse* response,
                                 const engine::CallContext& context);
  absl::Status DeleteDocument(const v1::DeleteDocumentRequest& request,
                              v1::DeleteDocumentResponse* response,
                              const engine::CallContext& context);
  absl::Status BatchDeleteDocuments(const v1::BatchDeleteDocumentsRequest& request,
                                    v1::BatchDeleteDocumentsResponse* response,
                                    const engine::CallContext& context);
  absl::Status ListDocuments(const v1::ListDocumentsRequest& request,
                             v1::ListDocumentsResponse* response,
                             const engine::CallContext& context);
  absl::Status CountDocuments(const v1::CountDocumentsRequest& request,
                              v1::CountDocumentsResponse* response,
                              const engine::CallContext& context);
  absl::Status PurgeDocuments(const v1::PurgeDocumentsRequest& request,
                              google::longrunning::Operation* response,
                              const engine::CallContext& context);
  absl::Status PatchDocuments(const v1::PatchDocumentsRequest& request,
                              google::longrunning::Operation* response,
                              const engine::CallContext& context);
  absl::Status FacetDocuments(const v1::FacetDocumentsRequest& request,
                              v1::FacetDocumentsResponse* response,
                              const engine::CallContext& context);
  absl::StatusOr<std::unique_ptr<MessageStream>> StreamDocuments(
      const v1::StreamDocumentsRequest& request, const engine::CallContext& context);

 private:
  template <class Response>
  absl::Status Preview(const std::string& collection, const std::string& filter,
                       void (Response::*set_count)(int64_t),
                       void (Response::*add_sample)(const std::string&),
                       v1::IndexOperationMetadata::Type type,
                       google::longrunning::Operation* operation) const;

  // UpdateDocument with a mask.
  absl::StatusOr<engine::WriteResult> UpdateFields(const v1::UpdateDocumentRequest& request,
                                                   const DocumentName& name,
                                                   const engine::DocumentWrite& given,
                                                   const UpdateMask& mask,
                                                   engine::Truncate truncate,
                                                   const engine::CallContext& context);

  // The batch writes but for their request_id, and what has them done once for each of it.
  absl::Status UpsertBatch(const v1::BatchUpsertDocumentsRequest& request,
                           v1::BatchUpsertDocumentsResponse* response,
                           const engine::CallContext& context);
  absl::Status DeleteBatch(const v1::BatchDeleteDocumentsRequest& request,
                           v1::BatchDeleteDocumentsResponse* response,
                           const engine::CallContext& context);
  template <class Request, class Response>
  absl::Status Once(absl::Status (DocumentHandlers::*write)(const Request&, Response*,
                                                            const engine::CallContext&),
                    const Request& request, Response* response, const engine::CallContext& context);

  engine::Engine& engine_;
  const size_t max_reply_bytes_;
  RequestIds request_ids_;
};

}  // namespace vecino::rpc
