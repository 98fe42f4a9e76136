// The byte encodings shared by every key and value: big-endian integers in keys (so that byte order
// is number order), varints and length-prefixed bytes in values. Pure functions; thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace vecino::storage {

void AppendByte(uint8_t value, std::string* out);
void AppendBigEndian16(uint16_t value, std::string* out);
void AppendBigEndian32(uint32_t value, std::string* out);
void AppendBigEndian64(uint64_t value, std::string* out);
void AppendLittleEndian32(uint32_t value, std::string* out);

// 7 bits a byte, least significant group first, high bit set on all bytes but the last; 1 to 10
// bytes.
void AppendVarint(uint64_t value, std::string* out);

// Zigzag (0, -1, 1, -2, … become 0, 1, 2, 3, …), then a varint.
void AppendSignedVarint(int64_t value, std::string* out);

// Length as a varint, then the bytes.
void AppendBytes(std::string_view value, std::string* out);

// Reads what the functions above wrote, front to back. A read that does not fit returns false and
// leaves the reader where it was. Views it hands out point into the bytes it was given.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  bool ReadByte(uint8_t* value);
  bool ReadBigEndian16(uint16_t* value);
  bool ReadBigEndian32(uint32_t* value);
  bool ReadBigEndian64(uint64_t* value);
  bool ReadLittleEndian32(uint32_t* value);
  // False too for a varint that is over 64 bits or longer than it need be: one value, one encoding.
  bool ReadVarint(uint64_t* value);
  bool ReadSignedVarint(int64_t* value);
  bool ReadBytes(std::string_view* value);

  bool done() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

// Lower-case hex of `bytes`, cut after 48 bytes with the full length told. For messages.
std::string ToHex(std::string_view bytes);

}  // namespace vecino::storage
