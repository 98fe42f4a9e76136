// Snapshots in files: written, damaged, restored; and what a check of the store finds.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "rocksdb/write_batch.h"
#include "storage/migration_record.h"
#include "storage/snapshot_folder.h"
#include "storage/snapshot_manifest.h"
#include "store_fixture.h"

namespace vecino::storage {
namespace {

class StoreSnapshotTest : public StoreFixture {
 protected:
  void SetUp() override {
    StoreFixture::SetUp();
    ASSERT_OK(Open());
    uid_ = *store_->AddCollection(MakeRecord("c"));
    OpenLogs(uid_);
    snapshots_ = std::make_unique<SnapshotFolder>((folder_ / "snapshots").string());
    ASSERT_OK(snapshots_->Open());
  }
  void TearDown() override {
    logs_.clear();
    StoreFixture::TearDown();
  }
  void OpenLogs(uint32_t uid) {
    logs_.clear();
    for (const uint32_t shard : {0, 1}) {
      auto log = store_->OpenShard(uid, shard, kDimension);
      ASSERT_OK(log);
      logs_.push_back(*std::move(log));
    }
  }
  void Fill() {
    Mutation vectorless = Put(3, "no vector");
    vectorless.document.vector.clear();
    Mutation expiring = Put(4, "expires");
    expiring.document.expire_time_us = 4'000'000'000'000'000;
    Mark mark;
    mark.token = "load";
    mark.through = 7;
    ASSERT_OK(
        logs_[0]->Append(std::vector<Mutation>{Put(1, "a"), Put(2, "b"), vectorless, expiring},
                         std::vector<Mark>{mark}));
    ASSERT_OK(logs_[1]->Append(std::vector<Mutation>{Put(1, "z"), Put(2, "z", 1)}));
  }
  absl::Status Write(std::string_view id, std::vector<std::string> ids = {},
                     const SnapshotProgressFn& progress = nullptr) {
    auto folder = snapshots_->Begin(id);
    if (!folder.ok()) return folder.status();
    auto manifest = store_->WriteSnapshot(*folder, ids, "1.2.3", progress);
    absl::Status status = manifest.ok() ? snapshots_->Publish(id, *manifest) : manifest.status();
    if (!status.ok()) snapshots_->Abandon(id);
    return status;
  }
  absl::StatusOr<std::vector<CollectionRecord>> Restore(
      std::string_view id, std::string as, const SnapshotProgressFn& progress = nullptr) {
    auto manifest = snapshots_->Read(id);
    if (!manifest.ok()) return manifest.status();
    const RestoreTarget target{manifest->collections.at(0).record.uid, std::move(as)};
    return store_->RestoreSnapshot(
        snapshots_->PathOf(id), *manifest, {&target, 1},
        [](const CollectionRecord& record, uint64_t last) {
          return record.id + " " + std::to_string(last);
        },
        progress);
  }
  std::vector<std::string> Ids(uint32_t shard) {
    std::vector<std::string> ids;
    const auto listed = logs_[shard]->ListIds("", 100);
    EXPECT_OK(listed);
    if (!listed.ok()) return ids;
    for (const auto& [id, entry] : *listed) ids.push_back(id);
    return ids;
  }
  // The first file of the snapshot that is of the family.
  std::filesystem::path FileOf(std::string_view id, Family family) {
    const auto manifest = snapshots_->Read(id);
    EXPECT_OK(manifest);
    if (!manifest.ok()) return {};
    for (const SnapshotFile& file : manifest->files) {
      if (file.family == family) return std::filesystem::path(snapshots_->PathOf(id)) / file.name;
    }
    ADD_FAILURE() << "no file of the family";
    return {};
  }
  absl::Status CheckFiles(std::string_view id) {
    const auto manifest = snapshots_->Read(id);
    if (!manifest.ok()) return manifest.status();
    for (const SnapshotFile& file : manifest->files) {
      if (absl::Status status = snapshots_->CheckFile(id, file, nullptr); !status.ok())
        return status;
    }
    return absl::OkStatus();
  }
  // "where: problem" of each finding; the documents that were told of.
  std::vector<std::string> Findings(std::map<std::string, uint64_t>* documents = nullptr) {
    std::vector<std::string> found;
    IntegritySink sink;
    sink.found = [&](IntegrityFinding finding) {
      EXPECT_NE(finding.advice, "");
      found.push_back(finding.where + ": " + finding.problem);
    };
    sink.progress = [](uint64_t, uint64_t) { return absl::OkStatus(); };
    sink.document = [&](std::string_view id, uint64_t, uint64_t vectors) {
      if (documents != nullptr) (*documents)[std::string(id)] = vectors;
    };
    EXPECT_OK(store_->CheckFiles(sink));
    for (const uint32_t shard : {0, 1}) EXPECT_OK(store_->CheckShard(uid_, shard, sink));
    return found;
  }

