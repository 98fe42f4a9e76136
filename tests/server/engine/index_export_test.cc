// Exports: rows and ids of one moment, whatever is written meanwhile, and nothing left behind.
#include <gmock/gmock.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <thread>

#include "absl/time/clock.h"
#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

using testing::HasSubstr;

class IndexExportTest : public EngineTest {
 protected:
  void TearDown() override {
    engine_.reset();
    if (!options_.index_folder.empty()) std::filesystem::remove_all(options_.index_folder);
  }

  void UseFolder() {
    options_.index_folder = testing::TempDir() + "/index_export_" + std::to_string(getpid()) + "_" +
                            testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(options_.index_folder);
    Reopen();
  }

  void CreateFlat(const std::string& id, int shards) {
    CollectionSpec spec;
    spec.id = id;
    spec.metric = Metric::kL2;
    spec.dimension = kDimension;
    spec.shard_count = shards;
    spec.index.kind = IndexKind::kFlat;
    ASSERT_TRUE(engine_->CreateCollection(spec, false).ok());
  }

  // A vector that says whose it is and which version.
  static std::vector<float> VectorOf(int id, int version) {
    std::vector<float> vector(kDimension, 0);
    vector[0] = static_cast<float>(id);
    vector[1] = static_cast<float>(version);
    return vector;
  }
  void PutVersion(int id, int version) {
    ASSERT_TRUE(Upsert("c", {Vector(std::to_string(id), VectorOf(id, version))})[0].status.ok());
  }

  // Document id → version, out of the file of an IndexFlat: 45 bytes, then the rows.
  static std::map<std::string, int> Read(const IndexExport& exported) {
    constexpr int64_t kHead = 45;
    const ShardExport& content = exported.content;
    const auto rows = static_cast<int64_t>(content.ids.size());
    EXPECT_EQ(content.file.size(), kHead + rows * kDimension * 4);
    const auto bytes = content.file.Read(0, static_cast<size_t>(content.file.size()));
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_EQ(bytes->substr(0, 4), "IxF2");
    std::map<std::string, int> versions;
    for (int64_t row = 0; row < rows; ++row) {
      float values[kDimension];
      std::memcpy(values, bytes->data() + kHead + row * sizeof(values), sizeof(values));
      EXPECT_EQ(std::to_string(static_cast<int>(values[0])), content.ids[row]) << row;
      EXPECT_TRUE(versions.emplace(content.ids[row], static_cast<int>(values[1])).second)
          << content.ids[row] << " twice";
    }
    return versions;
  }
  int Files() const {
    int exports = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(options_.index_folder)) {
      exports += entry.path().filename().string().starts_with("export-");
    }
    return exports;
  }
};

TEST_F(IndexExportTest, UpdatesAndDeletesInTailsAndSegments) {
  UseFolder();
  CreateFlat("c", 3);
  std::map<std::string, int> expected;
  std::mt19937 random(3);
  for (int step = 0; step < 3000; ++step) {
    const int id = static_cast<int>(random() % 500);
    if (random() % 4 == 0) {
      Delete("c", std::to_string(id));
      expected.erase(std::to_string(id));
    } else {
      PutVersion(id, step);
      expected[std::to_string(id)] = step;
    }
  }
  // Maintenance has the lowest priority: on a busy machine it takes a while.
  int segments = 0;
  for (int i = 0; i < 3000 && segments == 0; ++i) {
    const auto stats = engine_->GetCollectionStats("c");
    ASSERT_TRUE(stats.ok()) << stats.status();
    for (const ShardStats& shard : stats->shards) segments += shard.segments;
    if (segments == 0) absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_GT(segments, 0);
  std::map<std::string, int> all;
  for (int shard = 0; shard < 3; ++shard) {
    const auto exported = engine_->ExportIndex("c", {.shard = shard}, {});
    ASSERT_TRUE(exported.ok()) << exported.status();
    EXPECT_EQ((*exported)->shard, shard);
    EXPECT_THAT((*exported)->content.description, HasSubstr("IndexFlat"));
    all.merge(Read(**exported));
    EXPECT_EQ(Files(), 0);  // it has no name any more
  }
  EXPECT_EQ(all, expected);
}

TEST_F(IndexExportTest, EveryDocumentOnceWhileAllAreWritten) {
  CreateFlat("c", 1);
  constexpr int kDocuments = 1500;
  std::vector<DocumentWrite> first;
  for (int id = 0; id < kDocuments; ++id) {
    first.push_back(Vector(std::to_string(id), VectorOf(id, 0)));
    if (first.size() == 500) Upsert("c", std::exchange(first, {}));
  }
  std::atomic<bool> stop{false};
  std::atomic<int> version{0};
  std::thread writer([&] {
    while (!stop) {
      const int now = ++version;
      std::vector<DocumentWrite> writes;
      for (int i = 0; i < 300; ++i) {
        const int id = (now * 300 + i) % kDocuments;
        writes.push_back(Vector(std::to_string(id), VectorOf(id, now)));
      }
      Upsert("c", std::move(writes));
    }
  });
  for (int i = 0; i < 20; ++i) {
    const int before = version.load() - 1;  // written for sure
    const auto exported = engine_->ExportIndex("c", {}, {});
    ASSERT_TRUE(exported.ok()) << exported.status();
    const std::map<std::string, int> versions = Read(**exported);
    ASSERT_EQ(versions.size(), static_cast<size_t>(kDocuments));
    // Five calls write every document once.
    for (const auto& [id, at] : versions) ASSERT_GE(at, before - 5) << id;
  }
  stop = true;
  writer.join();
}

TEST_F(IndexExportTest, OneAtATime) {
  CreateFlat("c", 2);
  CreateFlat("d", 1);
  PutVersion(1, 1);
  auto exported = engine_->ExportIndex("c", {}, {});
  ASSERT_TRUE(exported.ok()) << exported.status();
  const absl::Status second = engine_->ExportIndex("c", {.shard = 1}, {}).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(second.message()), HasSubstr("another export of collection `c`"));
  EXPECT_TRUE(engine_->ExportIndex("d", {}, {}).ok());
  // It outlives its collection, and is given back after it.
  ASSERT_TRUE(engine_->DeleteCollection("c", "").ok());
  EXPECT_TRUE((*exported)->content.file.Read(0, 4).ok());
  exported->reset();
}

