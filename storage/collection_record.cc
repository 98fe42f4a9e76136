#include "storage/collection_record.h"

#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "storage/codec.h"
#include "storage/records.h"

namespace vecino::storage {
namespace {

// Tags of the fields, in the order they are written. On disk: never renumber.
enum class Field : uint8_t {
  kUid = 1,
  kId = 2,
  kDimension = 3,
  kMetric = 4,
  kShardCount = 5,
  kIndexKind = 6,
  kModel = 7,
  kModelHash = 8,
  kCreateTime = 9,
  kRecall = 10,
  kNlist = 11,
  kNprobe = 12,
  kPqM = 13,
  kPqBits = 14,
  kHnswM = 15,
  kEfConstruction = 16,
  kEfSearch = 17,
  kLshBits = 18,
  kNoGraph = 19,
  kChunkTokens = 20,
  kChunkOverlap = 21,  // only beside kChunkTokens
  kQueryPrompt = 22,
  kDocumentPrompt = 23,
};
constexpr Field kLastField = Field::kDocumentPrompt;

void AppendNumber(Field field, uint64_t value, std::string* out) {
  AppendByte(static_cast<uint8_t>(field), out);
  AppendVarint(value, out);
}

void AppendNumberIfAny(Field field, uint64_t value, std::string* out) {
  if (value != 0) AppendNumber(field, value, out);
}

void AppendText(Field field, std::string_view value, std::string* out) {
  AppendByte(static_cast<uint8_t>(field), out);
  AppendBytes(value, out);
}

void AppendTextIfAny(Field field, std::string_view value, std::string* out) {
  if (!value.empty()) AppendText(field, value, out);
}

template <typename T>
bool ReadNumber(ByteReader* reader, uint64_t least, uint64_t most, T* value) {
  uint64_t number = 0;
  if (!reader->ReadVarint(&number) || number < least || number > most) return false;
  *value = static_cast<T>(number);
  return true;
}

bool ReadText(ByteReader* reader, std::string* value) {
  std::string_view view;
  if (!reader->ReadBytes(&view)) return false;
  *value = std::string(view);
  return !view.empty();
}

bool ReadField(Field field, ByteReader* reader, CollectionRecord* record) {
  constexpr uint64_t kMax32 = std::numeric_limits<uint32_t>::max();
  switch (field) {
    case Field::kUid:
      return ReadNumber(reader, 1, kMax32, &record->uid);
    case Field::kId:
      return ReadText(reader, &record->id);
    case Field::kDimension:
      return ReadNumber(reader, 1, kMax32, &record->dimension);
    case Field::kMetric:
      return ReadNumber(reader, 1, static_cast<uint64_t>(StoredMetric::kL2), &record->metric);
    case Field::kShardCount:
      return ReadNumber(reader, 1, std::numeric_limits<uint16_t>::max(), &record->shard_count);
    case Field::kIndexKind:
      return ReadNumber(reader, 1, static_cast<uint64_t>(StoredIndexKind::kLsh),
                        &record->index.kind);
    case Field::kModel:
      return ReadText(reader, &record->model);
    case Field::kModelHash:
      return ReadText(reader, &record->model_hash);
    case Field::kCreateTime:
      return reader->ReadSignedVarint(&record->create_time_us);
    case Field::kRecall:
      return ReadNumber(reader, 1, 1'000'000, &record->index.recall_millionths);
    case Field::kNlist:
      return ReadNumber(reader, 1, kMax32, &record->index.nlist);
    case Field::kNprobe:
      return ReadNumber(reader, 1, kMax32, &record->index.nprobe);
    case Field::kPqM:
      return ReadNumber(reader, 1, kMax32, &record->index.pq_m);
    case Field::kPqBits:
      return ReadNumber(reader, 1, kMax32, &record->index.pq_bits);
    case Field::kHnswM:
      return ReadNumber(reader, 1, kMax32, &record->index.hnsw_m);
    case Field::kEfConstruction:
      return ReadNumber(reader, 1, kMax32, &record->index.ef_construction);
    case Field::kEfSearch:
      return ReadNumber(reader, 1, kMax32, &record->index.ef_search);
    case Field::kLshBits:
      return ReadNumber(reader, 1, kMax32, &record->index.lsh_bits);
    case Field::kNoGraph:
      return ReadNumber(reader, 1, 1, &record->index.no_graph);
    case Field::kChunkTokens:
      return ReadNumber(reader, 1, kMax32, &record->chunk_tokens);
    case Field::kChunkOverlap:
      return record->chunk_tokens > 0 && ReadNumber(reader, 1, kMax32, &record->chunk_overlap);
    case Field::kQueryPrompt:
      return ReadText(reader, &record->query_prompt);
    case Field::kDocumentPrompt:
      return ReadText(reader, &record->document_prompt);
  }
  return false;
}

bool IsOptional(uint8_t tag) {
  return tag == static_cast<uint8_t>(Field::kModel) ||
         tag == static_cast<uint8_t>(Field::kModelHash) ||
         tag > static_cast<uint8_t>(Field::kCreateTime);
}

}  // namespace

std::string EncodeCollectionRecord(const CollectionRecord& record) {
  std::string out;
  AppendByte(kValueVersion, &out);
  AppendNumber(Field::kUid, record.uid, &out);
  AppendText(Field::kId, record.id, &out);
  AppendNumber(Field::kDimension, record.dimension, &out);
  AppendNumber(Field::kMetric, static_cast<uint64_t>(record.metric), &out);
  AppendNumber(Field::kShardCount, record.shard_count, &out);
  AppendNumber(Field::kIndexKind, static_cast<uint64_t>(record.index.kind), &out);
  AppendTextIfAny(Field::kModel, record.model, &out);
  AppendTextIfAny(Field::kModelHash, record.model_hash, &out);
  AppendByte(static_cast<uint8_t>(Field::kCreateTime), &out);
  AppendSignedVarint(record.create_time_us, &out);
  const StoredIndex& index = record.index;
  AppendNumberIfAny(Field::kRecall, index.recall_millionths, &out);
  AppendNumberIfAny(Field::kNlist, index.nlist, &out);
  AppendNumberIfAny(Field::kNprobe, index.nprobe, &out);
  AppendNumberIfAny(Field::kPqM, index.pq_m, &out);
  AppendNumberIfAny(Field::kPqBits, index.pq_bits, &out);
  AppendNumberIfAny(Field::kHnswM, index.hnsw_m, &out);
  AppendNumberIfAny(Field::kEfConstruction, index.ef_construction, &out);
  AppendNumberIfAny(Field::kEfSearch, index.ef_search, &out);
  AppendNumberIfAny(Field::kLshBits, index.lsh_bits, &out);
  AppendNumberIfAny(Field::kNoGraph, index.no_graph ? 1 : 0, &out);
  AppendNumberIfAny(Field::kChunkTokens, record.chunk_tokens, &out);
  AppendNumberIfAny(Field::kChunkOverlap, record.chunk_overlap, &out);
  AppendTextIfAny(Field::kQueryPrompt, record.query_prompt, &out);
  AppendTextIfAny(Field::kDocumentPrompt, record.document_prompt, &out);
  return out;
}

absl::StatusOr<CollectionRecord> DecodeCollectionRecord(std::string_view bytes) {
  ByteReader reader(bytes);
  uint8_t version = 0;
  if (!reader.ReadByte(&version) || version != kValueVersion) {
    return absl::DataLossError(absl::StrCat("collection record has version ",
                                            static_cast<int>(version), ", this program knows ",
                                            static_cast<int>(kValueVersion)));
  }
  CollectionRecord record;
  for (uint8_t expected = 1; expected <= static_cast<uint8_t>(kLastField); ++expected) {
    const bool here = !reader.done() && static_cast<uint8_t>(reader.rest()[0]) == expected;
    if (!here && IsOptional(expected)) continue;
    uint8_t tag = 0;
    if (!here || !reader.ReadByte(&tag) || !ReadField(static_cast<Field>(tag), &reader, &record)) {
      return absl::DataLossError(absl::StrCat("collection record's field ",
                                              static_cast<int>(expected),
                                              " is missing, cut short or out of range"));
    }
  }
  if (!reader.done()) {
    return absl::DataLossError(
        absl::StrCat("collection record has ", reader.rest().size(), " bytes after its end"));
  }
  return record;
}

}  // namespace vecino::storage