  uint32_t uid_ = 0;
  std::vector<std::unique_ptr<ShardLog>> logs_;
  std::unique_ptr<SnapshotFolder> snapshots_;
};

TEST_F(StoreSnapshotTest, RestoresWhatWasThereThenUnderAnotherId) {
  Fill();
  ASSERT_OK(Write("s"));
  ASSERT_OK(logs_[0]->Append(std::vector<Mutation>{Put(5, "later"), Delete(6, "a", 1)}));
  EXPECT_EQ(*snapshots_->List(), std::vector<std::string>{"s"});
  const auto manifest = snapshots_->Read("s");
  ASSERT_OK(manifest);
  EXPECT_EQ(manifest->server_version, "1.2.3");
  EXPECT_EQ(manifest->documents(), 5u);
  EXPECT_GT(manifest->bytes(), 0u);
  EXPECT_OK(CheckFiles("s"));

  const auto restored = Restore("s", "copy");
  ASSERT_OK(restored);
  ASSERT_EQ(restored->size(), 1u);
  EXPECT_EQ((*restored)[0].id, "copy");
  EXPECT_NE((*restored)[0].uid, uid_);
  for (const bool reopened : {false, true}) {
    if (reopened) {
      logs_.clear();
      store_.reset();
      ASSERT_OK(Open());
    }
    OpenLogs((*restored)[0].uid);
    EXPECT_EQ(Ids(0), (std::vector<std::string>{"a", "b", "expires", "no vector"}));
    EXPECT_EQ(Ids(1), std::vector<std::string>{"z"});
    EXPECT_EQ(Current(*logs_[1], "z"), 2u);
    EXPECT_EQ(logs_[0]->LastSequence(), 4u);
    EXPECT_EQ(Scan(*logs_[0]), (std::vector<uint64_t>{1, 2, 4}));
    EXPECT_EQ(*logs_[0]->GetManifest(), "copy 4");
    EXPECT_EQ((*logs_[0]->GetMarks()).at(0).through, 7u);
    size_t expiries = 0;
    EXPECT_OK(logs_[0]->ScanExpiries([&](int64_t, uint64_t) {
      ++expiries;
      return absl::OkStatus();
    }));
    EXPECT_EQ(expiries, 1u);
  }
  ASSERT_OK(logs_[0]->Append(std::vector<Mutation>{Put(5, "on")}));
}

TEST_F(StoreSnapshotTest, KeepsRangesOfSequenceNumbersAndLeavesTheHiddenSideOut) {
  Fill();
  MigrationRecord migration;
  migration.uid = uid_;
  migration.last_range = 3;
  migration.other = MakeRecord("c");
  ASSERT_OK(store_->AddMigration(migration, "m"));
  ASSERT_OK(Write("s"));
  ASSERT_OK(Restore("s", "copy"));
  const auto migrations = store_->ListMigrations();
  ASSERT_OK(migrations);
  for (const MigrationRecord& record : *migrations) {
    EXPECT_EQ(record.last_range, 3u);
    EXPECT_EQ(record.other.has_value(), record.uid == uid_);
  }
  EXPECT_EQ(migrations->size(), 2u);
}

TEST_F(StoreSnapshotTest, ErrorsLeaveNothing) {
  Fill();
  EXPECT_EQ(Write("s", {"nobody"}).code(), absl::StatusCode::kNotFound);
  const auto cancelled = [](uint64_t, uint64_t) { return absl::CancelledError("enough"); };
  EXPECT_EQ(Write("s", {}, cancelled).code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(snapshots_->List()->empty());
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "snapshots"));
  ASSERT_OK(Write("s"));
  EXPECT_EQ(Write("s").code(), absl::StatusCode::kAlreadyExists);

