#include "server/rpc/search_session.h"

#include <string>
#include <utility>

#include "google/protobuf/arena.h"
#include "server/rpc/alias_names.h"
#include "server/rpc/reply_budget.h"
#include "server/rpc/status.h"
#include "server/rpc/text.h"
#include "server/rpc/wire.h"

namespace vecino::rpc {

void SearchSession::Begin() {
  while (!waiting_.empty() && running() < kAtOnce) {
    Run([this, message = std::move(waiting_.front())] { Search(message); });
    waiting_.pop_front();
  }
}

void SearchSession::Search(const grpc::ByteBuffer& message) {
  using google::protobuf::Arena;
  Arena arena;
  auto* request = Arena::CreateMessage<v1::StreamSearchDocumentsRequest>(&arena);
  if (absl::Status status = ReadMessage(message, request); !status.ok()) {
    // Its number cannot be told, so neither can its answer.
    absl::MutexLock lock(&mu_);
    return Fail(std::move(status));
  }
  auto* response = Arena::CreateMessage<v1::StreamSearchDocumentsResponse>(&arena);
  response->set_query_id(request->query_id());
  if (request->has_request()) ResolveAliases(handlers_.engine(), request->mutable_request());
  absl::Status status =
      request->has_request()
          ? handlers_.SearchDocuments(request->request(), response->mutable_response(), context())
          : engine::InvalidField("request", "is missing");
  if (request->has_request() && !engine::FieldOf(status).empty()) {
    status = MoveField(status, "", "request.");
  }
  grpc::ByteBuffer answer;
  if (status.ok()) status = WriteMessage(*response, max_reply_bytes_, kFewerHits, &answer);
  if (!status.ok()) {
    response->clear_response();
    ToRpcStatus(status, response->mutable_status());
    answer.Clear();
    status = WriteMessage(*response, max_reply_bytes_, kFewerHits, &answer);
  }
  absl::MutexLock lock(&mu_);
  if (!status.ok()) return Fail(std::move(status));
  answers_.push_back(std::move(answer));
}

bool SearchSession::Answer(grpc::ByteBuffer* message) {
  if (answers_.empty()) return false;
  *message = std::move(answers_.front());
  answers_.pop_front();
  return true;
}

}  // namespace vecino::rpc
