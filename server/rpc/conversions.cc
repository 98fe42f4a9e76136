#include "server/rpc/conversions.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "google/protobuf/util/time_util.h"
#include "server/rpc/index_conversions.h"
#include "server/rpc/metadata.h"
#include "server/rpc/migration_conversions.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

using engine::InvalidField;
using engine::Limits;

absl::StatusOr<engine::Metric> ReadMetric(std::string_view field, v1::Metric metric) {
  switch (metric) {
    case v1::METRIC_UNSPECIFIED:
    case v1::METRIC_COSINE:
      return engine::Metric::kCosine;
    case v1::METRIC_DOT:
      return engine::Metric::kDot;
    case v1::METRIC_L2:
      return engine::Metric::kL2;
    default:  // proto3 enums are open: a newer client may send what this server does not know
      return InvalidField(field, Concat("is ", static_cast<int>(metric),
                                        "; this server knows METRIC_COSINE, METRIC_DOT and "
                                        "METRIC_L2"));
  }
}

google::protobuf::Timestamp FromMicros(int64_t micros) {
  return google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(micros);
}

constexpr int64_t kMicros = 1'000'000;  // in a second
constexpr int64_t kNanos = 1'000;       // in a microsecond
constexpr int32_t kMaxNanos = 999'999'999;
constexpr int64_t kMaxDurationSeconds = 315'576'000'000;  // of google.protobuf.Duration

// expire_time and ttl. What is finer than a microsecond is rounded up, so that neither becomes 0.
absl::Status ReadExpiry(std::string_view path, const v1::Document& document,
                        engine::DocumentWrite* write) {
  if (document.has_expire_time() && document.has_ttl()) {
    return InvalidField(Concat(path, ".ttl"), "is set beside expire_time; set one of them");
  }
  const auto round_up = [](int32_t nanos) { return (nanos + kNanos - 1) / kNanos; };
  if (document.has_expire_time()) {
    const google::protobuf::Timestamp& time = document.expire_time();
    const bool valid = time.seconds() >= 0 && time.seconds() <= Limits::kMaxTimeUs / kMicros &&
                       time.nanos() >= 0 && time.nanos() <= kMaxNanos;
    const int64_t micros = valid ? time.seconds() * kMicros + round_up(time.nanos()) : 0;
    if (micros <= 0) {
      return InvalidField(Concat(path, ".expire_time"),
                          Concat("is ", time.seconds(), " s and ", time.nanos(),
                                 " ns since 1970; it must be after now and before the year 10000"));
    }
    write->document.expire_time_us = micros;
  }
  if (document.has_ttl()) {
    const google::protobuf::Duration& ttl = document.ttl();
    const bool valid = ttl.seconds() >= 0 && ttl.seconds() <= kMaxDurationSeconds &&
                       ttl.nanos() >= 0 && ttl.nanos() <= kMaxNanos;
    const int64_t micros = valid ? ttl.seconds() * kMicros + round_up(ttl.nanos()) : 0;
    if (micros <= 0) {
      return InvalidField(Concat(path, ".ttl"), Concat("is ", ttl.seconds(), " s and ", ttl.nanos(),
                                                       " ns; it must be more than 0"));
    }
    write->ttl_us = micros;
  }
  return absl::OkStatus();
}

// The vector, or where there are several the passages with them.
void WriteVectors(const storage::Document& document, v1::Document* out) {
  const size_t passages = document.passages.size();
  if (passages <= 1 && !document.vector.empty()) {
    WriteVector(document.vector, out->mutable_vector());
  }
  const size_t d = passages > 1 ? document.vector.size() / passages : 0;
  for (size_t i = 0; i < passages; ++i) {
    v1::Passage* passage = out->add_passages();
    WritePassage(static_cast<int>(i), document.passages[i], passage);
    if (d > 0) {
      WriteVector(std::span(document.vector).subspan(i * d, d), passage->mutable_vector());
    }
  }
}

}  // namespace

absl::StatusOr<int> ReadPageSize(int32_t page_size) {
  if (page_size < 0) {
    return InvalidField("page_size", Concat("is ", page_size, "; it must be 0 (for the default of ",
                                            kDefaultPageSize, ") to ", kMaxPageSize));
  }
  return page_size == 0 ? kDefaultPageSize : std::min(page_size, kMaxPageSize);
}

