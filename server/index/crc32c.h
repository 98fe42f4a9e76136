// CRC-32C (Castagnoli), at the speed of memory where the CPU has an instruction for it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vecino::index {

// Of the bytes that gave `crc` followed by these; 0 is the checksum of nothing. Thread safe.
uint32_t ExtendCrc32c(uint32_t crc, const void* data, size_t bytes);

inline uint32_t Crc32c(const void* data, size_t bytes) { return ExtendCrc32c(0, data, bytes); }

// The two that ExtendCrc32c chooses from, for tests. The first needs SSE 4.2.
bool HasCrc32cInstruction();
uint32_t ExtendCrc32cByInstruction(uint32_t crc, const void* data, size_t bytes);
uint32_t ExtendCrc32cByTable(uint32_t crc, const void* data, size_t bytes);

}  // namespace vecino::index
