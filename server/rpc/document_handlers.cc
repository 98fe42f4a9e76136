#include "server/rpc/document_handlers.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/rpc/conversions.h"
#include "server/rpc/documents_stream.h"
#include "server/rpc/page_token.h"
#include "server/rpc/reply_budget.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/status.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

constexpr char kListKind[] = "ListDocuments";
constexpr int kDefaultFacetValues = 10;

void WriteResult(const engine::WriteResult& result, v1::BatchWriteResult* out) {
  ToRpcStatus(result.status, out->mutable_status());
  if (result.status.ok()) WriteToken(result.token, out->mutable_write_token());
  out->set_token_count(result.token_count);
  out->set_truncated(result.truncated);
}

absl::Status NoSuchDocument(std::string_view collection, std::string_view id) {
  return absl::NotFoundError(
      Concat("document ", DocumentNameOf(collection, id), " does not exist"));
}

// The engine answers one result per write; anything else is our own fault.
absl::Status CheckCount(size_t results, size_t wanted) {
  if (results == wanted) return absl::OkStatus();
  return absl::InternalError(
      Concat("the engine returned ", results, " results for ", wanted, " writes"));
}

// Writes one document; what the engine says of it is the status. Fields are those of `document`.
absl::StatusOr<engine::WriteResult> WriteOne(engine::Engine* engine, const std::string& collection,
                                             engine::DocumentWrite write, engine::Truncate truncate,
                                             const engine::CallContext& context) {
  std::vector<engine::DocumentWrite> writes;
  writes.push_back(std::move(write));
  auto results = engine->Upsert(collection, std::move(writes), truncate, context);
  if (!results.ok()) return results.status();
  if (absl::Status status = CheckCount(results->size(), 1); !status.ok()) return status;
  engine::WriteResult& result = results->front();
  if (!result.status.ok()) return MoveField(result.status, "documents[0]", "document");
  return std::move(result);
}

// Fills a CreateDocumentResponse or UpdateDocumentResponse.
template <class Response>
absl::Status WriteWritten(std::string_view collection, const std::string& id,
                          const engine::WriteResult& result, Response* response) {
  storage::Document written;
  written.id = id;
  written.uid = result.uid;
  written.sequence = result.token.sequence;
  written.create_time_us = result.create_time_us;
  written.update_time_us = result.update_time_us;
  written.expire_time_us = result.expire_time_us;
  WriteToken(result.token, response->mutable_write_token());
  response->set_token_count(result.token_count);
  response->set_truncated(result.truncated);
  return WriteDocument(collection, written, response->mutable_document());
}

}  // namespace

absl::Status DocumentHandlers::CreateDocument(const v1::CreateDocumentRequest& request,
                                              v1::CreateDocumentResponse* response,
                                              const engine::CallContext& context) {
  auto collection = ParseCollectionName("parent", request.parent());
  if (!collection.ok()) return collection.status();
  if (!request.has_document()) return engine::InvalidField("document", "is missing");
  auto truncate = ReadTruncate(request.truncate());
  if (!truncate.ok()) return truncate.status();
  auto write = ReadDocument("document", *collection, request.document());
  if (!write.ok()) return write.status();
  write->mode = engine::WriteMode::kInsert;
  const std::string id = write->document.id;
  auto result = WriteOne(&engine_, *collection, *std::move(write), *truncate, context);
  if (!result.ok()) return result.status();
  return WriteWritten(*collection, id, *result, response);
}

absl::Status DocumentHandlers::UpdateDocument(const v1::UpdateDocumentRequest& request,
                                              v1::UpdateDocumentResponse* response,
                                              const engine::CallContext& context) {
  if (!request.has_document()) return engine::InvalidField("document", "is missing");
  auto name = ParseDocumentName("document.name", request.document().name());
  if (!name.ok()) return name.status();
  auto truncate = ReadTruncate(request.truncate());
  if (!truncate.ok()) return truncate.status();
  auto mask = UpdateMask::Read(request.update_mask());
  if (!mask.ok()) return mask.status();
  auto write = ReadDocument("document", name->collection, request.document());
  if (!write.ok()) return write.status();
  absl::StatusOr<engine::WriteResult> result;
  if (mask->whole()) {
    write->mode =
        request.allow_missing() ? engine::WriteMode::kUpsert : engine::WriteMode::kReplace;
    write->etag = request.document().etag();
    result = WriteOne(&engine_, name->collection, *std::move(write), *truncate, context);
  } else {
    result = UpdateFields(request, *name, *write, *mask, *truncate, context);
  }
  if (!result.ok()) return result.status();
  return WriteWritten(name->collection, name->document, *result, response);
}

