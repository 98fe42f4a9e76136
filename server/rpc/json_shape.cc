#include "server/rpc/json_shape.h"

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/types.h"
#include "server/rpc/status.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::OneofDescriptor;
using nlohmann::json;

constexpr size_t kShownBytes = 100;  // of a name that a caller sent, in messages

enum class Got { kNull, kBool, kNumber, kString, kObject, kArray };

std::string_view NameOf(Got got) {
  constexpr std::string_view kNames[] = {"null",     "a boolean", "a number",
                                         "a string", "an object", "an array"};
  return kNames[static_cast<int>(got)];
}

// Fewest bytes that an element of a ListValue takes on the wire, without a string's own.
size_t FreeBytes(Got got) { return got == Got::kNumber ? 11 : 4; }

// The same for one element of a repeated field or a member of an object.
size_t FieldBytes(const FieldDescriptor& field) {
  switch (field.type()) {
    case FieldDescriptor::TYPE_DOUBLE:
    case FieldDescriptor::TYPE_FIXED64:
    case FieldDescriptor::TYPE_SFIXED64:
      return 8;
    case FieldDescriptor::TYPE_FLOAT:
    case FieldDescriptor::TYPE_FIXED32:
    case FieldDescriptor::TYPE_SFIXED32:
      return 4;
    case FieldDescriptor::TYPE_MESSAGE:
    case FieldDescriptor::TYPE_STRING:
    case FieldDescriptor::TYPE_BYTES:
      return 2;
    default:
      return 1;
  }
}

// What protobuf writes in JSON in a way of its own.
enum class Special { kNone, kFree, kFreeObject, kFreeArray, kText, kScalar };

struct SpecialForm {
  Special form = Special::kNone;
  std::string_view example;  // of kText
};

SpecialForm FormOf(const Descriptor& type) {
  static const auto& forms = *new std::map<std::string, SpecialForm, std::less<>>{
      {"Value", {Special::kFree, ""}},
      {"Struct", {Special::kFreeObject, ""}},
      {"Any", {Special::kFreeObject, ""}},
      {"ListValue", {Special::kFreeArray, ""}},
      {"Timestamp", {Special::kText, "\"2024-05-06T07:08:09Z\""}},
      {"Duration", {Special::kText, "\"1.5s\""}},
      {"FieldMask", {Special::kText, "\"id,text\""}},
      {"DoubleValue", {Special::kScalar, ""}},
      {"FloatValue", {Special::kScalar, ""}},
      {"Int64Value", {Special::kScalar, ""}},
      {"UInt64Value", {Special::kScalar, ""}},
      {"Int32Value", {Special::kScalar, ""}},
      {"UInt32Value", {Special::kScalar, ""}},
      {"BoolValue", {Special::kScalar, ""}},
      {"StringValue", {Special::kScalar, ""}},
      {"BytesValue", {Special::kScalar, ""}}};
  if (type.file()->package() != "google.protobuf") return {};
  const auto at = forms.find(type.name());
  return at == forms.end() ? SpecialForm{} : at->second;
}

// What one value of the field may be, in words.
std::string Wanted(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return field.type() == FieldDescriptor::TYPE_BYTES ? "a string in base64" : "a string";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return Concat("the name of a ", field.enum_type()->full_name());
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "a number";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      break;
    default:
      return "a whole number";
  }
  const SpecialForm form = FormOf(*field.message_type());
  if (form.form == Special::kText) return Concat("a string such as ", form.example);
  if (form.form == Special::kFreeArray) return "an array";
  if (form.form == Special::kScalar) return Wanted(*field.message_type()->field(0));
  return "an object";
}

// Whether a value of the field that is neither an object nor an array may be `got`.
bool FitsScalar(const FieldDescriptor& field, Got got) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return got == Got::kString;
    case FieldDescriptor::CPPTYPE_BOOL:
      return got == Got::kBool;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return false;
    default:  // numbers may stand in strings, and enums have names
      return got == Got::kNumber || got == Got::kString;
  }
}

