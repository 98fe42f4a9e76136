#include "encoder/unicode_tables.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

// Made by the build from encoder/unicode/bert_unicode.tsv: the block tables and the mappings.
#include "bert_unicode.inc"

namespace vecino::encoder {
namespace {

// One sorted table of mappings: entry i maps codes[i] to pool[starts[i], starts[i + 1]).
template <size_t N, size_t M, size_t P>
std::u32string_view Find(const char32_t (&codes)[N], const uint16_t (&starts)[M],
                         const char32_t (&pool)[P], char32_t code) {
  static_assert(M == N + 1);
  const char32_t* at = std::lower_bound(std::begin(codes), std::end(codes), code);
  if (at == std::end(codes) || *at != code) return {};
  const size_t i = at - codes;
  return {pool + starts[i], static_cast<size_t>(starts[i + 1] - starts[i])};
}

}  // namespace

std::u32string_view Decomposition(char32_t code) {
  return Find(kDecompositionCodes, kDecompositionStarts, kDecompositionPool, code);
}

std::u32string_view Lowercase(char32_t code) {
  return Find(kLowercaseCodes, kLowercaseStarts, kLowercasePool, code);
}

int DecomposeHangul(char32_t code, char32_t jamo[3]) {
  constexpr char32_t kFirst = 0xAC00, kLead = 0x1100, kVowel = 0x1161, kTrail = 0x11A7;
  constexpr char32_t kVowels = 21, kTrails = 28;
  const char32_t index = code - kFirst;
  jamo[0] = kLead + index / (kVowels * kTrails);
  jamo[1] = kVowel + index / kTrails % kVowels;
  jamo[2] = kTrail + index % kTrails;
  return index % kTrails == 0 ? 2 : 3;
}

}  // namespace vecino::encoder
