// Values of every column family, as docs/storage_format.md tells them. Each begins with a version
// byte.
//
// The Decode functions return DATA_LOSS saying what is wrong with the bytes; the caller adds the
// column family and the key with Damaged(). Pure functions; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/document.h"
#include "storage/keys.h"
#include "storage/shard_log.h"

namespace vecino::storage {

inline constexpr uint8_t kValueVersion = 1;

// documents. Neither the vector nor the sequence number (it is in the key) is part of the value.
std::string EncodeDocument(std::string_view id, const Document& document);
// Fills id, times, and the parts asked for.
absl::Status DecodeDocument(std::string_view bytes, const DocumentParts& parts, Document* document);

// vectors. `out`: exactly `vector`'s floats; a view into `bytes` could be misaligned.
std::string EncodeVector(std::span<const float> vector);
absl::Status DecodeVector(std::string_view bytes, std::span<float> out);
// The same for `rows` of them, row-major, 1 or more; decoded are 1 to max_rows of `dimension`
// floats each.
std::string EncodeVectors(std::span<const float> vectors, size_t rows);
absl::Status DecodeVectors(std::string_view bytes, size_t dimension, size_t max_rows,
                           std::vector<float>* out);

// ids.
std::string EncodeIdEntry(const IdEntry& entry);
absl::StatusOr<IdEntry> DecodeIdEntry(std::string_view bytes);

// changes. The id is kept for a replicated log and for people; replay does not need it.
struct ChangeRecord {
  Mutation::Kind kind = Mutation::Kind::kPut;
  uint64_t replaces = 0;
  std::string_view id;  // points into the decoded bytes
};
std::string EncodeChange(const ChangeRecord& record);
absl::StatusOr<ChangeRecord> DecodeChange(std::string_view bytes);

// One number: next uid, openings, a shard's last sequence number.
std::string EncodeNumber(uint64_t value);
absl::StatusOr<uint64_t> DecodeNumber(std::string_view bytes);

// An expiry: its key says all, so nothing but the version byte.
std::string EncodeExpiry();
absl::Status CheckExpiry(std::string_view bytes);

// A manifest, or an operation: bytes of the engine behind the version byte.
std::string EncodeManifest(std::string_view bytes);
absl::StatusOr<std::string> DecodeManifest(std::string_view bytes);

// The store's format version: u32 little-endian and nothing else, the same in every version.
std::string EncodeFormat(uint32_t version);
absl::StatusOr<uint32_t> DecodeFormat(std::string_view bytes);

// `status` with the column family and the key put in front.
absl::Status Damaged(Family family, std::string_view key, const absl::Status& status);

}  // namespace vecino::storage
