// What a request in JSON must look like before protobuf reads its values.
#pragma once

#include <cstddef>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/descriptor.h"

namespace vecino::rpc {

// Deepest that arrays and objects of a request may stand in each other. Metadata may be 32 levels
// deep; what is somewhat deeper is refused by the check that can say so. As messages on the wire 64
// levels are less deep than ReadMessage reads.
inline constexpr int kMaxJsonDepth = 64;

// Whether `json` is one JSON value (RFC 8259, UTF-8) of the shape that proto3 JSON gives `type`:
// every member is a field, under its lowerCamelCase or its proto name, none stands twice, no two of
// a oneof are set, and each value is of a JSON type that its field takes. The values themselves are
// not looked at. protobuf's own reader lets much of this pass, or does not name the place.
//
// INVALID_ARGUMENT naming the field, by proto names as in gRPC's errors (`documents[3].text`);
// without a field where it is not JSON at all. RESOURCE_EXHAUSTED, not retryable, once the message
// would certainly take more than `max_bytes` on the wire: numbers are up to six times shorter in
// JSON. Uses no stack for depth, and memory in proportion to the longest string, the depth, and the
// members of the objects that are open.
absl::Status CheckJsonShape(const google::protobuf::Descriptor& type, std::string_view json,
                            size_t max_bytes);

// What a message over the limit is refused with.
absl::Status TooManyBytes(size_t max_bytes);

}  // namespace vecino::rpc
