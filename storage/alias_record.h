// A second name of a collection, as it is stored.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vecino::storage {

struct AliasRecord {
  std::string id;
  uint32_t uid = 0;            // of the collection
  int64_t create_time_us = 0;  // microseconds since the Unix epoch
  int64_t update_time_us = 0;  // when it was pointed to that collection
};

// The value, as docs/storage_format.md tells it; the id is in the key. DATA_LOSS saying what is
// wrong with the bytes. Pure functions; thread-safe.
std::string EncodeAlias(const AliasRecord& record);
absl::StatusOr<AliasRecord> DecodeAlias(std::string_view id, std::string_view bytes);

}  // namespace vecino::storage
