#include "client/metadata_json.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "client/utf8.h"

namespace vecino::internal {
namespace {

void AppendString(std::string_view text, std::string* out) {
  out->push_back('"');
  for (const char c : text) {
    switch (c) {
      case '"':
        out->append("\\\"");
        break;
      case '\\':
        out->append("\\\\");
        break;
      case '\n':
        out->append("\\n");
        break;
      case '\r':
        out->append("\\r");
        break;
      case '\t':
        out->append("\\t");
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          char escaped[8];
          std::snprintf(escaped, sizeof(escaped), "\\u%04x", c);
          out->append(escaped);
        } else {
          out->push_back(c);
        }
    }
  }
  out->push_back('"');
}

void AppendNumber(double number, std::string* out) {
  if (!std::isfinite(number)) {
    out->append("null");
    return;
  }
  char digits[40];
  constexpr double kExactIntegers = 9007199254740992.0;  // 2^53
  const bool whole = std::trunc(number) == number && std::fabs(number) < kExactIntegers;
  const auto result =
      whole ? std::to_chars(digits, digits + sizeof(digits), static_cast<int64_t>(number))
            : std::to_chars(digits, digits + sizeof(digits), number);
  out->append(digits, result.ptr);
}

void AppendStruct(const google::protobuf::Struct& object, std::string* out);

void AppendValue(const google::protobuf::Value& value, std::string* out) {
  using google::protobuf::Value;
  switch (value.kind_case()) {
    case Value::kNumberValue:
      AppendNumber(value.number_value(), out);
      return;
    case Value::kStringValue:
      AppendString(value.string_value(), out);
      return;
    case Value::kBoolValue:
      out->append(value.bool_value() ? "true" : "false");
      return;
    case Value::kStructValue:
      AppendStruct(value.struct_value(), out);
      return;
    case Value::kListValue: {
      out->push_back('[');
      bool first = true;
      for (const Value& item : value.list_value().values()) {
        if (!std::exchange(first, false)) out->push_back(',');
        AppendValue(item, out);
      }
      out->push_back(']');
      return;
    }
    case Value::kNullValue:
    case Value::KIND_NOT_SET:
      out->append("null");
      return;
  }
}

void AppendStruct(const google::protobuf::Struct& object, std::string* out) {
  std::vector<const std::string*> keys;
  keys.reserve(object.fields().size());
  for (const auto& [key, value] : object.fields()) keys.push_back(&key);
  std::sort(keys.begin(), keys.end(), [](const auto* a, const auto* b) { return *a < *b; });
  out->push_back('{');
  bool first = true;
  for (const std::string* key : keys) {
    if (!std::exchange(first, false)) out->push_back(',');
    AppendString(*key, out);
    out->push_back(':');
    AppendValue(object.fields().at(*key), out);
  }
  out->push_back('}');
}

}  // namespace

std::string ToJson(const google::protobuf::Struct& metadata) {
  std::string json;
  if (!metadata.fields().empty()) AppendStruct(metadata, &json);
  return json;
}

std::string ToJson(const google::protobuf::Value& value) {
  std::string json;
  AppendValue(value, &json);
  return json;
}

namespace {

// The contract's limit. Beyond, protobuf's parser gives up with a message that does not say why.
constexpr int kMostLevels = 32;

// How deep objects and arrays stand in one another.
int Levels(std::string_view json) {
  int open = 0, deepest = 0;
  bool quoted = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++open);
    } else if (c == '}' || c == ']') {
      --open;
    }
  }
  return deepest;
}

}  // namespace

Status FromJson(const std::string& json, const std::string& field,
                google::protobuf::Struct* metadata) {
  metadata->Clear();
  if (json.empty()) return Status();
  if (!IsValidUtf8(json)) {
    return Status(Code::kInvalidArgument, "metadata is not valid UTF-8", field);
  }
  if (const int levels = Levels(json); levels > kMostLevels) {
    return Status(Code::kInvalidArgument,
                  "metadata is " + std::to_string(levels) + " levels deep; the limit is " +
                      std::to_string(kMostLevels),
                  field);
  }
  const auto parsed = google::protobuf::util::JsonStringToMessage(json, metadata);
  if (parsed.ok()) return Status();
  std::string reason(parsed.message());
  std::replace(reason.begin(), reason.end(), '\n', ' ');
  return Status(Code::kInvalidArgument, "metadata must be one JSON object: " + reason, field);
}

}  // namespace vecino::internal
