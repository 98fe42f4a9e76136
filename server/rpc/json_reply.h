// Replies and errors in proto3 JSON.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/message.h"
#include "server/rpc/http_reply.h"

namespace vecino::rpc {

// Appends `message` in proto3 JSON, without white space: names in lowerCamelCase, fields in order
// of number, keys of maps in order of bytes, absent fields left out, 64-bit integers as strings,
// floats with as many digits as it takes to read the same one again, NaN and infinities as strings,
// messages in an Any with all their fields. INTERNAL where there is no JSON for it: deeper than
// ReadMessage reads, an Any of an unknown type, a Timestamp or Duration out of its range.
//
// Why not protobuf's own: its writer (3.21) gives up at 64 messages in each other, and metadata of
// 32 levels is deeper. tests/fuzz compares the two.
absl::Status WriteJson(const google::protobuf::Message& message, std::string* out);

// HTTP's status for gRPC's code, as google/rpc/code.proto has it.
int HttpStatusOf(int grpc_code);

// The status as google.rpc.Status in JSON, with its details, and HTTP's status for it.
HttpReply JsonError(const absl::Status& status);

}  // namespace vecino::rpc
