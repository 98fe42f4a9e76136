// A collection's definition as it is stored in the catalog.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vecino::storage {

// Values are on disk: never renumber.
enum class StoredMetric : uint8_t { kCosine = 1, kDot = 2, kL2 = 3 };
enum class StoredIndexKind : uint8_t {
  kFlat = 1,
  kAuto = 2,
  kIvfFlat = 3,
  kIvfSq8 = 4,
  kIvfPq = 5,
  kHnsw = 6,
  kLsh = 7,
};

// How a collection is indexed. A number that is 0 was left to the server.
struct StoredIndex {
  StoredIndexKind kind = StoredIndexKind::kFlat;
  uint32_t recall_millionths = 0;  // recall target, at most 1,000,000
  uint32_t nlist = 0;
  uint32_t nprobe = 0;
  uint32_t pq_m = 0;
  uint32_t pq_bits = 0;
  uint32_t hnsw_m = 0;
  uint32_t ef_construction = 0;
  uint32_t ef_search = 0;
  uint32_t lsh_bits = 0;
  bool no_graph = false;

  friend bool operator==(const StoredIndex&, const StoredIndex&) = default;
};

// A collection's definition. After creation only `index` is ever replaced (Store::PutIndex).
struct CollectionRecord {
  uint32_t uid = 0;  // given by the store, never reused; prefix of every key of the collection
  std::string id;
  uint32_t dimension = 0;
  StoredMetric metric = StoredMetric::kCosine;
  uint32_t shard_count = 0;
  StoredIndex index;
  std::string model;       // model name, empty for none
  std::string model_hash;  // lower-case hex SHA-256, empty for none
  int64_t create_time_us = 0;
  // Documents are split into passages of so many tokens, with a vector each; 0: they are not.
  uint32_t chunk_tokens = 0;
  uint32_t chunk_overlap = 0;  // tokens that a passage has in common with the next; 0 without them
  // Names of the model's prompts put before queries and documents; empty: `query`, `document`.
  std::string query_prompt, document_prompt;
};

// Encodes as docs/storage_format.md says, under "Collection record".
std::string EncodeCollectionRecord(const CollectionRecord& record);

// DATA_LOSS when `bytes` is not a whole record of a known version.
absl::StatusOr<CollectionRecord> DecodeCollectionRecord(std::string_view bytes);

}  // namespace vecino::storage
