#include "server/rpc/health_service.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <optional>
#include <utility>

namespace vecino::rpc {
namespace {

constexpr int kCheck = 0, kWatch = 1;  // numbers of the methods

// The field `service` of a HealthCheckRequest; nullopt when it is none.
std::optional<std::string> NameIn(const grpc::ByteBuffer& request) {
  using google::protobuf::internal::WireFormatLite;
  std::string name;
  if (request.Length() == 0) return name;
  grpc::ByteBuffer bytes = request;
  grpc::ProtoBufferReader slices(&bytes);
  google::protobuf::io::CodedInputStream in(&slices);
  while (const uint32_t tag = in.ReadTag()) {
    if (tag == WireFormatLite::MakeTag(1, WireFormatLite::WIRETYPE_LENGTH_DELIMITED)) {
      uint32_t length = 0;
      if (!in.ReadVarint32(&length) || !in.ReadString(&name, static_cast<int>(length))) {
        return std::nullopt;
      }
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      return std::nullopt;
    }
  }
  if (!in.ConsumedEntireMessage()) return std::nullopt;
  return name;
}

// A HealthCheckResponse.
grpc::ByteBuffer Message(char status) {
  const char bytes[] = {'\x08', status};  // field 1, a varint
  const grpc::Slice slice(bytes, sizeof bytes);
  return grpc::ByteBuffer(&slice, 1);
}

const grpc::Status kMalformed(grpc::StatusCode::INVALID_ARGUMENT,
                              "the request is not a HealthCheckRequest");

}  // namespace

HealthService::HealthService()
    : service_({{.path = "/grpc.health.v1.Health/Check", .streams = false},
                {.path = "/grpc.health.v1.Health/Watch", .streams = true}}) {}

void HealthService::Serve(grpc::ServerCompletionQueue* queue) {
  UnaryCall::Request(this, &service_, kCheck, nullptr, queue);
  StreamCall::Request(this, &service_, kWatch, nullptr, queue);
}

HealthService::Status HealthService::StatusOf(const std::string& name) const {
  const auto found = statuses_.find(name);
  return found == statuses_.end() ? Status::kServiceUnknown : found->second;
}

void HealthService::Tell(Watcher* watcher) {
  const Status status = StatusOf(watcher->name);
  if (watcher->writing || watcher->ended || status == watcher->sent) return;
  watcher->sent = status;
  watcher->writing = true;
  watcher->call->Write(Message(static_cast<char>(status)));
}

void HealthService::Set(std::string_view name, bool serving) {
  absl::MutexLock lock(&mutex_);
  statuses_[std::string(name)] = serving ? Status::kServing : Status::kNotServing;
  for (const auto& [call, watcher] : watchers_) Tell(watcher.get());
}

void HealthService::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  // The callers are gone, but it may not have been told yet, and then it would be too late.
  for (const auto& [call, watcher] : watchers_) {
    if (!std::exchange(watcher->ended, true) && !watcher->writing) {
      watcher->call->Finish(grpc::Status::CANCELLED);
    }
  }
}

bool HealthService::OnReceived(UnaryCall* call) {
  absl::MutexLock lock(&mutex_);
  if (closed_) return false;
  UnaryCall::Request(this, &service_, kCheck, nullptr, call->queue());
  const std::optional<std::string> name = NameIn(call->request());
  const Status status = name.has_value() ? StatusOf(*name) : Status::kServiceUnknown;
  if (!name.has_value()) {
    call->Finish(kMalformed);
  } else if (status == Status::kServiceUnknown) {
    call->Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, "there is no such service"));
  } else {
    call->Finish(Message(static_cast<char>(status)), grpc::Status::OK);
  }
  return true;
}

bool HealthService::OnReceived(StreamCall* call) {
  Watcher* added = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    if (closed_) return false;
    StreamCall::Request(this, &service_, kWatch, nullptr, call->queue());
    std::optional<std::string> name = NameIn(call->request());
    if (!name.has_value()) {
      call->Finish(kMalformed);
      return true;
    }
    auto watcher = std::make_unique<Watcher>();
    watcher->name = *std::move(name);
    watcher->call = call;
    // The first message is always sent.
    watcher->sent = StatusOf(watcher->name);
    watcher->writing = true;
    added = watchers_.emplace(call, std::move(watcher)).first->second.get();
  }
  // Runs at once when the caller has gone already, so without the lock; the call stays while it is
  // `writing`.
  added->on_gone = std::make_unique<std::stop_callback<std::function<void()>>>(
      call->engine_context().stop, [this, call] { OnGone(call); });
  absl::MutexLock lock(&mutex_);
  if (closed_) return false;
  call->Write(Message(static_cast<char>(added->sent)));
  return true;
}

void HealthService::OnGone(StreamCall* call) {
  absl::MutexLock lock(&mutex_);
  const auto found = watchers_.find(call);
  if (found == watchers_.end() || std::exchange(found->second->ended, true)) return;
  if (!found->second->writing) call->Finish(grpc::Status::CANCELLED);
}

bool HealthService::OnWritten(StreamCall* call, bool ok) {
  absl::MutexLock lock(&mutex_);
  if (closed_) return false;
  Watcher& watcher = *watchers_.at(call);
  watcher.writing = false;
  if (watcher.ended || !ok) {
    watcher.ended = true;
    call->Finish(grpc::Status::CANCELLED);
  } else {
    Tell(&watcher);
  }
  return true;
}

void HealthService::OnFinished(ServerCall* call) {
  std::unique_ptr<Watcher> gone;  // freed without the lock: it waits for OnGone, which takes it
  absl::MutexLock lock(&mutex_);
  if (const auto found = watchers_.find(call); found != watchers_.end()) {
    gone = std::move(found->second);
    watchers_.erase(found);
  }
}

}  // namespace vecino::rpc