  EXPECT_EQ(Restore("s", "c").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Restore("s", "").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Restore("none", "x").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Restore("s", "copy", cancelled).status().code(), absl::StatusCode::kCancelled);
  logs_.clear();
  store_.reset();
  {
    const auto raw = OpenRaw();
    for (const Family family : {Family::kDocuments, Family::kVectors, Family::kIds}) {
      std::unique_ptr<rocksdb::Iterator> at(
          raw->db->NewIterator(rocksdb::ReadOptions(), (*raw)[family]));
      for (at->Seek(UidPrefix(uid_ + 1)); at->Valid(); at->Next()) ADD_FAILURE() << "a row is left";
    }
    std::string value;
    EXPECT_TRUE(raw->db
                    ->Get(rocksdb::ReadOptions(), (*raw)[Family::kMeta],
                          MetaKey(MetaKind::kDropping, uid_ + 1), &value)
                    .IsNotFound());
  }
  ASSERT_OK(Open());
  EXPECT_EQ(store_->ListCollections()->size(), 1u);
  EXPECT_OK(Restore("s", "copy"));
  EXPECT_OK(snapshots_->Delete("s"));
  EXPECT_EQ(snapshots_->Delete("s").code(), absl::StatusCode::kNotFound);
}

TEST_F(StoreSnapshotTest, WhatACrashLeftIsNoSnapshot) {
  ASSERT_OK(snapshots_->Begin("half"));
  EXPECT_TRUE(snapshots_->List()->empty());
  EXPECT_FALSE(snapshots_->Contains("half"));
  ASSERT_OK(snapshots_->Open());
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "snapshots"));
}

TEST_F(StoreSnapshotTest, OtherNamesInTheFolderAreNobodysSnapshot) {
  ASSERT_OK(Write("s"));
  std::filesystem::create_directory(folder_ / "snapshots" / "lost+found");
  std::filesystem::create_directory(folder_ / "outside");
  EXPECT_EQ(*snapshots_->List(), std::vector<std::string>{"s"});
  for (const char* id : {"", ".", "..", "../outside", "lost+found", "s/", "s/../s"}) {
    EXPECT_FALSE(snapshots_->Contains(id)) << id;
    EXPECT_EQ(snapshots_->Read(id).status().code(), absl::StatusCode::kNotFound) << id;
    EXPECT_EQ(snapshots_->Delete(id).code(), absl::StatusCode::kNotFound) << id;
    EXPECT_EQ(snapshots_->Begin(id).status().code(), absl::StatusCode::kInvalidArgument) << id;
  }
  EXPECT_TRUE(std::filesystem::exists(folder_ / "outside"));
  EXPECT_TRUE(snapshots_->Contains("s"));
}

TEST_F(StoreSnapshotTest, ADeletionThatWasCutShortIsTriedAgain) {
  ASSERT_OK(Write("s"));
  std::filesystem::rename(folder_ / "snapshots" / "s", folder_ / "snapshots" / "s.tmp");
  EXPECT_OK(snapshots_->Delete("s"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "snapshots"));
  EXPECT_EQ(snapshots_->Delete("s").code(), absl::StatusCode::kNotFound);
}

