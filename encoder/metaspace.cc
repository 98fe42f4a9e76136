#include "encoder/metaspace.h"

#include <algorithm>
#include <cstddef>

#include "encoder/unigram.h"
#include "encoder/utf8.h"
#include "encoder/white_space.h"

namespace vecino::encoder {
namespace {

constexpr char32_t kMarkCode = 0x2581;

// Runs of two spaces or more become `replacement`.
std::string Collapsed(std::string_view text, std::string_view replacement) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t run = std::min(text.find("  "), text.size());
    out.append(text.substr(0, run));
    text.remove_prefix(run);
    if (text.empty()) break;
    out.append(replacement);
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  }
  return out;
}

}  // namespace

Metaspace::Metaspace(const UnigramVocabulary& options)
    : strip_left_(options.strip_left),
      strip_right_(options.strip_right),
      whitespace_split_(options.whitespace_split),
      prefix_space_(options.prefix_space),
      collapse_spaces_(options.collapse_spaces) {
  kinds_.fill(kOther);
  char bytes[4];
  for (char32_t code = 0; code < 0x10000; ++code) {
    if (code != kMarkCode && !(whitespace_split_ && IsWhite(code))) continue;
    WriteUtf8(code, bytes);
    kinds_[static_cast<uint8_t>(bytes[0])] = code < 0x80 ? kWhite : kLead;
  }
  if (!whitespace_split_) kinds_[' '] = kMark;
}

Metaspace::Place Metaspace::At(std::string_view text) const {
  const Kind kind = kinds_[static_cast<uint8_t>(text[0])];
  if (kind != kLead) return {kind, 1};
  const DecodedChar c = DecodeUtf8(text);
  if (c.code == kMarkCode) return {kMark, c.length};
  return {whitespace_split_ && IsWhite(c.code) ? kWhite : kOther, c.length};
}

std::string_view Metaspace::Strip(std::string_view text) const {
  if (strip_left_) text.remove_prefix(WhiteAtFront(text));
  if (strip_right_) text = WithoutWhiteAtEnd(text);
  return text;
}

void Metaspace::Split(std::string_view text, Sink sink) const {
  text = Strip(text);
  std::string collapsed;
  if (!collapse_spaces_.empty()) text = collapsed = Collapsed(text, collapse_spaces_);
  while (!text.empty()) {
    const Place place = At(text);
    if (place.kind != kOther) text.remove_prefix(place.length);
    if (place.kind == kWhite) continue;
    size_t end = 0;
    while (end < text.size()) {
      const Place next = At(text.substr(end));
      if (next.kind != kOther) break;
      end += next.length;
    }
    // What begins without a mark begins the text or comes after white space.
    sink(place.kind == kMark || prefix_space_, text.substr(0, end));
    text.remove_prefix(end);
  }
}

}  // namespace vecino::encoder
