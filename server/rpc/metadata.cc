#include "server/rpc/metadata.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/strings/ascii.h"
#include "server/engine/types.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

using google::protobuf::ListValue;
using google::protobuf::Struct;
using google::protobuf::Value;

constexpr int kMaxDepth = engine::Limits::kMaxMetadataDepth;

class JsonWriter {
 public:
  // False when it cannot be written; `problem` says why.
  bool WriteObject(const Struct& object, int depth) {
    if (!CheckDepth(depth)) return false;
    std::vector<const std::string*> keys;
    keys.reserve(object.fields_size());
    for (const auto& entry : object.fields()) keys.push_back(&entry.first);
    std::sort(keys.begin(), keys.end(), [](auto* a, auto* b) { return *a < *b; });
    text.push_back('{');
    for (size_t i = 0; i < keys.size(); ++i) {
      if (i > 0) text.push_back(',');
      WriteString(*keys[i]);
      text.push_back(':');
      if (!WriteValue(object.fields().at(*keys[i]), *keys[i], depth)) return false;
    }
    text.push_back('}');
    return true;
  }

  std::string text;
  std::string problem;

 private:
  bool CheckDepth(int depth) {
    if (depth > kMaxDepth) problem = Concat("metadata is deeper than ", kMaxDepth, " levels");
    return depth <= kMaxDepth;
  }

  bool WriteValue(const Value& value, std::string_view key, int depth) {
    switch (value.kind_case()) {
      case Value::kNullValue:
        text += "null";
        return true;
      case Value::kBoolValue:
        text += value.bool_value() ? "true" : "false";
        return true;
      case Value::kNumberValue:
        return WriteNumber(value.number_value(), key);
      case Value::kStringValue:
        WriteString(value.string_value());
        return true;
      case Value::kStructValue:
        return WriteObject(value.struct_value(), depth + 1);
      case Value::kListValue:
        return WriteList(value.list_value(), key, depth + 1);
      case Value::KIND_NOT_SET:
        break;
    }
    problem = Concat("metadata holds a value without a kind under the key \"", key, "\"");
    return false;
  }

  bool WriteList(const ListValue& list, std::string_view key, int depth) {
    if (!CheckDepth(depth)) return false;
    text.push_back('[');
    for (int i = 0; i < list.values_size(); ++i) {
      if (i > 0) text.push_back(',');
      if (!WriteValue(list.values(i), key, depth)) return false;
    }
    text.push_back(']');
    return true;
  }

  bool WriteNumber(double number, std::string_view key) {
    if (!std::isfinite(number)) {
      problem = Concat("metadata holds ", std::isnan(number) ? "NaN" : "an infinity",
                       " under the key \"", key, "\", which JSON cannot write");
      return false;
    }
    char buffer[32];
    std::to_chars_result end{};
    constexpr double kExact = 9007199254740992.0;  // 2^53: whole numbers up to it are exact
    if (std::trunc(number) == number && std::abs(number) <= kExact && !std::signbit(number)) {
      end = std::to_chars(buffer, buffer + sizeof buffer, static_cast<int64_t>(number));
    } else {
      end = std::to_chars(buffer, buffer + sizeof buffer, number);
    }
    text.append(buffer, end.ptr);
    return true;
  }

  void WriteString(std::string_view string) {
    constexpr char kHex[] = "0123456789abcdef";
    text.push_back('"');
    for (const char c : string) {
      if (c == '"' || c == '\\') {
        text.push_back('\\');
        text.push_back(c);
      } else if (static_cast<unsigned char>(c) < 0x20) {
        text += "\\u00";
        text.push_back(kHex[c >> 4]);
        text.push_back(kHex[c & 15]);
      } else {
        text.push_back(c);
      }
    }
    text.push_back('"');
  }
};

