// The bytes of Postings: the same in memory and in files. docs/storage_format.md tells them; all
// numbers are little-endian.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vecino::fields {

static_assert(std::endian::native == std::endian::little);

inline constexpr uint32_t kPostingsMagic = 0x54534f50;  // "POST"
inline constexpr uint32_t kPostingsVersion = 1;

struct PostingsHeader {
  uint32_t magic = kPostingsMagic;
  uint32_t version = kPostingsVersion;
  uint32_t analyzer = 0;    // kAnalyzerVersion
  uint32_t documents = 0;   // slots
  uint32_t with_words = 0;  // documents whose norm is not 0
  uint32_t terms = 0;
  uint64_t total_length = 0;    // words of all documents: the sum of all frequencies
  uint64_t name_bytes = 0;      // below 2^32
  uint64_t postings_bytes = 0;  // kPostingsSlack among them
};
static_assert(sizeof(PostingsHeader) == 48);

// Behind the header, each at a multiple of 8 bytes: norms (one byte a slot), TermRecord[terms + 1]
// in ascending order of name (the last one's name_begin is name_bytes), names, postings.
struct TermRecord {
  uint32_t name_begin = 0;
  uint32_t frequency = 0;  // documents that have it, at least 1
  // Where its postings begin; of a term in one document: slot | uint64_t{frequency in it} << 32.
  uint64_t postings = 0;
};
static_assert(sizeof(TermRecord) == 16);

// A term's postings: PostingsBlock for each block, then each block's bits: the distances of its
// slots, less one, from the slot before (the first of all: from -1), `slot_bits` each; then, from
// the next whole byte on, its frequencies, less one, `frequency_bits` each, to the next whole byte.
// Every block but the last has kBlockPostings.
inline constexpr uint32_t kBlockPostings = 128;
struct PostingsBlock {
  uint32_t last_slot = 0;
  uint8_t max_frequency = 0;  // 255: that or more
  uint8_t min_norm = 0;
  uint8_t slot_bits = 0;       // at most 32
  uint8_t frequency_bits = 0;  // at most 32
};
static_assert(sizeof(PostingsBlock) == 8);

// So many bytes behind the last postings may be read.
inline constexpr size_t kPostingsSlack = 8;

constexpr size_t PadTo8(size_t n) { return (n + 7) & ~size_t{7}; }
constexpr uint32_t BlocksOf(uint32_t frequency) {
  return (frequency + kBlockPostings - 1) / kBlockPostings;
}
constexpr size_t PackedBytes(uint32_t count, uint32_t bits) {
  return (static_cast<size_t>(count) * bits + 7) / 8;
}
inline PostingsBlock LoadBlock(const uint8_t* table, size_t i) {
  PostingsBlock block;
  std::memcpy(&block, table + i * sizeof block, sizeof block);
  return block;
}

// Lengths as one byte: exact up to 31, then to five significant bits (off by 3 % at most, 1.5 % in
// the mean), the highest standing for 507,904 and more. Ascending; 0 is for a document without
// words.
constexpr uint8_t NormOf(uint32_t length) {
  if (length < 32) return static_cast<uint8_t>(length);
  const int shift = std::bit_width(length) - 5;
  if (shift > 14) return 255;
  return static_cast<uint8_t>(static_cast<uint32_t>(shift) * 16 + (length >> shift));
}
// The middle of the lengths with this norm.
constexpr float LengthOf(uint8_t norm) {
  if (norm < 32) return norm;
  const uint32_t shift = norm / 16u - 1;
  const uint32_t first = (norm % 16u + 16) << shift;
  return static_cast<float>(first) + static_cast<float>((1u << shift) - 1) / 2;
}

}  // namespace vecino::fields
