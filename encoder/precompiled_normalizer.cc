#include "encoder/precompiled_normalizer.h"

#include <algorithm>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "encoder/grapheme_clusters.h"
#include "encoder/utf8.h"

namespace vecino::encoder {
namespace {

constexpr size_t kWholeClusterBytes = 6;  // clusters of fewer are looked up whole

// The parts of a unit of a darts-clone double array.
bool HasValue(uint32_t unit) { return unit >> 8 & 1; }
uint32_t Value(uint32_t unit) { return unit & 0x7FFFFFFF; }
uint32_t Label(uint32_t unit) { return unit & 0x800000FF; }
uint32_t Offset(uint32_t unit) { return unit >> 10 << ((unit & 0x200) >> 6); }

uint32_t ReadLittleEndian(const char* bytes) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

absl::Status Damaged(const auto&... what) {
  return absl::InvalidArgumentError(absl::StrCat("the charsmap is damaged: ", what...,
                                                 "; export the model again from an intact source"));
}

}  // namespace

absl::StatusOr<PrecompiledNormalizer> PrecompiledNormalizer::Make(std::string_view charsmap) {
  constexpr size_t kUnit = sizeof(uint32_t);
  if (charsmap.size() < kUnit) return Damaged("it has ", charsmap.size(), " bytes");
  const size_t size = ReadLittleEndian(charsmap.data());
  charsmap.remove_prefix(kUnit);
  if (size == 0 || size % kUnit != 0 || size > charsmap.size()) {
    return Damaged("its array is of ", size, " bytes, a multiple of 4 up to ", charsmap.size(),
                   " expected");
  }
  PrecompiledNormalizer normalizer;
  normalizer.units_.resize(size / kUnit);
  for (size_t i = 0; i < normalizer.units_.size(); ++i)
    normalizer.units_[i] = ReadLittleEndian(charsmap.data() + i * kUnit);
  normalizer.strings_ = charsmap.substr(size);
  if (absl::Status status = normalizer.Check(); !status.ok()) return status;
  normalizer.MarkPlain();
  return normalizer;
}

// Visits every unit that a text can lead to. A walk's next step depends on nothing but where it is,
// so each place is looked at once, whatever loops a damaged array has.
absl::Status PrecompiledNormalizer::Check() const {
  if (FindInvalidUtf8(strings_)) return Damaged("a string is not UTF-8");
  std::vector<bool> seen(units_.size());
  std::vector<uint32_t> pending;
  const auto visit = [&](uint32_t at) {
    if (at >= units_.size()) return false;
    if (!seen[at]) pending.push_back(at);
    seen[at] = true;
    return true;
  };
  if (!visit(Offset(units_[0]))) return Damaged("its root points outside");
  while (!pending.empty()) {
    const uint32_t from = pending.back();
    pending.pop_back();
    for (uint32_t byte = 1; byte < 256; ++byte) {
      const uint32_t at = from ^ byte;
      if (at >= units_.size()) return Damaged("unit ", from, " points outside");
      if (Label(units_[at]) != byte) continue;
      const uint32_t next = at ^ Offset(units_[at]);
      if (!visit(next)) return Damaged("unit ", at, " points outside");
      if (!HasValue(units_[at])) continue;
      const uint32_t value = Value(units_[next]);
      if (value > strings_.size() ||
          (value < strings_.size() && (static_cast<uint8_t>(strings_[value]) & 0xC0) == 0x80)) {
        return Damaged("the value ", value, " begins no string");
      }
    }
  }
  return absl::OkStatus();
}

void PrecompiledNormalizer::MarkPlain() {
  plain_.fill(false);
  for (int byte = 0; byte < 0x80; ++byte) {
    const char c = static_cast<char>(byte);
    plain_[byte] = c != '\r' && !Find({&c, 1});  // CR and LF are one cluster
  }
}

// What the shortest key at the front of `text` maps to.
std::optional<std::string_view> PrecompiledNormalizer::Find(std::string_view text) const {
  uint32_t at = Offset(units_[0]);
  for (const char c : text) {
    const uint8_t byte = static_cast<uint8_t>(c);
    if (byte == 0) break;
    at ^= byte;
    const uint32_t unit = units_[at];
    if (Label(unit) != byte) break;
    at ^= Offset(unit);
    if (HasValue(unit)) {
      const std::string_view rest = std::string_view(strings_).substr(Value(units_[at]));
      return rest.substr(0, rest.find('\0'));
    }
  }
  return std::nullopt;
}

void PrecompiledNormalizer::Append(std::string_view text, std::string* out) const {
  const auto is_plain = [&](size_t i) {
    return plain_[static_cast<uint8_t>(text[i])] &&
           (i + 1 == text.size() || static_cast<uint8_t>(text[i + 1]) < 0x80);
  };
  while (true) {
    size_t plain = 0;
    while (plain < text.size() && is_plain(plain)) ++plain;
    out->append(text.substr(0, plain));
    text.remove_prefix(plain);
    if (text.empty()) return;

    std::string_view cluster = text.substr(0, FirstGraphemeCluster(text));
    text.remove_prefix(cluster.size());
    if (cluster.size() < kWholeClusterBytes) {
      if (const auto whole = Find(cluster)) {
        out->append(*whole);
        continue;
      }
    }
    while (!cluster.empty()) {
      const std::string_view character = cluster.substr(0, DecodeUtf8(cluster).length);
      out->append(Find(character).value_or(character));
      cluster.remove_prefix(character.size());
    }
  }
}

}  // namespace vecino::encoder
