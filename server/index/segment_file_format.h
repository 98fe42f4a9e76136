// The fixed parts of a segment file, as docs/storage_format.md has them. For segment_file*.cc only.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace vecino::index::segment_file_format {

static_assert(std::endian::native == std::endian::little, "the structs are written as they are");

inline constexpr char kMagic[8] = {'V', 'E', 'C', 'S', 'E', 'G', 0, 0};
inline constexpr char kEnd[4] = {'V', 'E', 'N', 'D'};
inline constexpr uint64_t kSectionAlignment = 4096;  // a page, for madvise; and any vector register
inline constexpr uint64_t kTableAlignment = 64;

// At byte 0. Magic, version, zero and checksum stay where they are in every version.
struct Header {
  char magic[8];
  uint32_t version;
  uint32_t zero;
  char type[16];  // padded with zeros, as are names
  uint32_t zeros[7];
  uint32_t crc;  // of the bytes before it
};
static_assert(sizeof(Header) == 64);

struct TableEntry {
  char name[24];
  uint64_t offset;
  uint64_t length;
  uint32_t crc;
  uint32_t zero;
};
static_assert(sizeof(TableEntry) == 48);

// The file's last bytes, right behind the table.
struct Footer {
  uint64_t table_offset;
  uint64_t file_length;
  uint32_t sections;
  uint32_t table_crc;
  uint32_t crc;  // of the bytes before it
  char end[4];
};
static_assert(sizeof(Footer) == 32);

inline constexpr uint64_t RoundUp(uint64_t n, uint64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace vecino::index::segment_file_format
