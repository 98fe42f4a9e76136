#include "storage/records.h"

#include <gtest/gtest.h>

#include <random>

namespace vecino::storage {
namespace {

Document FullDocument() {
  Document document;
  document.text = "text \xc3\xa9";
  document.metadata = R"({"a":[1,2]})";
  document.create_time_us = -1;
  document.update_time_us = 1'700'000'000'000'000;
  document.vector = {1};  // which only says that there is one
  return document;
}

Document ExpiringDocument() {
  Document document = FullDocument();
  document.vector.clear();
  document.expire_time_us = 1'800'000'000'000'000;
  return document;
}

TEST(RecordsTest, DocumentRoundTripsAndPartsAreLeftOut) {
  const std::string bytes = EncodeDocument("id", FullDocument());
  Document all;
  ASSERT_TRUE(DecodeDocument(bytes, {.text = true, .metadata = true}, &all).ok());
  EXPECT_EQ(all.id, "id");
  EXPECT_EQ(all.text, FullDocument().text);
  EXPECT_EQ(all.metadata, FullDocument().metadata);
  EXPECT_EQ(all.create_time_us, -1);
  EXPECT_EQ(all.update_time_us, 1'700'000'000'000'000);
  Document none;
  ASSERT_TRUE(DecodeDocument(bytes, {.text = false, .metadata = false}, &none).ok());
  EXPECT_EQ(none.id, "id");
  EXPECT_EQ(none.update_time_us, all.update_time_us);
  EXPECT_TRUE(none.text.empty());
  EXPECT_TRUE(none.metadata.empty());
}

// What no program before version 2 could say is said in version 2, and nothing else is.
TEST(RecordsTest, VersionTwoOnlyWhereItIsNeeded) {
  EXPECT_EQ(EncodeDocument("id", FullDocument())[0], 1);
  EXPECT_EQ(EncodeIdEntry({77, 5})[0], 1);
  for (const bool has_vector : {false, true}) {
    for (const int64_t expire_time_us : {int64_t{0}, int64_t{1'800'000'000'000'000}}) {
      Document document = FullDocument();
      document.expire_time_us = expire_time_us;
      if (!has_vector) document.vector.clear();
      const std::string bytes = EncodeDocument("id", document);
      EXPECT_EQ(bytes[0], has_vector && expire_time_us == 0 ? 1 : 2);
      Document decoded;
      decoded.has_vector = !has_vector;  // both are set, whatever stood there
      decoded.expire_time_us = 9;
      ASSERT_TRUE(DecodeDocument(bytes, {}, &decoded).ok());
      EXPECT_EQ(decoded.has_vector, has_vector);
      EXPECT_EQ(decoded.expire_time_us, expire_time_us);
      EXPECT_EQ(decoded.metadata, document.metadata);
      const auto entry = DecodeIdEntry(EncodeIdEntry({77, -5, expire_time_us}));
      ASSERT_TRUE(entry.ok()) << entry.status();
      EXPECT_EQ(entry->sequence, 77u);
      EXPECT_EQ(entry->create_time_us, -5);
      EXPECT_EQ(entry->expire_time_us, expire_time_us);
    }
  }
  std::string lying = EncodeDocument("id", ExpiringDocument());
  lying[0] = 1;
  Document decoded;
  EXPECT_EQ(DecodeDocument(lying, {}, &decoded).code(), absl::StatusCode::kDataLoss);
  lying = EncodeDocument("id", FullDocument());
  lying[0] = 2;
  EXPECT_EQ(DecodeDocument(lying, {}, &decoded).code(), absl::StatusCode::kDataLoss);
}

// No damage may crash, read outside the bytes (the sanitizers watch) or pass for another type.
TEST(RecordsTest, CutAndFlippedValuesNeverCrash) {
  std::mt19937 random(1);
  const std::vector<float> vector = {1, 2, 3};
  for (const std::string& whole :
       {EncodeDocument("id", FullDocument()), EncodeDocument("id", ExpiringDocument()),
        EncodeVector(vector), EncodeIdEntry({77, 5}), EncodeIdEntry({77, 5, 12}),
        EncodeChange({Mutation::Kind::kDelete, 300, "id"}), EncodeNumber(300)}) {
    for (int i = 0; i < 2000; ++i) {
      std::string bytes = whole.substr(0, random() % (whole.size() + 1));
      if (!bytes.empty()) bytes[random() % bytes.size()] ^= static_cast<char>(1 << (random() % 8));
      Document document;
      std::vector<float> floats(3);
      for (const absl::Status& status :
           {DecodeDocument(bytes, {}, &document), DecodeVector(bytes, std::span<float>(floats)),
            DecodeIdEntry(bytes).status(), DecodeChange(bytes).status(),
            DecodeNumber(bytes).status()}) {
        EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kDataLoss);
      }
    }
  }
}

TEST(RecordsTest, EveryCutDocumentThatLosesARequiredFieldIsDataLoss) {
  Document document = FullDocument();
  document.text.clear();
  document.metadata.clear();
  const std::string bytes = EncodeDocument("id", document);
  for (size_t size = 0; size < bytes.size(); ++size) {
    Document decoded;
    EXPECT_EQ(DecodeDocument(bytes.substr(0, size), {}, &decoded).code(),
              absl::StatusCode::kDataLoss);
  }
}

TEST(RecordsTest, VectorOfWrongLengthTypeOrVersionIsDataLoss) {
  std::string bytes = EncodeVector(std::vector<float>{1, 2, 3});
  std::vector<float> four(4);
  EXPECT_EQ(DecodeVector(bytes, std::span<float>(four)).code(), absl::StatusCode::kDataLoss);
  std::vector<float> three(3);
  EXPECT_TRUE(DecodeVector(bytes, std::span<float>(three)).ok());
  bytes[1] = 2;
  EXPECT_EQ(DecodeVector(bytes, std::span<float>(three)).code(), absl::StatusCode::kDataLoss);
  bytes[1] = 1;
  bytes[0] = 2;
  EXPECT_EQ(DecodeVector(bytes, std::span<float>(three)).code(), absl::StatusCode::kDataLoss);
}

TEST(RecordsTest, DamageNamesFamilyAndKey) {
  const absl::Status status =
      Damaged(Family::kMeta, MetaKey(MetaKind::kNextUid), DecodeNumber("").status());
  EXPECT_EQ(status.message(), "column family meta, key 0175: value is empty");
}

}  // namespace
}  // namespace vecino::storage