absl::StatusOr<engine::WriteResult> DocumentHandlers::UpdateFields(
    const v1::UpdateDocumentRequest& request, const DocumentName& name,
    const engine::DocumentWrite& given, const UpdateMask& mask, engine::Truncate truncate,
    const engine::CallContext& context) {
  const auto info = engine_.GetCollection(name.collection);
  if (!info.ok()) return info.status();
  const bool has_model = !info->spec.model.empty();
  const std::string& etag = request.document().etag();
  const auto change =
      [&](const storage::Document* current) -> absl::StatusOr<engine::DocumentWrite> {
    if (current == nullptr) {
      if (!request.allow_missing()) return NoSuchDocument(name.collection, name.document);
      if (!etag.empty()) return engine::NoEtag(name.collection, name.document, etag);
    } else if (const std::string now = engine::EtagOf(current->uid, current->sequence);
               !etag.empty() && etag != now) {
      return engine::WrongEtag(name.collection, name.document, now, etag);
    }
    return mask.Apply(given, request.document().metadata(), has_model, current);
  };
  auto result = engine_.Modify(name.collection, name.document, change, truncate, context);
  if (result.ok() && !result->status.ok()) {
    return MoveField(result->status, "documents[0]", "document");
  }
  return result;
}

template <class Request, class Response>
absl::Status DocumentHandlers::Once(
    absl::Status (DocumentHandlers::*write)(const Request&, Response*, const engine::CallContext&),
    const Request& request, Response* response, const engine::CallContext& context) {
  if (request.request_id().empty()) return (this->*write)(request, response, context);
  auto collection = ParseCollectionName("parent", request.parent());
  if (!collection.ok()) return collection.status();
  if (absl::Status status = CheckRequestId(request.request_id()); !status.ok()) return status;
  auto info = engine_.GetCollection(*collection);
  if (!info.ok()) return info.status();
  // A collection deleted and made anew under its name is another one; one whose embeddings were
  // switched, which has another uid, is not.
  const std::string key =
      Concat(*collection, "/", absl::ToUnixMicros(info->create_time), "/", request.request_id());
  return request_ids_.Run(key, request, context, response,
                          [&] { return (this->*write)(request, response, context); });
}

absl::Status DocumentHandlers::BatchUpsertDocuments(const v1::BatchUpsertDocumentsRequest& request,
                                                    v1::BatchUpsertDocumentsResponse* response,
                                                    const engine::CallContext& context) {
  return Once(&DocumentHandlers::UpsertBatch, request, response, context);
}

absl::Status DocumentHandlers::UpsertBatch(const v1::BatchUpsertDocumentsRequest& request,
                                           v1::BatchUpsertDocumentsResponse* response,
                                           const engine::CallContext& context) {
  auto collection = ParseCollectionName("parent", request.parent());
  if (!collection.ok()) return collection.status();
  if (absl::Status status = CheckBatch("documents", request.documents_size(), "documents");
      !status.ok()) {
    return status;
  }
  auto truncate = ReadTruncate(request.truncate());
  if (!truncate.ok()) return truncate.status();
  auto mode = ReadWriteMode(request.write_mode());
  if (!mode.ok()) return mode.status();

  const auto path = [](size_t i) { return Concat("documents[", i, "]"); };
  std::vector<engine::DocumentWrite> writes;
  std::vector<int> positions;  // of each write in the request
  for (int i = 0; i < request.documents_size(); ++i) {
    auto* out = response->add_results();
    auto write = ReadDocument(path(i), *collection, request.documents(i));
    if (!write.ok()) {
      ToRpcStatus(write.status(), out->mutable_status());
      continue;
    }
    write->mode = *mode;
    writes.push_back(*std::move(write));
    positions.push_back(i);
  }
  if (writes.empty()) return engine_.GetCollection(*collection).status();  // NOT_FOUND goes first
  auto results = engine_.Upsert(*collection, std::move(writes), *truncate, context);
  if (!results.ok()) return results.status();
  if (absl::Status status = CheckCount(results->size(), positions.size()); !status.ok()) {
    return status;
  }
  for (size_t i = 0; i < positions.size(); ++i) {
    engine::WriteResult& result = (*results)[i];
    result.status = MoveField(result.status, path(i), path(positions[i]));
    WriteResult(result, response->mutable_results(positions[i]));
  }
  return absl::OkStatus();
}

