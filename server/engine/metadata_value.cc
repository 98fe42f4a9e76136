#include "server/engine/metadata_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

namespace vecino::engine {
namespace {

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  GroupValue Find(std::string_view path) {
    for (;;) {
      SkipSpace();
      while (Consume('[')) SkipSpace();
      if (path.empty()) return Value();
      const size_t dot = path.find('.');
      const std::string_view name = path.substr(0, dot);
      path.remove_prefix(dot == std::string_view::npos ? path.size() : dot + 1);
      if (!Enter(name)) return {};
    }
  }

 private:
  void SkipSpace() {
    const size_t end = text_.find_first_not_of(" \t\r\n");
    text_.remove_prefix(end == std::string_view::npos ? text_.size() : end);
  }

  bool Consume(char c) {
    if (text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }

  // Goes from an object to the value of its field `name`.
  bool Enter(std::string_view name) {
    if (!Consume('{')) return false;
    do {
      SkipSpace();
      const std::string_view raw = RawString();
      const bool found = raw.data() != nullptr && Is(raw, name);
      SkipSpace();
      if (raw.data() == nullptr || !Consume(':')) return false;
      if (found) return true;
      SkipValue();
      SkipSpace();
    } while (Consume(','));
    return false;
  }

  // What stands between the quotes of the string that begins here, escapes as they are; data() is
  // null when none does.
  std::string_view RawString() {
    if (!Consume('"')) return {};
    size_t end = 0;
    while (end < text_.size() && text_[end] != '"') end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) return {};
    const std::string_view raw(text_.data(), end);
    text_.remove_prefix(end + 1);
    return raw;
  }

  static bool Is(std::string_view raw, std::string_view name) {
    return raw.find('\\') == std::string_view::npos ? raw == name : Unescaped(raw) == name;
  }

  void SkipValue() {
    // Brackets outside of strings, whose kinds match in what is JSON.
    int depth = 0;
    while (!text_.empty()) {
      const char c = text_[0];
      if (c == '"') {
        if (RawString().data() == nullptr) text_ = {};
      } else if (c == '{' || c == '[') {
        ++depth;
        text_.remove_prefix(1);
      } else if (c == '}' || c == ']') {
        if (depth == 0) return;
        --depth;
        text_.remove_prefix(1);
      } else if (c == ',' && depth == 0) {
        return;
      } else {
        text_.remove_prefix(1);
      }
    }
  }

  GroupValue Value() {
    if (text_.empty()) return {};
    switch (text_[0]) {
      case '"': {
        const std::string_view raw = RawString();
        if (raw.data() == nullptr) return {};
        return Unescaped(raw);
      }
      case 't':
        return true;
      case 'f':
        return false;
      default:
        break;
    }
    double number = 0;
    const auto read = std::from_chars(text_.data(), text_.data() + text_.size(), number);
    if (read.ec != std::errc() || !std::isfinite(number)) return {};  // null, an object, nothing
    return number == 0 ? 0.0 : number;
  }

  static std::string Unescaped(std::string_view raw) {
    std::string text;
    text.reserve(raw.size());
    for (size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] != '\\') {
        text.push_back(raw[i]);
        continue;
      }
      const char kind = raw[++i];  // RawString goes over pairs
      constexpr std::string_view kKinds = "bfnrt", kCharacters = "\b\f\n\r\t";
      if (const size_t at = kKinds.find(kind); at != std::string_view::npos) {
        text.push_back(kCharacters[at]);
      } else if (kind != 'u') {
        text.push_back(kind);
      } else {
        uint32_t code = Hex(raw, i + 1);
        i += 4;
        if (code >= 0xD800 && code <= 0xDBFF &&
            raw.substr(std::min(i + 1, raw.size()), 2) == "\\u") {
          code = 0x10000 + ((code - 0xD800) << 10) + (Hex(raw, i + 3) - 0xDC00);
          i += 6;
        }
        AppendUtf8(code, &text);
      }
    }
    return text;
  }

  static uint32_t Hex(std::string_view raw, size_t at) {
    uint32_t code = 0;
    if (at + 4 <= raw.size()) std::from_chars(raw.data() + at, raw.data() + at + 4, code, 16);
    return code;
  }

  static void AppendUtf8(uint32_t code, std::string* text) {
    const auto byte = [&](uint32_t value) { text->push_back(static_cast<char>(value)); };
    if (code < 0x80) return byte(code);
    if (code < 0x800) {
      byte(0xC0 | code >> 6);
    } else if (code < 0x10000) {
      byte(0xE0 | code >> 12);
      byte(0x80 | (code >> 6 & 63));
    } else {
      byte(0xF0 | (code >> 18 & 7));
      byte(0x80 | (code >> 12 & 63));
      byte(0x80 | (code >> 6 & 63));
    }
    byte(0x80 | (code & 63));
  }

  std::string_view text_;
};

}  // namespace

GroupValue MetadataValue(std::string_view json, std::string_view path) {
  return Scanner(json).Find(path);
}

}  // namespace vecino::engine
