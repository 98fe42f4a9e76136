// Client's calls about documents, and search.
#include <string>
#include <unordered_map>
#include <utility>

#include "client/conversions.h"
#include "client/impl.h"
#include "client/metadata_json.h"
#include "client/request_id.h"
#include "client/vecino/client.h"

namespace vecino {
namespace {

using internal::CheckUtf8;
using internal::CollectionName;
using internal::DocumentName;
using internal::FromProto;
using internal::ToProto;

Status WrongCount(size_t got, size_t wanted) {
  return Status(Code::kInternal, "the server sent " + std::to_string(got) + " results for " +
                                     std::to_string(wanted) + " items");
}

// Of a CreateDocument or an UpdateDocument.
template <typename Response>
WriteResult Written(const Response& response) {
  return {.status = Status(),
          .token = FromProto(response.write_token()),
          .token_count = response.token_count(),
          .truncated = response.truncated(),
          .etag = response.document().etag(),
          .repeated = false};
}

// `text` with `documents[from]` made `documents[to]`.
std::string Moved(std::string text, size_t from, size_t to) {
  const std::string old_place = "documents[" + std::to_string(from) + "]";
  const std::string place = "documents[" + std::to_string(to) + "]";
  size_t at = 0;
  while ((at = text.find(old_place, at)) != std::string::npos) {
    text.replace(at, old_place.size(), place);
    at += place.size();
  }
  return text;
}

Status Moved(const Status& status, size_t from, size_t to) {
  return Status(status.code(), Moved(status.message(), from, to), Moved(status.field(), from, to));
}

}  // namespace

Result<WriteResult> Client::Upsert(const std::string& collection, const Document& document,
                                   Truncate truncate) {
  if (Status status = CheckUtf8(collection, "document.name"); !status.ok()) return status;
  v1::UpdateDocumentRequest request;
  const Status checked = ToProto(document, "document", request.mutable_document());
  if (!checked.ok()) return checked;
  request.mutable_document()->set_name(DocumentName(collection, document.id));
  request.mutable_document()->set_etag(document.etag);
  request.set_allow_missing(true);
  request.set_truncate(ToProto(truncate));
  v1::UpdateDocumentResponse response;
  const Status status = impl_->Call(*impl_->documents, &v1::DocumentService::Stub::UpdateDocument,
                                    request, &response);
  if (!status.ok()) return status;
  return Written(response);
}

Result<WriteResult> Client::Create(const std::string& collection, const Document& document,
                                   Truncate truncate) {
  if (Status status = CheckUtf8(collection, "parent"); !status.ok()) return status;
  v1::CreateDocumentRequest request;
  request.set_parent(CollectionName(collection));
  const Status checked = ToProto(document, "document", request.mutable_document());
  if (!checked.ok()) return checked;
  request.set_truncate(ToProto(truncate));
  v1::CreateDocumentResponse response;
  const Status status = impl_->Call(*impl_->documents, &v1::DocumentService::Stub::CreateDocument,
                                    request, &response);
  if (!status.ok()) return status;
  return Written(response);
}

Result<WriteResult> Client::Update(const std::string& collection, const Document& document,
                                   const std::vector<std::string>& fields, bool allow_missing,
                                   Truncate truncate) {
  if (Status status = CheckUtf8(collection, "document.name"); !status.ok()) return status;
  // To the server an empty mask means the whole document.
  if (fields.empty()) {
    return Status(Code::kInvalidArgument, "no field to change is named", "update_mask");
  }
  v1::UpdateDocumentRequest request;
  const Status checked = ToProto(document, "document", request.mutable_document());
  if (!checked.ok()) return checked;
  request.mutable_document()->set_name(DocumentName(collection, document.id));
  request.mutable_document()->set_etag(document.etag);
  for (const std::string& field : fields) {
    if (Status status = CheckUtf8(field, "update_mask"); !status.ok()) return status;
    request.mutable_update_mask()->add_paths(field);
  }
  request.set_allow_missing(allow_missing);
  request.set_truncate(ToProto(truncate));
  v1::UpdateDocumentResponse response;
  const Status status = impl_->Call(*impl_->documents, &v1::DocumentService::Stub::UpdateDocument,
                                    request, &response);
  if (!status.ok()) return status;
  return Written(response);
}

Result<std::vector<WriteResult>> Client::UpsertBatch(const std::string& collection,
                                                     const std::vector<Document>& documents,
                                                     Truncate truncate, WriteMode mode) {
  if (Status status = CheckUtf8(collection, "parent"); !status.ok()) return status;
  v1::BatchUpsertDocumentsRequest request;
  request.set_parent(CollectionName(collection));
  request.set_truncate(ToProto(truncate));
  request.set_write_mode(ToProto(mode));
  std::vector<WriteResult> results(documents.size());
  std::vector<size_t> sent;  // places in `documents`, in the order of the request
  sent.reserve(documents.size());
  for (size_t i = 0; i < documents.size(); ++i) {
    v1::Document message;
    results[i].status = ToProto(documents[i], "documents[" + std::to_string(i) + "]", &message);
    if (!results[i].status.ok()) continue;
    *request.add_documents() = std::move(message);
    sent.push_back(i);
  }
  if (sent.empty()) return results;
  // The same in each attempt: one after a lost reply gets that reply.
  request.set_request_id(internal::NewRequestId());
  v1::BatchUpsertDocumentsResponse response;
  int attempts = 0;
  const Status status =
      impl_->Call(*impl_->documents, &v1::DocumentService::Stub::BatchUpsertDocuments, request,
                  &response, &attempts);
  if (!status.ok()) return status;
  if (static_cast<size_t>(response.results_size()) != sent.size()) {
    return WrongCount(response.results_size(), sent.size());
  }
  for (size_t j = 0; j < sent.size(); ++j) {
    WriteResult& result = results[sent[j]] = FromProto(response.results(j));
    // The server counts places in what was sent; the caller in what it gave.
    if (sent[j] != j) result.status = Moved(result.status, j, sent[j]);
    result.repeated = attempts > 1;
  }
  return results;
}

Result<Document> Client::Get(const std::string& collection, const std::string& id,
                             const ReadMask& mask) {
  const std::string name = DocumentName(collection, id);
  if (Status status = CheckUtf8(name, "name"); !status.ok()) return status;
  v1::GetDocumentRequest request;
  request.set_name(name);
  *request.mutable_read_mask() = ToProto(mask);
  v1::GetDocumentResponse response;
  const Status status =
      impl_->Call(*impl_->documents, &v1::DocumentService::Stub::GetDocument, request, &response);
  if (!status.ok()) return status;
  return FromProto(response.document());
}

Result<std::vector<std::optional<Document>>> Client::GetBatch(const std::string& collection,
                                                              const std::vector<std::string>& ids,
                                                              const ReadMask& mask) {
  if (Status status = CheckUtf8(collection, "parent"); !status.ok()) return status;
  std::vector<std::optional<Document>> documents(ids.size());
  if (ids.empty()) return documents;
  v1::BatchGetDocumentsRequest request;
  request.set_parent(CollectionName(collection));
  for (size_t i = 0; i < ids.size(); ++i) {
    const Status status = CheckUtf8(ids[i], "ids[" + std::to_string(i) + "]");
    if (!status.ok()) return status;
    request.add_ids(ids[i]);
  }
  *request.mutable_read_mask() = ToProto(mask);
  v1::BatchGetDocumentsResponse response;
  const Status status = impl_->Call(
      *impl_->documents, &v1::DocumentService::Stub::BatchGetDocuments, request, &response);
  if (!status.ok()) return status;
  std::unordered_map<std::string, const v1::Document*> found;
  for (const v1::Document& document : response.documents()) found[document.id()] = &document;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (const auto it = found.find(ids[i]); it != found.end()) {
      documents[i] = FromProto(*it->second);
    }
  }
  return documents;
}

