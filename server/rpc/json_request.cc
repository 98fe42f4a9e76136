#include "server/rpc/json_request.h"

#include "absl/strings/ascii.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/type_resolver_util.h"
#include "server/engine/types.h"
#include "server/rpc/json_shape.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

constexpr size_t kShownBytes = 100;  // of a value that a caller sent
constexpr const char* kTypePrefix = "type.googleapis.com";

google::protobuf::util::TypeResolver* Resolver() {
  static auto* const resolver = google::protobuf::util::NewTypeResolverForDescriptorPool(
      kTypePrefix, google::protobuf::DescriptorPool::generated_pool());
  return resolver;
}

// What a field of the type may be, in words; `type` is as protobuf's messages have it.
std::string Wanted(std::string_view type) {
  constexpr std::string_view kScalar = "TYPE_";
  if (type.starts_with(kScalar)) {
    return Concat("it must be of type ",
                  absl::AsciiStrToLower(ToAbsl(type.substr(kScalar.size()))));
  }
  const std::string name(type.substr(type.rfind('/') + 1));
  const auto* choice = google::protobuf::DescriptorPool::generated_pool()->FindEnumTypeByName(name);
  if (choice == nullptr) return Concat("it must be a ", name);
  std::string names;
  for (int i = 0; i < choice->value_count(); ++i) {
    names += Concat(i == 0 ? "" : ", ", choice->value(i)->name());
  }
  return Concat("it must be one of ", names);
}

// In words of ours where it is of the form that it has for values:
//   invalid value "x" for type TYPE_INT64
//   invalid value Field 'ttl', Duration value exceeds limits for type type.googleapis.com/google…
std::string Reworded(std::string_view message) {
  constexpr std::string_view kStart = "invalid value ", kType = " for type ", kOwn = "Field '";
  const size_t type = message.rfind(kType);
  if (!message.starts_with(kStart) || type == message.npos || type < kStart.size()) {
    return std::string(message);
  }
  std::string_view value = message.substr(kStart.size(), type - kStart.size());
  // Of a number there is nothing else to say.
  if (message.ends_with(" for type TYPE_FLOAT") &&
      value.find_first_not_of("0123456789+-.e") == value.npos) {
    return Concat("is ", Printable(value, kShownBytes), ", too large for a float");
  }
  const std::string wanted = Wanted(message.substr(type + kType.size()));
  if (const size_t end = value.find("', "); value.starts_with(kOwn) && end != value.npos) {
    return Concat(value.substr(end + 3), "; ", wanted);
  }
  return Concat("cannot be ", Printable(value, kShownBytes), "; ", wanted);
}

// protobuf's messages are "(documents[3].version): invalid value \"x\" for type TYPE_INT64".
absl::Status AsStatus(std::string_view message) {
  const size_t end = message.find("): ");
  if (!message.starts_with("(") || end == message.npos || end == 1) {
    if (message.starts_with(": ")) message.remove_prefix(2);
    return absl::InvalidArgumentError(Concat("the body cannot be read as the request: ", message));
  }
  return engine::InvalidField(message.substr(1, end - 1), Reworded(message.substr(end + 3)));
}

}  // namespace

absl::Status ReadJson(const google::protobuf::Descriptor& type, std::string_view json,
                      size_t max_bytes, std::string* wire) {
  // protobuf's reader takes more than JSON: names without quotes, strings in single ones.
  if (absl::Status status = CheckJsonShape(type, json, max_bytes); !status.ok()) return status;
  const auto read = google::protobuf::util::JsonToBinaryString(
      Resolver(), Concat(kTypePrefix, "/", type.full_name()), {json.data(), json.size()}, wire);
  if (!read.ok()) {
    const auto message = read.message();
    return AsStatus({message.data(), static_cast<size_t>(message.size())});
  }
  return wire->size() <= max_bytes ? absl::OkStatus() : TooManyBytes(max_bytes);
}

}  // namespace vecino::rpc
