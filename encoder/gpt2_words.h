// Text to GPT-2's words: the regular expression of Hugging Face's ByteLevel, by hand.
#pragma once

#include <cstddef>
#include <string_view>

namespace vecino::encoder {

// The bytes of the first word of `text`, at least 1. A text is its first word and the words of what
// is left, so calling this again and again finds them all, each byte in one word. `text` is UTF-8
// and not empty. A word is the first of these that matches:
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// with the classes of encoder/unicode/gpt2_unicode.tsv. Thread safety: a plain function.
size_t Gpt2WordLength(std::string_view text);

}  // namespace vecino::encoder