// An object or array that is open.
struct Frame {
  enum class Kind { kMessage, kMap, kList, kFree };
  Kind kind;
  const Descriptor* type = nullptr;        // kMessage
  const FieldDescriptor* field = nullptr;  // of the value that comes; null in kFree
  bool is_array = false;
  std::string key{};  // of the member that comes, as it was sent
  int64_t index = -1;
  std::set<std::string> names{};                           // seen: fields' own, otherwise keys
  std::map<const OneofDescriptor*, std::string> oneofs{};  // and what is set of them
};

class ShapeChecker final : public nlohmann::json_sax<json> {
 public:
  ShapeChecker(const Descriptor& type, size_t max_bytes) : type_(type), max_bytes_(max_bytes) {}

  absl::Status status;

  bool null() override { return Take(Got::kNull); }
  bool boolean(bool) override { return Take(Got::kBool); }
  bool number_integer(int64_t) override { return Take(Got::kNumber); }
  bool number_unsigned(uint64_t) override { return Take(Got::kNumber); }
  bool number_float(double, const std::string&) override { return Take(Got::kNumber); }
  bool string(std::string& value) override {
    // Of a string in base64 three quarters are left.
    return Count(value.size() / 4 * 3) && Take(Got::kString);
  }
  bool binary(json::binary_t&) override { return false; }
  bool start_object(size_t) override { return Take(Got::kObject); }
  bool start_array(size_t) override { return Take(Got::kArray); }
  bool end_object() override { return End(); }
  bool end_array() override { return End(); }

  bool key(std::string& key) override {
    Frame& top = stack_.back();
    top.key = std::move(key);
    if (top.kind != Frame::Kind::kMessage) {
      if (!top.names.insert(top.key).second) return Fail("stands twice");
      return Count(top.key.size() + 4);
    }
    top.field = FindField(*top.type, top.key);
    if (top.field == nullptr) return Unknown(top);
    if (!top.names.insert(top.field->name()).second) return Fail("stands twice");
    return true;
  }

  bool parse_error(size_t at, const std::string&, const json::exception& error) override {
    // Its own prefix is "[json.exception.parse_error.101] ".
    std::string_view message = error.what();
    if (const size_t end = message.find("] "); end != message.npos) message.remove_prefix(end + 2);
    status =
        absl::InvalidArgumentError(Concat("the body is not JSON, at byte ", at, ": ", message));
    return false;
  }

 private:
  static const FieldDescriptor* FindField(const Descriptor& type, const std::string& name) {
    if (const auto* field = type.FindFieldByName(name)) return field;
    const auto* camel = type.FindFieldByCamelcaseName(name);
    if (camel != nullptr && camel->json_name() == name) return camel;
    for (int i = 0; i < type.field_count(); ++i) {  // where the contract gave it another
      if (type.field(i)->json_name() == name) return type.field(i);
    }
    return nullptr;
  }

  std::string Path() const {
    std::string path;
    for (const Frame& frame : stack_) {
      if (frame.is_array) {
        path += Concat("[", frame.index, "]");
      } else {
        if (!path.empty()) path += ".";
        path += frame.field != nullptr && frame.kind == Frame::Kind::kMessage
                    ? frame.field->name()
                    : Printable(frame.key, kShownBytes);
      }
    }
    return path;
  }
  bool Fail(std::string_view what) {
    status = engine::InvalidField(Path(), what);
    return false;
  }
  bool Unknown(const Frame& top) {
    std::string names;
    for (int i = 0; i < top.type->field_count(); ++i) {
      names += Concat(i == 0 ? "" : ", ", top.type->field(i)->json_name());
    }
    return Fail(names.empty() ? Concat("is not known; ", top.type->full_name(), " has no fields")
                              : Concat("is not a field of ", top.type->full_name(),
                                       "; its fields are ", names));
  }
  bool Wrong(Got got, std::string_view wanted) {
    return Fail(Concat("is ", NameOf(got), "; it must be ", wanted));
  }
  bool Count(size_t bytes) {
    bytes_ += bytes;
    if (bytes_ <= max_bytes_) return true;
    status = TooManyBytes(max_bytes_);
    return false;
  }