TEST_F(IndexExportTest, WhatIsRefused) {
  CreateFlat("c", 2);
  PutVersion(1, 1);
  EXPECT_EQ(engine_->ExportIndex("x", {}, {}).status().code(), absl::StatusCode::kNotFound);
  for (const int shard : {-1, 2}) {
    const absl::Status status = engine_->ExportIndex("c", {.shard = shard}, {}).status();
    EXPECT_EQ(FieldOf(status), "shard") << status;
  }
  std::stop_source gone;
  gone.request_stop();
  EXPECT_EQ(engine_->ExportIndex("c", {}, {.stop = gone.get_token()}).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(engine_->ExportIndex("c", {}, {.deadline = absl::InfinitePast()}).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  store_.fault = [](std::string_view operation) {
    return operation == "GetDocuments" ? absl::UnavailableError("disk") : absl::OkStatus();
  };
  const int shard_of_1 = engine_->GetCollectionStats("c")->shards[0].live_documents == 1 ? 0 : 1;
  EXPECT_EQ(engine_->ExportIndex("c", {.shard = shard_of_1}, {}).status().code(),
            absl::StatusCode::kUnavailable);
  store_.fault = nullptr;
  // Every failure gave its place back.
  EXPECT_TRUE(engine_->ExportIndex("c", {}, {}).ok());
}

TEST_F(IndexExportTest, TheMemoryBudgetHolds) {
  options_.index_memory_bytes = 1000;
  Reopen();
  CreateFlat("c", 1);
  for (int id = 0; id < 100; ++id) PutVersion(id, 0);
  const absl::Status status = engine_->ExportIndex("c", {}, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("exporting an index needs about"));
}

TEST_F(IndexExportTest, LeftoversGoAtTheNextStart) {
  UseFolder();
  CreateFlat("c", 1);
  PutVersion(1, 7);
  engine_.reset();
  const std::string folder = options_.index_folder + "/1/0";
  ASSERT_TRUE(std::filesystem::is_directory(folder));
  std::filesystem::copy_file("/proc/self/cmdline", folder + "/export-9.tmp");
  EXPECT_EQ(Files(), 1);
  Reopen();
  EXPECT_EQ(Files(), 0);
  const auto exported = engine_->ExportIndex("c", {}, {});
  ASSERT_TRUE(exported.ok()) << exported.status();
  EXPECT_EQ(Read(**exported), (std::map<std::string, int>{{"1", 7}}));
}

TEST_F(IndexExportTest, AnEmptyShard) {
  CreateFlat("c", 1);
  const auto exported = engine_->ExportIndex("c", {}, {});
  ASSERT_TRUE(exported.ok()) << exported.status();
  EXPECT_TRUE(Read(**exported).empty());
}

}  // namespace
}  // namespace vecino::engine
