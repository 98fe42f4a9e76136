// What ties the two sides of a collection whose embeddings are migrated, as it is stored.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "storage/collection_record.h"

namespace vecino::storage {

// Sequence numbers of a shard are given out in ranges of 2^40, one for each side that a collection
// ever had: a number says of which side it is. Below 2^11 ranges, so below 2^51 numbers.
inline constexpr int kRangeBits = 40;
inline constexpr uint64_t kMaxRange = (uint64_t{1} << 11) - 1;
constexpr uint64_t RangeOf(uint64_t sequence) { return sequence >> kRangeBits; }
constexpr uint64_t FirstOfRange(uint64_t range) { return range << kRangeBits; }

// Stays when a migration has ended, so that no range is given out twice.
struct MigrationRecord {
  uint32_t uid = 0;                       // of the collection, the side that callers see
  uint64_t last_range = 0;                // the highest that was given out: that of its newest side
  std::optional<CollectionRecord> other;  // the hidden side, with a uid of its own; none: no
                                          // migration runs
  std::string bytes;                      // the engine's
};

// The value, as docs/storage_format.md tells it; the uid is in the key. DATA_LOSS saying what is
// wrong with the bytes. Pure functions; thread-safe.
std::string EncodeMigration(const MigrationRecord& record);
absl::StatusOr<MigrationRecord> DecodeMigration(uint32_t uid, std::string_view bytes);

}  // namespace vecino::storage
