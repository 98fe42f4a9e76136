#include "server/rpc/update_mask.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_split.h"
#include "server/rpc/metadata.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

using engine::InvalidField;
using google::protobuf::Struct;
using google::protobuf::Value;

constexpr std::string_view kMetadataPrefix = "metadata.";

// The value at `path`, or null.
const Value* Find(const Struct& object, const std::vector<std::string>& path) {
  const Struct* at = &object;
  for (size_t i = 0;; ++i) {
    const auto found = at->fields().find(path[i]);
    if (found == at->fields().end()) return nullptr;
    if (i + 1 == path.size()) return &found->second;
    if (!found->second.has_struct_value()) return nullptr;
    at = &found->second.struct_value();
  }
}

// Makes the objects on the way; what is there and no object gives way to one.
void Set(const std::vector<std::string>& path, const Value& value, Struct* object) {
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    object = (*object->mutable_fields())[path[i]].mutable_struct_value();
  }
  (*object->mutable_fields())[path.back()] = value;
}

void Remove(const std::vector<std::string>& path, Struct* object) {
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    const auto found = object->mutable_fields()->find(path[i]);
    if (found == object->mutable_fields()->end() || !found->second.has_struct_value()) return;
    object = found->second.mutable_struct_value();
  }
  object->mutable_fields()->erase(path.back());
}

}  // namespace

absl::StatusOr<UpdateMask> UpdateMask::Read(const google::protobuf::FieldMask& mask) {
  UpdateMask read;
  read.whole_ = mask.paths().empty();
  for (const std::string& path : mask.paths()) {
    const auto problem = [&](std::string_view what) {
      return InvalidField("update_mask", Concat("names \"", Printable(path, 100), "\"; ", what));
    };
    if (path == "text") {
      read.text_ = true;
    } else if (path == "metadata") {
      read.metadata_ = true;
    } else if (path == "vector") {
      read.vector_ = true;
    } else if (path == "expire_time") {
      read.expire_time_ = true;
    } else if (path == "*") {
      if (mask.paths_size() != 1) return problem("that must be its only path");
      read.whole_ = true;
    } else if (path.starts_with(kMetadataPrefix)) {
      Path keys =
          absl::StrSplit(ToAbsl(std::string_view(path).substr(kMetadataPrefix.size())), '.');
      if (keys.size() > engine::Limits::kMaxMetadataDepth) {
        return problem(
            Concat("metadata may be ", engine::Limits::kMaxMetadataDepth, " levels deep at most"));
      }
      for (const std::string& key : keys) {
        if (key.empty()) return problem("between two dots there must be the key of a field");
      }
      read.fields_.push_back(std::move(keys));
    } else {
      return problem(
          "it may name text, metadata, metadata.{field}, vector and expire_time, or be * for all");
    }
  }
  return read;
}

absl::Status UpdateMask::ApplyMetadata(const Struct& given, std::string* json) const {
  Struct metadata;
  if (!json->empty()) {
    if (absl::Status status = JsonToMetadata(*json, &metadata); !status.ok()) return status;
  }
  for (const Path& path : fields_) {
    if (const Value* value = Find(given, path); value != nullptr) {
      Set(path, *value, &metadata);
    } else {
      Remove(path, &metadata);
    }
  }
  json->clear();
  if (metadata.fields().empty()) return absl::OkStatus();
  auto text = MetadataToJson("document.metadata", metadata);
  if (!text.ok()) return text.status();
  *json = *std::move(text);
  return absl::OkStatus();
}

absl::StatusOr<engine::DocumentWrite> UpdateMask::Apply(const engine::DocumentWrite& given,
                                                        const Struct& metadata, bool has_model,
                                                        const storage::Document* current) const {
  engine::DocumentWrite next;
  if (current != nullptr) {
    next.document = *current;
    next.vector_as_stored = true;
    next.expiry_as_stored = true;
  }
  storage::Document& document = next.document;
  document.id = given.document.id;
  if (text_ && document.text != given.document.text) {
    document.text = given.document.text;
    if (has_model) {
      document.vector.clear();
      document.passages.clear();
    }
  }
  if (vector_) {
    document.vector = given.document.vector;
    document.passages.clear();
    next.vector_as_stored = false;
  }
  if (expire_time_) {
    document.expire_time_us = given.document.expire_time_us;
    next.ttl_us = given.ttl_us;
    next.expiry_as_stored = false;
  }
  if (metadata_) {
    document.metadata = given.document.metadata;
  } else if (!fields_.empty()) {
    if (absl::Status status = ApplyMetadata(metadata, &document.metadata); !status.ok()) {
      return status;
    }
  }
  return next;
}

}  // namespace vecino::rpc
