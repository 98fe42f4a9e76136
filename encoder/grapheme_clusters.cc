#include "encoder/grapheme_clusters.h"

#include <cstdint>

#include "encoder/utf8.h"

// Made by the build from encoder/unicode/grapheme_unicode.tsv.
#include "grapheme_unicode.inc"

namespace vecino::encoder {
namespace {

// Properties of a code point, or-ed; generate_grapheme_tables.py tells what they mean.
enum GraphemeProperty : uint16_t {
  kAttach = 1 << 0,
  kExtend = 1 << 1,
  kControl = 1 << 2,
  kPrepend = 1 << 3,
  kPictograph = 1 << 4,
  kHangulL = 1 << 5,
  kHangulV = 1 << 6,
  kHangulT = 1 << 7,
  kHangulLv = 1 << 8,
  kHangulLvt = 1 << 9,
  kConsonant = 1 << 10,
  kLinker = 1 << 11,
  kInConjunct = 1 << 12,
};
constexpr char32_t kJoiner = 0x200D;  // ZWJ
constexpr int kGraphemeBlockBits = 7;

uint16_t Properties(char32_t code) {
  constexpr char32_t kLowBits = (1 << kGraphemeBlockBits) - 1;
  const uint32_t block = kGraphemeBlock[code >> kGraphemeBlockBits];
  return kGraphemeProperties[block << kGraphemeBlockBits | (code & kLowBits)];
}

// What of a cluster's front matters to what follows.
class Front {
 public:
  explicit Front(char32_t code) { Add(code, Properties(code)); }

  // Takes the next character if it belongs to the cluster.
  bool Joins(char32_t code) {
    const uint16_t properties = Properties(code);
    if (!JoinsLast(code, properties)) return false;
    Add(code, properties);
    return true;
  }

 private:
  // Unicode's Annex 29, GB3 to GB9c and GB11. GB12 and GB13, by which two regional indicators are a
  // cluster of 8 bytes, are left out: one alone has 4, and whatever joins one makes 6 or more.
  bool JoinsLast(char32_t code, uint16_t properties) const {
    if ((last_ | properties) & kControl) return last_code_ == '\r' && code == '\n';
    if (properties & kAttach || last_ & kPrepend) return true;
    if (last_ & kHangulL) return properties & (kHangulL | kHangulV | kHangulLv | kHangulLvt);
    if (last_ & (kHangulV | kHangulLv)) return properties & (kHangulV | kHangulT);
    if (last_ & (kHangulT | kHangulLvt)) return properties & kHangulT;
    return (pictograph_ == kJoined && properties & kPictograph) ||
           (conjunct_ == kLinked && properties & kConsonant);
  }

  void Add(char32_t code, uint16_t properties) {
    if (properties & kPictograph) {
      pictograph_ = kOpen;
    } else if (pictograph_ == kOpen && code == kJoiner) {
      pictograph_ = kJoined;
    } else if (pictograph_ != kOpen || !(properties & kExtend)) {
      pictograph_ = kNoPictograph;
    }
    if (properties & kConsonant) {
      conjunct_ = kUnlinked;
    } else if (conjunct_ != kNoConjunct && properties & kLinker) {
      conjunct_ = kLinked;
    } else if (!(properties & kInConjunct)) {
      conjunct_ = kNoConjunct;
    }
    last_code_ = code;
    last_ = properties;
  }

  char32_t last_code_ = 0;
  uint16_t last_ = 0;
  enum { kNoPictograph, kOpen, kJoined } pictograph_ = kNoPictograph;  // then Extends, then a ZWJ
  enum { kNoConjunct, kUnlinked, kLinked } conjunct_ = kNoConjunct;    // its last consonant is seen
};

}  // namespace

size_t FirstGraphemeCluster(std::string_view text) {
  const DecodedChar first = DecodeUtf8(text);
  Front front(first.code);
  size_t length = first.length;
  while (length < text.size()) {
    const DecodedChar next = DecodeUtf8(text.substr(length));
    if (!front.Joins(next.code)) break;
    length += next.length;
  }
  return length;
}

}  // namespace vecino::encoder
