// What the reference tokenizer does to each code point; the data is
// encoder/unicode/bert_unicode.tsv. Thread safety: constant data.
#pragma once

#include <cstdint>
#include <string_view>

namespace vecino::encoder {

// Properties of a code point, or-ed. Bits from kCombiningShift up hold the rank of its canonical
// combining class among the classes there are; 0 is class 0.
enum CharProperty : uint16_t {
  kCharRemoved = 1 << 0,      // dropped by clean_text
  kCharSpace = 1 << 1,        // made U+0020 by clean_text
  kCharChinese = 1 << 2,      // set apart by handle_chinese_chars
  kCharMark = 1 << 3,         // an accent: dropped by strip_accents, after decomposition
  kCharWhite = 1 << 4,        // splits words
  kCharPunctuation = 1 << 5,  // is a word of its own
  kCharDecomposes = 1 << 6,   // Decomposition() has it
  kCharHangul = 1 << 7,       // decomposes by DecomposeHangul()
  kCharLowers = 1 << 8,       // Lowercase() has it
};
inline constexpr int kCombiningShift = 9;

namespace internal {
inline constexpr int kBlockBits = 7;
extern const uint8_t kCharBlock[];        // code point >> kBlockBits → block
extern const uint16_t kCharProperties[];  // block × 2^kBlockBits + low bits → properties
}  // namespace internal

// `code` is at most 0x10FFFF.
inline uint16_t CharProperties(char32_t code) {
  constexpr char32_t kLowBits = (1 << internal::kBlockBits) - 1;
  const uint32_t block = internal::kCharBlock[code >> internal::kBlockBits];
  return internal::kCharProperties[block << internal::kBlockBits | (code & kLowBits)];
}

// The full canonical decomposition of a code point that kCharDecomposes; empty for others.
std::u32string_view Decomposition(char32_t code);

// The lower-case form of a code point that kCharLowers; empty for others.
std::u32string_view Lowercase(char32_t code);

// The jamo of a code point that is kCharHangul, by section 3.12 of the Unicode standard; returns
// how many.
int DecomposeHangul(char32_t code, char32_t jamo[3]);

}  // namespace vecino::encoder