absl::StatusOr<engine::CollectionSpec> ReadCollection(std::string_view id,
                                                      const v1::Collection& collection) {
  engine::CollectionSpec spec;
  spec.id = std::string(id);
  if (!collection.name().empty() && collection.name() != CollectionName(id)) {
    return InvalidField("collection.name", Concat("is \"", Printable(collection.name(), 100),
                                                  "\" but collection_id makes it \"",
                                                  CollectionName(id), "\"; leave the name empty"));
  }
  const bool has_model = !collection.embedding().model().empty();
  if (collection.dimension() < 0 || collection.dimension() > Limits::kMaxDimension ||
      (collection.dimension() == 0 && !has_model)) {
    return InvalidField(
        "collection.dimension",
        Concat("is ", collection.dimension(), "; it must be 1 to ", Limits::kMaxDimension,
               ", or 0 with collection.embedding.model set"));
  }
  spec.dimension = collection.dimension();
  auto metric = ReadMetric("collection.metric", collection.metric());
  if (!metric.ok()) return metric.status();
  spec.metric = *metric;
  if (has_model) {
    auto model = ParseModelName("collection.embedding.model", collection.embedding().model());
    if (!model.ok()) return model.status();
    spec.model = *std::move(model);
  }
  spec.prompts = ReadPrompts(collection.embedding());
  if (collection.shard_count() < 0 || collection.shard_count() > Limits::kMaxShards) {
    return InvalidField("collection.shard_count",
                        Concat("is ", collection.shard_count(), "; it must be 1 to ",
                               Limits::kMaxShards, ", or 0 for the default of ", spec.shard_count));
  }
  if (collection.shard_count() != 0) spec.shard_count = collection.shard_count();
  if (collection.has_chunking()) {
    engine::Chunking& chunking = spec.chunking.emplace();
    chunking.max_tokens = collection.chunking().max_tokens();
    if (collection.chunking().has_overlap_tokens()) {
      chunking.overlap_tokens = collection.chunking().overlap_tokens();
      // The engine takes -1 for "not said".
      if (chunking.overlap_tokens < 0) {
        return InvalidField("collection.chunking.overlap_tokens",
                            Concat("is ", chunking.overlap_tokens, "; it must not be negative"));
      }
    }
  }
  auto index = ReadIndexPolicy(collection.index_policy());
  if (!index.ok()) return index.status();
  spec.index = *index;
  return spec;
}

engine::PromptNames ReadPrompts(const v1::EmbeddingConfig& embedding) {
  return {.query = embedding.query_prompt(), .document = embedding.document_prompt()};
}

void WriteEmbedding(std::string_view model, const std::string& model_hash,
                    const engine::PromptNames& prompts, v1::EmbeddingConfig* out) {
  out->set_model(ModelName(model));
  out->set_model_hash(model_hash);
  out->set_query_prompt(prompts.query);
  out->set_document_prompt(prompts.document);
}

v1::Metric WriteMetric(engine::Metric metric) {
  switch (metric) {
    case engine::Metric::kCosine:
      return v1::METRIC_COSINE;
    case engine::Metric::kDot:
      return v1::METRIC_DOT;
    case engine::Metric::kL2:
      return v1::METRIC_L2;
  }
  return v1::METRIC_UNSPECIFIED;
}

void WriteCollection(const engine::CollectionInfo& info, v1::Collection* out) {
  out->set_name(CollectionName(info.spec.id));
  out->set_dimension(info.spec.dimension);
  out->set_metric(WriteMetric(info.spec.metric));
  if (!info.spec.model.empty()) {
    WriteEmbedding(info.spec.model, info.model_hash, info.spec.prompts, out->mutable_embedding());
  }
  out->set_shard_count(info.spec.shard_count);
  WriteIndexPolicy(info.spec.index, out->mutable_index_policy());
  if (info.spec.chunking.has_value()) {
    out->mutable_chunking()->set_max_tokens(info.spec.chunking->max_tokens);
    out->mutable_chunking()->set_overlap_tokens(info.spec.chunking->overlap_tokens);
  }
  out->set_etag(info.etag);
  WriteTime(info.create_time, out->mutable_create_time());
  if (info.migration.has_value()) {
    WriteMigration(info.spec.id, *info.migration, out->mutable_migration());
  }
}

absl::StatusOr<std::vector<float>> ReadVector(std::string_view field, const v1::Vector& vector) {
  const bool has_values = vector.values_size() > 0;
  const bool has_bytes = !vector.float32_le().empty();
  if (has_values == has_bytes) {
    return InvalidField(field, has_values ? "has both values and float32_le; set one"
                                          : "is empty; set values or float32_le");
  }
  static_assert(std::endian::native == std::endian::little);
  if (vector.float32_le().size() % sizeof(float) != 0) {
    return InvalidField(Concat(field, ".float32_le"), Concat("has ", vector.float32_le().size(),
                                                             " bytes; it must be a multiple of 4"));
  }
  const size_t size =
      has_values ? vector.values_size() : vector.float32_le().size() / sizeof(float);
  if (size > Limits::kMaxDimension) {
    return InvalidField(field,
                        Concat("has ", size, " values; the limit is ", Limits::kMaxDimension));
  }
  std::vector<float> values(size);
  std::memcpy(values.data(),
              has_values ? static_cast<const void*>(vector.values().data())
                         : static_cast<const void*>(vector.float32_le().data()),
              size * sizeof(float));
  for (size_t i = 0; i < size; ++i) {
    if (!std::isfinite(values[i])) {
      return InvalidField(
          field, Concat("has ", values[i], " at position ", i, "; every value must be finite"));
    }
  }
  return values;
}

