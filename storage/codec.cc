#include "storage/codec.h"

#include <cstddef>

#include "absl/strings/str_cat.h"

namespace vecino::storage {
namespace {

template <typename T>
void AppendBigEndian(T value, std::string* out) {
  for (int shift = 8 * (static_cast<int>(sizeof(T)) - 1); shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>((value >> shift) & 0xff));
  }
}

template <typename T>
bool ReadBigEndian(std::string_view* rest, T* value) {
  if (rest->size() < sizeof(T)) return false;
  uint64_t result = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    result = (result << 8) | static_cast<uint8_t>((*rest)[i]);
  }
  *value = static_cast<T>(result);
  rest->remove_prefix(sizeof(T));
  return true;
}

}  // namespace

void AppendByte(uint8_t value, std::string* out) { out->push_back(static_cast<char>(value)); }
void AppendBigEndian16(uint16_t value, std::string* out) { AppendBigEndian(value, out); }
void AppendBigEndian32(uint32_t value, std::string* out) { AppendBigEndian(value, out); }
void AppendBigEndian64(uint64_t value, std::string* out) { AppendBigEndian(value, out); }

void AppendLittleEndian32(uint32_t value, std::string* out) {
  for (int shift = 0; shift < 32; shift += 8) {
    out->push_back(static_cast<char>((value >> shift) & 0xff));
  }
}

void AppendVarint(uint64_t value, std::string* out) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>((value & 0x7f) | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

void AppendSignedVarint(int64_t value, std::string* out) {
  const uint64_t bits = static_cast<uint64_t>(value);
  AppendVarint((bits << 1) ^ (value < 0 ? ~uint64_t{0} : 0), out);
}

void AppendBytes(std::string_view value, std::string* out) {
  AppendVarint(value.size(), out);
  out->append(value);
}

bool ByteReader::ReadByte(uint8_t* value) { return ReadBigEndian(&rest_, value); }
bool ByteReader::ReadBigEndian16(uint16_t* value) { return ReadBigEndian(&rest_, value); }
bool ByteReader::ReadBigEndian32(uint32_t* value) { return ReadBigEndian(&rest_, value); }
bool ByteReader::ReadBigEndian64(uint64_t* value) { return ReadBigEndian(&rest_, value); }

bool ByteReader::ReadLittleEndian32(uint32_t* value) {
  uint32_t swapped = 0;
  if (!ReadBigEndian(&rest_, &swapped)) return false;
  *value = __builtin_bswap32(swapped);
  return true;
}

bool ByteReader::ReadVarint(uint64_t* value) {
  uint64_t result = 0;
  for (size_t i = 0; i < rest_.size() && i < 10; ++i) {
    const uint8_t byte = static_cast<uint8_t>(rest_[i]);
    if (i == 9 && byte > 1) return false;  // over 64 bits
    if (i > 0 && byte == 0) return false;  // longer than it need be
    result |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if ((byte & 0x80) == 0) {
      *value = result;
      rest_.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

bool ByteReader::ReadSignedVarint(int64_t* value) {
  uint64_t bits = 0;
  if (!ReadVarint(&bits)) return false;
  *value = static_cast<int64_t>((bits >> 1) ^ (~(bits & 1) + 1));
  return true;
}

bool ByteReader::ReadBytes(std::string_view* value) {
  const std::string_view before = rest_;
  uint64_t size = 0;
  if (!ReadVarint(&size) || size > rest_.size()) {
    rest_ = before;
    return false;
  }
  *value = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return true;
}

std::string ToHex(std::string_view bytes) {
  constexpr size_t kShown = 48;
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const char c : bytes.substr(0, kShown)) {
    hex.push_back(kDigits[static_cast<uint8_t>(c) >> 4]);
    hex.push_back(kDigits[static_cast<uint8_t>(c) & 15]);
  }
  if (bytes.size() > kShown) absl::StrAppend(&hex, "… (", bytes.size(), " bytes)");
  return hex;
}

}  // namespace vecino::storage