  bool Push(Frame frame) {
    if (stack_.size() == static_cast<size_t>(kMaxJsonDepth)) {
      return Fail(Concat("is nested deeper than ", kMaxJsonDepth, " levels"));
    }
    stack_.push_back(std::move(frame));
    return true;
  }
  bool PushFree(Got got) {
    if (got != Got::kObject && got != Got::kArray) return true;
    return Push({.kind = Frame::Kind::kFree, .is_array = got == Got::kArray});
  }
  bool End() {
    stack_.pop_back();
    return true;
  }

  // The value that comes next.
  bool Take(Got got) {
    if (stack_.empty()) {
      if (got == Got::kObject) return Push({.kind = Frame::Kind::kMessage, .type = &type_});
      status = absl::InvalidArgumentError(
          Concat("the body is ", NameOf(got), "; it must be an object, ", type_.full_name()));
      return false;
    }
    Frame& top = stack_.back();
    if (top.is_array) ++top.index;
    if (top.kind == Frame::Kind::kFree) return Count(FreeBytes(got)) && PushFree(got);
    const FieldDescriptor& field = *top.field;
    if (top.kind != Frame::Kind::kMessage) {
      return Count(FieldBytes(field)) && TakeOne(field, got);
    }
    if (got == Got::kNull) return true;  // as if it were not there; a Value is null then
    if (field.is_map()) {
      if (got != Got::kObject) return Wrong(got, "an object");
      const FieldDescriptor* value = field.message_type()->map_value();
      return Push({.kind = Frame::Kind::kMap, .field = value});
    }
    if (field.is_repeated()) {
      if (got != Got::kArray) return Wrong(got, Concat("an array, each element ", Wanted(field)));
      return Push({.kind = Frame::Kind::kList, .field = &field, .is_array = true});
    }
    if (const OneofDescriptor* oneof = field.real_containing_oneof(); oneof != nullptr) {
      const auto [other, first] = top.oneofs.emplace(oneof, field.name());
      if (!first) {
        return Fail(
            Concat("and ", other->second, " are both set; only one `", oneof->name(), "` may be"));
      }
    }
    return TakeOne(field, got);
  }

  // One value of the field, an element when it is repeated.
  bool TakeOne(const FieldDescriptor& field, Got got) {
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      return FitsScalar(field, got) || Wrong(got, Wanted(field));
    }
    const Descriptor& type = *field.message_type();
    bool fits = false;
    switch (FormOf(type).form) {
      case Special::kFree:
        return PushFree(got);
      case Special::kFreeObject:
        fits = got == Got::kObject;
        return fits ? PushFree(got) : Wrong(got, Wanted(field));
      case Special::kFreeArray:
        fits = got == Got::kArray;
        return fits ? PushFree(got) : Wrong(got, Wanted(field));
      case Special::kText:
        fits = got == Got::kString;
        break;
      case Special::kScalar:
        fits = FitsScalar(*type.field(0), got);
        break;
      case Special::kNone:
        if (got == Got::kObject) return Push({.kind = Frame::Kind::kMessage, .type = &type});
        break;
    }
    return fits || Wrong(got, Wanted(field));
  }

  const Descriptor& type_;
  const size_t max_bytes_;
  size_t bytes_ = 0;  // at least, on the wire
  std::vector<Frame> stack_;
};

}  // namespace

absl::Status TooManyBytes(size_t max_bytes) {
  return NotRetryable(absl::ResourceExhaustedError(
      Concat("as a message the request takes more than ", max_bytes,
             " bytes, the limit (grpc.max-message-bytes); send less in each call")));
}

absl::Status CheckJsonShape(const Descriptor& type, std::string_view json, size_t max_bytes) {
  ShapeChecker checker(type, max_bytes);
  nlohmann::json::sax_parse(json, &checker);
  return checker.status;
}

}  // namespace vecino::rpc