void WriteVector(std::span<const float> values, v1::Vector* out) {
  out->mutable_values()->Add(values.begin(), values.end());
}

absl::StatusOr<engine::Truncate> ReadTruncate(v1::TruncateMode mode) {
  switch (mode) {
    case v1::TRUNCATE_MODE_UNSPECIFIED:
    case v1::TRUNCATE_MODE_AUTO:
      return engine::Truncate::kAuto;
    case v1::TRUNCATE_MODE_ERROR:
      return engine::Truncate::kError;
    default:
      return InvalidField("truncate", Concat("is ", static_cast<int>(mode),
                                             "; this server knows TRUNCATE_MODE_AUTO and "
                                             "TRUNCATE_MODE_ERROR"));
  }
}

absl::StatusOr<engine::WriteMode> ReadWriteMode(v1::WriteMode mode) {
  switch (mode) {
    case v1::WRITE_MODE_UNSPECIFIED:
    case v1::WRITE_MODE_UPSERT:
      return engine::WriteMode::kUpsert;
    case v1::WRITE_MODE_INSERT:
      return engine::WriteMode::kInsert;
    case v1::WRITE_MODE_REPLACE:
      return engine::WriteMode::kReplace;
    default:
      return InvalidField("write_mode", Concat("is ", static_cast<int>(mode),
                                               "; this server knows WRITE_MODE_UPSERT, "
                                               "WRITE_MODE_INSERT and WRITE_MODE_REPLACE"));
  }
}

absl::StatusOr<storage::DocumentParts> ReadMask(const google::protobuf::FieldMask& mask) {
  storage::DocumentParts parts;
  if (mask.paths().empty()) return parts;
  parts = {.text = false, .metadata = false, .vector = false, .passages = false};
  for (const std::string& path : mask.paths()) {
    if (path == "text") {
      parts.text = true;
    } else if (path == "metadata") {
      parts.metadata = true;
    } else if (path == "vector") {
      parts.vector = true;
    } else if (path == "passages") {
      parts.passages = true;
    } else if (path != "id") {
      return InvalidField("read_mask",
                          Concat("names \"", Printable(path, 100),
                                 "\"; it may name text, metadata, vector, passages and id"));
    }
  }
  return parts;
}

absl::StatusOr<engine::DocumentWrite> ReadDocument(std::string_view path,
                                                   std::string_view collection,
                                                   const v1::Document& document) {
  engine::DocumentWrite write;
  const std::string name_field = Concat(path, ".name");
  const std::string id_field = Concat(path, ".id");
  if (!document.name().empty()) {
    auto name = ParseDocumentName(name_field, document.name());
    if (!name.ok()) return name.status();
    if (name->collection != collection) {
      return InvalidField(name_field,
                          Concat("is of another collection than ", CollectionName(collection)));
    }
    if (!document.id().empty() && document.id() != name->document) {
      return InvalidField(
          id_field, Concat("is \"", Printable(document.id(), 100), "\" but the name ends in \"",
                           Printable(name->document, 100), "\""));
    }
    write.document.id = std::move(name->document);
  } else {
    if (absl::Status status = CheckDocumentId(id_field, document.id()); !status.ok()) return status;
    write.document.id = document.id();
  }
  if (absl::Status status = CheckText(Concat(path, ".text"), document.text()); !status.ok()) {
    return status;
  }
  write.document.text = document.text();
  if (document.has_metadata()) {
    auto json = MetadataToJson(Concat(path, ".metadata"), document.metadata());
    if (!json.ok()) return json.status();
    write.document.metadata = *std::move(json);
  }
  if (document.has_vector()) {
    auto vector = ReadVector(Concat(path, ".vector"), document.vector());
    if (!vector.ok()) return vector.status();
    write.document.vector = *std::move(vector);
  }
  if (absl::Status status = ReadExpiry(path, document, &write); !status.ok()) return status;
  return write;
}

void WritePassage(int index, const storage::Passage& passage, v1::Passage* out) {
  out->set_index(index);
  out->set_start(static_cast<int32_t>(passage.begin));
  out->set_end(static_cast<int32_t>(passage.end));
}

