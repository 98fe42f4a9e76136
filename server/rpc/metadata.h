// Metadata between google.protobuf.Struct and the JSON text that is stored.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/struct.pb.h"

namespace vecino::rpc {

// JSON text with keys in byte order, the same for equal structs. INVALID_ARGUMENT naming `field`
// when it is deeper than 32 levels, longer than 64 KiB, or holds a number that JSON does not have
// (NaN, infinity) or a value of no kind.
absl::StatusOr<std::string> MetadataToJson(std::string_view field,
                                           const google::protobuf::Struct& metadata);

// The other way. Written by hand because protobuf's own takes tens of microseconds a document, more
// than a whole search. DATA_LOSS when `json` is not an object of at most 32 levels: it is read from
// the store.
absl::Status JsonToMetadata(std::string_view json, google::protobuf::Struct* metadata);

}  // namespace vecino::rpc
