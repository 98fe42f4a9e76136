// Metadata as the wire has it (google.protobuf.Struct) and as callers have it (JSON text).
#pragma once

#include <google/protobuf/struct.pb.h>

#include <string>

#include "client/vecino/client.h"

namespace vecino::internal {

// One JSON object on one line, keys in byte order, so that equal metadata is equal text. Whole
// numbers below 2^53 are written without a point; others with the fewest digits that read back the
// same. Numbers JSON has no form for (NaN, infinities) become null. Empty text for an empty object.
std::string ToJson(const google::protobuf::Struct& metadata);
// One value in the same way; `null` for one without a kind.
std::string ToJson(const google::protobuf::Value& value);

// Parses one JSON object; empty text is an empty object. INVALID_ARGUMENT with `field` for anything
// else.
Status FromJson(const std::string& json, const std::string& field,
                google::protobuf::Struct* metadata);

}  // namespace vecino::internal
