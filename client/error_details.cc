#include "client/error_details.h"

#include <google/rpc/error_details.pb.h>

#include <algorithm>
#include <string>

namespace vecino::internal {
namespace {

Code ToCode(int number) {
  return number >= 0 && number <= static_cast<int>(Code::kUnauthenticated)
             ? static_cast<Code>(number)
             : Code::kUnknown;
}

std::string BadField(const google::rpc::Status& status) {
  for (const google::protobuf::Any& detail : status.details()) {
    google::rpc::BadRequest bad_request;
    if (!detail.Is<google::rpc::BadRequest>() || !detail.UnpackTo(&bad_request)) continue;
    if (bad_request.field_violations_size() > 0) return bad_request.field_violations(0).field();
  }
  return {};
}

// False when there are no details or they are not a google.rpc.Status.
bool ParseDetails(const grpc::Status& status, google::rpc::Status* details) {
  return !status.error_details().empty() && details->ParseFromString(status.error_details());
}

}  // namespace

Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return Status();
  google::rpc::Status details;
  std::string field = ParseDetails(status, &details) ? BadField(details) : std::string();
  return Status(ToCode(status.error_code()), status.error_message(), std::move(field));
}

Status FromRpc(const google::rpc::Status& status) {
  if (status.code() == 0) return Status();
  return Status(ToCode(status.code()), status.message(), BadField(status));
}

std::optional<std::chrono::nanoseconds> RetryDelay(const grpc::Status& status) {
  google::rpc::Status details;
  if (!ParseDetails(status, &details)) return std::nullopt;
  for (const google::protobuf::Any& detail : details.details()) {
    google::rpc::RetryInfo info;
    if (!detail.Is<google::rpc::RetryInfo>() || !detail.UnpackTo(&info)) continue;
    const auto delay = std::chrono::seconds(info.retry_delay().seconds()) +
                       std::chrono::nanoseconds(info.retry_delay().nanos());
    return std::max<std::chrono::nanoseconds>(delay, std::chrono::nanoseconds(0));
  }
  return std::nullopt;
}

}  // namespace vecino::internal