absl::Status DocumentHandlers::GetDocument(const v1::GetDocumentRequest& request,
                                           v1::GetDocumentResponse* response,
                                           const engine::CallContext&) {
  auto name = ParseDocumentName("name", request.name());
  if (!name.ok()) return name.status();
  auto parts = ReadMask(request.read_mask());
  if (!parts.ok()) return parts.status();
  const std::string ids[] = {name->document};
  auto documents = engine_.Get(name->collection, ids, *parts, max_reply_bytes_);
  if (!documents.ok()) {
    return ReplyBudget(max_reply_bytes_, kFewerFields).Explain(documents.status());
  }
  if (documents->empty() || !documents->front().has_value()) {
    return NoSuchDocument(name->collection, name->document);
  }
  return WriteDocument(name->collection, *documents->front(), response->mutable_document());
}

absl::Status DocumentHandlers::BatchGetDocuments(const v1::BatchGetDocumentsRequest& request,
                                                 v1::BatchGetDocumentsResponse* response,
                                                 const engine::CallContext&) {
  auto collection = ParseCollectionName("parent", request.parent());
  if (!collection.ok()) return collection.status();
  auto ids = ReadIds(request.ids());
  if (!ids.ok()) return ids.status();
  auto parts = ReadMask(request.read_mask());
  if (!parts.ok()) return parts.status();
  ReplyBudget budget(max_reply_bytes_, kFewerIds);
  auto documents = engine_.Get(*collection, *ids, *parts, max_reply_bytes_);
  if (!documents.ok()) return budget.Explain(documents.status());
  if (absl::Status status = CheckCount(documents->size(), ids->size()); !status.ok()) return status;
  for (size_t i = 0; i < ids->size(); ++i) {
    const auto& document = (*documents)[i];
    if (!document.has_value()) {
      response->add_missing_ids((*ids)[i]);
      continue;
    }
    auto* out = response->add_documents();
    absl::Status status = WriteDocument(*collection, *document, out);
    if (status.ok()) status = budget.Add(*out);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status DocumentHandlers::DeleteDocument(const v1::DeleteDocumentRequest& request,
                                              v1::DeleteDocumentResponse* response,
                                              const engine::CallContext& context) {
  auto name = ParseDocumentName("name", request.name());
  if (!name.ok()) return name.status();
  absl::StatusOr<engine::WriteResult> deleted;
  if (request.etag().empty()) {
    const std::string ids[] = {name->document};
    auto results = engine_.Delete(name->collection, ids, context);
    if (!results.ok()) return results.status();
    if (absl::Status status = CheckCount(results->size(), 1); !status.ok()) return status;
    deleted = std::move(results->front());
  } else {
    deleted = engine_.DeleteVersion(name->collection, name->document, request.etag(), context);
    if (!deleted.ok()) return deleted.status();
  }
  const engine::WriteResult& result = *deleted;
  if (absl::IsNotFound(result.status)) {
    return request.allow_missing() ? absl::OkStatus()
                                   : NoSuchDocument(name->collection, name->document);
  }
  if (!result.status.ok()) return result.status;
  WriteToken(result.token, response->mutable_write_token());
  return absl::OkStatus();
}

absl::Status DocumentHandlers::BatchDeleteDocuments(const v1::BatchDeleteDocumentsRequest& request,
                                                    v1::BatchDeleteDocumentsResponse* response,
                                                    const engine::CallContext& context) {
  return Once(&DocumentHandlers::DeleteBatch, request, response, context);
}

absl::Status DocumentHandlers::DeleteBatch(const v1::BatchDeleteDocumentsRequest& request,
                                           v1::BatchDeleteDocumentsResponse* response,
                                           const engine::CallContext& context) {
  auto collection = ParseCollectionName("parent", request.parent());
  if (!collection.ok()) return collection.status();
  if (absl::Status status = CheckBatch("ids", request.ids_size(), "ids"); !status.ok()) {
    return status;
  }
  // An id at fault is the engine's to answer, with a status of its own beside the others.
  const std::vector<std::string> ids(request.ids().begin(), request.ids().end());
  auto results = engine_.Delete(*collection, ids, context);
  if (!results.ok()) return results.status();
  if (absl::Status status = CheckCount(results->size(), ids.size()); !status.ok()) return status;
  for (const engine::WriteResult& result : *results) WriteResult(result, response->add_results());
  return absl::OkStatus();
}

absl::Status DocumentHandlers::ListDocuments(const v1::ListDocumentsRequest& request,
                                             v1::ListDocumentsResponse* response,
                                             const engine::CallContext&) {
  auto collection = ParseCollectionName("parent", request.parent());
  if (!collection.ok()) return collection.status();
  auto page_size = ReadPageSize(request.page_size());
  if (!page_size.ok()) return page_size.status();
  auto parts = ReadMask(request.read_mask());
  if (!parts.ok()) return parts.status();
  // A collection deleted and made anew under its name is another one.
  auto info = engine_.GetCollection(*collection);
  if (!info.ok()) return info.status();
  // So is the same one under another filter.
  const std::string scope = Concat(*collection, "/", info->identity(), "/", request.filter());
  engine::IdPage::Position from;
  if (!request.page_token().empty()) {
    auto position = ReadPageToken(kListKind, scope, request.page_token());
    if (!position.ok()) return position.status();
    from = {position->shard, std::move(position->after_id)};
  }
  // Stored metadata is JSON text, up to six times smaller than the message made of it. So a page
  // may turn out too large only here; then it is read again with as many documents as fit.
  for (int limit = *page_size;;) {
    response->Clear();
    auto page = engine_.List(*collection, from, limit, kMaxPageBytes, *parts, request.filter());
    if (!page.ok()) return page.status();
    size_t bytes = 0;
    for (const storage::Document& document : page->documents) {
      auto* out = response->add_documents();
      if (absl::Status status = WriteDocument(*collection, document, out); !status.ok()) {
        return status;
      }
      bytes += out->ByteSizeLong();
      if (bytes > kMaxPageBytes) break;
    }
    if (bytes > kMaxPageBytes && page->documents.size() > 1) {
      limit = std::max(response->documents_size() - 1, 1);
      continue;
    }
    if (page->next.has_value()) {
      response->set_next_page_token(
          MakePageToken(kListKind, scope, {page->next->shard, page->next->after_id}));
    }
    // A lower page_size, the method's advice, helps no more.
    if (response->documents_size() != 1) return absl::OkStatus();
    return ReplyBudget(max_reply_bytes_, kFewerFields).Add(*response);
  }
}

absl::Status DocumentHandlers::CountDocuments(const v1::CountDocumentsRequest& request,
                                              v1::CountDocumentsResponse* response,
                                              const engine::CallContext&) {
  auto collection = ParseCollectionName("parent", request.parent());
  if (!collection.ok()) return collection.status();
  auto count = engine_.Count(*collection, request.filter());
  if (!count.ok()) return count.status();
  response->set_count(*count);
  return absl::OkStatus();
}

absl::Status DocumentHandlers::FacetDocuments(const v1::FacetDocumentsRequest& request,
                                              v1::FacetDocumentsResponse* response,
                                              const engine::CallContext&) {
  auto collection = ParseCollectionName("parent", request.parent());
  if (!collection.ok()) return collection.status();
  const std::vector<std::string> fields(request.fields().begin(), request.fields().end());
  const int limit = request.has_limit() ? request.limit() : kDefaultFacetValues;
  const auto facets = engine_.CountValues(*collection, fields, request.filter(), limit);
  if (!facets.ok()) return facets.status();
  for (const engine::Facet& facet : *facets) {
    auto* out = response->add_facets();
    out->set_field(facet.field);
    out->set_distinct_values(facet.distinct_values);
    out->set_documents(facet.documents);
    for (const engine::Facet::Value& value : facet.values) {
      auto* counted = out->add_values();
      counted->set_count(value.count);
      if (const bool* boolean = std::get_if<bool>(&value.value)) {
        counted->mutable_value()->set_bool_value(*boolean);
      } else if (const double* number = std::get_if<double>(&value.value)) {
        counted->mutable_value()->set_number_value(*number);
      } else {
        counted->mutable_value()->set_string_value(std::get<std::string>(value.value));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<MessageStream>> DocumentHandlers::StreamDocuments(
    const v1::StreamDocumentsRequest& request, const engine::CallContext& context) {
  return DocumentsStream::Open(engine_, request, max_reply_bytes_, context);
}

}  // namespace vecino::rpc
