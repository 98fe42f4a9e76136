#include "server/index/crc32c.h"

#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace vecino::index {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr uint32_t kPolynomial = 0x82f63b78u;  // Castagnoli's, lowest bit first (RFC 3720, 12.1)

// kTables[k][b]: the remainder of byte b followed by k zero bytes.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables MakeTables() {
  Tables tables{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][b] = crc;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t b = 0; b < 256; ++b) {
      const uint32_t previous = tables[k - 1][b];
      tables[k][b] = (previous >> 8) ^ tables[0][previous & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

#if defined(__x86_64__)

// The instruction takes 3 cycles and can start every cycle, so three strips run side by side.
constexpr size_t kStripBytes = 1024;

// shift[k][b]: what byte k of a remainder with the value b becomes behind kStripBytes zero bytes.
using Shift = std::array<std::array<uint32_t, 256>, 4>;

Shift MakeShift() {
  std::array<uint32_t, 32> of_bit;
  for (size_t i = 0; i < 32; ++i) {
    uint32_t crc = uint32_t{1} << i;
    for (size_t n = 0; n < kStripBytes; ++n) crc = (crc >> 8) ^ kTables[0][crc & 0xff];
    of_bit[i] = crc;
  }
  Shift shift{};
  for (size_t k = 0; k < 4; ++k) {
    for (size_t b = 0; b < 256; ++b) {
      for (size_t bit = 0; bit < 8; ++bit) {
        if ((b >> bit & 1) != 0) shift[k][b] ^= of_bit[8 * k + bit];
      }
    }
  }
  return shift;
}

uint64_t PassStrip(const Shift& shift, uint64_t crc) {
  return shift[0][crc & 0xff] ^ shift[1][crc >> 8 & 0xff] ^ shift[2][crc >> 16 & 0xff] ^
         shift[3][crc >> 24 & 0xff];
}

inline uint64_t Word(const uint8_t* p) {
  uint64_t word;
  std::memcpy(&word, p, 8);
  return word;
}

__attribute__((target("sse4.2"))) uint32_t ByInstruction(const Shift& shift, uint32_t crc,
                                                         const uint8_t* p, size_t n) {
  uint64_t a = ~crc;
  for (; n >= 3 * kStripBytes; n -= 3 * kStripBytes, p += 3 * kStripBytes) {
    uint64_t b = 0, c = 0;
    for (size_t i = 0; i < kStripBytes; i += 8) {
      a = _mm_crc32_u64(a, Word(p + i));
      b = _mm_crc32_u64(b, Word(p + kStripBytes + i));
      c = _mm_crc32_u64(c, Word(p + 2 * kStripBytes + i));
    }
    a = PassStrip(shift, PassStrip(shift, a) ^ b) ^ c;
  }
  for (; n >= 8; n -= 8, p += 8) a = _mm_crc32_u64(a, Word(p));
  auto rest = static_cast<uint32_t>(a);
  for (; n > 0; --n, ++p) rest = _mm_crc32_u8(rest, *p);
  return ~rest;
}

#endif

}  // namespace

bool HasCrc32cInstruction() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("sse4.2");
#else
  return false;
#endif
}

uint32_t ExtendCrc32cByInstruction(uint32_t crc, const void* data, size_t bytes) {
#if defined(__x86_64__)
  static const Shift shift = MakeShift();
  return ByInstruction(shift, crc, static_cast<const uint8_t*>(data), bytes);
#else
  return ExtendCrc32cByTable(crc, data, bytes);
#endif
}

uint32_t ExtendCrc32cByTable(uint32_t crc, const void* data, size_t bytes) {
  const auto* p = static_cast<const uint8_t*>(data);
  crc = ~crc;
  for (; bytes >= 8; bytes -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    word ^= crc;
    crc = 0;
    for (size_t i = 0; i < 8; ++i) crc ^= kTables[7 - i][word >> (8 * i) & 0xff];
  }
  for (; bytes > 0; --bytes, ++p) crc = (crc >> 8) ^ kTables[0][(crc ^ *p) & 0xff];
  return ~crc;
}

uint32_t ExtendCrc32c(uint32_t crc, const void* data, size_t bytes) {
  static const bool by_instruction = HasCrc32cInstruction();
  return by_instruction ? ExtendCrc32cByInstruction(crc, data, bytes)
                        : ExtendCrc32cByTable(crc, data, bytes);
}

}  // namespace vecino::index
