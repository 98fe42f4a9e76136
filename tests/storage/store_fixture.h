// Helpers for the tests of storage: a folder of one's own, mutations in one line, status matchers.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "rocksdb/db.h"
#include "storage/keys.h"
#include "storage/store.h"

#define ASSERT_OK(expression)                                     \
  do {                                                            \
    const absl::Status vecino_status = ToPlainStatus(expression); \
    ASSERT_TRUE(vecino_status.ok()) << vecino_status.ToString();  \
  } while (false)
#define EXPECT_OK(expression)                                     \
  do {                                                            \
    const absl::Status vecino_status = ToPlainStatus(expression); \
    EXPECT_TRUE(vecino_status.ok()) << vecino_status.ToString();  \
  } while (false)

namespace vecino::storage {

inline absl::Status ToPlainStatus(const absl::Status& status) { return status; }
template <typename T>
absl::Status ToPlainStatus(const absl::StatusOr<T>& status) {
  return status.status();
}

constexpr uint32_t kDimension = 4;

inline CollectionRecord MakeRecord(std::string id, uint32_t shards = 2) {
  CollectionRecord record;
  record.id = std::move(id);
  record.dimension = kDimension;
  record.shard_count = shards;
  record.create_time_us = 1'700'000'000'000'000;
  return record;
}

inline std::vector<float> MakeVector(uint64_t sequence, uint32_t dimension = kDimension) {
  std::vector<float> vector(dimension);
  for (uint32_t i = 0; i < dimension; ++i) {
    vector[i] = static_cast<float>(sequence) + static_cast<float>(i) / 16;
  }
  return vector;
}

inline Mutation Put(uint64_t sequence, std::string id, uint64_t replaces = 0,
                    uint32_t dimension = kDimension) {
  Mutation mutation;
  mutation.kind = Mutation::Kind::kPut;
  mutation.sequence = sequence;
  mutation.replaces = replaces;
  mutation.id = id;
  mutation.document.id = std::move(id);
  mutation.document.text = "text of " + std::to_string(sequence);
  mutation.document.metadata = R"({"n":)" + std::to_string(sequence) + "}";
  mutation.document.vector = MakeVector(sequence, dimension);
  mutation.document.create_time_us = 1000;
  mutation.document.update_time_us = 1000 + static_cast<int64_t>(sequence);
  return mutation;
}

inline Mutation Delete(uint64_t sequence, std::string id, uint64_t replaces) {
  Mutation mutation;
  mutation.kind = Mutation::Kind::kDelete;
  mutation.sequence = sequence;
  mutation.replaces = replaces;
  mutation.id = std::move(id);
  return mutation;
}

// A folder that is gone with the test, and a store in it.
class StoreFixture : public testing::Test {
 protected:
  std::string Warnings() {
    const std::lock_guard lock(warnings_mu_);
    return warnings_;
  }
  void SetUp() override {
    const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("vecino_") + info->test_suite_name() + "_" + info->name() + "_" +
               std::to_string(getpid()));
    std::filesystem::remove_all(folder_);
    options_.path = (folder_ / "store").string();
    options_.block_cache_bytes = 8u << 20;
    options_.write_buffer_bytes = 1u << 20;
    options_.warn = [this](std::string_view message) {  // RocksDB's threads warn, too
      const std::lock_guard lock(warnings_mu_);
      warnings_ += std::string(message) + "\n";
    };
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  absl::Status Open() {
    absl::StatusOr<std::unique_ptr<Store>> store = Store::Open(options_);
    if (store.ok()) store_ = *std::move(store);
    return store.status();
  }

  // Opens the store's RocksDB behind the store's back. All families must exist.
  struct Raw {
    std::unique_ptr<rocksdb::DB> db;
    std::vector<rocksdb::ColumnFamilyHandle*> families;
    rocksdb::ColumnFamilyHandle* operator[](Family family) const {
      return families[static_cast<size_t>(family)];
    }
    ~Raw() {
      for (rocksdb::ColumnFamilyHandle* family : families) {
        (void)db->DestroyColumnFamilyHandle(family);
      }
    }
  };
  std::unique_ptr<Raw> OpenRaw(
      rocksdb::WALRecoveryMode mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery) const {
    rocksdb::DBOptions db_options;
    db_options.wal_recovery_mode = mode;
    std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
    for (const char* name : kFamilyNames) {
      descriptors.emplace_back(name, rocksdb::ColumnFamilyOptions());
    }
    auto raw = std::make_unique<Raw>();
    rocksdb::DB* db = nullptr;
    const rocksdb::Status status =
        rocksdb::DB::Open(db_options, options_.path, descriptors, &raw->families, &db);
    EXPECT_TRUE(status.ok()) << status.ToString();
    raw->db.reset(db);
    return raw;
  }

  // The store's files with this extension, in order of name.
  static std::vector<std::filesystem::path> Files(const std::filesystem::path& folder,
                                                  const std::string& extension) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().extension() == extension) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    return files;
  }

  static std::string ReadFile(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    return bytes.str();
  }
  static void WriteFile(const std::filesystem::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }

  std::filesystem::path folder_;
  StoreOptions options_;
  std::mutex warnings_mu_;
  std::string warnings_;
  std::unique_ptr<Store> store_;
};

// The sequence number of the current version of `id`, 0 for none.
inline uint64_t Current(const ShardLog& log, std::string_view id) {
  const auto found = log.FindIds(std::vector<std::string_view>{id});
  EXPECT_TRUE(found.ok()) << found.status().ToString();
  return found.ok() && (*found)[0].has_value() ? (*found)[0]->sequence : 0;
}

// The sequence numbers ScanVectors gives, each checked against MakeVector.
inline std::vector<uint64_t> Scan(const ShardLog& log, uint64_t after = 0,
                                  uint64_t up_to = ~uint64_t{0}) {
  std::vector<uint64_t> sequences;
  const absl::Status status =
      log.ScanVectors(after, up_to, [&](uint64_t sequence, std::span<const float> vector) {
        EXPECT_EQ(std::vector<float>(vector.begin(), vector.end()),
                  MakeVector(sequence, static_cast<uint32_t>(vector.size())));
        sequences.push_back(sequence);
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status.ToString();
  return sequences;
}

}  // namespace vecino::storage
