// CRC-32C (Castagnoli), as RocksDB's write-ahead log uses it.
#pragma once

#include <cstdint>
#include <string_view>

namespace vecino::storage {

// Portable; about 1 byte a cycle. Thread-safe.
uint32_t Crc32c(std::string_view bytes);
// The checksum of bytes whose checksum is `crc` (0: none yet), followed by `bytes`.
uint32_t ExtendCrc32c(uint32_t crc, std::string_view bytes);

// Undoes the rotation and offset RocksDB stores its checksums with.
uint32_t UnmaskCrc32c(uint32_t masked);

}  // namespace vecino::storage
