// Purging and patching documents by filter.
#include <string>
#include <utility>

#include "server/rpc/conversions.h"
#include "server/rpc/document_handlers.h"
#include "server/rpc/index_conversions.h"
#include "server/rpc/metadata.h"
#include "server/rpc/resource_names.h"
#include "vecino/v1/index_operation.pb.h"

namespace vecino::rpc {
namespace {

constexpr int kSample = 100;  // names of what would be changed
constexpr size_t kSampleBytes = 1 << 20;

// RFC 7396. Recursion ends where protobuf's parser does.
void MergePatch(const google::protobuf::Struct& patch, google::protobuf::Struct* target) {
  for (const auto& [key, value] : patch.fields()) {
    if (value.kind_case() == google::protobuf::Value::kNullValue) {
      target->mutable_fields()->erase(key);
    } else if (value.kind_case() == google::protobuf::Value::kStructValue) {
      google::protobuf::Value& there = (*target->mutable_fields())[key];
      MergePatch(value.struct_value(), there.mutable_struct_value());
    } else {
      (*target->mutable_fields())[key] = value;
    }
  }
}

}  // namespace

// What would be changed: its number, and some names.
template <class Response>
absl::Status DocumentHandlers::Preview(const std::string& collection, const std::string& filter,
                                       void (Response::*set_count)(int64_t),
                                       void (Response::*add_sample)(const std::string&),
                                       v1::IndexOperationMetadata::Type type,
                                       google::longrunning::Operation* operation) const {
  const auto count = engine_.Count(collection, filter);
  if (!count.ok()) return count.status();
  const auto some = engine_.List(collection, {}, kSample, kSampleBytes,
                                 {.text = false, .metadata = false, .vector = false}, filter);
  if (!some.ok()) return some.status();
  Response response;
  (response.*set_count)(*count);
  for (const storage::Document& document : some->documents) {
    (response.*add_sample)(DocumentNameOf(collection, document.id));
  }
  v1::IndexOperationMetadata metadata;
  metadata.set_type(type);
  metadata.set_collection(CollectionName(collection));
  operation->set_done(true);
  operation->mutable_metadata()->PackFrom(metadata);
  operation->mutable_response()->PackFrom(response);
  return absl::OkStatus();
}

absl::Status DocumentHandlers::PurgeDocuments(const v1::PurgeDocumentsRequest& request,
                                              google::longrunning::Operation* response,
                                              const engine::CallContext&) {
  auto collection = ParseCollectionName("parent", request.parent());
  if (!collection.ok()) return collection.status();
  if (request.filter().empty()) {
    return engine::InvalidField("filter", "is empty; `*` stands for every document");
  }
  if (!request.force()) {
    return Preview<v1::PurgeDocumentsResponse>(*collection, request.filter(),
                                               &v1::PurgeDocumentsResponse::set_purge_count,
                                               &v1::PurgeDocumentsResponse::add_purge_sample,
                                               v1::IndexOperationMetadata::TYPE_PURGE, response);
  }
  auto info = engine_.ChangeDocuments(*collection, request.filter(), nullptr);
  if (!info.ok()) return info.status();
  WriteOperation(*info, response);
  return absl::OkStatus();
}

absl::Status DocumentHandlers::PatchDocuments(const v1::PatchDocumentsRequest& request,
                                              google::longrunning::Operation* response,
                                              const engine::CallContext&) {
  auto collection = ParseCollectionName("parent", request.parent());
  if (!collection.ok()) return collection.status();
  if (request.filter().empty()) {
    return engine::InvalidField("filter", "is empty; `*` stands for every document");
  }
  if (request.metadata_patch().fields().empty()) {
    return engine::InvalidField("metadata_patch", "is empty; set the fields to change");
  }
  if (!request.force()) {
    return Preview<v1::PatchDocumentsResponse>(*collection, request.filter(),
                                               &v1::PatchDocumentsResponse::set_patch_count,
                                               &v1::PatchDocumentsResponse::add_patch_sample,
                                               v1::IndexOperationMetadata::TYPE_PATCH, response);
  }
  // So that a patch which no document can take is refused before one is looked at.
  google::protobuf::Struct alone;
  MergePatch(request.metadata_patch(), &alone);
  if (auto json = MetadataToJson("metadata_patch", alone); !json.ok()) return json.status();
  auto info = engine_.ChangeDocuments(
      *collection, request.filter(),
      [patch = request.metadata_patch()](const std::string& json) -> absl::StatusOr<std::string> {
        google::protobuf::Struct metadata;
        if (!json.empty()) {
          if (absl::Status status = JsonToMetadata(json, &metadata); !status.ok()) return status;
        }
        MergePatch(patch, &metadata);
        if (metadata.fields().empty()) return std::string();
        return MetadataToJson("metadata", metadata);
      });
  if (!info.ok()) return info.status();
  WriteOperation(*info, response);
  return absl::OkStatus();
}

}  // namespace vecino::rpc
