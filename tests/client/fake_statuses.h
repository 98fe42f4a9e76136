// Statuses as the server sends them.
#pragma once

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>

#include <string>

namespace vecino::testing {

// INVALID_ARGUMENT with a BadRequest that names `field`.
inline google::rpc::Status BadField(const std::string& field, const std::string& message) {
  google::rpc::BadRequest bad_request;
  bad_request.add_field_violations()->set_field(field);
  google::rpc::Status status;
  status.set_code(3);
  status.set_message(message);
  status.add_details()->PackFrom(bad_request);
  return status;
}

inline grpc::Status ToGrpc(const google::rpc::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), status.message(),
                      status.SerializeAsString());
}

// RESOURCE_EXHAUSTED that says when to come back.
inline grpc::Status RetryLater(int milliseconds) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_nanos(milliseconds * 1'000'000);
  google::rpc::Status status;
  status.set_code(8);
  status.set_message("queue full");
  status.add_details()->PackFrom(info);
  return ToGrpc(status);
}

}  // namespace vecino::testing
