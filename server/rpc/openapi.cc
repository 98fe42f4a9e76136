#include "server/rpc/openapi.h"

#include <nlohmann/json.hpp>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/rpc/status.pb.h"
#include "server/rpc/contract_file.h"
#include "server/rpc/json_api.h"
#include "server/rpc/methods.h"
#include "server/rpc/openapi_schema.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;
using Json = nlohmann::ordered_json;

constexpr const char* kAbout =
    "Every unary RPC of Vecino as POST /v1/{Service}/{Method} with a body in proto3 JSON: names in "
    "lowerCamelCase (requests may have them as the contract does), 64-bit integers as strings, "
    "bytes "
    "in base64, fields at their default left out of replies. Streams are gRPC's alone. See "
    "docs/http.md.";

Json Content(Json schema) { return {{"application/json", {{"schema", std::move(schema)}}}}; }

// The services with the comments of their files, which the generated ones have not.
std::vector<const ServiceDescriptor*> CommentedServices() {
  static auto& pool = *new google::protobuf::DescriptorPool();
  google::protobuf::FileDescriptorSet files;
  const std::string_view bytes = ContractFile();
  std::vector<const ServiceDescriptor*> services;
  if (files.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    for (const auto& file : files.file()) pool.BuildFile(file);
  }
  for (const ServiceDescriptor* service : Services()) {
    const auto* commented = pool.FindServiceByName(service->full_name());
    services.push_back(commented != nullptr ? commented : service);
  }
  return services;
}

Json Operation(const MethodDescriptor& method, Json* schemas) {
  const std::string& service = method.service()->name();
  return {
      {"operationId", Concat(service, "_", method.name())},
      {"tags", Json::array({service})},
      {"description", CommentOf(method)},
      {"parameters", Json::array({{{"$ref", "#/components/parameters/RequestTimeout"}},
                                  {{"$ref", "#/components/parameters/GrpcTimeout"}}})},
      {"requestBody",
       {{"required", true}, {"content", Content(SchemaOf(*method.input_type(), schemas))}}},
      {"responses",
       {{"200",
         {{"description", "OK"}, {"content", Content(SchemaOf(*method.output_type(), schemas))}}},
        {"default", {{"$ref", "#/components/responses/Error"}}}}}};
}

Json TimeoutHeader(const char* name, const char* pattern, const char* description) {
  return {{"name", name},
          {"in", "header"},
          {"required", false},
          {"schema", {{"type", "string"}, {"pattern", pattern}}},
          {"description", description}};
}

std::string Make(std::string_view version) {
  Json paths = Json::object(), schemas = Json::object(), tags = Json::array();
  for (const ServiceDescriptor* service : CommentedServices()) {
    tags.push_back({{"name", service->name()}, {"description", CommentOf(*service)}});
    for (int i = 0; i < service->method_count(); ++i) {
      const MethodDescriptor& method = *service->method(i);
      if (method.client_streaming() || method.server_streaming()) continue;
      paths[HttpPath(method)] = {{"post", Operation(method, &schemas)}};
    }
  }
  const Json error = SchemaOf(*google::rpc::Status::descriptor(), &schemas);
  const Json document = {
      {"openapi", "3.0.3"},
      {"info", {{"title", "Vecino"}, {"version", std::string(version)}, {"description", kAbout}}},
      {"servers", Json::array({{{"url", "/"}}})},
      {"tags", std::move(tags)},
      {"paths", std::move(paths)},
      {"components",
       {{"schemas", std::move(schemas)},
        {"responses",
         {{"Error",
           {{"description", "The call failed; HTTP's status follows from `code`."},
            {"headers",
             {{"Retry-After",
               {{"schema", {{"type", "integer"}}},
                {"description", "Seconds, where the same call may succeed later."}}}}},
            {"content", Content(error)}}}}},
        {"parameters",
         {{"RequestTimeout",
           TimeoutHeader("X-Request-Timeout", "^[0-9]+(\\.[0-9]+)?s?$",
                         "Seconds that the call may take, such as `1.5s`. Default 60.")},
          {"GrpcTimeout",
           TimeoutHeader("Grpc-Timeout", "^[0-9]{1,8}[HMSmun]$",
                         "The same in gRPC's form, such as `1500m`; not with the other.")}}}}}};
  return document.dump(1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

const std::string& OpenApiDocument(std::string_view version) {
  static const std::string& document = *new std::string(Make(version));
  return document;
}

}  // namespace vecino::rpc
