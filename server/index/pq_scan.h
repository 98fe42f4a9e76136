// Scanning 4-bit product codes with table look-ups in registers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "server/index/cpu.h"

namespace vecino::index {

// Layout. Codes of 16 rows make a block. `m` sub-quantizers make groups = ceil(m / 8) groups of 8,
// missing ones coded 0 with tables of zeros. A group of a block is 64 bytes: byte 4·r + j holds,
// for row r, the code of sub-quantizer 8g + j in its low and of 8g + 4 + j in its high 4 bits (j
// 0..3). So a block is 64 · groups bytes: 48 bytes a row for m = 96. Rows missing at a list's end
// are 0.
constexpr int kPqBlockRows = 16;
constexpr size_t PqGroups(size_t m) { return (m + 7) / 8; }
constexpr size_t PqBlockBytes(size_t m) { return 64 * PqGroups(m); }
constexpr size_t PqTableBytes(size_t m) { return 128 * PqGroups(m); }

// codes: m bytes of 0..15 for one row. block: PqBlockBytes(m), only row's nibbles change (they must
// be 0 before PqPack). row: 0..15.
void PqPack(const uint8_t* codes, size_t m, uint8_t* block, int row);
void PqUnpack(const uint8_t* block, size_t m, int row, uint8_t* codes);
// Copies the codes of one row from block to block without decoding; `to` as for PqPack.
void PqCopyRow(const uint8_t* from, int from_row, size_t m, uint8_t* to, int to_row);

// A row that a scan found: the higher the sum, the better.
struct PqCandidate {
  uint32_t sum;
  uint32_t slot;
};

// Looks `blocks` (n_blocks of PqBlockBytes(m), fastest when 64-byte aligned) up in `tables`
// (PqTableBytes(m): 16 bytes for each sub-quantizer, in order) and appends to `out` every row whose
// sum of looked-up bytes is greater than `threshold` and whose bit in live[block] is set (bit r is
// row r). Slot: first_slot + 16 · block + row. Returns how many were appended, in order of slots;
// `out` needs room for 16 · n_blocks. All levels append the same.
// Needs m ≤ 4096 · 16. Thread safe.
size_t PqScan(const uint8_t* blocks, size_t n_blocks, size_t m, const uint8_t* tables,
              const uint16_t* live, uint32_t threshold, uint32_t first_slot, PqCandidate* out,
              CpuLevel level = BestCpuLevel());

// Asks for blocks of a list that is to be scanned next; a fifth less time from memory when done
// before each PqScan for the list after it. Any address will do.
inline void PqPrefetch(const uint8_t* blocks, size_t m, size_t n_blocks) {
  for (size_t i = 0; i < n_blocks * PqBlockBytes(m); i += 64) __builtin_prefetch(blocks + i, 0, 2);
}

}  // namespace vecino::index