absl::Status WriteDocument(std::string_view collection, const storage::Document& document,
                           v1::Document* out) {
  out->set_name(DocumentNameOf(collection, document.id));
  out->set_id(document.id);
  out->set_text(document.text);
  if (!document.metadata.empty()) {
    if (absl::Status status = JsonToMetadata(document.metadata, out->mutable_metadata());
        !status.ok()) {
      return absl::Status(status.code(), Concat(out->name(), ": ", status.message()));
    }
  }
  WriteVectors(document, out);
  out->set_version(static_cast<int64_t>(document.sequence));
  *out->mutable_create_time() = FromMicros(document.create_time_us);
  *out->mutable_update_time() = FromMicros(document.update_time_us);
  out->set_etag(engine::EtagOf(document.uid, document.sequence));
  if (document.expire_time_us != 0) {
    *out->mutable_expire_time() = FromMicros(document.expire_time_us);
  }
  return absl::OkStatus();
}

absl::Status CheckBatch(std::string_view field, int size, std::string_view what) {
  if (size >= 1 && size <= Limits::kMaxBatch) return absl::OkStatus();
  return InvalidField(field,
                      Concat("holds ", size, " ", what, "; it must hold 1 to ", Limits::kMaxBatch));
}

absl::StatusOr<std::vector<std::string>> ReadIds(
    const google::protobuf::RepeatedPtrField<std::string>& ids) {
  if (absl::Status status = CheckBatch("ids", ids.size(), "ids"); !status.ok()) return status;
  for (int i = 0; i < ids.size(); ++i) {
    if (absl::Status status = CheckDocumentId(Concat("ids[", i, "]"), ids[i]); !status.ok()) {
      return status;
    }
  }
  return std::vector<std::string>(ids.begin(), ids.end());
}

absl::Status CheckText(std::string_view field, std::string_view text) {
  if (text.size() <= Limits::kMaxTextBytes) return absl::OkStatus();
  return InvalidField(field,
                      Concat("has ", text.size(), " bytes; the limit is ", Limits::kMaxTextBytes));
}

void WriteToken(const engine::WriteToken& token, v1::WriteToken* out) {
  out->set_shard(token.shard);
  out->set_sequence_number(static_cast<int64_t>(token.sequence));
}

absl::StatusOr<std::vector<engine::WriteToken>> ReadTokens(
    const google::protobuf::RepeatedPtrField<v1::WriteToken>& tokens) {
  std::vector<engine::WriteToken> out;
  out.reserve(tokens.size());
  for (int i = 0; i < tokens.size(); ++i) {
    const std::string path = Concat("write_tokens[", i, "]");
    if (tokens[i].shard() < 0 || tokens[i].shard() >= Limits::kMaxShards) {
      return InvalidField(path + ".shard", Concat("is ", tokens[i].shard(), "; it must be 0 to ",
                                                  Limits::kMaxShards - 1));
    }
    if (tokens[i].sequence_number() < 0) {
      return InvalidField(path + ".sequence_number",
                          Concat("is ", tokens[i].sequence_number(), "; it must not be negative"));
    }
    out.push_back({tokens[i].shard(), static_cast<uint64_t>(tokens[i].sequence_number())});
  }
  return out;
}

void WriteModel(const encoder::ModelInfo& info, v1::Model* out) {
  out->set_name(ModelName(info.name));
  out->set_dimension(info.dimension);
  out->set_max_tokens(info.max_tokens);
  out->set_pooling(info.pooling);
  out->set_normalize(info.normalize);
  out->set_precision(info.precision);
  out->set_model_hash(info.hash);
  for (const auto& [name, prompt] : info.prompts) {
    if (name == encoder::kQueryPrompt) out->set_query_prompt(prompt.text);
    if (name == encoder::kDocumentPrompt) out->set_document_prompt(prompt.text);
    (*out->mutable_prompts())[name] = prompt.text;
  }
  for (const int dimensions : info.matryoshka) out->add_matryoshka_dimensions(dimensions);
  out->set_task(info.task == encoder::Task::kRerank ? v1::MODEL_TASK_RERANK : v1::MODEL_TASK_EMBED);
  out->set_activation(info.activation);
}

void WriteDuration(absl::Duration duration, google::protobuf::Duration* out) {
  *out =
      google::protobuf::util::TimeUtil::NanosecondsToDuration(absl::ToInt64Nanoseconds(duration));
}

void WriteTime(absl::Time time, google::protobuf::Timestamp* out) {
  *out = FromMicros(absl::ToUnixMicros(time));
}

}  // namespace vecino::rpc
