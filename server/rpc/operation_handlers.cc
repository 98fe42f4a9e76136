#include "server/rpc/operation_handlers.h"

#include <algorithm>

#include "absl/time/clock.h"
#include "server/rpc/conversions.h"
#include "server/rpc/index_conversions.h"
#include "server/rpc/page_token.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

namespace longrunning = google::longrunning;

constexpr char kListOperations[] = "ListOperations";
// What a reply that is due at the caller's deadline may take to arrive.
constexpr absl::Duration kReplyTime = absl::Milliseconds(200);

}  // namespace

absl::Status OperationHandlers::ListOperations(const longrunning::ListOperationsRequest& request,
                                               longrunning::ListOperationsResponse* response,
                                               const engine::CallContext&) {
  const bool of_snapshot = IsOfSnapshot(request.name());
  auto owner = of_snapshot ? ParseSnapshotName("name", request.name())
                           : ParseCollectionName("name", request.name());
  if (!owner.ok()) return owner.status();
  if (!request.filter().empty()) {
    return engine::InvalidField("filter", "is set, and operations cannot be filtered; leave it");
  }
  auto page_size = ReadPageSize(request.page_size());
  if (!page_size.ok()) return page_size.status();
  PagePosition position;
  if (!request.page_token().empty()) {
    auto read = ReadPageToken(kListOperations, request.name(), request.page_token());
    if (!read.ok()) return read.status();
    position = *std::move(read);
  }
  // One more, to know whether another page follows.
  auto infos = of_snapshot
                   ? engine_.snapshots().ListOperations(*owner, position.after_id, *page_size + 1)
                   : engine_.ListOperations(*owner, position.after_id, *page_size + 1);
  if (!infos.ok()) return infos.status();
  for (const engine::Operation::Info& info : *infos) {
    if (response->operations_size() == *page_size) {
      const std::string& last = (*infos)[*page_size - 1].id;
      response->set_next_page_token(
          MakePageToken(kListOperations, request.name(), {.after_id = last}));
      break;
    }
    WriteOperation(info, response->add_operations());
  }
  return absl::OkStatus();
}

absl::Status OperationHandlers::GetOperation(const longrunning::GetOperationRequest& request,
                                             longrunning::Operation* response,
                                             const engine::CallContext&) {
  auto name = ParseOperationName("name", request.name());
  if (!name.ok()) return name.status();
  auto info = name->of_snapshot
                  ? engine_.snapshots().GetOperation(name->collection, name->operation)
                  : engine_.GetOperation(name->collection, name->operation);
  if (!info.ok()) return info.status();
  WriteOperation(*info, response);
  return absl::OkStatus();
}

absl::Status OperationHandlers::DeleteOperation(const longrunning::DeleteOperationRequest& request,
                                                google::protobuf::Empty*,
                                                const engine::CallContext&) {
  auto name = ParseOperationName("name", request.name());
  if (!name.ok()) return name.status();
  if (name->of_snapshot) {
    return engine_.snapshots().DeleteOperation(name->collection, name->operation);
  }
  return engine_.DeleteOperation(name->collection, name->operation);
}

absl::Status OperationHandlers::CancelOperation(const longrunning::CancelOperationRequest& request,
                                                google::protobuf::Empty*,
                                                const engine::CallContext&) {
  auto name = ParseOperationName("name", request.name());
  if (!name.ok()) return name.status();
  if (name->of_snapshot) {
    return engine_.snapshots().CancelOperation(name->collection, name->operation);
  }
  return engine_.CancelOperation(name->collection, name->operation);
}

absl::Status OperationHandlers::WaitOperation(const longrunning::WaitOperationRequest& request,
                                              longrunning::Operation* response,
                                              const engine::CallContext& context) {
  auto name = ParseOperationName("name", request.name());
  if (!name.ok()) return name.status();
  absl::Duration timeout = engine::Engine::kMaxOperationWait;
  if (request.has_timeout()) {
    timeout =
        absl::Seconds(request.timeout().seconds()) + absl::Nanoseconds(request.timeout().nanos());
    if (timeout < absl::ZeroDuration()) {
      return engine::InvalidField(
          "timeout", Concat("is ", absl::FormatDuration(timeout), "; it must not be negative"));
    }
  }
  timeout = std::min(timeout, context.deadline - absl::Now() - kReplyTime);
  timeout = std::max(timeout, absl::ZeroDuration());
  auto info =
      name->of_snapshot
          ? engine_.snapshots().WaitOperation(name->collection, name->operation, timeout, context)
          : engine_.WaitOperation(name->collection, name->operation, timeout, context);
  if (!info.ok()) return info.status();
  WriteOperation(*info, response);
  return absl::OkStatus();
}

}  // namespace vecino::rpc