Status Client::Delete(const std::string& collection, const std::string& id,
                      const std::string& etag) {
  const std::string name = DocumentName(collection, id);
  if (Status status = CheckUtf8(name, "name"); !status.ok()) return status;
  if (Status status = CheckUtf8(etag, "etag"); !status.ok()) return status;
  v1::DeleteDocumentRequest request;
  request.set_name(name);
  request.set_etag(etag);
  v1::DeleteDocumentResponse response;
  int attempts = 0;
  Status status = impl_->Call(*impl_->documents, &v1::DocumentService::Stub::DeleteDocument,
                              request, &response, &attempts);
  // An attempt whose reply was lost may have deleted it.
  if (status.code() == Code::kNotFound && attempts > 1 && GetCollection(collection).ok()) {
    return Status();
  }
  return status;
}

Result<std::vector<WriteResult>> Client::DeleteBatch(const std::string& collection,
                                                     const std::vector<std::string>& ids) {
  if (Status status = CheckUtf8(collection, "parent"); !status.ok()) return status;
  if (ids.empty()) return std::vector<WriteResult>();
  v1::BatchDeleteDocumentsRequest request;
  request.set_parent(CollectionName(collection));
  for (size_t i = 0; i < ids.size(); ++i) {
    const Status status = CheckUtf8(ids[i], "ids[" + std::to_string(i) + "]");
    if (!status.ok()) return status;
    request.add_ids(ids[i]);
  }
  request.set_request_id(internal::NewRequestId());
  v1::BatchDeleteDocumentsResponse response;
  const Status status = impl_->Call(
      *impl_->documents, &v1::DocumentService::Stub::BatchDeleteDocuments, request, &response);
  if (!status.ok()) return status;
  if (static_cast<size_t>(response.results_size()) != ids.size()) {
    return WrongCount(response.results_size(), ids.size());
  }
  std::vector<WriteResult> results;
  results.reserve(ids.size());
  for (const v1::BatchWriteResult& result : response.results())
    results.push_back(FromProto(result));
  return results;
}

