#include "server/index/pq_scan.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "server/index/simd.h"

namespace vecino::index {
namespace {

// What PqScan is given, but for the level.
struct Scan {
  const uint8_t* blocks;
  size_t n_blocks, groups;
  const uint8_t* tables;
  const uint16_t* live;
  uint32_t threshold, first_slot;
  PqCandidate* out;

  const uint8_t* block(size_t i) const { return blocks + i * 64 * groups; }
  uint32_t slot(size_t block) const {
    return first_slot + static_cast<uint32_t>(block) * kPqBlockRows;
  }
};

// Appends the rows of a block whose bit in `rows` is set.
size_t Append(const uint32_t* sums, uint32_t rows, uint32_t first_slot, PqCandidate* out) {
  size_t n = 0;
  for (; rows != 0; rows &= rows - 1) {
    const int row = std::countr_zero(rows);
    out[n++] = {sums[row], first_slot + static_cast<uint32_t>(row)};
  }
  return n;
}

size_t ScanPortable(const Scan& scan) {
  size_t found = 0;
  for (size_t b = 0; b < scan.n_blocks; ++b) {
    if (scan.live[b] == 0) continue;
    uint32_t sums[kPqBlockRows] = {};
    const uint8_t* codes = scan.block(b);
    const uint8_t* table = scan.tables;
    for (size_t g = 0; g < scan.groups; ++g, codes += 64, table += 128) {
      for (int row = 0; row < kPqBlockRows; ++row) {
        const uint8_t* c = codes + 4 * row;
        uint32_t sum = 0;
        for (int j = 0; j < 4; ++j) {
          sum += table[16 * j + (c[j] & 15)] + table[64 + 16 * j + (c[j] >> 4)];
        }
        sums[row] += sum;
      }
    }
    uint32_t rows = 0;
    for (int row = 0; row < kPqBlockRows; ++row) {
      rows |= static_cast<uint32_t>(sums[row] > scan.threshold) << row;
    }
    found += Append(sums, rows & scan.live[b], scan.slot(b), scan.out + found);
  }
  return found;
}

#if defined(__x86_64__)

// Sums of two sub-quantizers (one a half) for 16 rows in 16 bits: those at even and at odd places.
// `even` also takes in 256 × what `odd` does, modulo 2^16, which is taken off at the end.
struct Sums16 {
  __m256i even, odd;
};

VECINO_AVX2 inline void Look(__m256i table, __m256i indexes, Sums16* sums) {
  const __m256i found = _mm256_shuffle_epi8(table, indexes);
  sums->even = _mm256_add_epi16(sums->even, found);
  sums->odd = _mm256_add_epi16(sums->odd, _mm256_srli_epi16(found, 8));
}

// Both halves of 16-bit numbers, added up in 32 bits.
VECINO_AVX2 inline __m256i Halves(__m256i v) {
  return _mm256_add_epi32(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(v)),
                          _mm256_cvtepu16_epi32(_mm256_extracti128_si256(v, 1)));
}

// A shuffle looks all bytes of a half up in one table, so codes are first brought together by
// sub-quantizer: j = 0 and 1 as the halves of one register, j = 2 and 3 of another, each with rows
// in the order 0–3, 8–11, 4–7, 12–15.
VECINO_AVX2 size_t ScanAvx2(const Scan& scan) {
  constexpr size_t kGroups = 64;  // 4 · 64 bytes of at most 255 fit 16 bits
  const __m256i by_j = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  const __m256i low = _mm256_set1_epi8(15);
  // Sums are far below 2^31, so comparing signed does once the threshold is, too.
  const auto signed_threshold =
      static_cast<int>(std::min<uint32_t>(scan.threshold, std::numeric_limits<int32_t>::max()));
  const __m256i threshold = _mm256_set1_epi32(signed_threshold);
  size_t found = 0;
  for (size_t b = 0; b < scan.n_blocks; ++b) {
    if (scan.live[b] == 0) continue;
    const uint8_t* codes = scan.block(b);
    const uint8_t* table = scan.tables;
    __m256i first = _mm256_setzero_si256(), second = first;  // rows 0–7 and 8–15
    for (size_t g = 0; g < scan.groups;) {
      Sums16 sums = {_mm256_setzero_si256(), _mm256_setzero_si256()};
      const size_t end = std::min(scan.groups, g + kGroups);
      for (; g < end; ++g, codes += 64, table += 128) {
        const auto* at = reinterpret_cast<const __m256i*>(codes);
        const auto* t = reinterpret_cast<const __m256i*>(table);
        const __m256i x = _mm256_shuffle_epi8(_mm256_loadu_si256(at), by_j);
        const __m256i y = _mm256_shuffle_epi8(_mm256_loadu_si256(at + 1), by_j);
        const __m256i j01 = _mm256_permute4x64_epi64(_mm256_unpacklo_epi32(x, y), 0xd8);
        const __m256i j23 = _mm256_permute4x64_epi64(_mm256_unpackhi_epi32(x, y), 0xd8);
        Look(_mm256_loadu_si256(t), _mm256_and_si256(j01, low), &sums);
        Look(_mm256_loadu_si256(t + 1), _mm256_and_si256(j23, low), &sums);
        Look(_mm256_loadu_si256(t + 2), _mm256_and_si256(_mm256_srli_epi16(j01, 4), low), &sums);
        Look(_mm256_loadu_si256(t + 3), _mm256_and_si256(_mm256_srli_epi16(j23, 4), low), &sums);
      }
      const __m256i even = Halves(_mm256_sub_epi16(sums.even, _mm256_slli_epi16(sums.odd, 8)));
      const __m256i odd = Halves(sums.odd);
      first = _mm256_add_epi32(first, _mm256_unpacklo_epi32(even, odd));
      second = _mm256_add_epi32(second, _mm256_unpackhi_epi32(even, odd));
    }
    const int above_first =
        _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(first, threshold)));
    const int above_second =
        _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(second, threshold)));
    const uint32_t rows = static_cast<uint32_t>(above_first | above_second << 8) & scan.live[b];
    if (rows == 0) continue;
    alignas(32) uint32_t sums[kPqBlockRows];
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), first);
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums + 8), second);
    found += Append(sums, rows, scan.slot(b), scan.out + found);
  }
  return found;
}

