#include "server/rpc/status.h"

#include <optional>
#include <string>

#include "absl/strings/cord.h"
#include "google/rpc/error_details.pb.h"
#include "server/engine/types.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

constexpr size_t kMaxMessageBytes = 1000;
constexpr size_t kMaxFieldBytes = 200;
constexpr char kNotRetryable[] = "vecino/not-retryable";

// Long enough for a queue to move, short enough not to be felt.
constexpr int kBusyRetryMillis = 500;
// Loading and restarting take about a second.
constexpr int kUnavailableRetryMillis = 1000;

struct CodeTraits {
  grpc::StatusCode code;
  int retry_millis;  // 0: repeating the call as it is does not help
};

CodeTraits TraitsOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return {grpc::StatusCode::OK, 0};
    case absl::StatusCode::kCancelled:
      return {grpc::StatusCode::CANCELLED, 0};
    case absl::StatusCode::kUnknown:
      return {grpc::StatusCode::UNKNOWN, 0};
    case absl::StatusCode::kInvalidArgument:
      return {grpc::StatusCode::INVALID_ARGUMENT, 0};
    case absl::StatusCode::kDeadlineExceeded:
      return {grpc::StatusCode::DEADLINE_EXCEEDED, 0};
    case absl::StatusCode::kNotFound:
      return {grpc::StatusCode::NOT_FOUND, 0};
    case absl::StatusCode::kAlreadyExists:
      return {grpc::StatusCode::ALREADY_EXISTS, 0};
    case absl::StatusCode::kPermissionDenied:
      return {grpc::StatusCode::PERMISSION_DENIED, 0};
    case absl::StatusCode::kResourceExhausted:
      return {grpc::StatusCode::RESOURCE_EXHAUSTED, kBusyRetryMillis};
    case absl::StatusCode::kFailedPrecondition:
      return {grpc::StatusCode::FAILED_PRECONDITION, 0};
    case absl::StatusCode::kAborted:
      return {grpc::StatusCode::ABORTED, 0};
    case absl::StatusCode::kOutOfRange:
      return {grpc::StatusCode::OUT_OF_RANGE, 0};
    case absl::StatusCode::kUnimplemented:
      return {grpc::StatusCode::UNIMPLEMENTED, 0};
    case absl::StatusCode::kInternal:
      return {grpc::StatusCode::INTERNAL, 0};
    case absl::StatusCode::kUnavailable:
      return {grpc::StatusCode::UNAVAILABLE, kUnavailableRetryMillis};
    case absl::StatusCode::kDataLoss:
      return {grpc::StatusCode::DATA_LOSS, 0};
    case absl::StatusCode::kUnauthenticated:
      return {grpc::StatusCode::UNAUTHENTICATED, 0};
    case absl::StatusCode::kDoNotUseReservedForFutureExpansionUseDefaultInSwitchInstead_:
      break;
  }
  return {grpc::StatusCode::UNKNOWN, 0};
}

}  // namespace

void ToRpcStatus(const absl::Status& status, google::rpc::Status* out) {
  const CodeTraits traits = TraitsOf(status.code());
  out->Clear();
  out->set_code(traits.code);
  if (status.ok()) return;
  out->set_message(Printable(ToStd(status.message()), kMaxMessageBytes));
  if (const std::string field = engine::FieldOf(status); !field.empty()) {
    google::rpc::BadRequest bad_request;
    auto* violation = bad_request.add_field_violations();
    violation->set_field(Printable(field, kMaxFieldBytes));
    violation->set_description(out->message());
    out->add_details()->PackFrom(bad_request);
  }
  if (traits.retry_millis > 0 && !status.GetPayload(kNotRetryable).has_value()) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(traits.retry_millis / 1000);
    retry.mutable_retry_delay()->set_nanos(traits.retry_millis % 1000 * 1000000);
    out->add_details()->PackFrom(retry);
  }
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status rpc_status;
  ToRpcStatus(status, &rpc_status);
  return grpc::Status(static_cast<grpc::StatusCode>(rpc_status.code()), rpc_status.message(),
                      rpc_status.SerializeAsString());
}

absl::Status NotRetryable(absl::Status status) {
  status.SetPayload(kNotRetryable, absl::Cord());
  return status;
}

absl::Status MoveField(const absl::Status& status, std::string_view from, std::string_view to) {
  const std::string field = engine::FieldOf(status);
  if (field.empty() || from == to || !field.starts_with(from)) return status;
  // InvalidField has put the field before the message.
  std::string_view message = ToStd(status.message());
  if (const std::string start = field + ": "; message.starts_with(start)) {
    message.remove_prefix(start.size());
  }
  return engine::InvalidField(Concat(to, std::string_view(field).substr(from.size())), message);
}

}  // namespace vecino::rpc
