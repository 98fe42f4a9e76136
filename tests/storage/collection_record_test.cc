#include "storage/collection_record.h"

#include <gtest/gtest.h>

namespace vecino::storage {
namespace {

CollectionRecord FullRecord() {
  CollectionRecord record;
  record.uid = 300;
  record.id = "packages";
  record.dimension = 384;
  record.metric = StoredMetric::kL2;
  record.shard_count = 65535;
  record.index = {.kind = StoredIndexKind::kLsh,
                  .recall_millionths = 950'000,
                  .nlist = 65'536,
                  .nprobe = 64,
                  .pq_m = 96,
                  .pq_bits = 4,
                  .hnsw_m = 32,
                  .ef_construction = 200,
                  .ef_search = 64,
                  .lsh_bits = 1'536,
                  .no_graph = true};
  record.model = "all-MiniLM-L6-v2";
  record.model_hash = std::string(64, 'a');
  record.create_time_us = -5;
  return record;
}

TEST(CollectionRecordTest, RoundTrips) {
  CollectionRecord without_model = FullRecord();
  without_model.model.clear();
  without_model.model_hash.clear();
  CollectionRecord plain = FullRecord();
  plain.index = {.kind = StoredIndexKind::kAuto};
  CollectionRecord some = FullRecord();
  some.index = {.kind = StoredIndexKind::kIvfPq, .recall_millionths = 1, .pq_m = 8};
  CollectionRecord chunked = some;
  chunked.chunk_tokens = 256;
  CollectionRecord overlapping = plain;
  overlapping.chunk_tokens = 16;
  overlapping.chunk_overlap = 7;
  CollectionRecord prompted = chunked;
  prompted.query_prompt = "ask";
  prompted.document_prompt = "passage";
  CollectionRecord document_prompted = FullRecord();
  document_prompted.document_prompt = "passage";
  for (const CollectionRecord& record : {FullRecord(), without_model, plain, some, chunked,
                                         overlapping, prompted, document_prompted}) {
    const auto decoded = DecodeCollectionRecord(EncodeCollectionRecord(record));
    ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
    EXPECT_EQ(decoded->uid, record.uid);
    EXPECT_EQ(decoded->id, record.id);
    EXPECT_EQ(decoded->dimension, record.dimension);
    EXPECT_EQ(decoded->metric, record.metric);
    EXPECT_EQ(decoded->shard_count, record.shard_count);
    EXPECT_TRUE(decoded->index == record.index);
    EXPECT_EQ(decoded->model, record.model);
    EXPECT_EQ(decoded->model_hash, record.model_hash);
    EXPECT_EQ(decoded->create_time_us, record.create_time_us);
    EXPECT_EQ(decoded->chunk_tokens, record.chunk_tokens);
    EXPECT_EQ(decoded->chunk_overlap, record.chunk_overlap);
    EXPECT_EQ(decoded->query_prompt, record.query_prompt);
    EXPECT_EQ(decoded->document_prompt, record.document_prompt);
  }
}

TEST(CollectionRecordTest, EveryCutAndEveryTailIsDataLoss) {
  CollectionRecord record = FullRecord();
  record.index = {.kind = StoredIndexKind::kFlat};
  const std::string bytes = EncodeCollectionRecord(record);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(DecodeCollectionRecord(bytes.substr(0, size)).status().code(),
              absl::StatusCode::kDataLoss)
        << size;
  }
  EXPECT_EQ(DecodeCollectionRecord(bytes + '\x01').status().code(), absl::StatusCode::kDataLoss);
}

TEST(CollectionRecordTest, ACutIndexParameterIsDataLoss) {
  CollectionRecord record = FullRecord();
  record.index = {.kind = StoredIndexKind::kIvfFlat, .nlist = 300};
  const std::string bytes = EncodeCollectionRecord(record);
  for (size_t cut = 1; cut <= 2; ++cut) {  // of tag and two bytes
    EXPECT_EQ(DecodeCollectionRecord(bytes.substr(0, bytes.size() - cut)).status().code(),
              absl::StatusCode::kDataLoss)
        << cut;
  }
}

TEST(CollectionRecordTest, PromptsAreWrittenOnlyWhereThereAreSome) {
  CollectionRecord record = FullRecord();
  const std::string before = EncodeCollectionRecord(record);
  record.query_prompt = "ask";
  EXPECT_EQ(EncodeCollectionRecord(record), before + "\x16\x03" + "ask");
  EXPECT_EQ(DecodeCollectionRecord(before + '\x16' + '\0').status().code(),
            absl::StatusCode::kDataLoss)
      << "a name that is empty";
  EXPECT_EQ(DecodeCollectionRecord(before + "\x16\x04" + "ask").status().code(),
            absl::StatusCode::kDataLoss);
}

// Written before there were other kinds: ends with the time of creation.
TEST(CollectionRecordTest, RecordsOfTheFirstVersionStillRead) {
  const std::string bytes(
      "\x01\x01\x02\x02\x04"
      "demo"
      "\x03\x02\x04\x01\x05\x01\x06\x01\x07\x01m\x08\x02"
      "ab\x09\x80\x89z",
      28);
  const auto decoded = DecodeCollectionRecord(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(decoded->uid, 2u);
  EXPECT_EQ(decoded->id, "demo");
  EXPECT_EQ(decoded->create_time_us, 1'000'000);
  EXPECT_TRUE(decoded->index == StoredIndex());
}

TEST(CollectionRecordTest, UnknownVersionMetricAndZeroShardsAreDataLoss) {
  std::string version = EncodeCollectionRecord(FullRecord());
  version[0] = 2;
  EXPECT_EQ(DecodeCollectionRecord(version).status().code(), absl::StatusCode::kDataLoss);
  CollectionRecord record = FullRecord();
  record.metric = static_cast<StoredMetric>(9);
  EXPECT_EQ(DecodeCollectionRecord(EncodeCollectionRecord(record)).status().code(),
            absl::StatusCode::kDataLoss);
  record = FullRecord();
  record.index.kind = static_cast<StoredIndexKind>(8);
  EXPECT_EQ(DecodeCollectionRecord(EncodeCollectionRecord(record)).status().code(),
            absl::StatusCode::kDataLoss);
  record = FullRecord();
  record.index.recall_millionths = 1'000'001;
  EXPECT_EQ(DecodeCollectionRecord(EncodeCollectionRecord(record)).status().code(),
            absl::StatusCode::kDataLoss);
  record = FullRecord();
  record.shard_count = 0;
  EXPECT_EQ(DecodeCollectionRecord(EncodeCollectionRecord(record)).status().code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace vecino::storage