// One group of one block: both nibbles of 64 bytes, each byte in the table of its sub-quantizer.
VECINO_AVX512 inline void Group(const uint8_t* codes, __m512i low_table, __m512i high_table,
                                __m512i* low_sums, __m512i* high_sums) {
  const __m512i nibble = _mm512_set1_epi8(15);
  const __m512i which = _mm512_set1_epi32(0x30201000);  // bits 4 and 5: byte j looks in table j
  const __m512i ones = _mm512_set1_epi8(1);
  constexpr int kAndOr = 0xea;  // (a & b) | c
  const __m512i x = _mm512_loadu_si512(codes);
  const __m512i low = _mm512_ternarylogic_epi32(x, nibble, which, kAndOr);
  const __m512i high = _mm512_ternarylogic_epi32(_mm512_srli_epi32(x, 4), nibble, which, kAndOr);
  *low_sums = _mm512_dpbusd_epi32(*low_sums, _mm512_permutexvar_epi8(low, low_table), ones);
  *high_sums = _mm512_dpbusd_epi32(*high_sums, _mm512_permutexvar_epi8(high, high_table), ones);
}

VECINO_AVX512 inline size_t Append512(__m512i sums, const Scan& scan, size_t block, size_t found) {
  const __mmask16 rows = _mm512_mask_cmpgt_epu32_mask(
      scan.live[block], sums, _mm512_set1_epi32(static_cast<int>(scan.threshold)));
  if (rows == 0) return found;
  const __m512i slots =
      _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(scan.slot(block))),
                       _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  const __m512i first = _mm512_permutex2var_epi32(
      sums, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), slots);
  const __m512i second = _mm512_permutex2var_epi32(
      sums, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), slots);
  const auto low = static_cast<__mmask8>(rows), high = static_cast<__mmask8>(rows >> 8);
  // Whole registers are written, which the room of 16 candidates a block has place for.
  _mm512_storeu_si512(scan.out + found, _mm512_maskz_compress_epi64(low, first));
  found += static_cast<size_t>(_mm_popcnt_u32(low));
  _mm512_storeu_si512(scan.out + found, _mm512_maskz_compress_epi64(high, second));
  return found + static_cast<size_t>(_mm_popcnt_u32(high));
}