Result<DocumentPage> Client::List(const std::string& collection, int page_size,
                                  const std::string& page_token, const ReadMask& mask,
                                  const std::string& filter) {
  if (Status status = CheckUtf8(collection, "parent"); !status.ok()) return status;
  if (Status status = CheckUtf8(page_token, "page_token"); !status.ok()) return status;
  if (Status status = CheckUtf8(filter, "filter"); !status.ok()) return status;
  v1::ListDocumentsRequest request;
  request.set_parent(CollectionName(collection));
  request.set_page_size(page_size);
  request.set_page_token(page_token);
  request.set_filter(filter);
  *request.mutable_read_mask() = ToProto(mask);
  v1::ListDocumentsResponse response;
  const Status status =
      impl_->Call(*impl_->documents, &v1::DocumentService::Stub::ListDocuments, request, &response);
  if (!status.ok()) return status;
  DocumentPage page;
  page.documents.reserve(response.documents_size());
  for (const v1::Document& document : response.documents()) {
    page.documents.push_back(FromProto(document));
  }
  page.next_page_token = response.next_page_token();
  return page;
}

Result<std::vector<Facet>> Client::CountValues(const std::string& collection,
                                               const std::vector<std::string>& fields,
                                               const std::string& filter, int limit) {
  if (Status status = CheckUtf8(collection, "parent"); !status.ok()) return status;
  if (Status status = CheckUtf8(filter, "filter"); !status.ok()) return status;
  v1::FacetDocumentsRequest request;
  request.set_parent(CollectionName(collection));
  for (size_t i = 0; i < fields.size(); ++i) {
    const Status status = CheckUtf8(fields[i], "fields[" + std::to_string(i) + "]");
    if (!status.ok()) return status;
    request.add_fields(fields[i]);
  }
  request.set_filter(filter);
  request.set_limit(limit);
  v1::FacetDocumentsResponse response;
  const Status status = impl_->Call(*impl_->documents, &v1::DocumentService::Stub::FacetDocuments,
                                    request, &response);
  if (!status.ok()) return status;
  std::vector<Facet> facets;
  for (const v1::Facet& facet : response.facets()) {
    Facet& out = facets.emplace_back();
    out.field = facet.field();
    out.distinct_values = facet.distinct_values();
    out.documents = facet.documents();
    for (const v1::FacetValue& value : facet.values()) {
      out.values.push_back({internal::ToJson(value.value()), value.count()});
    }
  }
  return facets;
}

Result<int64_t> Client::Count(const std::string& collection, const std::string& filter) {
  if (Status status = CheckUtf8(collection, "parent"); !status.ok()) return status;
  if (Status status = CheckUtf8(filter, "filter"); !status.ok()) return status;
  v1::CountDocumentsRequest request;
  request.set_parent(CollectionName(collection));
  request.set_filter(filter);
  v1::CountDocumentsResponse response;
  const Status status = impl_->Call(*impl_->documents, &v1::DocumentService::Stub::CountDocuments,
                                    request, &response);
  if (!status.ok()) return status;
  return response.count();
}

}  // namespace vecino
