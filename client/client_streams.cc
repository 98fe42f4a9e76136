// Client's calls whose replies are streams of documents and events.
#include <grpcpp/completion_queue.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "client/conversions.h"
#include "client/error_details.h"
#include "client/impl.h"
#include "client/vecino/client.h"

namespace vecino {
namespace {

using internal::CheckUtf8;
using internal::CollectionName;
using internal::FromProto;

const char* KindName(v1::EventKind kind) {
  switch (kind) {
    case v1::EVENT_KIND_DRAIN:
      return "drain";
    case v1::EVENT_KIND_MERGE:
      return "merge";
    case v1::EVENT_KIND_RETRAIN:
      return "retrain";
    case v1::EVENT_KIND_RETRAIN_STAGE:
      return "retrain stage";
    case v1::EVENT_KIND_RETRAIN_REJECTED:
      return "retrain rejected";
    case v1::EVENT_KIND_CALIBRATE:
      return "calibrate";
    case v1::EVENT_KIND_GRAPH:
      return "graph";
    case v1::EVENT_KIND_FAILURE:
      return "failure";
    case v1::EVENT_KIND_COLLECTION_CREATED:
      return "collection created";
    case v1::EVENT_KIND_COLLECTION_UPDATED:
      return "collection updated";
    case v1::EVENT_KIND_COLLECTION_DELETED:
      return "collection deleted";
    case v1::EVENT_KIND_ALIAS_CHANGED:
      return "alias changed";
    case v1::EVENT_KIND_OPERATION_STARTED:
      return "operation started";
    case v1::EVENT_KIND_OPERATION_ENDED:
      return "operation ended";
    case v1::EVENT_KIND_MIGRATION:
      return "migration";
    default:
      return "unknown";
  }
}

Event ToEvent(const v1::Event& message) {
  Event event;
  event.time = FromProto(message.time());
  event.collection = internal::LastPart(message.collection());
  if (message.has_shard()) event.shard = message.shard();
  event.kind = KindName(message.kind());
  event.message = message.message();
  return event;
}

// One call of StreamDocuments, read with patience. The synchronous API cannot wait for a message
// and not for ever. Not thread-safe.
class DocumentReader {
 public:
  DocumentReader(v1::DocumentService::Stub& stub, const v1::StreamDocumentsRequest& request,
                 std::chrono::milliseconds patience)
      : patience_(patience),
        reader_(stub.PrepareAsyncStreamDocuments(&context_, request, &queue_)) {
    reader_->StartCall(this);
    open_ = Wait();
  }
  ~DocumentReader() {
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }
  DocumentReader(const DocumentReader&) = delete;
  DocumentReader& operator=(const DocumentReader&) = delete;

  // False when the stream has ended.
  bool Read(v1::StreamDocumentsResponse* message) {
    if (!open_) return false;
    reader_->Read(message, this);
    return open_ = Wait();
  }

  // How it ended; when it has not yet, it is cancelled.
  grpc::Status Finish() {
    if (open_) context_.TryCancel();
    grpc::Status status;
    reader_->Finish(&status, this);
    Wait();
    if (!waited_in_vain_) return status;
    return grpc::Status(grpc::StatusCode::UNAVAILABLE,
                        "the server sent nothing for " + std::to_string(patience_.count()) + " ms");
  }

 private:
  // For the one operation that was begun; whether it did what it was to. Gives the call up when
  // that takes too long.
  bool Wait() {
    void* tag = nullptr;
    bool ok = false;
    const auto deadline = std::chrono::system_clock::now() + patience_;
    if (queue_.AsyncNext(&tag, &ok, deadline) == grpc::CompletionQueue::TIMEOUT) {
      waited_in_vain_ = true;
      context_.TryCancel();
      queue_.Next(&tag, &ok);
      return false;
    }
    return ok;
  }

  const std::chrono::milliseconds patience_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  const std::unique_ptr<grpc::ClientAsyncReader<v1::StreamDocumentsResponse>> reader_;
  bool open_ = false;
  bool waited_in_vain_ = false;
};

}  // namespace

Status Client::StreamDocuments(const std::string& collection, const StreamOptions& options,
                               const DocumentsFn& take) {
  using Clock = std::chrono::steady_clock;
  if (Status status = CheckUtf8(collection, "parent"); !status.ok()) return status;
  if (Status status = CheckUtf8(options.resume_token, "resume_token"); !status.ok()) return status;
  if (Status status = CheckUtf8(options.filter, "filter"); !status.ok()) return status;
  v1::StreamDocumentsRequest request;
  request.set_parent(CollectionName(collection));
  request.set_filter(options.filter);
  *request.mutable_read_mask() = internal::ToProto(options.read_mask);
  request.mutable_slice()->set_index(options.slice);
  request.mutable_slice()->set_total(options.slices);
  request.set_resume_token(options.resume_token);

  bool begun = false;
  Clock::time_point last = Clock::now();  // when something came
  for (int attempt = 1;; ++attempt) {
    DocumentReader reader(*impl_->documents, request, impl_->options.timeout);
    for (v1::StreamDocumentsResponse message; reader.Read(&message);) {
      std::vector<Document> documents;
      documents.reserve(static_cast<size_t>(message.documents_size()));
      for (const v1::Document& document : message.documents()) {
        documents.push_back(FromProto(document));
      }
      if (Status ours = take(std::move(documents), message.resume_token()); !ours.ok()) {
        reader.Finish();
        return ours;
      }
      request.set_resume_token(message.resume_token());
      begun = true;
      attempt = 0;
      last = Clock::now();
    }
    const grpc::Status reply = reader.Finish();
    if (reply.ok()) return Status();
    Status status = internal::FromGrpc(reply);
    const auto server_delay = internal::RetryDelay(reply);
    // Nobody here cancelled it: a server that stops cuts a stream off whose reader is behind.
    if (status.code() != Code::kUnavailable && status.code() != Code::kCancelled &&
        !(status.code() == Code::kResourceExhausted && server_delay.has_value())) {
      return status;
    }
    const std::chrono::nanoseconds wait = server_delay.value_or(std::chrono::nanoseconds(0)) +
                                          internal::Backoff(impl_->options, std::max(attempt, 1));
    // A server that restarts takes longer than one that a call finds busy. A call that brought
    // something is always taken up once.
    const bool give_up = begun ? attempt > 0 && Clock::now() + wait >= last + impl_->options.timeout
                               : attempt >= impl_->options.max_attempts;
    if (give_up) return status;
    if (begun && attempt == 0 && options.on_resume) options.on_resume(status);
    std::this_thread::sleep_for(wait);
  }
}

Status Client::WatchEvents(const std::string& collection, const EventFn& take) {
  if (Status status = CheckUtf8(collection, "collection"); !status.ok()) return status;
  v1::WatchEventsRequest request;
  if (!collection.empty()) request.set_collection(CollectionName(collection));
  grpc::ClientContext context;
  const auto reader = impl_->admin->WatchEvents(&context, request);
  for (v1::WatchEventsResponse message; reader->Read(&message);) {
    std::optional<Event> event;
    if (message.has_event()) event = ToEvent(message.event());
    if (Status ours = take(event, message.missed()); !ours.ok()) {
      context.TryCancel();
      reader->Finish();
      return ours;
    }
  }
  const grpc::Status reply = reader->Finish();
  return reply.ok() ? Status() : internal::FromGrpc(reply);
}

}  // namespace vecino
