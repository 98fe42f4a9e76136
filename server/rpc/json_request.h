// Requests in proto3 JSON, on their way to a method that reads messages.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/descriptor.h"

namespace vecino::rpc {

// Writes the message of `type` that `json` stands for into `*wire`, as gRPC would bring it.
//
// INVALID_ARGUMENT naming the field by proto names (`documents[3].text`) where one is at fault: it
// is not known, stands twice, is of another type or out of range; INVALID_ARGUMENT without one when
// it is not JSON or not UTF-8. RESOURCE_EXHAUSTED, not retryable, when the message takes more than
// `max_bytes`. `type` is of the generated pool. Throws nothing but bad_alloc.
absl::Status ReadJson(const google::protobuf::Descriptor& type, std::string_view json,
                      size_t max_bytes, std::string* wire);

}  // namespace vecino::rpc
