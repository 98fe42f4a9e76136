// Cuts a text into passages of limited length.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

namespace vecino::passages {

struct SplitOptions {
  int max_tokens = 0;          // of a passage, 8 or more
  int overlap_tokens = 0;      // in common with the next one, at most; less than half of max_tokens
  size_t max_passages = 4096;  // 1 or more
};

// Bytes [begin, end) of a text.
struct TextRange {
  size_t begin = 0, end = 0;

  friend bool operator==(const TextRange&, const TextRange&) = default;
};

// Tokens of a text. Of two texts put together it may differ by a few from the sum.
using TokenCounter = absl::FunctionRef<absl::StatusOr<int>(std::string_view text)>;

// Whole sentences (Unicode's UAX #29; a line's end ends one, too) are put into a passage for as
// long as they fit; the last ones of a passage, up to overlap_tokens of them, come again at the
// front of the next. A sentence that is longer than a passage is cut between words, a word between
// grapheme clusters, and a cluster between characters. The passages ascend by begin and by end,
// none is empty and together they have every byte of `text`; none of an empty text. No passage has
// more than max_tokens, unless a single character has.
//
// text: UTF-8. INVALID_ARGUMENT when there would be more than max_passages, and the counter's
// errors. Thread safe; does not block.
absl::StatusOr<std::vector<TextRange>> SplitText(std::string_view text, const SplitOptions& options,
                                                 TokenCounter count);

}  // namespace vecino::passages
