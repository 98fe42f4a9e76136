// docs/storage_format.md and the code say the same: the document's worked example is what a store
// really holds, byte for byte, and decodes to what the document says it means.
#include <cctype>
#include <cstdlib>
#include <map>

#include "absl/status/status.h"
#include "storage/codec.h"
#include "storage/records.h"
#include "store_fixture.h"

namespace vecino::storage {
namespace {

using Rows = std::map<std::pair<std::string, std::string>, std::string>;  // {family, key} → value

std::string FromHex(std::string_view text) {
  std::string digits;
  for (const char c : text) {
    if (std::isxdigit(static_cast<unsigned char>(c)) != 0) digits.push_back(c);
  }
  std::string bytes;
  for (size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// The lines "family | key | value" between the document's two markers. A line that begins with |
// goes on with the value of the line before.
Rows ReadExample() {
  const char* root = std::getenv("VECINO_SOURCE_DIR");
  std::ifstream file(std::filesystem::path(root == nullptr ? "." : root) /
                     "docs/storage_format.md");
  Rows rows;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.find("<!-- example begins -->") != std::string::npos) inside = true;
    if (line.find("<!-- example ends -->") != std::string::npos) inside = false;
    const size_t first = line.find('|');
    const size_t second = line.find('|', first + 1);
    if (!inside || first == std::string::npos || second == std::string::npos) continue;
    const std::string family = line.substr(0, line.find(' '));
    rows[{family, FromHex(line.substr(first + 1, second - first - 1))}] =
        FromHex(line.substr(second + 1));
  }
  return rows;
}

class FormatDocumentTest : public StoreFixture {};

TEST_F(FormatDocumentTest, ExampleIsWhatAStoreHolds) {
  ASSERT_OK(Open());
  CollectionRecord record;
  record.id = "demo";
  record.dimension = 2;
  record.shard_count = 1;
  record.model = "m";
  record.model_hash = "ab";
  record.create_time_us = 1'000'000;
  const auto uid = store_->AddCollection(record);
  ASSERT_OK(uid);
  {
    const auto log = store_->OpenShard(*uid, 0, 2);
    ASSERT_OK(log);
    Mutation put = Put(1, "a", 0, 2);
    put.document.text = "hi";
    put.document.metadata = R"({"n":1})";
    put.document.vector = {0.5f, -2.0f};
    put.document.create_time_us = 1'000'000;
    put.document.update_time_us = 1'000'000;
    Mutation plain = put;
    plain.sequence = 4;
    plain.id = "c";
    plain.document.text = "no";
    plain.document.metadata.clear();
    plain.document.vector.clear();
    plain.document.expire_time_us = 3'000'000;
    Mark mark;
    mark.token = "load";
    mark.through = 3;
    mark.all_through = 1;
    mark.time_us = 1'000'000;
    mark.failures = {{2, 5}};
    ASSERT_OK(
        (*log)->Append(std::vector<Mutation>{put, Put(2, "b", 0, 2), Delete(3, "b", 2), plain},
                       std::vector<Mark>{mark}));
    ASSERT_OK((*log)->PutManifest("M"));
  }
  ASSERT_OK(store_->PutAlias(
      {.id = "x", .uid = *uid, .create_time_us = 1'000'000, .update_time_us = 1'000'000}));
  ASSERT_OK(store_->PutOperation({.uid = *uid, .number = 7, .bytes = "O"}));
  const auto dropped = store_->AddCollection(MakeRecord("gone"));
  ASSERT_OK(dropped);
  ASSERT_OK(store_->DropCollection(*dropped));
  CollectionRecord other = record;
  other.model_hash = "cd";
  const auto hidden =
      store_->AddMigration({.uid = *uid, .last_range = 1, .other = other, .bytes = "G"}, "N");
  ASSERT_OK(hidden);
  store_.reset();

  Rows stored;
  const auto raw = OpenRaw();
  for (size_t i = 0; i < kFamilyCount; ++i) {
    const Family family = static_cast<Family>(i);
    std::unique_ptr<rocksdb::Iterator> it(raw->db->NewIterator({}, (*raw)[family]));
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      stored[{std::string(FamilyLabel(family)), it->key().ToString()}] = it->value().ToString();
    }
  }
  const Rows documented = ReadExample();
  EXPECT_EQ(documented.size(), stored.size());
  for (const auto& [where, value] : stored) {
    const auto row = documented.find(where);
    EXPECT_TRUE(row != documented.end() && row->second == value)
        << "the store holds: " << where.first << " | " << ToHex(where.second) << " | "
        << ToHex(value);
  }
}

TEST_F(FormatDocumentTest, ExampleDecodesToWhatTheDocumentSays) {
  const Rows rows = ReadExample();
  const std::string row = SequenceKey(1, 0, 1);
  const auto value = [&](Family family, const std::string& key) {
    const auto found = rows.find({std::string(FamilyLabel(family)), key});
    EXPECT_TRUE(found != rows.end()) << FamilyLabel(family) << " " << ToHex(key);
    return found == rows.end() ? std::string() : found->second;
  };
  EXPECT_EQ(*DecodeFormat(value(Family::kMeta, "format")), 3u);
  EXPECT_EQ(*DecodeNumber(value(Family::kMeta, MetaKey(MetaKind::kNextUid))), 4u);
  EXPECT_EQ(*DecodeNumber(value(Family::kMeta, MetaKey(MetaKind::kOpenings))), 1u);
  EXPECT_EQ(*DecodeNumber(value(Family::kMeta, MetaKey(MetaKind::kShardState, 1, 0))), 4u);
  EXPECT_TRUE(CheckExpiry(value(Family::kMeta, ExpiryKey(1, 0, 3'000'000, 4))).ok());
  EXPECT_EQ(*DecodeManifest(value(Family::kMeta, MetaKey(MetaKind::kManifest, 1, 0))), "M");
  EXPECT_EQ(*DecodeManifest(value(Family::kMeta, OperationKey(1, 7))), "O");
  const auto alias = DecodeAlias("x", value(Family::kMeta, AliasKey("x")));
  ASSERT_OK(alias);
  EXPECT_EQ(alias->uid, 1u);
  EXPECT_EQ(alias->create_time_us, 1'000'000);
  const auto mark = DecodeMark(value(Family::kMeta, MarkKey(1, 0, "load")));
  ASSERT_OK(mark);
  EXPECT_EQ(mark->through, 3u);
  EXPECT_EQ(mark->all_through, 1u);
  EXPECT_EQ(mark->failures, (std::vector<Mark::Failure>{{2, 5}}));
  const auto record =
      DecodeCollectionRecord(value(Family::kMeta, MetaKey(MetaKind::kCollection, 1)));
  ASSERT_OK(record);
  EXPECT_EQ(record->id, "demo");
  EXPECT_EQ(record->model + record->model_hash, "mab");
  Document document;
  ASSERT_OK(DecodeDocument(value(Family::kDocuments, row), {}, &document));
  EXPECT_EQ(document.id + document.text + document.metadata, R"(ahi{"n":1})");
  EXPECT_EQ(document.create_time_us, 1'000'000);
  std::vector<float> vector(2);
  ASSERT_OK(DecodeVector(value(Family::kVectors, row), std::span<float>(vector)));
  EXPECT_EQ(vector, (std::vector<float>{0.5f, -2.0f}));
  const auto entry = DecodeIdEntry(value(Family::kIds, IdKey(1, 0, "a")));
  ASSERT_OK(entry);
  EXPECT_EQ(entry->sequence, 1u);
  Document plain;
  ASSERT_OK(DecodeDocument(value(Family::kDocuments, SequenceKey(1, 0, 4)), {}, &plain));
  EXPECT_EQ(plain.id + plain.text, "cno");
  EXPECT_EQ(plain.expire_time_us, 3'000'000);
  EXPECT_FALSE(plain.has_vector);
  const auto plain_entry = DecodeIdEntry(value(Family::kIds, IdKey(1, 0, "c")));
  ASSERT_OK(plain_entry);
  EXPECT_EQ(plain_entry->expire_time_us, 3'000'000);
  const std::string change_bytes = value(Family::kChanges, SequenceKey(1, 0, 3));
  const auto change = DecodeChange(change_bytes);
  ASSERT_OK(change);
  EXPECT_EQ(change->kind, Mutation::Kind::kDelete);
  EXPECT_EQ(change->replaces, 2u);
  EXPECT_EQ(change->id, "b");
}

}  // namespace
}  // namespace vecino::storage
