// The client's plain values to and from the contract's messages.
#pragma once

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/field_mask.pb.h>
#include <google/protobuf/timestamp.pb.h>
#include <vecino/v1/admin_service.pb.h>
#include <vecino/v1/collection.pb.h>
#include <vecino/v1/document.pb.h>
#include <vecino/v1/document_service.pb.h>
#include <vecino/v1/embedding_service.pb.h>
#include <vecino/v1/search_service.pb.h>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "client/vecino/client.h"

namespace vecino::internal {

// `collections/{id}`, `collections/{id}/documents/{id}`, `collections/{id}/operations/{id}`.
std::string CollectionName(std::string_view collection);
std::string DocumentName(std::string_view collection, std::string_view document);
std::string OperationName(std::string_view collection, std::string_view operation);
// The last part of a resource name.
std::string LastPart(const std::string& name);

// INVALID_ARGUMENT naming `field` when `text` is not UTF-8.
Status CheckUtf8(std::string_view text, const std::string& field);
// The same for `parent`embedding.query_prompt and document_prompt.
Status CheckPrompts(const std::string& query, const std::string& document,
                    const std::string& parent);

// All but the etag. `field` is the path of the document in its request, such as `documents[3]`, for
// errors: text, id or etag that is not UTF-8, metadata that is no JSON object. *message is
// undefined after an error.
Status ToProto(const Document& document, const std::string& field, v1::Document* message);
v1::Collection ToProto(const Collection& collection);
v1::TruncateMode ToProto(Truncate truncate);
v1::WriteMode ToProto(WriteMode mode);
google::protobuf::FieldMask ToProto(const ReadMask& mask);
void ToProto(const std::vector<float>& vector, v1::Vector* message);

Passage FromProto(const v1::Passage& message);
Document FromProto(const v1::Document& message);
Collection FromProto(const v1::Collection& message);
WriteToken FromProto(const v1::WriteToken& message);
WriteResult FromProto(const v1::BatchWriteResult& message);
Metric FromProto(v1::Metric metric);
Embedding FromProto(const v1::Embedding& message);
EmbedTimings FromProto(const v1::EmbedTimings& message);
Model FromProto(const v1::Model& message);
ServerStatus FromProto(const v1::GetServerStatusResponse& message);
std::vector<float> FromProto(const v1::Vector& message);
std::chrono::system_clock::time_point FromProto(const google::protobuf::Timestamp& message);
std::chrono::microseconds FromProto(const google::protobuf::Duration& message);

}  // namespace vecino::internal