// Two blocks with a live row at a time share the loads of the tables.
VECINO_AVX512 size_t ScanAvx512(const Scan& scan) {
  size_t found = 0, b = 0;
  for (;;) {
    while (b < scan.n_blocks && scan.live[b] == 0) ++b;
    if (b == scan.n_blocks) return found;
    const size_t one = b++;
    while (b < scan.n_blocks && scan.live[b] == 0) ++b;
    const bool pair = b < scan.n_blocks;
    const size_t two = pair ? b++ : one;
    const uint8_t *x = scan.block(one), *y = scan.block(two), *table = scan.tables;
    __m512i x_low = _mm512_setzero_si512(), x_high = x_low, y_low = x_low, y_high = x_low;
    if (pair) {
      // Lists cross pages, where the CPU's own prefetching stops; at the end this asks for nothing
      // new.
      const size_t ahead = two + 2 < scan.n_blocks ? 128 * scan.groups : 0;
      for (size_t g = 0; g < scan.groups; ++g, x += 64, y += 64, table += 128) {
        __builtin_prefetch(x + ahead);
        __builtin_prefetch(y + ahead);
        const __m512i low = _mm512_loadu_si512(table), high = _mm512_loadu_si512(table + 64);
        Group(x, low, high, &x_low, &x_high);
        Group(y, low, high, &y_low, &y_high);
      }
    } else {
      for (size_t g = 0; g < scan.groups; ++g, x += 64, table += 128) {
        Group(x, _mm512_loadu_si512(table), _mm512_loadu_si512(table + 64), &x_low, &x_high);
      }
    }
    found = Append512(_mm512_add_epi32(x_low, x_high), scan, one, found);
    if (pair) found = Append512(_mm512_add_epi32(y_low, y_high), scan, two, found);
  }
}

#endif  // __x86_64__

}  // namespace

void PqPack(const uint8_t* codes, size_t m, uint8_t* block, int row) {
  for (size_t s = 0; s < m; ++s) {
    uint8_t& byte = block[64 * (s / 8) + 4 * static_cast<size_t>(row) + s % 4];
    byte = static_cast<uint8_t>(byte | (codes[s] & 15) << (s % 8 < 4 ? 0 : 4));
  }
}

void PqUnpack(const uint8_t* block, size_t m, int row, uint8_t* codes) {
  for (size_t s = 0; s < m; ++s) {
    const uint8_t byte = block[64 * (s / 8) + 4 * static_cast<size_t>(row) + s % 4];
    codes[s] = s % 8 < 4 ? byte & 15 : byte >> 4;
  }
}

void PqCopyRow(const uint8_t* from, int from_row, size_t m, uint8_t* to, int to_row) {
  for (size_t g = 0; g < PqGroups(m); ++g) {
    std::memcpy(to + 64 * g + 4 * to_row, from + 64 * g + 4 * from_row, 4);
  }
}

size_t PqScan(const uint8_t* blocks, size_t n_blocks, size_t m, const uint8_t* tables,
              const uint16_t* live, uint32_t threshold, uint32_t first_slot, PqCandidate* out,
              CpuLevel level) {
  const Scan scan = {blocks, n_blocks, PqGroups(m), tables, live, threshold, first_slot, out};
#if defined(__x86_64__)
  if (level == CpuLevel::kAvx512) return ScanAvx512(scan);
  if (level == CpuLevel::kAvx2) return ScanAvx2(scan);
#endif
  (void)level;
  return ScanPortable(scan);
}

}  // namespace vecino::index
