// Little-endian values one after another, for the files of this folder.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <roaring/roaring.hh>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace vecino::fields {

static_assert(std::endian::native == std::endian::little, "values are written as they are");

class ByteWriter {
 public:
  template <class T>
  void Value(T value) {
    static_assert(std::is_arithmetic_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void Text(std::string_view text) {
    Value(static_cast<uint64_t>(text.size()));
    bytes_.append(text);
  }
  template <class T>
  void Array(const std::vector<T>& values) {
    static_assert(std::is_arithmetic_v<T>);
    Value(static_cast<uint64_t>(values.size()));
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }
  // In roaring's portable format.
  void Bitmap(const Roaring& bitmap) {
    std::string bytes(bitmap.getSizeInBytes(), '\0');
    bitmap.write(bytes.data());
    Text(bytes);
  }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Reads front to back; once something is missing or odd, all reads give nothing and ok() is false.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

  template <class T>
  T Value() {
    static_assert(std::is_arithmetic_v<T>);
    T value{};
    if (const std::string_view field = Take(sizeof value); ok_)
      std::memcpy(&value, field.data(), sizeof value);
    return value;
  }
  std::string_view Text() { return Take(Value<uint64_t>()); }
  template <class T>
  std::vector<T> Array() {
    const auto count = Value<uint64_t>();
    if (count > bytes_.size() / sizeof(T)) {
      ok_ = false;
      return {};
    }
    const std::string_view field = Take(count * sizeof(T));
    std::vector<T> values(ok_ ? count : 0);
    if (!values.empty()) std::memcpy(values.data(), field.data(), field.size());
    return values;
  }
  // slots: of all that may stand in it.
  Roaring Bitmap(uint32_t slots) {
    const std::string_view field = Text();
    if (!ok_) return {};
    // It leaves what follows unread, so a bitmap that is shorter than its bytes is odd.
    roaring_bitmap_t* raw = roaring_bitmap_portable_deserialize_safe(field.data(), field.size());
    if (raw == nullptr) {
      ok_ = false;
      return {};
    }
    Roaring bitmap(raw);
    if (bitmap.getSizeInBytes() != field.size() || (!bitmap.isEmpty() && bitmap.maximum() >= slots))
      ok_ = false;
    return ok_ ? bitmap : Roaring();
  }
  // A number of things that take at least `each` bytes.
  uint64_t Count(size_t each) {
    const auto count = Value<uint64_t>();
    if (count > bytes_.size() / each) ok_ = false;
    return ok_ ? count : 0;
  }
  void Fail() { ok_ = false; }
  bool ok() const { return ok_; }
  bool done() const { return ok_ && bytes_.empty(); }

 private:
  std::string_view Take(uint64_t count) {
    if (!ok_ || count > bytes_.size()) {
      ok_ = false;
      return {};
    }
    const std::string_view field = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return field;
  }

  std::string_view bytes_;
  bool ok_ = true;
};

}  // namespace vecino::fields
