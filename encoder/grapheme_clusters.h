// Where Unicode's extended grapheme clusters end, by the reference's version of Unicode: the data
// is encoder/unicode/grapheme_unicode.tsv. Thread safety: plain functions.
#pragma once

#include <cstddef>
#include <string_view>

namespace vecino::encoder {

// The bytes of the cluster at the front of `text`, which is UTF-8 and not empty. A pair of regional
// indicators counts as two clusters: that is for a caller to whom all clusters of 4 bytes and one
// character, or of 6 bytes and more, are alike.
size_t FirstGraphemeCluster(std::string_view text);

}  // namespace vecino::encoder
