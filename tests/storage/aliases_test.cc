// Aliases and operations in the catalog: what they refuse, and that they survive.
#include "absl/status/status.h"
#include "storage/records.h"
#include "store_fixture.h"

namespace vecino::storage {
namespace {

using testing::HasSubstr;

class AliasesTest : public StoreFixture {
 protected:
  uint32_t Add(const std::string& id) {
    const auto uid = store_->AddCollection(MakeRecord(id));
    EXPECT_OK(uid);
    return uid.ok() ? *uid : 0;
  }
  std::string Aliases() {
    const auto records = store_->ListAliases();
    EXPECT_OK(records);
    std::string text;
    for (const AliasRecord& record : *records) {
      text += record.id + ">" + std::to_string(record.uid) + "@" +
              std::to_string(record.create_time_us) + "," + std::to_string(record.update_time_us) +
              " ";
    }
    return text;
  }
  std::string Operations() {
    const auto records = store_->ListOperations();
    EXPECT_OK(records);
    std::string text;
    for (const OperationRecord& record : *records) {
      text += std::to_string(record.uid) + "/" + std::to_string(record.number) + "=" +
              record.bytes + " ";
    }
    return text;
  }
};

TEST_F(AliasesTest, SurviveReopeningAndAreReplacedAndDeleted) {
  ASSERT_OK(Open());
  const uint32_t a = Add("a"), b = Add("b");
  ASSERT_OK(store_->PutAlias({.id = "x", .uid = a, .create_time_us = 5, .update_time_us = 6}));
  ASSERT_OK(store_->PutAlias({.id = "w", .uid = b, .create_time_us = 7, .update_time_us = -8}));
  store_.reset();
  ASSERT_OK(Open());
  EXPECT_EQ(Aliases(), "w>2@7,-8 x>1@5,6 ");
  ASSERT_OK(store_->PutAlias({.id = "x", .uid = b, .create_time_us = 5, .update_time_us = 9}));
  ASSERT_OK(store_->DeleteAlias("w"));
  EXPECT_EQ(store_->DeleteAlias("w").code(), absl::StatusCode::kNotFound);
  store_.reset();
  ASSERT_OK(Open());
  EXPECT_EQ(Aliases(), "x>2@5,9 ");
}

TEST_F(AliasesTest, AnIdIsOneOrTheOtherAndATargetStays) {
  ASSERT_OK(Open());
  const uint32_t a = Add("a");
  EXPECT_EQ(store_->PutAlias({.id = "a", .uid = a}).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(store_->PutAlias({.id = "x", .uid = a + 1}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->PutAlias({.id = "", .uid = a}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Aliases(), "");
  ASSERT_OK(store_->PutAlias({.id = "x", .uid = a}));
  EXPECT_EQ(store_->AddCollection(MakeRecord("x")).status().code(),
            absl::StatusCode::kAlreadyExists);
  const absl::Status refused = store_->DropCollection(a);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("\"x\""));
  ASSERT_OK(store_->DeleteAlias("x"));
  ASSERT_OK(store_->DropCollection(a));
  Add("x");
}

TEST_F(AliasesTest, OfNoCollectionIsDamage) {
  ASSERT_OK(Open());
  const uint32_t a = Add("a");
  ASSERT_OK(store_->PutAlias({.id = "x", .uid = a}));
  store_.reset();
  const auto damage = [&](const std::string& value) {
    {
      const auto raw = OpenRaw();
      EXPECT_TRUE(raw->db->Put({}, (*raw)[Family::kMeta], AliasKey("x"), value).ok());
    }
    const absl::Status status = Open();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << ToHex(value);
    EXPECT_THAT(std::string(status.message()), HasSubstr("meta"));
  };
  damage(EncodeAlias({.id = "x", .uid = a + 1}));
  damage("");
  damage(EncodeAlias({.id = "x", .uid = a}) + "?");
  damage(std::string("\x02\x01\x00\x00", 4));
}

TEST_F(AliasesTest, OperationsSurviveAndGoWithTheirCollection) {
  ASSERT_OK(Open());
  const uint32_t a = Add("a"), b = Add("b");
  ASSERT_OK(store_->PutOperation({.uid = b, .number = 1, .bytes = "one"}));
  ASSERT_OK(store_->PutOperation({.uid = a, .number = 300, .bytes = "late"}));
  ASSERT_OK(store_->PutOperation({.uid = a, .number = 2, .bytes = "two"}));
  ASSERT_OK(store_->PutOperation({.uid = a, .number = 2, .bytes = ""}));
  EXPECT_EQ(store_->PutOperation({.uid = 9, .number = 2, .bytes = ""}).code(),
            absl::StatusCode::kNotFound);
  store_.reset();
  ASSERT_OK(Open());
  EXPECT_EQ(Operations(), "1/2= 1/300=late 2/1=one ");
  ASSERT_OK(store_->DeleteOperation(a, 300));
  ASSERT_OK(store_->DeleteOperation(a, 300));
  ASSERT_OK(store_->DropCollection(b));
  EXPECT_EQ(store_->PutOperation({.uid = b, .number = 2, .bytes = ""}).code(),
            absl::StatusCode::kNotFound);
  store_.reset();
  ASSERT_OK(Open());
  EXPECT_EQ(Operations(), "1/2= ");
}

TEST_F(AliasesTest, AStoreOfVersion1IsReadAndRaised) {
  ASSERT_OK(Open());
  Add("a");
  store_.reset();
  ASSERT_TRUE(OpenRaw()->db->Put({}, std::string(kFormatKey), EncodeFormat(1)).ok());
  ASSERT_OK(Open());
  EXPECT_EQ(store_->ListCollections()->size(), 1u);
  store_.reset();
  std::string format;
  ASSERT_TRUE(OpenRaw()->db->Get({}, std::string(kFormatKey), &format).ok());
  EXPECT_EQ(*DecodeFormat(format), kFormatVersion);
}

}  // namespace
}  // namespace vecino::storage
