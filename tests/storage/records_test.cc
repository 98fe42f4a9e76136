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

// No damage may crash, read outside the bytes (the sanitizers watch) or pass for another type.
TEST(RecordsTest, CutAndFlippedValuesNeverCrash) {
  std::mt19937 random(1);
  const std::vector<float> vector = {1, 2, 3};
  for (const std::string& whole :
       {EncodeDocument("id", FullDocument()), EncodeVector(vector), EncodeIdEntry({77, 5}),
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
