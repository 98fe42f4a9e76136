// Messages between the wire and C++, with a reason when they cannot be read.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

namespace vecino::rpc {

// Reads `buffer` into `message`. INVALID_ARGUMENT when it is not such a message; where a string is
// not UTF-8, which protobuf refuses without saying where, the status names its field. (gRPC's own
// reading would answer INTERNAL, "Unable to parse request".)
absl::Status ReadMessage(const grpc::ByteBuffer& buffer, google::protobuf::Message* message);

// Writes `message`. RESOURCE_EXHAUSTED, not retryable, when it takes over `max_bytes`; `advice`
// says what the caller can lower.
absl::Status WriteMessage(const google::protobuf::Message& message, size_t max_bytes,
                          std::string_view advice, grpc::ByteBuffer* buffer);

// Path of the first string field in `bytes` that is not UTF-8, such as `documents[3].text`, or
// empty.
std::string FindInvalidUtf8(const google::protobuf::Descriptor& type, std::string_view bytes);

}  // namespace vecino::rpc
