#include "server/rpc/json_reply.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/strings/escaping.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/field_mask.pb.h"
#include "google/protobuf/util/field_mask_util.h"
#include "google/protobuf/util/time_util.h"
#include "google/rpc/error_details.pb.h"
#include "server/rpc/status.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::util::FieldMaskUtil;
using google::protobuf::util::TimeUtil;

// As deep as ReadMessage reads, and what an Any adds.
constexpr int kMaxDepth = 250;

void AppendString(std::string_view text, std::string* out) {
  constexpr char kHex[] = "0123456789abcdef";
  out->push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (c == '\n') {
      out->append("\\n");
    } else if (byte < 0x20) {
      out->append("\\u00");
      out->push_back(kHex[byte >> 4]);
      out->push_back(kHex[byte & 15]);
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

template <class Number>
void AppendNumber(Number value, std::string* out) {
  char digits[32];
  out->append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

template <class Float>
void AppendFloat(Float value, std::string* out) {
  if (std::isnan(value)) {
    out->append("\"NaN\"");
  } else if (std::isinf(value)) {
    out->append(value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
  } else if (value == 0 && std::signbit(value)) {
    out->append("-0.0");  // protobuf reads -0 as the integer
  } else {
    AppendNumber(value, out);
  }
}

template <class Number>
void AppendQuoted(Number value, std::string* out) {
  out->push_back('"');
  AppendNumber(value, out);
  out->push_back('"');
}

class Writer {
 public:
  explicit Writer(std::string* out) : out_(*out) {}

  absl::Status status;

  // False once `status` is an error.
  bool Write(const Message& message, int depth) {
    if (depth > kMaxDepth) return Fail("a reply nested too deeply for JSON");
    const Descriptor& type = *message.GetDescriptor();
    if (type.file()->package() == "google.protobuf") {
      bool done = false;
      const bool good = WriteSpecial(message, type, depth, &done);
      if (done || !good) return good;
    }
    out_.push_back('{');
    bool first = true;
    if (!WriteFields(message, depth, &first)) return false;
    out_.push_back('}');
    return true;
  }

 private:
  bool Fail(std::string_view why) {
    status = absl::InternalError(Concat("cannot write the reply: ", why));
    return false;
  }
  void Comma(bool* first) {
    if (!*first) out_.push_back(',');
    *first = false;
  }

  bool WriteFields(const Message& message, int depth, bool* first) {
    std::vector<const FieldDescriptor*> fields;
    message.GetReflection()->ListFields(message, &fields);
    for (const FieldDescriptor* field : fields) {
      Comma(first);
      AppendString(field->json_name(), &out_);
      out_.push_back(':');
      if (!WriteField(message, *field, depth)) return false;
    }
    return true;
  }

  bool WriteField(const Message& message, const FieldDescriptor& field, int depth) {
    if (field.is_map()) return WriteMap(message, field, depth);
    if (!field.is_repeated()) return WriteValue(message, field, -1, depth);
    const int size = message.GetReflection()->FieldSize(message, &field);
    out_.push_back('[');
    for (int i = 0; i < size; ++i) {
      if (i > 0) out_.push_back(',');
      if (!WriteValue(message, field, i, depth)) return false;
    }
    out_.push_back(']');
    return true;
  }

  bool WriteMap(const Message& message, const FieldDescriptor& field, int depth) {
    const Reflection& reflection = *message.GetReflection();
    const FieldDescriptor* key = field.message_type()->map_key();
    const FieldDescriptor* value = field.message_type()->map_value();
    std::vector<std::pair<std::string, const Message*>> entries;
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
      entries.emplace_back(KeyOf(entry, *key), &entry);
    }
    std::sort(entries.begin(), entries.end());
    out_.push_back('{');
    bool first = true;
    for (const auto& [name, entry] : entries) {
      Comma(&first);
      AppendString(name, &out_);
      out_.push_back(':');
      if (!WriteValue(*entry, *value, -1, depth)) return false;
    }
    out_.push_back('}');
    return true;
  }

  static std::string KeyOf(const Message& entry, const FieldDescriptor& key) {
    const Reflection& reflection = *entry.GetReflection();
    switch (key.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return std::to_string(reflection.GetInt32(entry, &key));
      case FieldDescriptor::CPPTYPE_INT64:
        return std::to_string(reflection.GetInt64(entry, &key));
      case FieldDescriptor::CPPTYPE_UINT32:
        return std::to_string(reflection.GetUInt32(entry, &key));
      case FieldDescriptor::CPPTYPE_UINT64:
        return std::to_string(reflection.GetUInt64(entry, &key));
      case FieldDescriptor::CPPTYPE_BOOL:
        return reflection.GetBool(entry, &key) ? "true" : "false";
      default:
        return reflection.GetString(entry, &key);
    }
  }

  // One value; index: of a repeated field's element, otherwise -1.
  bool WriteValue(const Message& m, const FieldDescriptor& f, int index, int depth) {
    const Reflection& r = *m.GetReflection();
    const bool one = index < 0;
    std::string scratch;
    switch (f.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        AppendNumber(one ? r.GetInt32(m, &f) : r.GetRepeatedInt32(m, &f, index), &out_);
        return true;
      case FieldDescriptor::CPPTYPE_UINT32:
        AppendNumber(one ? r.GetUInt32(m, &f) : r.GetRepeatedUInt32(m, &f, index), &out_);
        return true;
      case FieldDescriptor::CPPTYPE_INT64:
        AppendQuoted(one ? r.GetInt64(m, &f) : r.GetRepeatedInt64(m, &f, index), &out_);
        return true;
      case FieldDescriptor::CPPTYPE_UINT64:
        AppendQuoted(one ? r.GetUInt64(m, &f) : r.GetRepeatedUInt64(m, &f, index), &out_);
        return true;
      case FieldDescriptor::CPPTYPE_FLOAT:
        AppendFloat(one ? r.GetFloat(m, &f) : r.GetRepeatedFloat(m, &f, index), &out_);
        return true;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        AppendFloat(one ? r.GetDouble(m, &f) : r.GetRepeatedDouble(m, &f, index), &out_);
        return true;
      case FieldDescriptor::CPPTYPE_BOOL:
        out_.append((one ? r.GetBool(m, &f) : r.GetRepeatedBool(m, &f, index)) ? "true" : "false");
        return true;
      case FieldDescriptor::CPPTYPE_ENUM:
        WriteEnum(f, one ? r.GetEnumValue(m, &f) : r.GetRepeatedEnumValue(m, &f, index));
        return true;
      case FieldDescriptor::CPPTYPE_STRING: {
        const std::string& text = one ? r.GetStringReference(m, &f, &scratch)
                                      : r.GetRepeatedStringReference(m, &f, index, &scratch);
        if (f.type() == FieldDescriptor::TYPE_BYTES) {
          out_ += Concat("\"", absl::Base64Escape(text), "\"");
        } else {
          AppendString(text, &out_);
        }
        return true;
      }
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return Write(one ? r.GetMessage(m, &f) : r.GetRepeatedMessage(m, &f, index), depth + 1);
    }
    return Fail(f.full_name());
  }

  void WriteEnum(const FieldDescriptor& field, int number) {
    if (field.enum_type()->full_name() == "google.protobuf.NullValue") {
      out_.append("null");
    } else if (const auto* value = field.enum_type()->FindValueByNumber(number)) {
      AppendString(value->name(), &out_);
    } else {
      AppendNumber(number, &out_);  // of a newer contract
    }
  }

  // The messages that have a form of their own; sets *done when this is one.
  bool WriteSpecial(const Message& message, const Descriptor& type, int depth, bool* done) {
    *done = true;
    const std::string& name = type.name();
    if (name == "Timestamp") {
      const auto& time = static_cast<const google::protobuf::Timestamp&>(message);
      if (time.seconds() < TimeUtil::kTimestampMinSeconds ||
          time.seconds() > TimeUtil::kTimestampMaxSeconds || time.nanos() < 0 ||
          time.nanos() > 999999999) {
        return Fail("a time out of range");
      }
      AppendString(TimeUtil::ToString(time), &out_);
    } else if (name == "Duration") {
      const auto& span = static_cast<const google::protobuf::Duration&>(message);
      if (span.seconds() < TimeUtil::kDurationMinSeconds ||
          span.seconds() > TimeUtil::kDurationMaxSeconds || std::abs(span.nanos()) > 999999999 ||
          (span.seconds() < 0 && span.nanos() > 0) || (span.seconds() > 0 && span.nanos() < 0)) {
        return Fail("a duration out of range");
      }
      AppendString(TimeUtil::ToString(span), &out_);
    } else if (name == "FieldMask") {
      std::string paths;
      if (!FieldMaskUtil::ToJsonString(static_cast<const google::protobuf::FieldMask&>(message),
                                       &paths)) {
        return Fail("a field mask that JSON cannot say");
      }
      AppendString(paths, &out_);
    } else if (name == "Struct") {
      return WriteMap(message, *type.field(0), depth);
    } else if (name == "ListValue") {
      return WriteField(message, *type.field(0), depth);
    } else if (name == "Value") {
      std::vector<const FieldDescriptor*> set;
      message.GetReflection()->ListFields(message, &set);
      if (!set.empty()) return WriteValue(message, *set[0], -1, depth);
      out_.append("null");
    } else if (name == "Any") {
      return WriteAny(static_cast<const google::protobuf::Any&>(message), depth);
    } else if (name.ends_with("Value") && type.field_count() == 1) {  // Int64Value and the like
      return WriteValue(message, *type.field(0), -1, depth);
    } else {
      *done = false;  // Empty
    }
    return true;
  }

  bool WriteAny(const google::protobuf::Any& any, int depth) {
    if (any.type_url().empty() && any.value().empty()) {
      out_.append("{}");
      return true;
    }
    const std::string name = any.type_url().substr(any.type_url().rfind('/') + 1);
    const Descriptor* type =
        google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(name);
    if (type == nullptr) {
      return Fail(Concat("the type ", Printable(any.type_url(), 200), " is not known here"));
    }
    const std::unique_ptr<Message> inner(
        google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
    if (!inner->ParseFromString(any.value())) return Fail(Concat("a damaged ", name));
    out_.append("{\"@type\":");
    AppendString(any.type_url(), &out_);
    bool first = false;
    if (type->file()->package() == "google.protobuf" && type->name() != "Empty") {
      out_.append(",\"value\":");
      if (!Write(*inner, depth + 1)) return false;
    } else if (!WriteFields(*inner, depth + 1, &first)) {
      return false;
    }
    out_.push_back('}');
    return true;
  }

  std::string& out_;
};

}  // namespace

absl::Status WriteJson(const Message& message, std::string* out) {
  Writer writer(out);
  writer.Write(message, 0);
  return writer.status;
}

int HttpStatusOf(int grpc_code) {
  constexpr int kStatuses[] = {200, 499, 500, 400, 504, 404, 409, 403, 429,
                               400, 409, 400, 501, 500, 503, 500, 401};
  const bool known = grpc_code >= 0 && static_cast<size_t>(grpc_code) < std::size(kStatuses);
  return known ? kStatuses[grpc_code] : 500;
}

HttpReply JsonError(const absl::Status& status) {
  google::rpc::Status message;
  ToRpcStatus(status, &message);
  HttpReply reply{.status = HttpStatusOf(message.code())};
  if (!WriteJson(message, &reply.body).ok()) reply.body = "{\"code\":13}";
  for (const auto& detail : message.details()) {
    google::rpc::RetryInfo retry;
    if (!detail.Is<google::rpc::RetryInfo>() || !detail.UnpackTo(&retry)) continue;
    const auto& delay = retry.retry_delay();
    reply.retry_after_seconds = static_cast<int>(delay.seconds()) + (delay.nanos() > 0 ? 1 : 0);
  }
  return reply;
}

}  // namespace vecino::rpc