TEST_F(StoreSnapshotTest, AManifestThatCannotBeReadIsAStatus) {
  ASSERT_OK(Write("s"));
  const std::filesystem::path manifest = folder_ / "snapshots" / "s" / "MANIFEST";
  std::filesystem::remove(manifest);
  std::filesystem::create_directory(manifest);  // read(2) fails, as on a disk that does
  EXPECT_EQ(snapshots_->Read("s").status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(StoreSnapshotTest, DamageIsFoundAndNamed) {
  Fill();
  for (const Family family : {Family::kDocuments, Family::kVectors, Family::kIds, Family::kMeta}) {
    ASSERT_OK(Write("s"));
    const std::filesystem::path path = FileOf("s", family);
    const std::string good = ReadFile(path);
    for (const size_t at : {size_t{0}, good.size() / 2, good.size() - 1}) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ 0x10);
      WriteFile(path, bad);
      const absl::Status status = CheckFiles("s");
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
      EXPECT_THAT(std::string(status.message()), testing::HasSubstr(path.string()));
    }
    WriteFile(path, good.substr(1));
    EXPECT_EQ(CheckFiles("s").code(), absl::StatusCode::kDataLoss);
    std::filesystem::remove(path);
    EXPECT_EQ(CheckFiles("s").code(), absl::StatusCode::kDataLoss);
    ASSERT_OK(snapshots_->Delete("s"));
  }
  ASSERT_OK(Write("s"));
  const std::filesystem::path manifest = folder_ / "snapshots" / "s" / "MANIFEST";
  const std::string good = ReadFile(manifest);
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x20);
    // A higher version may be a program's of the future.
    const absl::StatusCode code = DecodeSnapshotManifest(bad).status().code();
    EXPECT_TRUE(code == absl::StatusCode::kDataLoss ||
                (code == absl::StatusCode::kFailedPrecondition && at >= 8 && at < 12))
        << at;
    EXPECT_FALSE(DecodeSnapshotManifest(good.substr(0, at)).ok()) << at;
  }
  std::filesystem::remove(manifest);
  EXPECT_EQ(snapshots_->Read("s").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(*snapshots_->List(), std::vector<std::string>{"s"});
}

TEST_F(StoreSnapshotTest, AManifestComesBackAsItWas) {
  SnapshotManifest manifest;
  manifest.create_time_us = 5;
  manifest.server_version = "v";
  manifest.collections = {{.record = MakeRecord("c"), .last_range = 2, .documents = 3, .rows = 4}};
  manifest.collections[0].record.uid = 9;
  manifest.files = {{"000001.sst", 9, Family::kIds, 7, 8, 0xdeadbeef}};
  const auto decoded = DecodeSnapshotManifest(EncodeSnapshotManifest(manifest));
  ASSERT_OK(decoded);
  EXPECT_EQ(EncodeSnapshotManifest(*decoded), EncodeSnapshotManifest(manifest));
  manifest.files[0].name = "../x";
  EXPECT_FALSE(DecodeSnapshotManifest(EncodeSnapshotManifest(manifest)).ok());
  manifest.files[0] = {"000001.sst", 8, Family::kIds, 7, 8, 0};
  EXPECT_FALSE(DecodeSnapshotManifest(EncodeSnapshotManifest(manifest)).ok());
}

TEST_F(StoreSnapshotTest, TheDocumentShowsAManifest) {
  const char* source = std::getenv("VECINO_SOURCE_DIR");
  if (source == nullptr) GTEST_SKIP() << "VECINO_SOURCE_DIR is not set; ctest sets it";
  std::string page = ReadFile(std::filesystem::path(source) / "docs" / "snapshots.md");
  const std::string begin = "<!-- example begins -->\n```\n";
  const size_t at = page.find(begin);
  ASSERT_NE(at, std::string::npos);
  page = page.substr(at + begin.size());
  page = page.substr(0, page.find("```"));
  std::string shown;
  for (const char c : page) {
    if (c != ' ' && c != '\n') shown += c;
  }
  SnapshotManifest manifest;
  manifest.create_time_us = 1'000'000;
  manifest.server_version = "0.1";
  manifest.collections = {{.record = MakeRecord("demo", 1), .documents = 2, .rows = 6}};
  CollectionRecord& record = manifest.collections[0].record;
  record.uid = 1;
  record.dimension = 2;
  record.create_time_us = 1'000'000;
  manifest.files = {{"000001.sst", 1, Family::kDocuments, 2, 1000, 0x12345678}};
  std::string hex;
  for (const char c : EncodeSnapshotManifest(manifest)) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[static_cast<unsigned char>(c) >> 4];
    hex += kDigits[static_cast<unsigned char>(c) & 15];
  }
  EXPECT_EQ(shown, hex);
}

