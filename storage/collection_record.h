// A collection's definition as it is stored in the catalog.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vecino::storage {

// Values are on disk: never renumber.
enum class StoredMetric : uint8_t { kCosine = 1, kDot = 2, kL2 = 3 };
enum class StoredIndexKind : uint8_t { kFlat = 1 };

// A collection's definition. Immutable after creation in this version of the format.
struct CollectionRecord {
  uint32_t uid = 0;  // given by the store, never reused; prefix of every key of the collection
  std::string id;
  uint32_t dimension = 0;
  StoredMetric metric = StoredMetric::kCosine;
  uint32_t shard_count = 0;
  StoredIndexKind index_kind = StoredIndexKind::kFlat;
  std::string model;       // model name, empty for none
  std::string model_hash;  // lower-case hex SHA-256, empty for none
  int64_t create_time_us = 0;
};

// Encodes as docs/storage_format.md says, under "Collection record".
std::string EncodeCollectionRecord(const CollectionRecord& record);

// DATA_LOSS when `bytes` is not a whole record of a known version.
absl::StatusOr<CollectionRecord> DecodeCollectionRecord(std::string_view bytes);

}  // namespace vecino::storage
