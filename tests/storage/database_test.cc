// What damage to the files below the log does. Table files, manifest, CURRENT.
#include "storage/database.h"

#include <random>

#include "absl/status/status.h"
#include "store_fixture.h"

namespace vecino::storage {
namespace {

using testing::HasSubstr;

class DamagedFilesTest : public StoreFixture {
 protected:
  void SetUp() override {
    StoreFixture::SetUp();
    ASSERT_OK(Open());
    const auto uid = store_->AddCollection(MakeRecord("c"));
    ASSERT_OK(uid);
    uid_ = *uid;
    {
      const auto log = store_->OpenShard(uid_, 0, kDimension);
      ASSERT_OK(log);
      std::vector<Mutation> mutations;
      for (uint64_t sequence = 1; sequence <= kRows; ++sequence) {
        mutations.push_back(Put(sequence, "id" + std::to_string(sequence)));
      }
      ASSERT_OK((*log)->Append(mutations));
      ASSERT_OK((*log)->PutManifest("manifest"));
    }
    ASSERT_OK(store_->Flush());
    store_.reset();
    std::filesystem::rename(options_.path, folder_ / "good");
  }

  // Opens a copy in which `file` has these bytes and reads all that is in it.
  absl::Status ReadAllWith(const std::string& file, const std::string& bytes) {
    std::filesystem::remove_all(options_.path);
    std::filesystem::copy(folder_ / "good", options_.path);
    WriteFile(std::filesystem::path(options_.path) / file, bytes);
    absl::Status status = Open();
    if (status.ok()) status = ReadAll();
    store_.reset();
    return status;
  }

  absl::Status ReadAll() {
    const auto log = store_->OpenShard(uid_, 0, kDimension);
    if (!log.ok()) return log.status();
    std::vector<uint64_t> sequences;
    std::vector<std::string> ids;
    for (uint64_t sequence = 1; sequence <= kRows; ++sequence) {
      sequences.push_back(sequence);
      ids.push_back("id" + std::to_string(sequence));
    }
    const auto documents = (*log)->GetDocuments(sequences, {.vector = true});
    if (!documents.ok()) return documents.status();
    for (uint64_t sequence = 1; sequence <= kRows; ++sequence) {
      const auto& document = (*documents)[sequence - 1];
      EXPECT_TRUE(document.has_value() && document->text == "text of " + std::to_string(sequence) &&
                  document->vector == MakeVector(sequence))
          << sequence;
    }
    const auto found = (*log)->FindIds(std::vector<std::string_view>(ids.begin(), ids.end()));
    if (!found.ok()) return found.status();
    for (uint64_t i = 0; i < kRows; ++i) {
      EXPECT_TRUE((*found)[i].has_value() && (*found)[i]->sequence == i + 1) << i;
    }
    uint64_t replayed = 0;
    const absl::Status status =
        (*log)->ReplayChanges(0, [&](const Change& change, std::span<const float>) {
          EXPECT_EQ(change.sequence, ++replayed);
          return absl::OkStatus();
        });
    if (!status.ok()) return status;
    EXPECT_EQ(replayed, kRows);
    const auto manifest = (*log)->GetManifest();
    if (manifest.ok()) {
      EXPECT_EQ(*manifest, "manifest");
    }
    return manifest.status();
  }

  static constexpr uint64_t kRows = 300;
  uint32_t uid_ = 0;
};

TEST_F(DamagedFilesTest, GoodCopyReads) {
  const auto table = Files(folder_ / "good", ".sst")[0];
  EXPECT_OK(ReadAllWith(table.filename(), ReadFile(table)));
}

// A flipped byte anywhere in a table: DATA_LOSS that names the file or the key, or (in padding,
// filters and statistics) right answers. Never wrong ones; those are EXPECTed in ReadAll.
TEST_F(DamagedFilesTest, FlippedByteInATableIsFound) {
  std::mt19937 random(5);
  int found = 0;
  int tries = 0;
  for (const auto& table : Files(folder_ / "good", ".sst")) {
    const std::string good = ReadFile(table);
    for (int i = 0; i < 12; ++i, ++tries) {
      std::string bytes = good;
      // Half of the flips go into the beginning, where the data blocks are.
      const size_t at = i % 2 == 0 ? random() % (bytes.size() / 4) : random() % bytes.size();
      bytes[at] ^= static_cast<char>(1 << (random() % 8));
      const absl::Status status = ReadAllWith(table.filename(), bytes);
      if (status.ok()) continue;
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status.ToString();
      EXPECT_THAT(status.message(),
                  testing::AnyOf(HasSubstr(table.filename().string()), HasSubstr("column family")))
          << at << ": " << status.ToString();
      ++found;
    }
  }
  EXPECT_GT(found, tries / 2);
}

TEST_F(DamagedFilesTest, MissingAndCutTablesAreDataLossNamingTheFile) {
  for (const auto& table : Files(folder_ / "good", ".sst")) {
    const std::string good = ReadFile(table);
    const absl::Status cut = ReadAllWith(table.filename(), good.substr(0, good.size() / 2));
    EXPECT_EQ(cut.code(), absl::StatusCode::kDataLoss) << cut.ToString();
    EXPECT_THAT(cut.message(), HasSubstr(table.stem().string()));
    std::filesystem::rename(table, folder_ / "away");
    std::filesystem::remove_all(options_.path);
    std::filesystem::copy(folder_ / "good", options_.path);
    const absl::Status missing = Open();
    EXPECT_EQ(missing.code(), absl::StatusCode::kDataLoss) << missing.ToString();
    EXPECT_THAT(missing.message(), HasSubstr(table.stem().string()));
    std::filesystem::rename(folder_ / "away", table);
  }
}

TEST_F(DamagedFilesTest, DamagedCurrentAndManifestAreDataLoss) {
  for (const char* bytes : {"", "MANIFEST-000001", "MANIFEST-999999\n"}) {
    const absl::Status status = ReadAllWith("CURRENT", bytes);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status.ToString();
    EXPECT_THAT(status.message(), HasSubstr(options_.path));
  }
  std::string manifest = ReadFile(folder_ / "good" / "CURRENT");
  manifest.pop_back();
  const std::string good = ReadFile(folder_ / "good" / manifest);
  for (size_t at = 8; at < good.size() / 2; at += 31) {
    std::string bytes = good;
    bytes[at] ^= 0x10;
    const absl::Status status = ReadAllWith(manifest, bytes);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << at << ": " << status.ToString();
  }
}

}  // namespace
}  // namespace vecino::storage