TEST_F(StoreSnapshotTest, ACheckOfGoodRowsFindsNothing) {
  Fill();
  std::map<std::string, uint64_t> documents;
  EXPECT_THAT(Findings(&documents), testing::IsEmpty());
  EXPECT_EQ(documents, (std::map<std::string, uint64_t>{
                           {"a", 1}, {"b", 1}, {"expires", 1}, {"no vector", 0}, {"z", 1}}));
  ASSERT_OK(store_->Flush());
  EXPECT_THAT(Findings(), testing::IsEmpty());
  IntegritySink sink;
  sink.progress = [](uint64_t, uint64_t) { return absl::CancelledError("enough"); };
  EXPECT_EQ(store_->CheckShard(uid_, 0, sink).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(store_->CheckShard(uid_ + 1, 0, sink).code(), absl::StatusCode::kNotFound);
}

TEST_F(StoreSnapshotTest, ACheckNamesRowsThatDoNotFit) {
  Fill();
  logs_.clear();
  store_.reset();
  {
    const auto raw = OpenRaw();
    const rocksdb::WriteOptions options;
    raw->db->Delete(options, (*raw)[Family::kVectors], SequenceKey(uid_, 0, 1));
    raw->db->Delete(options, (*raw)[Family::kIds], IdKey(uid_, 0, "b"));
    raw->db->Delete(options, (*raw)[Family::kDocuments], SequenceKey(uid_, 1, 2));
  }
  ASSERT_OK(Open());
  const std::vector<std::string> found = Findings();
  const auto says = [](const char* what) { return testing::Contains(testing::HasSubstr(what)); };
  EXPECT_THAT(found, says("document `a`: its vector is missing"));
  EXPECT_THAT(found, says("document `b`: its entry in the map of ids is missing"));
  EXPECT_THAT(found, says("document `z`: its version 2 is not stored"));
  EXPECT_THAT(found, says("there is no document of it"));
  EXPECT_THAT(found, says("4 documents are stored, but 3 ids"));
}

TEST_F(StoreSnapshotTest, ACheckKeepsFewFindingsAtOnce) {
  std::vector<Mutation> many;
  for (uint64_t i = 1; i <= 2000; ++i) many.push_back(Put(i, std::to_string(i)));
  ASSERT_OK(logs_[0]->Append(many));
  logs_.clear();
  store_.reset();
  {
    const auto raw = OpenRaw();
    const rocksdb::WriteOptions options;
    for (uint64_t i = 1; i <= 2000; ++i) {
      raw->db->Delete(options, (*raw)[Family::kDocuments], SequenceKey(uid_, 0, i));
    }
  }
  ASSERT_OK(Open());
  size_t found = 0, at_once = 0, most = 0;
  IntegritySink sink;
  sink.found = [&](const IntegrityFinding&) { ++found, most = std::max(most, ++at_once); };
  sink.progress = [&](uint64_t, uint64_t) {
    at_once = 0;
    return absl::OkStatus();
  };
  EXPECT_OK(store_->CheckShard(uid_, 0, sink));
  EXPECT_EQ(found, 4001u);  // vectors without a document, ids without a version, the counts
  EXPECT_LE(most, 300u);
  // It ends in the midst of them, too.
  sink.progress = [&](uint64_t, uint64_t) { return absl::CancelledError("enough"); };
  EXPECT_EQ(store_->CheckShard(uid_, 0, sink).code(), absl::StatusCode::kCancelled);
}

TEST_F(StoreSnapshotTest, ACheckNamesADamagedTable) {
  Fill();
  ASSERT_OK(store_->Flush());
  const auto tables = Files(options_.path, ".sst");
  ASSERT_FALSE(tables.empty());
  for (const auto& table : tables) {
    std::string bytes = ReadFile(table);
    bytes[bytes.size() / 4] = static_cast<char>(bytes[bytes.size() / 4] ^ 1);
    // In place: RocksDB has it open.
    std::fstream file(table, std::ios::binary | std::ios::in | std::ios::out);
    file << bytes;
  }
  EXPECT_THAT(Findings(), testing::Contains(testing::HasSubstr(tables[0].filename().string())));
}

}  // namespace
}  // namespace vecino::storage
