// A gRPC server in this process that keeps documents in a map and fails when told to. For tests of
// the client only: it checks little and ranks nothing.
#pragma once

#include <google/longrunning/operations.grpc.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>
#include <vecino/v1/admin_service.grpc.pb.h>
#include <vecino/v1/collection_service.grpc.pb.h>
#include <vecino/v1/document_service.grpc.pb.h>
#include <vecino/v1/embedding_service.grpc.pb.h>
#include <vecino/v1/index_operation.pb.h>
#include <vecino/v1/search_service.grpc.pb.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "tests/client/fake_operation.h"
#include "tests/client/fake_statuses.h"

namespace vecino::testing {

class FakeServer : public v1::CollectionService::Service,
                   public v1::DocumentService::Service,
                   public google::longrunning::Operations::Service,
                   public v1::SearchService::Service,
                   public v1::EmbeddingService::Service {
 public:
  // Listens on a free port of loopback, or on `port`.
  explicit FakeServer(int port = 0) {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(-1);
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(static_cast<v1::CollectionService::Service*>(this));
    builder.RegisterService(static_cast<v1::DocumentService::Service*>(this));
    builder.RegisterService(static_cast<google::longrunning::Operations::Service*>(this));
    builder.RegisterService(static_cast<v1::SearchService::Service*>(this));
    builder.RegisterService(static_cast<v1::EmbeddingService::Service*>(this));
    server_ = builder.BuildAndStart();
  }
  ~FakeServer() override { Stop(); }

  void Stop() {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
    server_ = nullptr;
  }

  int port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  grpc::Server& server() { return *server_; }

  // The next calls, whatever they are, end with these.
  void FailNext(const grpc::Status& status, int times = 1) {
    const std::lock_guard lock(mutex_);
    failures_.insert(failures_.end(), times, status);
  }
  // Runs before a call is dealt with.
  void OnCall(std::function<void(const std::string& method)> hook) {
    const std::lock_guard lock(mutex_);
    hook_ = std::move(hook);
  }
  // A batch write of this id gets this status, once.
  void FailDocument(const std::string& id, const google::rpc::Status& status) {
    const std::lock_guard lock(mutex_);
    item_failures_[id] = status;
  }
  int Calls(const std::string& method) const {
    const std::lock_guard lock(mutex_);
    const auto it = calls_.find(method);
    return it == calls_.end() ? 0 : it->second;
  }
  std::map<std::string, v1::Document> Documents() const {
    const std::lock_guard lock(mutex_);
    return documents_;
  }
  v1::UpdateDocumentRequest last_update() const {
    const std::lock_guard lock(mutex_);
    return last_update_;
  }
  v1::DeleteDocumentRequest last_delete() const {
    const std::lock_guard lock(mutex_);
    return last_delete_;
  }
  v1::SearchDocumentsRequest last_search() const {
    const std::lock_guard lock(mutex_);
    return last_search_;
  }

  grpc::Status CreateCollection(grpc::ServerContext*, const v1::CreateCollectionRequest* request,
                                v1::CreateCollectionResponse* response) override {
    if (grpc::Status status = Begin("CreateCollection"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    if (!collections_.try_emplace(request->collection_id(), request->collection()).second) {
      return grpc::Status(grpc::StatusCode::ALREADY_EXISTS, "taken");
    }
    v1::Collection& collection = collections_[request->collection_id()];
    collection.set_name("collections/" + request->collection_id());
    *response->mutable_collection() = collection;
    // As if the reply were lost on its way.
    if (lose_replies_ > 0 && lose_replies_-- > 0) {
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "lost");
    }
    return grpc::Status::OK;
  }
  void LoseReplies(int times) {
    const std::lock_guard lock(mutex_);
    lose_replies_ = times;
  }

  grpc::Status GetCollection(grpc::ServerContext*, const v1::GetCollectionRequest* request,
                             v1::GetCollectionResponse* response) override {
    if (grpc::Status status = Begin("GetCollection"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    const auto it = collections_.find(request->name().substr(12));
    if (it == collections_.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no collection");
    *response->mutable_collection() = it->second;
    return grpc::Status::OK;
  }

  // Two a page, so that a client has to turn pages.
  grpc::Status ListCollections(grpc::ServerContext*, const v1::ListCollectionsRequest* request,
                               v1::ListCollectionsResponse* response) override {
    if (grpc::Status status = Begin("ListCollections"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    auto it = collections_.upper_bound(request->page_token());
    for (; it != collections_.end() && response->collections_size() < 2; ++it) {
      *response->add_collections() = it->second;
      response->set_next_page_token(it->first);
    }
    if (it == collections_.end()) response->clear_next_page_token();
    return grpc::Status::OK;
  }

  // What SetExport said.
  grpc::Status EvaluateRecall(grpc::ServerContext*, const v1::EvaluateRecallRequest* request,
                              v1::EvaluateRecallResponse* response) override {
    if (grpc::Status status = Begin("EvaluateRecall"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    last_recall_ = *request;
    *response = recall_;
    return grpc::Status::OK;
  }
  void SetRecall(const v1::EvaluateRecallResponse& response) {
    const std::lock_guard lock(mutex_);
    recall_ = response;
  }
  v1::EvaluateRecallRequest last_recall() const {
    const std::lock_guard lock(mutex_);
    return last_recall_;
  }

  grpc::Status ExportIndex(grpc::ServerContext*, const v1::ExportIndexRequest* request,
                           grpc::ServerWriter<v1::ExportIndexResponse>* writer) override {
    if (grpc::Status status = Begin("ExportIndex"); !status.ok()) return status;
    std::vector<v1::ExportIndexResponse> messages;
    bool breaks = false;
    {
      const std::lock_guard lock(mutex_);
      last_export_ = *request;
      messages = export_;
      breaks = export_breaks_ > 0 && export_breaks_-- > 0;
      if (breaks) messages.resize(std::min(messages.size(), export_break_after_));
    }
    for (const v1::ExportIndexResponse& message : messages) {
      if (!writer->Write(message)) break;
    }
    const std::lock_guard lock(mutex_);
    return breaks ? export_break_ : export_end_;
  }
  // The next `count` exports end with `status` after so many messages.
  void BreakExports(int count, size_t messages, const grpc::Status& status) {
    const std::lock_guard lock(mutex_);
    export_breaks_ = count;
    export_break_after_ = messages;
    export_break_ = status;
  }
  // What SetAnswer said.
  grpc::Status AnswerQuestion(grpc::ServerContext*, const v1::AnswerQuestionRequest* request,
                              grpc::ServerWriter<v1::AnswerQuestionResponse>* writer) override {
    if (grpc::Status status = Begin("AnswerQuestion"); !status.ok()) return status;
    std::vector<v1::AnswerQuestionResponse> messages;
    {
      const std::lock_guard lock(mutex_);
      last_question_ = *request;
      messages = answer_;
    }
    for (const v1::AnswerQuestionResponse& message : messages) {
      if (!writer->Write(message)) break;
    }
    const std::lock_guard lock(mutex_);
    return answer_end_;
  }
  void SetAnswer(std::vector<v1::AnswerQuestionResponse> messages, const grpc::Status& end) {
    const std::lock_guard lock(mutex_);
    answer_ = std::move(messages);
    answer_end_ = end;
  }
  v1::AnswerQuestionRequest last_question() const {
    const std::lock_guard lock(mutex_);
    return last_question_;
  }
  void SetExport(std::vector<v1::ExportIndexResponse> messages, const grpc::Status& end) {
    const std::lock_guard lock(mutex_);
    export_ = std::move(messages);
    export_end_ = end;
  }
  v1::ExportIndexRequest last_export() const {
    const std::lock_guard lock(mutex_);
    return last_export_;
  }

  // Operation 7 of every collection, which is done once it was waited for `waits` times.
  grpc::Status RetrainIndex(grpc::ServerContext*, const v1::RetrainIndexRequest* request,
                            google::longrunning::Operation* response) override {
    if (grpc::Status status = Begin("RetrainIndex"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    last_retrain_ = *request;
    if (request->validate_only()) {
      v1::IndexOperationMetadata metadata;
      metadata.set_collection(request->name());
      metadata.mutable_estimate()->set_rows(10);
      metadata.mutable_estimate()->mutable_duration()->set_nanos(5'000'000);
      response->set_done(true);
      response->mutable_metadata()->PackFrom(metadata);
    } else {
      WriteFakeOperation(waits_, request->name() + "/operations/7", response);
    }
    return grpc::Status::OK;
  }
  grpc::Status TuneIndex(grpc::ServerContext*, const v1::TuneIndexRequest* request,
                         google::longrunning::Operation* response) override {
    if (grpc::Status status = Begin("TuneIndex"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    WriteFakeTuning(last_tune_ = *request, response);
    return grpc::Status::OK;
  }
  v1::TuneIndexRequest last_tune() const {
    const std::lock_guard lock(mutex_);
    return last_tune_;
  }
  grpc::Status WaitOperation(grpc::ServerContext*,
                             const google::longrunning::WaitOperationRequest* request,
                             google::longrunning::Operation* response) override {
    if (grpc::Status status = Begin("WaitOperation"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    --waits_;
    last_wait_ = *request;
    WriteFakeOperation(waits_, request->name(), response);
    return grpc::Status::OK;
  }
  grpc::Status GetOperation(grpc::ServerContext*,
                            const google::longrunning::GetOperationRequest* request,
                            google::longrunning::Operation* response) override {
    if (grpc::Status status = Begin("GetOperation"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    WriteFakeOperation(waits_, request->name(), response);
    return grpc::Status::OK;
  }
  // Three pages of one, where no more are asked for than fit into a reply; else the first.
  grpc::Status ListOperations(grpc::ServerContext*,
                              const google::longrunning::ListOperationsRequest* request,
                              google::longrunning::ListOperationsResponse* response) override {
    if (grpc::Status status = Begin("ListOperations"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    const std::string page = request->page_token().empty() ? "1" : request->page_token();
    WriteFakeOperation(waits_, request->name() + "/operations/" + page, response->add_operations());
    const bool more = page < "3" && request->page_size() <= 50;
    if (more) response->set_next_page_token(page == "1" ? "2" : "3");
    return grpc::Status::OK;
  }
  grpc::Status CancelOperation(grpc::ServerContext*,
                               const google::longrunning::CancelOperationRequest* request,
                               google::protobuf::Empty*) override {
    if (grpc::Status status = Begin("CancelOperation"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    cancelled_ = request->name();
    return grpc::Status::OK;
  }
  grpc::Status DeleteOperation(grpc::ServerContext*,
                               const google::longrunning::DeleteOperationRequest*,
                               google::protobuf::Empty*) override {
    if (grpc::Status status = Begin("DeleteOperation"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    if (deleted_) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no operation");
    deleted_ = true;
    if (lose_replies_ > 0 && lose_replies_-- > 0) {
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "lost");
    }
    return grpc::Status::OK;
  }
  void DoneAfterWaits(int waits) {
    const std::lock_guard lock(mutex_);
    waits_ = waits;
  }
  v1::RetrainIndexRequest last_retrain() const {
    const std::lock_guard lock(mutex_);
    return last_retrain_;
  }
  google::longrunning::WaitOperationRequest last_wait() const {
    const std::lock_guard lock(mutex_);
    return last_wait_;
  }
  std::string cancelled() const {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }

  grpc::Status BatchUpsertDocuments(grpc::ServerContext*,
                                    const v1::BatchUpsertDocumentsRequest* request,
                                    v1::BatchUpsertDocumentsResponse* response) override {
    if (grpc::Status status = Begin("BatchUpsertDocuments"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    for (const v1::Document& document : request->documents()) {
      v1::BatchWriteResult* result = response->add_results();
      if (const auto it = item_failures_.find(document.id()); it != item_failures_.end()) {
        *result->mutable_status() = it->second;
        item_failures_.erase(it);
        continue;
      }
      if (request->write_mode() == v1::WRITE_MODE_INSERT && documents_.contains(document.id())) {
        result->mutable_status()->set_code(grpc::StatusCode::ALREADY_EXISTS);
        result->mutable_status()->set_message("it exists");
        continue;
      }
      result->mutable_write_token()->set_sequence_number(++sequence_);
      documents_[document.id()] = document;
      documents_[document.id()].set_version(sequence_);
    }
    // As if the reply were lost on its way.
    if (lose_replies_ > 0 && lose_replies_-- > 0) {
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "lost");
    }
    return grpc::Status::OK;
  }

  grpc::Status CreateDocument(grpc::ServerContext*, const v1::CreateDocumentRequest* request,
                              v1::CreateDocumentResponse* response) override {
    if (grpc::Status status = Begin("CreateDocument"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    if (!documents_.try_emplace(request->document().id(), request->document()).second) {
      return grpc::Status(grpc::StatusCode::ALREADY_EXISTS, "it exists");
    }
    response->mutable_document()->set_etag("made");
    return grpc::Status::OK;
  }

  // Does each item once for a resume token, as far as this object remembers it.
  grpc::Status IngestDocuments(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::IngestDocumentsResponse, v1::IngestDocumentsRequest>* stream)
      override {
    if (grpc::Status status = Begin("IngestDocuments"); !status.ok()) return status;
    v1::IngestDocumentsRequest request;
    if (!stream->Read(&request)) return grpc::Status::OK;
    const v1::IngestStart start = request.start();
    const std::string token = start.resume_token();
    v1::IngestDocumentsResponse first;
    {
      const std::lock_guard lock(mutex_);
      last_start_ = start;
      first.mutable_window()->set_documents(ingest_window_);
      first.mutable_window()->set_bytes(1 << 20);
      first.set_done_through(ingest_done_[token]);
    }
    stream->Write(first);
    while (stream->Read(&request)) {
      if (request.has_finish()) {
        const std::lock_guard lock(mutex_);
        ingest_done_.erase(token);
        ++finished_;
        continue;
      }
      if (grpc::Status status = Begin("IngestItems"); !status.ok()) return status;
      v1::IngestDocumentsResponse response;
      {
        const std::lock_guard lock(mutex_);
        for (const v1::IngestItem& item : request.items().items()) {
          Ingest(item, token, start.write_mode(), response.add_results());
          // As if the connection broke before the answer was sent.
          if (break_after_ > 0 && --break_after_ == 0) {
            return grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken");
          }
        }
        response.set_done_through(ingest_done_[token]);
      }
      stream->Write(response);
    }
    return grpc::Status::OK;
  }
  // After so many items more have been done, the stream breaks without an answer to them.
  void BreakIngestAfter(int items) {
    const std::lock_guard lock(mutex_);
    break_after_ = items;
  }
  void SetIngestWindow(int documents) {
    const std::lock_guard lock(mutex_);
    ingest_window_ = documents;
  }
  v1::IngestStart last_start() const {
    const std::lock_guard lock(mutex_);
    return last_start_;
  }
  // Writes and deletes done by streams, and streams that said they were complete.
  int ingested() const {
    const std::lock_guard lock(mutex_);
    return ingested_;
  }
  int finished() const {
    const std::lock_guard lock(mutex_);
    return finished_;
  }

  grpc::Status UpdateDocument(grpc::ServerContext*, const v1::UpdateDocumentRequest* request,
                              v1::UpdateDocumentResponse* response) override {
    if (grpc::Status status = Begin("UpdateDocument"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    documents_[request->document().id()] = request->document();
    last_update_ = *request;
    response->mutable_write_token()->set_sequence_number(++sequence_);
    response->mutable_document()->set_etag("changed");
    return grpc::Status::OK;
  }

  grpc::Status GetDocument(grpc::ServerContext*, const v1::GetDocumentRequest* request,
                           v1::GetDocumentResponse* response) override {
    if (grpc::Status status = Begin("GetDocument"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    const auto it = documents_.find(request->name().substr(request->name().rfind('/') + 1));
    if (it == documents_.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no document");
    *response->mutable_document() = it->second;
    return grpc::Status::OK;
  }

  grpc::Status BatchGetDocuments(grpc::ServerContext*, const v1::BatchGetDocumentsRequest* request,
                                 v1::BatchGetDocumentsResponse* response) override {
    if (grpc::Status status = Begin("BatchGetDocuments"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    for (const std::string& id : request->ids()) {
      if (id.empty()) return ToGrpc(BadField("ids", "ids: an id is empty"));
      if (const auto it = documents_.find(id); it != documents_.end()) {
        *response->add_documents() = it->second;
      } else {
        response->add_missing_ids(id);
      }
    }
    return grpc::Status::OK;
  }

  grpc::Status DeleteDocument(grpc::ServerContext*, const v1::DeleteDocumentRequest* request,
                              v1::DeleteDocumentResponse*) override {
    if (grpc::Status status = Begin("DeleteDocument"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    last_delete_ = *request;
    const std::string id = request->name().substr(request->name().rfind('/') + 1);
    if (documents_.erase(id) == 0) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no document");
    if (lose_replies_ > 0 && lose_replies_-- > 0) {
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "lost");
    }
    return grpc::Status::OK;
  }

  grpc::Status CountDocuments(grpc::ServerContext*, const v1::CountDocumentsRequest*,
                              v1::CountDocumentsResponse* response) override {
    if (grpc::Status status = Begin("CountDocuments"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    response->set_count(static_cast<int64_t>(documents_.size()));
    return grpc::Status::OK;
  }

  // All documents, in order of id, scores falling.
  grpc::Status SearchDocuments(grpc::ServerContext*, const v1::SearchDocumentsRequest* request,
                               v1::SearchDocumentsResponse* response) override {
    if (grpc::Status status = Begin("SearchDocuments"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    last_search_ = *request;
    float score = 1;
    for (const auto& [id, document] : documents_) {
      v1::SearchHit* hit = response->add_hits();
      *hit->mutable_document() = document;
      hit->set_score(score *= 0.5F);
    }
    response->set_metric(v1::METRIC_DOT);
    response->set_higher_is_better(true);
    response->mutable_timings()->mutable_search()->set_nanos(1'500'000);
    if (request->has_group_by() && response->hits_size() > 0) {
      response->mutable_hits(0)->mutable_group()->set_string_value("a \"group\"");
    }
    response->set_next_page_token("next");
    return grpc::Status::OK;
  }

  // Each search fails whose top_k is 0; the others find nothing.
  grpc::Status BatchSearchDocuments(grpc::ServerContext*,
                                    const v1::BatchSearchDocumentsRequest* request,
                                    v1::BatchSearchDocumentsResponse* response) override {
    if (grpc::Status status = Begin("BatchSearchDocuments"); !status.ok()) return status;
    const std::lock_guard lock(mutex_);
    for (const v1::SearchDocumentsRequest& one : request->requests()) {
      last_search_ = one;
      v1::BatchSearchResult* result = response->add_results();
      if (one.top_k() == 0) {
        *result->mutable_status() = BadField("top_k", "top_k is 0");
      } else {
        result->mutable_response()->set_metric(v1::METRIC_L2);
      }
    }
    return grpc::Status::OK;
  }

 private:
  void Ingest(const v1::IngestItem& item, const std::string& token, v1::WriteMode mode,
              v1::IngestResult* result) {
    const int64_t seq = item.has_document() ? item.document().seq() : item.delete_().seq();
    result->set_seq(seq);
    if (seq <= ingest_done_[token]) return;
    ingest_done_[token] = seq;
    const v1::Document& document = item.document().document();
    const std::string& id = item.has_document() ? document.id() : item.delete_().id();
    if (const auto it = item_failures_.find(id); it != item_failures_.end()) {
      *result->mutable_status() = it->second;
      item_failures_.erase(it);
      return;
    }
    if (!item.has_document() && documents_.erase(id) == 0) {
      result->mutable_status()->set_code(5);
      return;
    }
    if (mode == v1::WRITE_MODE_INSERT && item.has_document() && documents_.contains(id)) {
      result->mutable_status()->set_code(6);
      return;
    }
    ++ingested_;
    result->mutable_write_token()->set_sequence_number(++sequence_);
    if (!item.has_document()) return;
    documents_[id] = document;
    documents_[id].set_version(sequence_);
  }

  grpc::Status Begin(const std::string& method) {
    std::function<void(const std::string&)> hook;
    {
      const std::lock_guard lock(mutex_);
      ++calls_[method];
      hook = hook_;
    }
    if (hook) hook(method);
    const std::lock_guard lock(mutex_);
    if (failures_.empty()) return grpc::Status::OK;
    grpc::Status status = failures_.front();
    failures_.pop_front();
    return status;
  }

  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  mutable std::mutex mutex_;
  std::deque<grpc::Status> failures_;
  std::function<void(const std::string&)> hook_;
  std::map<std::string, google::rpc::Status> item_failures_;
  std::map<std::string, int> calls_;
  std::map<std::string, v1::Collection> collections_;
  std::map<std::string, v1::Document> documents_;
  v1::SearchDocumentsRequest last_search_;
  v1::UpdateDocumentRequest last_update_;
  v1::DeleteDocumentRequest last_delete_;
  v1::RetrainIndexRequest last_retrain_;
  v1::TuneIndexRequest last_tune_;
  v1::AnswerQuestionRequest last_question_;
  std::vector<v1::AnswerQuestionResponse> answer_;
  grpc::Status answer_end_;
  v1::EvaluateRecallRequest last_recall_;
  v1::EvaluateRecallResponse recall_;
  v1::ExportIndexRequest last_export_;
  std::vector<v1::ExportIndexResponse> export_;
  grpc::Status export_end_, export_break_;
  int export_breaks_ = 0;
  size_t export_break_after_ = 0;
  google::longrunning::WaitOperationRequest last_wait_;
  std::string cancelled_;
  bool deleted_ = false;
  int waits_ = 1;
  int64_t sequence_ = 0;
  int lose_replies_ = 0;
  std::map<std::string, int64_t> ingest_done_;  // by token
  v1::IngestStart last_start_;
  int ingest_window_ = 100, break_after_ = 0, ingested_ = 0, finished_ = 0;
};

}  // namespace vecino::testing
