#include "client/conversions.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "client/error_details.h"
#include "client/index_conversions.h"
#include "client/metadata_json.h"
#include "client/migration_conversions.h"
#include "client/utf8.h"

namespace vecino::internal {
namespace {

// Vectors as bytes are little-endian on the wire; every target of the client is.
static_assert(std::endian::native == std::endian::little);

v1::Metric ToProto(Metric metric) {
  switch (metric) {
    case Metric::kCosine:
      return v1::METRIC_COSINE;
    case Metric::kDot:
      return v1::METRIC_DOT;
    case Metric::kL2:
      return v1::METRIC_L2;
  }
  return v1::METRIC_UNSPECIFIED;
}

}  // namespace

Metric FromProto(v1::Metric metric) {
  if (metric == v1::METRIC_DOT) return Metric::kDot;
  if (metric == v1::METRIC_L2) return Metric::kL2;
  return Metric::kCosine;
}

namespace {

constexpr int64_t kNanos = 1'000'000'000;  // in a second

void ToProto(std::chrono::system_clock::time_point time, google::protobuf::Timestamp* message) {
  const int64_t nanos =
      std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
  const int64_t part = (nanos % kNanos + kNanos) % kNanos;
  message->set_seconds((nanos - part) / kNanos);
  message->set_nanos(static_cast<int32_t>(part));
}

void ToProto(std::chrono::microseconds duration, google::protobuf::Duration* message) {
  constexpr int64_t kMicros = 1'000'000;  // in a second
  message->set_seconds(duration.count() / kMicros);
  message->set_nanos(static_cast<int32_t>(duration.count() % kMicros * 1'000));
}

}  // namespace

std::string CollectionName(std::string_view collection) {
  return "collections/" + std::string(collection);
}

std::string DocumentName(std::string_view collection, std::string_view document) {
  return CollectionName(collection) + "/documents/" + std::string(document);
}

std::string OperationName(std::string_view collection, std::string_view operation) {
  return CollectionName(collection) + "/operations/" + std::string(operation);
}

std::string LastPart(const std::string& name) { return name.substr(name.rfind('/') + 1); }

Status CheckUtf8(std::string_view text, const std::string& field) {
  if (IsValidUtf8(text)) return Status();
  return Status(Code::kInvalidArgument, field + " is not valid UTF-8", field);
}

Status CheckPrompts(const std::string& query, const std::string& document,
                    const std::string& parent) {
  if (Status status = CheckUtf8(query, parent + "embedding.query_prompt"); !status.ok()) {
    return status;
  }
  return CheckUtf8(document, parent + "embedding.document_prompt");
}

Status ToProto(const Document& document, const std::string& field, v1::Document* message) {
  if (Status status = CheckUtf8(document.id, field + ".id"); !status.ok()) return status;
  if (Status status = CheckUtf8(document.text, field + ".text"); !status.ok()) return status;
  message->set_id(document.id);
  message->set_text(document.text);
  if (!document.metadata_json.empty()) {
    const Status status =
        FromJson(document.metadata_json, field + ".metadata", message->mutable_metadata());
    if (!status.ok()) return status;
  }
  if (!document.vector.empty()) ToProto(document.vector, message->mutable_vector());
  if (Status status = CheckUtf8(document.etag, field + ".etag"); !status.ok()) return status;
  if (document.expire_time.has_value()) {
    ToProto(*document.expire_time, message->mutable_expire_time());
  }
  if (document.ttl.has_value()) ToProto(*document.ttl, message->mutable_ttl());
  return Status();
}

v1::Collection ToProto(const Collection& collection) {
  v1::Collection message;
  message.set_dimension(collection.dimension);
  message.set_metric(ToProto(collection.metric));
  if (!collection.model.empty()) {
    message.mutable_embedding()->set_model("models/" + collection.model);
  }
  if (!collection.query_prompt.empty()) {
    message.mutable_embedding()->set_query_prompt(collection.query_prompt);
  }
  if (!collection.document_prompt.empty()) {
    message.mutable_embedding()->set_document_prompt(collection.document_prompt);
  }
  message.set_shard_count(collection.shard_count);
  IndexToProto(collection, message.mutable_index_policy());
  if (collection.chunking.has_value()) {
    message.mutable_chunking()->set_max_tokens(collection.chunking->max_tokens);
    if (collection.chunking->overlap_tokens.has_value()) {
      message.mutable_chunking()->set_overlap_tokens(*collection.chunking->overlap_tokens);
    }
  }
  return message;
}

v1::WriteMode ToProto(WriteMode mode) {
  switch (mode) {
    case WriteMode::kUpsert:
      return v1::WRITE_MODE_UPSERT;
    case WriteMode::kInsert:
      return v1::WRITE_MODE_INSERT;
    case WriteMode::kReplace:
      return v1::WRITE_MODE_REPLACE;
  }
  return v1::WRITE_MODE_UNSPECIFIED;
}

v1::TruncateMode ToProto(Truncate truncate) {
  return truncate == Truncate::kError ? v1::TRUNCATE_MODE_ERROR : v1::TRUNCATE_MODE_AUTO;
}

google::protobuf::FieldMask ToProto(const ReadMask& mask) {
  google::protobuf::FieldMask message;
  if (mask.text) message.add_paths("text");
  if (mask.metadata) message.add_paths("metadata");
  if (mask.vector) message.add_paths("vector");
  if (mask.passages) message.add_paths("passages");
  if (message.paths_size() == 0) message.add_paths("id");  // an empty mask stands for the default
  return message;
}

void ToProto(const std::vector<float>& vector, v1::Vector* message) {
  message->mutable_values()->Assign(vector.begin(), vector.end());
}

std::vector<float> FromProto(const v1::Vector& message) {
  if (message.float32_le().empty()) return {message.values().begin(), message.values().end()};
  std::vector<float> vector(message.float32_le().size() / sizeof(float));
  std::memcpy(vector.data(), message.float32_le().data(), vector.size() * sizeof(float));
  return vector;
}

std::chrono::system_clock::time_point FromProto(const google::protobuf::Timestamp& message) {
  // Nanoseconds in 64 bits end in the year 2262; the server's times, in 9999.
  constexpr int64_t kLast = std::numeric_limits<int64_t>::max() / kNanos - 1;
  if (message.seconds() > kLast) return std::chrono::system_clock::time_point::max();
  return std::chrono::system_clock::time_point(std::chrono::seconds(message.seconds()) +
                                               std::chrono::nanoseconds(message.nanos()));
}

std::chrono::microseconds FromProto(const google::protobuf::Duration& message) {
  return std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::seconds(message.seconds()) + std::chrono::nanoseconds(message.nanos()));
}

Passage FromProto(const v1::Passage& message) {
  return {.index = message.index(),
          .start = static_cast<size_t>(std::max(message.start(), 0)),
          .end = static_cast<size_t>(std::max(message.end(), 0)),
          .text = message.text(),
          .vector = FromProto(message.vector())};
}

Document FromProto(const v1::Document& message) {
  Document document;
  document.id = message.id();
  document.text = message.text();
  document.metadata_json = ToJson(message.metadata());
  document.vector = FromProto(message.vector());
  for (const v1::Passage& passage : message.passages()) {
    document.passages.push_back(FromProto(passage));
  }
  document.version = message.version();
  document.create_time = FromProto(message.create_time());
  document.update_time = FromProto(message.update_time());
  document.etag = message.etag();
  if (message.has_expire_time()) document.expire_time = FromProto(message.expire_time());
  return document;
}

Collection FromProto(const v1::Collection& message) {
  Collection collection;
  collection.id = LastPart(message.name());
  collection.dimension = message.dimension();
  collection.metric = FromProto(message.metric());
  collection.model = LastPart(message.embedding().model());
  collection.model_hash = message.embedding().model_hash();
  collection.query_prompt = message.embedding().query_prompt();
  collection.document_prompt = message.embedding().document_prompt();
  collection.shard_count = message.shard_count();
  IndexFromProto(message.index_policy(), &collection);
  if (message.has_chunking()) {
    collection.chunking = Chunking{.max_tokens = message.chunking().max_tokens(),
                                   .overlap_tokens = message.chunking().overlap_tokens()};
  }
  collection.etag = message.etag();
  collection.create_time = FromProto(message.create_time());
  if (message.has_migration()) collection.migration = FromProto(message.migration());
  return collection;
}

WriteToken FromProto(const v1::WriteToken& message) {
  return {.shard = message.shard(), .sequence_number = message.sequence_number()};
}

WriteResult FromProto(const v1::BatchWriteResult& message) {
  return {.status = FromRpc(message.status()),
          .token = FromProto(message.write_token()),
          .token_count = message.token_count(),
          .truncated = message.truncated(),
          .etag = {},
          .repeated = false};
}

Embedding FromProto(const v1::Embedding& message) {
  return {.vector = FromProto(message.vector()),
          .token_count = message.token_count(),
          .truncated = message.truncated()};
}

EmbedTimings FromProto(const v1::EmbedTimings& message) {
  return {.tokenize = FromProto(message.tokenize()),
          .queue = FromProto(message.queue()),
          .compute = FromProto(message.compute())};
}

Model FromProto(const v1::Model& message) {
  return {.name = LastPart(message.name()),
          .dimension = message.dimension(),
          .max_tokens = message.max_tokens(),
          .task = message.task() == v1::MODEL_TASK_RERANK  ? "rerank"
                  : message.task() == v1::MODEL_TASK_EMBED ? "embed"
                                                           : "unknown",
          .activation = message.activation(),
          .pooling = message.pooling(),
          .normalize = message.normalize(),
          .precision = message.precision(),
          .hash = message.model_hash(),
          .query_prompt = message.query_prompt(),
          .document_prompt = message.document_prompt(),
          .prompts = {message.prompts().begin(), message.prompts().end()},
          .matryoshka = {message.matryoshka_dimensions().begin(),
                         message.matryoshka_dimensions().end()}};
}

ServerStatus FromProto(const v1::GetServerStatusResponse& message) {
  ServerStatus status;
  status.version = message.version();
  status.data_dir = message.data_dir();
  status.cpu = message.cpu();
  status.start_time = FromProto(message.start_time());
  status.load_duration = FromProto(message.load_duration());
  status.collections = message.collections();
  status.documents = message.documents();
  status.queued_requests = message.queued_requests();
  status.queue_capacity = message.queue_capacity();
  status.encoder_queued_tokens = message.encoder_queued_tokens();
  status.encoder_queue_capacity_tokens = message.encoder_queue_capacity_tokens();
  status.resident_bytes = message.resident_bytes();
  status.workers = message.workers();
  status.encoder_executors = message.encoder_executors();
  return status;
}

}  // namespace vecino::internal
