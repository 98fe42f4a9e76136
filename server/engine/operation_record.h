// An operation as it is stored, so that a restart does not forget it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/engine/operation.h"

namespace vecino::engine {

// The bytes, as docs/storage_format.md tells them. Payloads of statuses are left out.
std::string EncodeOperation(const Operation::Info& info);

// DATA_LOSS saying what is wrong. Collection and number are in the key.
absl::StatusOr<Operation::Info> DecodeOperation(std::string_view collection, uint64_t number,
                                                std::string_view bytes);

}  // namespace vecino::engine
