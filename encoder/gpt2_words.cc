#include "encoder/gpt2_words.h"

#include <cstdint>

#include "encoder/utf8.h"

// Made by the build from encoder/unicode/gpt2_unicode.tsv: kGpt2Block, from a code point >>
// kBlockBits to its block, and kGpt2Kinds, from block × 2^kBlockBits + low bits to a Kind. The
// first block is that of ASCII.
#include "gpt2_unicode.inc"

namespace vecino::encoder {
namespace {

// What the expression tells apart; a bit each, as build_tables.py has them.
enum Kind : uint8_t { kOther = 0, kLetter = 1, kNumber = 2, kSpace = 4 };

struct Character {
  uint8_t kind;
  size_t length;  // bytes
};

Character CharacterAt(std::string_view text, size_t at) {
  const uint8_t byte = static_cast<uint8_t>(text[at]);
  if (byte < 0x80) return {kGpt2Kinds[byte], 1};
  constexpr int kBlockBits = 7;
  constexpr char32_t kLowBits = (1 << kBlockBits) - 1;
  const DecodedChar c = DecodeUtf8(text.substr(at));
  const uint32_t block = kGpt2Block[c.code >> kBlockBits];
  return {kGpt2Kinds[block << kBlockBits | (c.code & kLowBits)], static_cast<size_t>(c.length)};
}

// Where the characters of `kind` from text[at] on end.
size_t RunEnd(std::string_view text, size_t at, uint8_t kind) {
  while (at < text.size()) {
    const Character c = CharacterAt(text, at);
    if (c.kind != kind) break;
    at += c.length;
  }
  return at;
}

// The bytes of the contraction that `text`, which begins with an apostrophe, begins with; 0: none.
size_t ContractionLength(std::string_view text) {
  if (text.size() < 2) return 0;
  const char next = text[1];
  if (next == 's' || next == 't' || next == 'm' || next == 'd') return 2;
  const std::string_view two = text.substr(1, 2);
  return two == "re" || two == "ve" || two == "ll" ? 3 : 0;
}

}  // namespace

size_t Gpt2WordLength(std::string_view text) {
  const Character first = CharacterAt(text, 0);
  if (first.kind != kSpace) {
    if (text[0] == '\'') {
      if (const size_t length = ContractionLength(text); length > 0) return length;
    }
    return RunEnd(text, first.length, first.kind);
  }
  if (text[0] == ' ' && text.size() > 1) {
    const Character next = CharacterAt(text, 1);
    if (next.kind != kSpace) return RunEnd(text, 1 + next.length, next.kind);
  }
  // White space, all of it at the end of the text; elsewhere the last one is left to the next word,
  // unless it is the only one.
  size_t last = 0, end = first.length;
  while (end < text.size()) {
    const Character c = CharacterAt(text, end);
    if (c.kind != kSpace) return last > 0 ? last : end;
    last = end;
    end += c.length;
  }
  return end;
}

}  // namespace vecino::encoder
