// Column families and keys, as docs/storage_format.md tells them. Pure functions; thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "storage/codec.h"

namespace vecino::storage {

// Version of everything on disk; in meta under kFormatKey. A store with a higher one is not opened.
inline constexpr uint32_t kFormatVersion = 3;

// First byte of every key but kFormatKey, which must stay readable to every version.
inline constexpr uint8_t kKeyVersion = 1;
inline constexpr std::string_view kFormatKey = "format";

// Longest document id, in bytes. From the contract in storage/document.h.
inline constexpr size_t kMaxIdBytes = 512;

enum class Family : size_t { kMeta, kDocuments, kVectors, kIds, kChanges };
inline constexpr size_t kFamilyCount = 5;

// RocksDB insists on a family called "default"; it is our `meta`.
inline constexpr std::array<const char*, kFamilyCount> kFamilyNames = {"default", "documents",
                                                                       "vectors", "ids", "changes"};

// The name for messages and for the format document: `meta` for kMeta.
std::string_view FamilyLabel(Family family);

// Second byte of a key in meta. On disk: never reuse.
enum class MetaKind : uint8_t {
  kNextUid = 'u',     // no more bytes
  kOpenings = 'o',    // no more bytes
  kCollection = 'c',  // then uid
  kDropping = 'd',    // then uid
  kShardState = 's',  // then uid, shard
  kManifest = 'm',    // then uid, shard
  kExpiry = 'x',      // then uid, shard, expire time u64 BE, sequence u64 BE
  kAlias = 'a',       // then the alias' id
  kOperation = 'p',   // then uid, number u64 BE
  kMark = 'k',        // then uid, shard, token
  kMigration = 'g',   // then uid
};

std::string MetaKey(MetaKind kind);
std::string MetaKey(MetaKind kind, uint32_t uid);
std::string MetaKey(MetaKind kind, uint32_t uid, uint16_t shard);
// expire_time_us: above 0.
std::string ExpiryKey(uint32_t uid, uint16_t shard, int64_t expire_time_us, uint64_t sequence);

std::string AliasKey(std::string_view id);
std::string OperationKey(uint32_t uid, uint64_t number);

// In the other families: version | uid u32 BE | shard u16 BE | sequence u64 BE or id bytes.
std::string UidPrefix(uint32_t uid);
std::string ShardPrefix(uint32_t uid, uint16_t shard);
std::string SequenceKey(uint32_t uid, uint16_t shard, uint64_t sequence);
std::string IdKey(uint32_t uid, uint16_t shard, std::string_view id);
inline constexpr size_t kShardPrefixBytes = 7;

// The uid of a kCollection, kDropping or kMigration key; false when `key` is none.
bool ParseMetaUid(std::string_view key, MetaKind kind, uint32_t* uid);

// The parts of a key made by AliasKey or OperationKey; false when `key` is none.
bool ParseAliasKey(std::string_view key, std::string_view* id);
bool ParseOperationKey(std::string_view key, uint32_t* uid, uint64_t* number);

// The sequence number of a key made by SequenceKey; false when `key` has another length.
bool ParseSequence(std::string_view key, uint64_t* sequence);

// What an ExpiryKey says; false when `key` is none.
bool ParseExpiry(std::string_view key, int64_t* expire_time_us, uint64_t* sequence);

// The first key after all keys that start with `prefix`. `prefix` must hold a byte under 0xff; all
// of the above do.
std::string PrefixEnd(std::string_view prefix);

}  // namespace vecino::storage
