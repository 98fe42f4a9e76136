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
  record.index_kind = StoredIndexKind::kFlat;
  record.model = "all-MiniLM-L6-v2";
  record.model_hash = std::string(64, 'a');
  record.create_time_us = -5;
  return record;
}

TEST(CollectionRecordTest, RoundTrips) {
  CollectionRecord without_model = FullRecord();
  without_model.model.clear();
  without_model.model_hash.clear();
  for (const CollectionRecord& record : {FullRecord(), without_model}) {
    const auto decoded = DecodeCollectionRecord(EncodeCollectionRecord(record));
    ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
    EXPECT_EQ(decoded->uid, record.uid);
    EXPECT_EQ(decoded->id, record.id);
    EXPECT_EQ(decoded->dimension, record.dimension);
    EXPECT_EQ(decoded->metric, record.metric);
    EXPECT_EQ(decoded->shard_count, record.shard_count);
    EXPECT_EQ(decoded->index_kind, record.index_kind);
    EXPECT_EQ(decoded->model, record.model);
    EXPECT_EQ(decoded->model_hash, record.model_hash);
    EXPECT_EQ(decoded->create_time_us, record.create_time_us);
  }
}

TEST(CollectionRecordTest, EveryCutAndEveryTailIsDataLoss) {
  const std::string bytes = EncodeCollectionRecord(FullRecord());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(DecodeCollectionRecord(bytes.substr(0, size)).status().code(),
              absl::StatusCode::kDataLoss)
        << size;
  }
  EXPECT_EQ(DecodeCollectionRecord(bytes + '\x01').status().code(), absl::StatusCode::kDataLoss);
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
  record.shard_count = 0;
  EXPECT_EQ(DecodeCollectionRecord(EncodeCollectionRecord(record)).status().code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace vecino::storage
