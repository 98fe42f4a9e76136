#include "server/rpc/json_request.h"

#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/type_resolver_util.h"
#include "server/engine/types.h"
#include "server/rpc/json_shape.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

constexpr const char* kTypePrefix = "type.googleapis.com";

google::protobuf::util::TypeResolver* Resolver() {
  static auto* const resolver = google::protobuf::util::NewTypeResolverForDescriptorPool(
      kTypePrefix, google::protobuf::DescriptorPool::generated_pool());
  return resolver;
}

// protobuf's messages are "(documents[3].version): invalid value \"x\" for type TYPE_INT64".
absl::Status AsStatus(std::string_view message) {
  const size_t end = message.find("): ");
  if (!message.starts_with("(") || end == message.npos || end == 1) {
    return absl::InvalidArgumentError(Concat("the body cannot be read as the request: ", message));
  }
  return engine::InvalidField(message.substr(1, end - 1), message.substr(end + 3));
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
