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

Document SplitDocument() {
  Document document = FullDocument();
  document.text = "One. Two. Three.";
  document.vector = {1, 2, 3, 4, 5, 6};
  document.passages = {{0, 10}, {5, 15}, {10, 16}};
  return document;
}

TEST(RecordsTest, DocumentsWithPassages) {
  const Document document = SplitDocument();
  const std::string bytes = EncodeDocument("id", document);
  EXPECT_EQ(bytes[0], 3);
  Document decoded;
  ASSERT_TRUE(DecodeDocument(bytes, {.text = false, .passages = true}, &decoded).ok());
  EXPECT_EQ(decoded.passages, document.passages);
  EXPECT_TRUE(decoded.text.empty());
  ASSERT_TRUE(DecodeDocument(bytes, {.vector = true}, &decoded).ok());
  EXPECT_EQ(decoded.passages, document.passages);
  ASSERT_TRUE(DecodeDocument(bytes, {}, &decoded).ok());
  EXPECT_TRUE(decoded.passages.empty());
  // One passage is the whole text, and is not stored.
  Document whole = document;
  whole.passages = {{0, 16}};
  Document plain = document;
  plain.passages.clear();
  EXPECT_EQ(EncodeDocument("id", whole), EncodeDocument("id", plain));
  ASSERT_TRUE(DecodeDocument(EncodeDocument("id", whole), {.passages = true}, &decoded).ok());
  EXPECT_EQ(decoded.passages, whole.passages);
  Document none = plain;
  none.vector.clear();
  ASSERT_TRUE(DecodeDocument(EncodeDocument("id", none), {.passages = true}, &decoded).ok());
  EXPECT_TRUE(decoded.passages.empty());
  // Beyond the text, out of order, or said by a version that cannot.
  for (const std::vector<Passage>& wrong :
       {std::vector<Passage>{{0, 10}, {5, 17}}, {{0, 10}, {0, 16}}, {{0, 10}, {5, 10}}}) {
    Document bad = document;
    bad.passages = wrong;
    EXPECT_EQ(DecodeDocument(EncodeDocument("id", bad), {}, &decoded).code(),
              absl::StatusCode::kDataLoss);
  }
  for (const char version : {'\x01', '\x02'}) {
    std::string lying = bytes;
    lying[0] = version;
    EXPECT_EQ(DecodeDocument(lying, {}, &decoded).code(), absl::StatusCode::kDataLoss);
  }
  std::string lying = EncodeDocument("id", plain);
  lying[0] = 3;
  EXPECT_EQ(DecodeDocument(lying, {}, &decoded).code(), absl::StatusCode::kDataLoss);
}

TEST(RecordsTest, VectorsOfSeveralPassages) {
  const std::vector<float> six = {1, 2, 3, 4, 5, 6};
  std::vector<float> decoded;
  const std::string bytes = EncodeVectors(six, 2);
  ASSERT_TRUE(DecodeVectors(bytes, 3, 4, &decoded).ok());
  EXPECT_EQ(decoded, six);
  // Of one they are what they always were.
  EXPECT_EQ(EncodeVectors(six, 1), EncodeVector(six));
  ASSERT_TRUE(DecodeVectors(EncodeVector(six), 6, 1, &decoded).ok());
  EXPECT_EQ(decoded, six);
  const auto refused = [&](const std::string& value, size_t dimension, size_t most) {
    return DecodeVectors(value, dimension, most, &decoded).code() == absl::StatusCode::kDataLoss;
  };
  EXPECT_TRUE(refused(bytes, 3, 1));              // more than it may have
  EXPECT_TRUE(refused(bytes, 4, 4));              // half a row
  EXPECT_TRUE(refused(bytes, 6, 4));              // one row in the version of several
  EXPECT_TRUE(refused(EncodeVector(six), 3, 4));  // several in the version of one
  EXPECT_TRUE(refused(EncodeVectors({}, 2), 3, 4));
  EXPECT_TRUE(refused("", 3, 4));
}

// No damage may crash, read outside the bytes (the sanitizers watch) or pass for another type.
TEST(RecordsTest, CutAndFlippedValuesNeverCrash) {
  std::mt19937 random(1);
  const std::vector<float> vector = {1, 2, 3};
  for (const std::string& whole :
       {EncodeDocument("id", FullDocument()), EncodeDocument("id", ExpiringDocument()),
        EncodeDocument("id", SplitDocument()), EncodeVectors(vector, 3), EncodeVector(vector),
        EncodeIdEntry({77, 5}), EncodeIdEntry({77, 5, 12}),
        EncodeChange({Mutation::Kind::kDelete, 300, "id"}), EncodeNumber(300)}) {
    for (int i = 0; i < 2000; ++i) {
      std::string bytes = whole.substr(0, random() % (whole.size() + 1));
      if (!bytes.empty()) bytes[random() % bytes.size()] ^= static_cast<char>(1 << (random() % 8));
      Document document;
      std::vector<float> floats(3), three(3);
      for (const absl::Status& status :
           {DecodeDocument(bytes, {}, &document),
            DecodeDocument(bytes, {.passages = true}, &document),
            DecodeVectors(bytes, 1, 4, &floats), DecodeVector(bytes, std::span<float>(three)),
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