// Reads JSON as RFC 8259 has it; a later key of the same name wins.
class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  bool ReadDocument(Struct* object) {
    SkipSpace();
    if (!ReadObject(object, 1)) return false;
    SkipSpace();
    return text_.empty();
  }

 private:
  void SkipSpace() {
    while (!text_.empty() &&
           (text_[0] == ' ' || text_[0] == '\t' || text_[0] == '\n' || text_[0] == '\r')) {
      text_.remove_prefix(1);
    }
  }

  bool Consume(std::string_view expected) {
    if (text_.substr(0, expected.size()) != expected) return false;
    text_.remove_prefix(expected.size());
    return true;
  }

  bool ReadObject(Struct* object, int depth) {
    if (depth > kMaxDepth || !Consume("{")) return false;
    SkipSpace();
    if (Consume("}")) return true;
    std::string key;
    do {
      SkipSpace();
      key.clear();
      if (!ReadString(&key)) return false;
      SkipSpace();
      if (!Consume(":") || !ReadValue(&(*object->mutable_fields())[key], depth)) return false;
      SkipSpace();
    } while (Consume(","));
    return Consume("}");
  }

  bool ReadList(ListValue* list, int depth) {
    if (depth > kMaxDepth || !Consume("[")) return false;
    SkipSpace();
    if (Consume("]")) return true;
    do {
      if (!ReadValue(list->add_values(), depth)) return false;
      SkipSpace();
    } while (Consume(","));
    return Consume("]");
  }

  bool ReadValue(Value* value, int depth) {
    SkipSpace();
    if (text_.empty()) return false;
    switch (text_[0]) {
      case '{':
        return ReadObject(value->mutable_struct_value(), depth + 1);
      case '[':
        return ReadList(value->mutable_list_value(), depth + 1);
      case '"':
        return ReadString(value->mutable_string_value());
      case 't':
        value->set_bool_value(true);
        return Consume("true");
      case 'f':
        value->set_bool_value(false);
        return Consume("false");
      case 'n':
        value->set_null_value(google::protobuf::NULL_VALUE);
        return Consume("null");
      default:
        break;
    }
    if (text_[0] != '-' && !absl::ascii_isdigit(text_[0])) return false;
    double number = 0;
    const auto result = std::from_chars(text_.data(), text_.data() + text_.size(), number);
    if (result.ec != std::errc() || !std::isfinite(number)) return false;
    text_.remove_prefix(static_cast<size_t>(result.ptr - text_.data()));
    value->set_number_value(number);
    return true;
  }

  bool ReadString(std::string* string) {
    if (!Consume("\"")) return false;
    while (true) {
      const size_t plain = text_.find_first_of("\"\\");
      if (plain == std::string_view::npos) return false;
      string->append(text_.substr(0, plain));
      text_.remove_prefix(plain);
      if (Consume("\"")) return true;
      if (!ReadEscape(string)) return false;
    }
  }

  bool ReadEscape(std::string* string) {
    if (text_.size() < 2) return false;
    const char kind = text_[1];
    text_.remove_prefix(2);
    constexpr std::string_view kKinds = "\"\\/bfnrt";
    constexpr std::string_view kCharacters = "\"\\/\b\f\n\r\t";
    if (const size_t at = kKinds.find(kind); at != std::string_view::npos) {
      string->push_back(kCharacters[at]);
      return true;
    }
    uint32_t code = 0;
    if (kind != 'u' || !ReadHex(&code)) return false;
    if (code >= 0xDC00 && code <= 0xDFFF) return false;
    if (code >= 0xD800 && code <= 0xDBFF) {
      uint32_t low = 0;
      if (!Consume("\\u") || !ReadHex(&low) || low < 0xDC00 || low > 0xDFFF) return false;
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    AppendUtf8(code, string);
    return true;
  }

  bool ReadHex(uint32_t* code) {
    if (text_.size() < 4) return false;
    const auto result = std::from_chars(text_.data(), text_.data() + 4, *code, 16);
    if (result.ec != std::errc() || result.ptr != text_.data() + 4) return false;
    text_.remove_prefix(4);
    return true;
  }

  static void AppendUtf8(uint32_t code, std::string* string) {
    const auto byte = [&](uint32_t value) { string->push_back(static_cast<char>(value)); };
    if (code < 0x80) {
      byte(code);
    } else if (code < 0x800) {
      byte(0xC0 | code >> 6);
      byte(0x80 | (code & 63));
    } else if (code < 0x10000) {
      byte(0xE0 | code >> 12);
      byte(0x80 | (code >> 6 & 63));
      byte(0x80 | (code & 63));
    } else {
      byte(0xF0 | code >> 18);
      byte(0x80 | (code >> 12 & 63));
      byte(0x80 | (code >> 6 & 63));
      byte(0x80 | (code & 63));
    }
  }

  std::string_view text_;
};

}  // namespace

absl::StatusOr<std::string> MetadataToJson(std::string_view field, const Struct& metadata) {
  JsonWriter writer;
  if (!writer.WriteObject(metadata, 1)) return engine::InvalidField(field, writer.problem);
  if (writer.text.size() > engine::Limits::kMaxMetadataBytes) {
    return engine::InvalidField(
        field, Concat("metadata has ", writer.text.size(), " bytes as JSON; the limit is ",
                      engine::Limits::kMaxMetadataBytes));
  }
  return std::move(writer.text);
}

absl::Status JsonToMetadata(std::string_view json, Struct* metadata) {
  metadata->Clear();
  if (JsonReader(json).ReadDocument(metadata)) return absl::OkStatus();
  metadata->Clear();
  return absl::DataLossError("stored metadata is not the JSON object that was written");
}

}  // namespace vecino::rpc
